package main

import (
	"bytes"
	"context"
	"encoding/json"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"payscore-collector/internal/config"
	"payscore-collector/internal/ledger"
	"payscore-collector/internal/testkit"
	"payscore-collector/internal/testkit/redistest"
	"payscore-collector/tasks"
)

const (
	mchA = "1900000001"
	mchB = "1900000002"
)

// outcome is the result of one run of the command.
type outcome struct {
	status         int
	stdout, stderr string
}

func runWith(t *testing.T, env map[string]string, args ...string) outcome {
	t.Helper()
	return runAt(t, time.Now(), env, args...)
}

// runAt is runWith at a time of the caller's.
func runAt(t *testing.T, now time.Time, env map[string]string, args ...string) outcome {
	t.Helper()
	return runPatiently(t, testkit.Patience, now, env, args...)
}

// runPatiently is runAt with a Redis that may take so long to answer first.
func runPatiently(t *testing.T, patience time.Duration, now time.Time, env map[string]string, args ...string) outcome {
	t.Helper()
	var stdout, stderr bytes.Buffer
	p := program{
		Process: config.Process{
			Name: "outcomes", Args: args, Stdout: &stdout, Stderr: &stderr,
			LookupEnv: func(name string) (string, bool) { v, ok := env[name]; return v, ok },
			Environ:   func() []string { return testkit.Environ(env) },
		},
		now: func() time.Time { return now }, zone: time.UTC, patience: patience,
	}
	status := p.run(t.Context())
	return outcome{status, stdout.String(), stderr.String()}
}

// store is a Redis with ledgers.
type store struct {
	t   *testing.T
	url string
	rdb *redis.Client
}

func newStore(t *testing.T) store {
	s := redistest.Start(t)
	return store{t, s.URL, s.Client}
}

func (s store) run(args ...string) outcome {
	s.t.Helper()
	return runWith(s.t, map[string]string{"REDIS_URL": s.url}, args...)
}

// open enqueues an order, as billing does.
func (s store) open(mchid, no string) {
	s.t.Helper()
	res, err := tasks.NewProducer(s.rdb).Enqueue(s.t.Context(), tasks.Order{Payload: tasks.Payload{
		MchID: mchid, OutOrderNo: no, AppID: "wxd678efh567hg6787", ServiceID: "500001",
	}})
	if err != nil || res.Status != tasks.Accepted {
		s.t.Fatalf("enqueue %s: %+v, %v", no, res, err)
	}
}

// beat reports as a worker that collects all day.
func (s store) beat(mchid string) { s.beatIn(mchid, "always") }

// beatIn reports as a worker with a collection window.
func (s store) beatIn(mchid, window string) {
	s.t.Helper()
	err := ledger.New(s.rdb, mchid).Beat(s.t.Context(), "w1", 10*time.Second, ledger.Settings{
		Rate: 50, CollectWindow: window, Timezone: "Asia/Shanghai",
	}, false)
	if err != nil {
		s.t.Fatal(err)
	}
}

func TestTimesAreByTheZoneOfTheMerchant(t *testing.T) {
	s := newStore(t)
	s.refused(mchA, "A1")
	s.beat(mchA)
	o := s.run("bulk", "withdraw", "--prefix", "A1", "--reason", "waived", "--no-wait", "--json")
	var p ledger.BulkProgress
	if err := json.Unmarshal([]byte(o.stdout), &p); err != nil {
		t.Fatalf("%v: %s", err, o.stdout)
	}
	for _, args := range [][]string{{"audit"}, {"webhooks"}, {"webhooks", "replay", "--since", "1h"}, {"bulk", "show", p.ID}} {
		o := s.run(args...)
		o.wantStatus(t, config.ExitOK)
		wantContains(t, strings.Join(args, " "), o.stdout, "(Asia/Shanghai)")
	}
}

// settle opens an order and settles it, as a worker does.
func (s store) settle(mchid, no string, set ledger.Settlement) {
	s.t.Helper()
	s.open(mchid, no)
	l := ledger.New(s.rdb, mchid)
	claim, err := l.Claim(s.t.Context(), no, ledger.NewToken(), ledger.NoRound, ledger.Limits{
		Lease: time.Minute, Rate: 1e6, Horizon: time.Minute, Most: time.Second,
	})
	if err != nil || claim.Code != ledger.Granted {
		s.t.Fatalf("claim %s: %+v, %v", no, claim, err)
	}
	res, err := l.Settle(s.t.Context(), claim, set)
	if err != nil || res.Code != ledger.Settled {
		s.t.Fatalf("settle %s: %s, %v", no, res.Code, err)
	}
}

func ptr[T any](v T) *T { return &v }

// paid is the settlement of a paid order.
func paid(fen int64) ledger.Settlement {
	return ledger.Settlement{
		State: tasks.Paid, AddAttempts: 1,
		Facts: ledger.Facts{OrderID: "1000", TransactionID: "4200001", PaidType: "NEWTON", Total: &fen, Paid: &fen},
		Log: []ledger.Entry{
			{Call: "collect", Verdict: "accepted", HTTPStatus: 200, RequestID: "08AA-0", ElapsedMS: 12},
			{Call: "query", Verdict: "paid", HTTPStatus: 200, RequestID: "08AB-0", ElapsedMS: 7},
		},
	}
}

func rejected(message string) ledger.Settlement {
	return ledger.Settlement{
		State: tasks.Rejected, Reason: "ORDER_NOT_EXIST",
		Log: []ledger.Entry{{
			Call: "query", Verdict: "not_found", HTTPStatus: 404, Code: "ORDER_NOT_EXIST",
			DetailCode: "271317510", Message: message, RequestID: "08AC-271317510", Failed: true,
		}},
	}
}

