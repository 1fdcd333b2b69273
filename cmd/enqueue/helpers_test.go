package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rs/zerolog"

	"payscore-collector/internal/config"
	"payscore-collector/internal/explain"
	"payscore-collector/internal/ledger"
	"payscore-collector/internal/redisconn"
	"payscore-collector/internal/testkit"
	"payscore-collector/internal/testkit/redistest"
	"payscore-collector/tasks"
)

func TestMain(m *testing.M) {
	redisconn.RedirectLog(zerolog.Nop()) // Redis goes down here on purpose
	os.Exit(m.Run())
}

const mchid = "1900000001"

// program is the command, which a test starts as often as it likes.
type program struct {
	env            map[string]string
	stdin          io.Reader
	stdoutTerminal bool
	stderrTerminal bool
	patience       patience
}

// newProgram returns a program with all settings, and its own Redis.
func newProgram(t *testing.T) (*program, *redistest.Server) {
	t.Helper()
	server := redistest.Start(t)
	return programOn(server.URL), server
}

func programOn(url string) *program {
	return &program{
		env: map[string]string{
			"REDIS_URL": url, "WECHATPAY_MCHID": mchid,
			"PAYSCORE_APPID": "wx1", "PAYSCORE_SERVICE_ID": "500",
		},
		patience: patience{start: 5 * time.Second, retry: 20 * time.Second, grace: 5 * time.Second},
	}
}

// ran is the result of a run.
type ran struct {
	status         int
	stdout, stderr string
}

func (pr *program) run(ctx context.Context, args ...string) ran {
	return pr.start(ctx, args...).wait()
}

// running is a run in the background.
type running struct {
	stdout, stderr testkit.LogBuffer
	status         chan int
}

func (pr *program) start(ctx context.Context, args ...string) *running {
	r := &running{status: make(chan int, 1)}
	env := maps.Clone(pr.env)
	p := process{
		Process: config.Process{
			Name: "enqueue", Args: args, Stdout: &r.stdout, Stderr: &r.stderr,
			LookupEnv: func(name string) (string, bool) { v, ok := env[name]; return v, ok },
			Environ:   func() []string { return testkit.Environ(env) },
		},
		Stdin:          pr.stdin,
		StdoutTerminal: pr.stdoutTerminal,
		StderrTerminal: pr.stderrTerminal,
		patience:       pr.patience,
	}
	go func() { r.status <- run(ctx, p) }()
	return r
}

func (r *running) wait() ran { return ran{<-r.status, r.stdout.String(), r.stderr.String()} }

// wantRun compares the status and all of standard output, and looks for parts in
// standard error.
func wantRun(t *testing.T, got ran, status int, stdout []string, stderr ...string) {
	t.Helper()
	if got.status != status {
		t.Errorf("exit status %d, want %d", got.status, status)
	}
	if lines := linesOf(got.stdout); !slices.Equal(lines, stdout) {
		t.Errorf("standard output\n\t%s\nwant\n\t%s", strings.Join(lines, "\n\t"), strings.Join(stdout, "\n\t"))
	}
	for _, part := range stderr {
		if !strings.Contains(got.stderr, part) {
			t.Errorf("standard error lacks %q", part)
		}
	}
	if len(stderr) == 0 && got.stderr != "" {
		t.Error("standard error is not empty")
	}
	if t.Failed() {
		t.Logf("standard error:\n%s", got.stderr)
	}
}

func linesOf(text string) []string {
	if text == "" {
		return nil
	}
	return strings.Split(strings.TrimSuffix(text, "\n"), "\n")
}

// endOrder gives an order a final state, as a worker does.
func endOrder(t *testing.T, server *redistest.Server, no string, state tasks.State, reason string) {
	t.Helper()
	l := ledger.New(server.Client, mchid)
	claim, err := l.Claim(t.Context(), no, ledger.NewToken(), ledger.NoRound, ledger.Limits{
		Lease: time.Minute, Rate: 1000, Horizon: time.Second, Most: time.Second,
	})
	if err != nil || claim.Code != ledger.Granted {
		t.Fatalf("claim of %s: %s, %v", no, claim.Code, err)
	}
	res, err := l.Settle(t.Context(), claim, ledger.Settlement{State: state, Reason: reason, Verdict: "test"})
	if err != nil || res.Code != ledger.Settled {
		t.Fatalf("settle of %s: %s, %v", no, res.Code, err)
	}
}

func order(t *testing.T, server *redistest.Server, no string) ledger.Order {
	t.Helper()
	o, err := ledger.New(server.Client, mchid).Get(t.Context(), no)
	if err != nil {
		t.Fatalf("order %s: %v", no, err)
	}
	return o
}

// wantOrder compares what the ledger has of an order, without times of its own.
func wantOrder(t *testing.T, server *redistest.Server, no, want string) {
	t.Helper()
	o := order(t, server, no)
	got := fmt.Sprint(o.State, " ", o.AppID, " ", o.ServiceID)
	add := func(given bool, name string, value any) {
		if given {
			got += fmt.Sprint(", ", name, " ", value)
		}
	}
	add(o.Reason != "", "reason", o.Reason)
	add(!o.EndedAt.IsZero(), "ended", "")
	add(o.State.Open() && o.NextDueAt.After(time.Now().Add(time.Minute)), "later", "")
	add(o.BillingAmount != nil, "billing", explain.YuanOf(o.BillingAmount))
	add(o.TotalAmount != nil, "total", explain.YuanOf(o.TotalAmount))
	add(!o.OwedSince.IsZero(), "owed since", o.OwedSince.UTC().Format(time.RFC3339))
	if o.Sync != nil {
		add(true, "sync", strings.TrimSpace(fmt.Sprint(o.Sync.State, " ", o.Sync.Reason)))
		add(true, "paid", o.Sync.PaidAt.UTC().Format(time.RFC3339))
	}
	for _, p := range o.Past {
		add(!p.EndedAt.IsZero() && !p.ReopenedAt.Before(p.EndedAt), "past", fmt.Sprint(p.State, " ", p.Reason))
	}
	if got = strings.ReplaceAll(got, " ,", ","); strings.TrimSpace(got) != want {
		t.Errorf("%s is %q, want %q", no, got, want)
	}
}

// wantJSON compares lines with objects, whatever the order of their members.
func wantJSON(t *testing.T, stdout string, want ...string) {
	t.Helper()
	decode := func(lines []string) (objects []any) {
		for _, line := range lines {
			var o any
			if err := json.Unmarshal([]byte(line), &o); err != nil {
				t.Fatalf("%s is not JSON: %v", line, err)
			}
			objects = append(objects, o)
		}
		return objects
	}
	if diff := cmp.Diff(decode(want), decode(linesOf(stdout))); diff != "" {
		t.Errorf("objects (-want +got)\n%s", diff)
	}
}

func configParse(args []string, cli *commandLine) (command string, status int, ok bool) {
	kctx, status, ok := config.Parse(config.Process{
		Name: "enqueue", Args: args, Stdout: io.Discard, Stderr: io.Discard,
		LookupEnv: func(string) (string, bool) { return "", false },
	}, description, cli)
	if ok {
		command = kctx.Command()
	}
	return command, status, ok
}
