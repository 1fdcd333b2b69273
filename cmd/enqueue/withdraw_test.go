package main

import (
	"strings"
	"testing"
	"time"

	"payscore-collector/internal/ledger"
	"payscore-collector/internal/testkit"
	"payscore-collector/internal/testkit/redistest"
	"payscore-collector/tasks"
)

const paidElsewhere = "2026-01-02 10:00" // Asia/Shanghai

// endSync ends the telling of a withdrawn order, as a worker does.
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

// The answers come from a script inside Redis, so they are tried on both kinds.
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
			if o := order(t, server, "A1"); o.State != tasks.Withdrawn || o.Reason != "用户已在柜台付款" || o.Sync != nil || !o.NextDueAt.IsZero() {
				t.Errorf("A1 is %+v", o)
			}
			wantRun(t, run("A1"), 0, []string{"A1 duplicate"})

			wantRun(t, run("A2", "--paid-at", paidElsewhere, "--", "-A4-"), 0, []string{"A2 accepted", "-A4- accepted"})
			for _, no := range []string{"A2", "-A4-"} {
				o := order(t, server, no)
				if o.State != tasks.Withdrawn || o.Sync == nil || o.Sync.State != ledger.SyncPending ||
					!o.Sync.PaidAt.Equal(time.Date(2026, 1, 2, 2, 0, 0, 0, time.UTC)) {
					t.Errorf("%s is %+v, %+v", no, o, o.Sync)
				}
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

// Whatever is wrong with the command line or the settings is said before
// anything is withdrawn.
func TestWithdraw_Usage(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name string
		args []string
		want string
	}{
		{"no order number", []string{"--reason=x"}, "write at least one order number: enqueue withdraw NO …"},
		{"no reason", []string{"A1"}, "missing flags: --reason=TEXT"},
		{"an empty reason", []string{"A1", "--reason", ""}, "--reason is missing; say why the order is withdrawn\n"},
		{"a blank reason", []string{"A1", "--reason", " \u3000"}, "--reason is missing"},
		{"a reason of two lines", []string{"A1", "--reason", "a\nb"}, `--reason has '\n' at position 2`},
		{"a novel", []string{"A1", "--reason", strings.Repeat("长", 201)}, "--reason is 201 characters long; at most 200 are allowed"},
		{"no time", []string{"A1", "--reason=x", "--paid-at=yesterday"}, `--paid-at is "yesterday", which is not a time: write "2006-01-02 15:04" (Asia/Shanghai)`},
		{"a duration", []string{"A1", "--reason=x", "--paid-at=2h"}, `--paid-at is "2h", which is not a time`},
		{"an empty time", []string{"A1", "--reason=x", "--paid-at", ""}, "--paid-at is empty: leave it out if WeChat Pay must not be told"},
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
	s := p.submitter(server.Client, r.say)
	withdraw := func(nos ...string) int {
		return withdrawCommand{Numbers: nos}.withdraw(t.Context(), r, s, tasks.Withdrawal{MchID: mchid, Reason: "x"})
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

// A reopening clears how the order ended and what WeChat Pay was to be told,
// however far that is.
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
		o := order(t, server, no)
		if o.State != tasks.Queued || o.Reason != "" || !o.EndedAt.IsZero() || o.Sync != nil || o.Next != ledger.Recheck {
			t.Errorf("%s is %+v, %+v", no, o, o.Sync)
		}
		if len(o.Past) != 1 || o.Past[0].State != tasks.Withdrawn || o.Past[0].Reason == "" || o.Past[0].EndedAt.IsZero() || o.Past[0].ReopenedAt.Before(o.Past[0].EndedAt) {
			t.Errorf("the past of %s is %+v", no, o.Past)
		}
		// And from there it goes as from anywhere.
		wantRun(t, pr.run(t.Context(), "withdraw", no, "--reason=again", "--paid-at", paidElsewhere), 0, []string{no + " accepted"})
		if o := order(t, server, no); o.Reason != "again" || o.Sync == nil || o.Sync.State != ledger.SyncPending || o.Sync.Reason != "" {
			t.Errorf("%s, withdrawn again, is %+v, %+v", no, o, o.Sync)
		}
	}
	stats, err := ledger.New(server.Client, mchid).Stats(t.Context())
	if err != nil || stats.Orders[tasks.Withdrawn] != 5 || stats.Orders[tasks.Queued] != 0 {
		t.Errorf("%v, %v", stats.Orders, err)
	}
}

// An order that was given up, and that the user then paid elsewhere: opened
// again for later, it is due for nothing until it is withdrawn.
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
	if o := order(t, server, "A1"); o.State != tasks.Withdrawn || o.Next != ledger.TellPaid || o.Sync.State != ledger.SyncPending || queued() != before+1 {
		t.Errorf("it is %+v, and %d tasks were queued", o, queued()-before)
	}
}
