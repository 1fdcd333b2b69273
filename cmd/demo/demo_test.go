package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"payscore-collector/internal/config"
	"payscore-collector/internal/simulator"
)

// hurried is the demo in a few seconds, without the merchant's fault, whose first
// probe alone would take five.
var hurried = func() scenario {
	s := scenario{settings: maps.Clone(compressed.settings), acts: []act{{0, everyday}, {4 * time.Second, calm}}}
	s.settings["GIVE_UP_AFTER"] = "5s"
	return s
}()

// tempDir lets the demo put its temporary files where the test can see them.
func tempDir(t *testing.T) string {
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	return dir
}

func wantEmpty(t *testing.T, dir string) {
	t.Helper()
	left, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range left {
		t.Errorf("%s was left", e.Name())
	}
}

func TestDemoAgrees(t *testing.T) {
	dir := tempDir(t)
	var out bytes.Buffer
	agrees, err := play(t.Context(), commandLine{Orders: 18, Seed: 1, Limit: time.Minute, List: true}, hurried, &out)
	if err != nil || !agrees {
		t.Fatalf("agrees: %v, %v\n%s", agrees, err, out.String())
	}
	for _, want := range []string{
		`18 orders accepted; 2 of them were enqueued twice`,
		`(?m)^audit: 18 of 18 agree$`,
		`What became of 18 orders in \d+\.\d s`,
		`(?m)^paid +\d+ +¥\d+\.\d\d `,
		`(?m)^closed +2 +¥0\.00 `,
		`(?m)^rejected +4 `,
		`(?m)^exhausted +[1-9]`,
		`(?m)^all +18 `,
		`(?m)^accepted +[1-9]\d* +0   taken; that is no payment yet$`,
		`(?m)^ *\d+\.\d s  18/18 ended +¥\d+\.\d\d in +\d+ calls$`,
		`(?m)^paid +DONE USER_PAID `,
		`(?m)^rejected +NOT_EXIST +1 `,
		`(?m)^BIKE-0005 +never +exhausted .* DOING MCH_COMPLETE USER_PAYING `,
	} {
		if !regexp.MustCompile(want).MatchString(out.String()) {
			t.Errorf("the output lacks %s", want)
		}
	}
	if t.Failed() {
		t.Log(out.String())
	}
	wantEmpty(t, dir)
}

func TestDemoFails(t *testing.T) {
	dir := tempDir(t)
	var out bytes.Buffer
	agrees, err := play(t.Context(), commandLine{Orders: 12, Seed: 1, Limit: time.Nanosecond}, hurried, &out)
	if err != nil || agrees {
		t.Fatalf("agrees: %v, %v\n%s", agrees, err, out.String())
	}
	for _, want := range []string{"not all orders ended within 1ns", "DIFFERENCE: BIKE-0005 has not ended"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the output lacks %q:\n%s", want, out.String())
		}
	}
	_, path, ok := strings.Cut(out.String(), "the worker's log: ")
	// A worker that is stopped this soon may not have logged anything yet.
	if _, err := os.Stat(strings.TrimSpace(path)); !ok || err != nil {
		t.Errorf("the worker's log is not kept (%v): %s", err, out.String())
	}
	keys, err := filepath.Glob(filepath.Join(dir, "*", "*", "*.pem"))
	if err != nil || len(keys) > 0 {
		t.Errorf("keys were left: %v, %v", keys, err)
	}
}

func TestDemoInterrupted(t *testing.T) {
	dir := tempDir(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	out := &interrupting{on: "accepted", interrupt: cancel}
	status := run(ctx, config.Process{
		Name: "demo", Args: []string{"--orders", "40"}, Stdout: out, Stderr: out,
		LookupEnv: func(string) (string, bool) { return "", false },
	})
	if status != exitInterrupted || !strings.HasSuffix(out.String(), "\ninterrupted\n") {
		t.Errorf("exit status %d, want %d:\n%s", status, exitInterrupted, out.String())
	}
	wantEmpty(t, dir)
}

// interrupting is an output that interrupts the demo when it sees a word.
type interrupting struct {
	on        string
	interrupt func()

	mu  sync.Mutex
	buf bytes.Buffer
}

func (w *interrupting) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if bytes.Contains(p, []byte(w.on)) {
		w.interrupt()
	}
	return w.buf.Write(p)
}

func (w *interrupting) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.buf.String()
}

func TestUsage(t *testing.T) {
	for _, args := range [][]string{{"--orders", "0"}, {"--orders", "10001"}, {"--orders", "x"}, {"now"}} {
		var stdout, stderr bytes.Buffer
		status := run(t.Context(), config.Process{
			Name: "demo", Args: args, Stdout: &stdout, Stderr: &stderr,
			LookupEnv: func(string) (string, bool) { return "", false },
		})
		if status != config.ExitUsage || stderr.Len() == 0 || stdout.Len() > 0 {
			t.Errorf("%v: exit status %d, stdout %q, stderr %q", args, status, stdout.String(), stderr.String())
		}
	}
}

func TestStageRefusesWrongSettings(t *testing.T) {
	dir := tempDir(t)
	sc := scenario{settings: map[string]string{"MIN_GAP": "soon", "COLLECT_RATE": "-1"}}
	_, err := newStage(sc, 1)
	var problems config.Problems
	if !errors.As(err, &problems) || len(problems) != 2 {
		t.Errorf("want both problems named, got %v", err)
	}
	wantEmpty(t, dir)
}

// A fault without words would be missing from the report.
func TestFaultWords(t *testing.T) {
	s, err := newStage(compressed, 1)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.close(false); err != nil {
			t.Error(err)
		}
	})
	words := map[string]bool{}
	for _, f := range faultWords {
		words[f.name] = true
	}
	acts := s.acts
	if err := s.misbehave(time.Hour); err != nil {
		t.Fatal(err)
	}
	if len(s.acts) != 0 || s.sim.Faults() != acts[len(acts)-1].faults {
		t.Error("not every act was played")
	}
	for _, a := range acts {
		for _, name := range faultNames(t, a.faults) {
			if !words[name] {
				t.Errorf("no words for %s", name)
			}
		}
	}
}

// faultNames are the names of the faults that are on, as the report has them.
func faultNames(t *testing.T, f simulator.Faults) (names []string) {
	t.Helper()
	body, err := json.Marshal(f)
	if err != nil {
		t.Fatal(err)
	}
	var settings map[string]any
	if err := json.Unmarshal(body, &settings); err != nil {
		t.Fatal(err)
	}
	for name, v := range settings {
		switch v := v.(type) {
		case float64:
			if v > 0 {
				names = append(names, name)
			}
		case bool:
			if v {
				names = append(names, name)
			}
		}
	}
	return names
}
