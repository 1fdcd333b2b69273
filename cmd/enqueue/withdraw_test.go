package main

import (
	"strings"
	"testing"
	"time"

	"payscore-collector/internal/config"
	"payscore-collector/internal/ledger"
	"payscore-collector/internal/testkit"
	"payscore-collector/internal/testkit/redistest"
	"payscore-collector/tasks"
)

const paidElsewhere = "2026-01-02 10:00" // Asia/Shanghai

// endSync settles the sync of a withdrawn order, as a worker does.
func endSync(t *testing.T, server *redistest.Server, no string, state ledger.SyncState, reason string) {
	t.Helper()
	l := ledger.New(server.Client, mchid)
	claim, err := l.Claim(t.Context(), no, ledger.NewToken(), ledger.NoRound, ledger.Limits{
		Lease: time.Minute, Rate: 1000, Horizon: time.Second, Most: time.Second,
	})
	if err != nil || claim.Code != ledger.Granted || !claim.Order.Sync {
		t.Fatalf("claim of %s: %+v, %v", no, claim, err)
	}
	res, err := l.Settle(t.Context(), claim, ledger.Settlement{State: tasks.Withdrawn, Sync: state, SyncReason: reason, Call: "sync", Verdict: "accepted",
		Log: []ledger.Entry{{Call: "sync", Verdict: "accepted", HTTPStatus: 200}}})
	if err != nil || res.Code != ledger.Settled {
		t.Fatalf("settle of %s: %s, %v", no, res.Code, err)
	}
}

// The results come from a script inside Redis, so both kinds of Redis are tested.
func TestWithdraw_Answers(t *testing.T) {
	for name, start := range map[string]func(*testing.T) *redistest.Server{
		"redis-server": func(t *testing.T) *redistest.Server { return redistest.StartReal(t) },
		"embedded": func(t *testing.T) *redistest.Server {
			t.Setenv(redistest.EmbeddedOnly, "1")
			return redistest.Start(t)
		},
	} {
		t.Run(name, func(t *testing.T) {
			server := start(t)
			pr := programOn(server.URL)
			run := func(args ...string) ran {
				return pr.run(t.Context(), append([]string{"withdraw", "--reason=用户已在柜台付款"}, args...)...)
			}
			pr.run(t.Context(), "order", "A1", "A2", "A3", "--", "-A4-")
			endOrder(t, server, "A3", tasks.Paid, "")

			wantRun(t, run("A1"), 0, []string{"A1 accepted"}, "WeChat Pay has not been told", "keeps deducting by itself", "--paid-at TIME")
			wantOrder(t, server, "A1", "withdrawn wx1 500, reason 用户已在柜台付款, ended")
			if due := order(t, server, "A1").NextDueAt; !due.IsZero() {
				t.Errorf("A1 is due at %v, want no due time", due)
			}
			wantRun(t, run("A1"), 0, []string{"A1 duplicate"})

			wantRun(t, run("A2", "--paid-at", paidElsewhere, "--", "-A4-"), 0, []string{"A2 accepted", "-A4- accepted"})
			for _, no := range []string{"A2", "-A4-"} {
				wantOrder(t, server, no, "withdrawn wx1 500, reason 用户已在柜台付款, ended, sync pending, paid 2026-01-02T02:00:00Z")
			}
			wantRun(t, run("A2", "--paid-at", paidElsewhere), 0, []string{"A2 duplicate"})
			wantRun(t, run("A1", "--paid-at", "2026-01-02T02:00:00Z"), 0, []string{"A1 accepted"})

			got := run("A3", "A9", "A 4", "A1")
			wantRun(t, got, 3, []string{
				"A3 ended paid",
				"A9 invalid there is no such order in the ledger of merchant 1900000001; --mchid names another merchant",
				`"A 4" invalid out_order_no has ' ' at position 2; only digits, letters and _ | * - are allowed`,
				"A1 duplicate",
			})
		})
	}
}

func TestWithdraw_JSON(t *testing.T) {
	t.Parallel()
	pr, server := newProgram(t)
	pr.run(t.Context(), "order", "A1", "A2", "A3")
	endOrder(t, server, "A2", tasks.Exhausted, "gave_up")
	got := pr.run(t.Context(), "withdraw", "--json", "A1", "A1", "A2", "A9", "--reason", "waived", "--mchid", mchid)
	if got.status != 3 || strings.Count(got.stderr, "\n") != 2 || !strings.Contains(got.stderr, reopenFirst) || !strings.Contains(got.stderr, "WeChat Pay has not been told") {
		t.Errorf("status %d, standard error %q", got.status, got.stderr)
	}
	wantJSON(t, got.stdout,
		`{"mchid":"1900000001","out_order_no":"A1","result":"accepted","state":"withdrawn"}`,
		`{"mchid":"1900000001","out_order_no":"A1","result":"duplicate","state":"withdrawn"}`,
		`{"mchid":"1900000001","out_order_no":"A2","result":"ended","state":"exhausted"}`,
		`{"mchid":"1900000001","out_order_no":"A9","result":"invalid","reason":"there is no such order in the ledger of merchant 1900000001; --mchid names another merchant"}`,
	)
}

