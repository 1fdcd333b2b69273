package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"payscore-collector/internal/config"
	"payscore-collector/internal/simulator"
	"payscore-collector/internal/testkit"
	"payscore-collector/internal/testkit/configtest"
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
		`(?m) 0 exceptions$`,
		`(?m) a bill that lies: 1 exception$`,
		`(?m)^ +amount_differs BIKE-\d+: the bill says ¥\d+\.\d\d, and WeChat Pay signed ¥\d+\.\d\d$`,
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
	var out testkit.LogBuffer
	status := make(chan int, 1)
	go func() { status <- run(ctx, configtest.Process("demo", nil, []string{"--orders", "40"}, &out)) }()
	testkit.Eventually(t, "the orders to be accepted", func() bool { return out.Has("accepted") }, &out)
	cancel()
	if got := <-status; got != exitInterrupted || !strings.HasSuffix(out.String(), "\ninterrupted\n") {
		t.Errorf("exit status %d, want %d:\n%s", got, exitInterrupted, &out)
	}
	wantEmpty(t, dir)
}

func TestUsage(t *testing.T) {
	for args, want := range map[string]string{
		"--orders=0":     "--orders is 0: write 1 to 10000",
		"--orders=10001": "--orders is 10001: write 1 to 10000",
		"--orders=x":     "--orders",
		"now":            "now",
	} {
		var out bytes.Buffer
		status := run(t.Context(), configtest.Process("demo", nil, []string{args}, &out))
		if status != config.ExitUsage || !strings.Contains(out.String(), want) {
			t.Errorf("%s: exit status %d, want %d; output %q, want %q in it", args, status, config.ExitUsage, out.String(), want)
		}
	}
}

func TestStageRefusesWrongSettings(t *testing.T) {
	dir := tempDir(t)
	sc := scenario{settings: map[string]string{"MIN_GAP": "soon", "COLLECT_RATE": "-1"}}
	_, err := newStage(sc, 1, nil)
	var problems config.Problems
	if !errors.As(err, &problems) || len(problems) != 2 {
		t.Errorf("want both problems named, got %v", err)
	}
	wantEmpty(t, dir)
}

// A fault without words would be missing from the report.
func TestFaultWords(t *testing.T) {
	words := map[string]bool{}
	for _, f := range faultWords {
		words[f.name] = true
	}
	for _, a := range compressed.acts {
		body, err := json.Marshal(a.faults)
		if err != nil {
			t.Fatal(err)
		}
		var faults map[string]any
		if err := json.Unmarshal(body, &faults); err != nil {
			t.Fatal(err)
		}
		for name, v := range faults {
			rate, isNumber := v.(float64)
			if on := v == true || isNumber && rate > 0; on && !words[name] {
				t.Errorf("no words for %s", name)
			}
		}
	}
}

// Orders reach their final states before the calls are stopped, and the last ones are
// given up in time: a first impression does not wait.
func TestCompressedIsShort(t *testing.T) {
	duration := func(name string) time.Duration {
		list := strings.Split(compressed.settings[name], ",")
		d, err := time.ParseDuration(list[len(list)-1])
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	const longestRest = 10 * time.Second // after three failures in a row
	acts := compressed.acts
	if acts[0].from > 0 || acts[0].faults.MaxRate > 0 || acts[1].from < 4*time.Second {
		t.Errorf("the platform takes all calls until %s, want 4s at least", acts[1].from)
	}
	if last := acts[1].from + longestRest; last > 15*time.Second {
		t.Errorf("an order that the everyday faults met rests until %s, want 15s at most", last)
	}
	if end := duration("GIVE_UP_AFTER") + duration("COLLECT_SCHEDULE"); end > 15*time.Second {
		t.Errorf("the last orders are given up after %s, want 15s at most", end)
	}
}

func TestMisbehave(t *testing.T) {
	sim, err := simulator.New(simulator.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(sim.Close)
	s := &stage{sim: sim, acts: compressed.acts}
	last := s.acts[len(s.acts)-1]
	for _, step := range []struct {
		elapsed time.Duration
		want    simulator.Faults
	}{{0, s.acts[0].faults}, {last.from - time.Millisecond, s.acts[len(s.acts)-2].faults}, {last.from, last.faults}} {
		if err := s.misbehave(step.elapsed); err != nil {
			t.Fatal(err)
		}
		if got := s.sim.Faults(); got != step.want {
			t.Errorf("after %s the faults are %+v, want %+v", step.elapsed, got, step.want)
		}
	}
	if len(s.acts) > 0 {
		t.Errorf("%d acts are left, want none", len(s.acts))
	}
}

// The demo that keeps running shows its orders on the console, and ends when it is
// interrupted.
func TestServe(t *testing.T) {
	dir := tempDir(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var out testkit.LogBuffer
	status := make(chan int, 1)
	go func() {
		status <- run(ctx, configtest.Process("demo", nil, []string{"-serve", "--orders", "12"}, &out))
	}()
	testkit.Eventually(t, "the console's address", func() bool { return out.Has("the console: http://127.0.0.1:") }, &out)
	_, address, _ := strings.Cut(out.String(), "the console: ")
	address, _, _ = strings.Cut(address, "\n")
	testkit.Eventually(t, "orders that are paid on the console", func() bool {
		resp, err := http.Get(address + "orders?state=paid")
		if err != nil {
			return false
		}
		defer resp.Body.Close()
		page, err := io.ReadAll(resp.Body)
		return err == nil && strings.Contains(string(page), `<span class="state paid">`)
	}, &out)
	http.DefaultClient.CloseIdleConnections()
	cancel()
	if got := <-status; got != config.ExitOK {
		t.Errorf("exit status %d, want 0:\n%s", got, &out)
	}
	wantEmpty(t, dir)
}