func (o outcome) wantStatus(t *testing.T, want int) {
	t.Helper()
	if o.status != want {
		t.Errorf("exit status %d, want %d\nstdout: %s\nstderr: %s", o.status, want, o.stdout, o.stderr)
	}
}

func wantContains(t *testing.T, where, text string, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if !strings.Contains(text, part) {
			t.Errorf("%s lacks %q:\n%s", where, part, text)
		}
	}
}

func TestMisspeltSetting(t *testing.T) {
	o := runWith(t, map[string]string{"WECHATPAY_MCH_ID": "1900000001"}, "get", "A")
	o.wantStatus(t, config.ExitUsage)
	wantContains(t, "stderr", o.stderr, "outcomes: WECHATPAY_MCH_ID is set, but there is no such setting; WECHATPAY_MCHID is the nearest\noutcomes: REDIS_URL is missing")
}

func TestUsage(t *testing.T) {
	for name, c := range map[string]struct {
		args []string
		want []string
	}{
		"every problem is named at once": {
			[]string{"list", "--state", "open", "--limit=-1", "--mchid", "x", "--log-level", "loud"},
			[]string{
				"outcomes: REDIS_URL is missing", `outcomes: WECHATPAY_MCHID is "x"`, "LOG_LEVEL",
				`--state is "open": write queued, awaiting, paid, closed, rejected, withdrawn or exhausted`, "--limit is -1",
			},
		},
		"a number of 33 characters": {
			[]string{"get", strings.Repeat("A", 33)},
			[]string{"out_order_no is 33 characters long; at most 32 are allowed"},
		},
		"two formats":            {[]string{"list", "--state", "paid", "--json", "--csv"}, []string{"--json and --csv"}},
		"a list without a state": {[]string{"list"}, []string{"--state"}},
		"no command":             {nil, []string{"get", "list", "stats"}},
		"an unknown command":     {[]string{"drop"}, []string{"drop"}},
	} {
		t.Run(name, func(t *testing.T) {
			o := runWith(t, nil, c.args...)
			o.wantStatus(t, config.ExitUsage)
			wantContains(t, "stderr", o.stderr, c.want...)
			if o.stdout != "" {
				t.Errorf("stdout has %q", o.stdout)
			}
		})
	}
}

// The error of a Redis that answers and refuses has the remedy.
func TestRedisThatRefuses(t *testing.T) {
	srv := redistest.StartReal(t)
	if err := srv.Client.Do(t.Context(), "ACL", "SETUSER", "app", "on", ">hunter2", "~*", "&*", "+@all", "-@scripting").Err(); err != nil {
		t.Fatal(err)
	}
	o := runWith(t, map[string]string{"REDIS_URL": strings.Replace(srv.URL, "redis://", "redis://app:hunter2@", 1)}, "get", "--mchid", "1900000109", "A1")
	o.wantStatus(t, exitFailed)
	wantContains(t, "stderr", o.stderr, "this user may not run scripts: let an administrator run")
	o = runWith(t, map[string]string{"REDIS_URL": strings.Replace(srv.URL, "redis://", "redis://app:wrong@", 1)}, "stats")
	wantContains(t, "stderr", o.stderr, "cannot use Redis at", "refuses the user or the password")
	if strings.Contains(o.stderr, "hunter2") || strings.Contains(o.stderr, "wrong@") {
		t.Errorf("a password is in %s", o.stderr)
	}
}

func TestRedisDown(t *testing.T) {
	t.Run("no process listens", func(t *testing.T) {
		l := listen(t)
		_ = l.Close()
		o := runWith(t, map[string]string{"REDIS_URL": "redis://:hunter2@" + l.Addr().String()}, "stats")
		o.wantStatus(t, exitFailed)
		wantContains(t, "stderr", o.stderr, "does not answer", "REDIS_URL")
		if strings.Contains(o.stderr, "hunter2") || strings.Count(o.stderr, "\n") != 1 {
			t.Errorf("stderr is not one sentence without the password: %s", o.stderr)
		}
	})
	t.Run("it is silent", func(t *testing.T) {
		l := listen(t) // the kernel accepts connections, and no process reads
		began := time.Now()
		o := runPatiently(t, 500*time.Millisecond, began, map[string]string{"REDIS_URL": "redis://" + l.Addr().String()}, "get", "A1")
		o.wantStatus(t, exitFailed)
		wantContains(t, "stderr", o.stderr, "does not answer")
		if took := time.Since(began); took > patience {
			t.Errorf("it took %s to give up", took)
		}
	})
}

func TestOutputThatCannotBeWritten(t *testing.T) {
	s := newStore(t)
	s.open(mchA, "A1")
	for _, args := range [][]string{{"get", "A1"}, {"list", "--state", "queued", "--csv"}, {"stats", "--json"}} {
		var stderr bytes.Buffer
		p := program{
			Process: config.Process{
				Name: "outcomes", Args: append(args, "--redis-url", s.url), Stdout: fullDisk{}, Stderr: &stderr,
				LookupEnv: func(string) (string, bool) { return "", false },
			},
			now: time.Now, zone: time.UTC, patience: patience,
		}
		if status := p.run(t.Context()); status != exitFailed {
			t.Errorf("%v: exit status %d, want %d", args, status, exitFailed)
		}
		wantContains(t, "stderr", stderr.String(), "no space left on device")
	}
}

type fullDisk struct{}

func (fullDisk) Write([]byte) (int, error) { return 0, syscall.ENOSPC }

func listen(t *testing.T) net.Listener {
	t.Helper()
	var lc net.ListenConfig
	l, err := lc.Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}