// An error in the command line or the settings is reported before anything is
// withdrawn.
func TestWithdraw_Usage(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name string
		args []string
		want string
	}{
		{"no order number", []string{"--reason=x"}, "write at least one order number: enqueue withdraw NO …"},
		{"no reason", []string{"A1"}, "missing flags: --reason=TEXT"},
		{"an empty reason", []string{"A1", "--reason", ""}, "--reason is missing; say why, for those who ask later\n"},
		{"a blank reason", []string{"A1", "--reason", " \u3000"}, "--reason is missing"},
		{"a reason of two lines", []string{"A1", "--reason", "a\nb"}, `--reason has '\n' at position 2`},
		{"a novel", []string{"A1", "--reason", strings.Repeat("长", 201)}, "--reason is 201 characters long; at most 200 are allowed"},
		{"no time", []string{"A1", "--reason=x", "--paid-at=yesterday"}, `--paid-at is "yesterday", which is not a time: write "2006-01-02 15:04" (Asia/Shanghai)`},
		{"a duration", []string{"A1", "--reason=x", "--paid-at=2h"}, `--paid-at is "2h", which is not a time`},
		{"an empty time", []string{"A1", "--reason=x", "--paid-at", ""}, "--paid-at is empty: leave it out if WeChat Pay must not be notified"},
		{"the future", []string{"A1", "--reason=x", "--paid-at", "2099-01-01 10:00"}, "--paid-at lies in the future; it is when the user paid"},
		{"a year mistyped", []string{"A1", "--reason=x", "--paid-at", "0202-01-01 10:00"}, "--paid-at lies more than ten years back"},
		{"the time that stands for none", []string{"A1", "--reason=x", "--paid-at", "0001-01-01T00:00:00Z"}, "--paid-at lies more than ten years back"},
		{"bad merchant", []string{"A1", "--reason=x", "--mchid=x"}, "--mchid has 'x' at position 1; only digits are allowed"},
		{"what only orders have", []string{"A1", "--reason=x", "--reopen"}, "unknown flag --reopen"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			pr := programOn("redis://127.0.0.1:1/0") // must not be asked
			wantRun(t, pr.run(t.Context(), append([]string{"withdraw"}, tc.args...)...), 2, nil, tc.want)
		})
	}
	t.Run("no merchant", func(t *testing.T) {
		pr := programOn("redis://127.0.0.1:1/0")
		pr.env["WECHATPAY_MCHID"] = ""
		wantRun(t, pr.run(t.Context(), "withdraw", "A1", "--reason=x"), 2, nil, "missing: mchid (--mchid or WECHATPAY_MCHID)\n")
	})
	t.Run("neither appid nor service_id is needed", func(t *testing.T) {
		pr, _ := newProgram(t)
		pr.run(t.Context(), "order", "A1")
		pr.env["PAYSCORE_APPID"], pr.env["PAYSCORE_SERVICE_ID"] = "", ""
		wantRun(t, pr.run(t.Context(), "withdraw", "A1", "--reason=x", "--paid-at", paidElsewhere), 0, []string{"A1 accepted"})
	})
}

func TestWithdraw_RedisDown(t *testing.T) {
	t.Parallel()
	pr := programOn("redis://user:hunter2@127.0.0.1:1/0")
	got := pr.run(t.Context(), "withdraw", "A1", "A2", "--reason=x")
	wantRun(t, got, 1, []string{"A1 failed cannot use Redis", "A2 failed cannot use Redis"},
		"cannot use Redis at redis://127.0.0.1:1/0", "nothing was withdrawn\n")
	if strings.Contains(got.stderr, "hunter2") || strings.Contains(got.stderr, "WeChat Pay") {
		t.Errorf("standard error %q", got.stderr)
	}
}

// A withdrawal endures an outage as an enqueued order does.
func TestWithdraw_RedisGoneForGood(t *testing.T) {
	t.Parallel()
	server := redistest.StartReal(t)
	pr := programOn(server.URL)
	pr.run(t.Context(), "order", "A1", "A2")
	var stdout, stderr testkit.LogBuffer
	p := process{patience: patience{retry: 100 * time.Millisecond, grace: time.Second}}
	p.Name, p.Stdout, p.Stderr = "enqueue", &stdout, &stderr
	r := newReporter(p, false)
	s := p.submitter(server.Client, config.Schedules{}, r.say)
	withdraw := func(nos ...string) int {
		return withdrawCommand{deedFlags: deedFlags{Numbers: nos}}.withdraw(t.Context(), r, s, tasks.Withdrawal{MchID: mchid, Reason: "x"})
	}
	if status := withdraw("A1"); status != 0 {
		t.Errorf("status %d before the outage, want 0", status)
	}
	server.Kill()
	status, lines := withdraw("A2", "A3"), stdout.Lines()
	if status != 1 || len(lines) != 2 || lines[0] != "A1 accepted" || !strings.HasPrefix(lines[1], "A2 failed the order was not withdrawn: ") {
		t.Errorf("status %d, answers %q", status, lines)
	}
	for _, want := range []string{"trying again for 100ms", "stopped at order A2, because Redis failed", "run the same command again: what is done already is answered with duplicate"} {
		if !stderr.Has(want) {
			t.Errorf("standard error lacks %q:\n%s", want, &stderr)
		}
	}
}

// A reopened order has no final state and no pending sync, whatever the sync's state
// was.
func TestOrder_ReopenOfWithdrawn(t *testing.T) {
	t.Parallel()
	pr, server := newProgram(t)
	nos := []string{"UNTOLD", "PENDING", "DONE", "FAILED", "NEEDLESS"}
	pr.run(t.Context(), append([]string{"order"}, nos...)...)
	pr.run(t.Context(), "withdraw", "UNTOLD", "--reason=waived")
	pr.run(t.Context(), append([]string{"withdraw", "--reason=paid", "--paid-at", paidElsewhere}, nos[1:]...)...)
	endSync(t, server, "DONE", ledger.SyncDone, "")
	endSync(t, server, "FAILED", ledger.SyncFailed, "PARAM_ERROR")
	endSync(t, server, "NEEDLESS", ledger.SyncNoNeed, "REVOKED")
	for _, no := range nos {
		wantRun(t, pr.run(t.Context(), "order", no), 3, []string{no + " ended withdrawn"})
		wantRun(t, pr.run(t.Context(), "order", no, "--reopen"), 0, []string{no + " accepted"})
		reason := "paid"
		if no == "UNTOLD" {
			reason = "waived"
		}
		wantOrder(t, server, no, "queued wx1 500, past withdrawn "+reason)
		if next := order(t, server, no).Next; next != ledger.Recheck {
			t.Errorf("the next step of %s is %s, want %s", no, next, ledger.Recheck)
		}
		// It can be withdrawn again as any open order can.
		wantRun(t, pr.run(t.Context(), "withdraw", no, "--reason=again", "--paid-at", paidElsewhere), 0, []string{no + " accepted"})
		wantOrder(t, server, no, "withdrawn wx1 500, reason again, ended, sync pending, paid 2026-01-02T02:00:00Z, past withdrawn "+reason)
	}
	stats, err := ledger.New(server.Client, mchid).Stats(t.Context())
	if err != nil || stats.Orders[tasks.Withdrawn] != 5 || stats.Orders[tasks.Queued] != 0 {
		t.Errorf("%v, %v", stats.Orders, err)
	}
}

// An exhausted order that the user then paid elsewhere is reopened for later, so that
// nothing is due before it is withdrawn.
func TestWithdraw_ExhaustedThenPaidElsewhere(t *testing.T) {
	t.Parallel()
	pr, server := newProgram(t)
	pr.run(t.Context(), "order", "A1")
	endOrder(t, server, "A1", tasks.Exhausted, "gave_up")
	queued := func() int64 {
		n, err := server.Client.LLen(t.Context(), "asynq:{"+tasks.QueueName(mchid)+"}:pending").Result()
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	before := queued()
	withdraw := []string{"withdraw", "A1", "--reason=paid", "--paid-at", paidElsewhere}
	wantRun(t, pr.run(t.Context(), withdraw...), 3, []string{"A1 ended exhausted"}, reopenFirst)
	wantRun(t, pr.run(t.Context(), "order", "A1", "--reopen", "--at", "1h"), 0, []string{"A1 accepted"})
	if o := order(t, server, "A1"); time.Until(o.NextDueAt) < 59*time.Minute || queued() != before {
		t.Errorf("it is due at %v, and %d tasks were queued", o.NextDueAt, queued()-before)
	}
	wantRun(t, pr.run(t.Context(), withdraw...), 0, []string{"A1 accepted"})
	wantOrder(t, server, "A1", "withdrawn wx1 500, reason paid, ended, sync pending, paid 2026-01-02T02:00:00Z, past exhausted gave_up")
	if next := order(t, server, "A1").Next; next != ledger.TellPaid || queued() != before+1 {
		t.Errorf("its next step is %s, and %d tasks were queued; want %s and 1", next, queued()-before, ledger.TellPaid)
	}
}
