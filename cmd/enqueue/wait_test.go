package main

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"payscore-collector/internal/explain"
	"payscore-collector/internal/ledger"
	"payscore-collector/internal/testkit"
	"payscore-collector/tasks"
)

func TestOrder_WaitPrintsHowOrdersEnd(t *testing.T) {
	t.Parallel()
	pr, server := newProgram(t)
	pr.run(t.Context(), "order", "A1", "A2", "A3")
	endOrder(t, server, "A3", tasks.Closed, "revoked")

	r := pr.start(t.Context(), "order", "A1", "A2", "A3", "A1", "A.4", "--wait")
	testkit.Eventually(t, "the end of A3", func() bool { return r.stdout.Has("A3 closed revoked\n") })
	endOrder(t, server, "A2", tasks.Rejected, "not completed")
	testkit.Eventually(t, "the end of A2", func() bool { return r.stdout.Has("A2 rejected not completed\n") })
	endOrder(t, server, "A1", tasks.Paid, "")

	got := r.wait()
	wantRun(t, got, 3, []string{
		"A1 duplicate", "A2 duplicate", "A3 ended closed", "A1 duplicate",
		"A.4 invalid out_order_no has '.' at position 2; only digits, letters and _ | * - are allowed",
		"A3 closed revoked", "A2 rejected not completed", "A1 paid",
	})
}

func TestOrder_WaitJSON(t *testing.T) {
	t.Parallel()
	pr, server := newProgram(t)
	pr.run(t.Context(), "order", "A1")
	endOrder(t, server, "A1", tasks.Rejected, "unknown order")
	wantJSON(t, pr.run(t.Context(), "order", "A1", "--json", "--wait=10s").stdout,
		`{"mchid":"1900000001","out_order_no":"A1","result":"ended","state":"rejected"}`,
		`{"mchid":"1900000001","out_order_no":"A1","state":"rejected","reason":"unknown order"}`)
}

func TestOrder_WaitTimesOut(t *testing.T) {
	t.Parallel()
	pr, _ := newProgram(t)
	wantRun(t, pr.run(t.Context(), "order", "A1", "A2", "--wait=10ms"), 1, []string{"A1 accepted", "A2 accepted"},
		"timed out after 10ms; still open: A1, A2 (their collection continues)")
}

func TestOrder_WaitInterrupted(t *testing.T) {
	t.Parallel()
	pr, _ := newProgram(t)
	ctx, cancel := context.WithCancel(t.Context())
	r := pr.start(ctx, "order", "--wait", "A1")
	testkit.Eventually(t, "the answer", func() bool { return r.stdout.Has("A1 accepted") })
	cancel()
	wantRun(t, r.wait(), 1, []string{"A1 accepted"}, "interrupted; still open: A1")
}

func TestWaiter(t *testing.T) {
	a1 := tasks.Payload{MchID: mchid, OutOrderNo: "A1"}
	// waitWith runs a waiter for A1 whose reads have the given results, and then the
	// last one.
	type read struct {
		state tasks.State
		err   error
	}
	waitWith := func(t *testing.T, reads ...read) (ok bool, out ran) {
		t.Helper()
		var stdout, stderr testkit.LogBuffer
		p := process{}
		p.Name, p.Stdout, p.Stderr = "enqueue", &stdout, &stderr
		w := newWaiter(newReporter(p, false), 0, nil)
		w.get = func(context.Context, tasks.Payload) (ledger.Order, error) {
			l := reads[0]
			if len(reads) > 1 {
				reads = reads[1:]
			}
			return ledger.Order{MchID: mchid, OutOrderNo: "A1", State: l.state}, l.err
		}
		ok = w.run(t.Context(), []tasks.Payload{a1})
		return ok, ran{0, stdout.String(), stderr.String()}
	}
	t.Run("endures a Redis that fails", func(t *testing.T) {
		ok, out := waitWith(t, read{tasks.Queued, nil}, read{"", errors.New("gone")}, read{"", errors.New("gone")}, read{tasks.Paid, nil})
		if !ok {
			t.Error("it stopped waiting")
		}
		wantRun(t, out, 0, []string{"A1 paid"}, "Redis fails (gone); still waiting")
		if strings.Count(out.stderr, "gone") != 1 {
			t.Errorf("it complains more than once:\n%s", out.stderr)
		}
	})
	t.Run("stops waiting for an order that is gone", func(t *testing.T) {
		ok, out := waitWith(t, read{tasks.Queued, nil}, read{"", ledger.ErrNotFound})
		if ok {
			t.Error("it says that the order ended")
		}
		wantRun(t, out, 0, nil, "A1: there is no such order in the ledger any more")
	})
}

// The reason why orders are not collected, such as the night, is given once and does
// not change the exit status.
func TestOrder_WaitSaysWhenCollectingBegins(t *testing.T) {
	t.Parallel()
	pr, server := newProgram(t)
	l := ledger.New(server.Client, mchid)
	from := time.Now().In(tasks.China).Add(2 * time.Hour)
	window := from.Format("15:04") + "-" + from.Add(time.Hour).Format("15:04")
	err := l.Beat(t.Context(), "w1", time.Minute, ledger.Settings{CollectWindow: window, Timezone: "Asia/Shanghai"}, false)
	if err != nil {
		t.Fatal(err)
	}
	r := pr.start(t.Context(), "order", "A1", "A2", "--wait=1m")
	opens := from.Format("2006-01-02 15:04:00 Asia/Shanghai")
	testkit.Eventually(t, "the reason", func() bool {
		return r.stderr.Has("still waiting for A1, A2: it is outside the collection window (" + window + " Asia/Shanghai); the window opens at " + opens)
	})
	endOrder(t, server, "A1", tasks.Paid, "")
	endOrder(t, server, "A2", tasks.Paid, "")
	wantRun(t, r.wait(), 0, []string{"A1 accepted", "A2 accepted", "A1 paid", "A2 paid"}, "the window opens at "+opens)
	if n := strings.Count(r.stderr.String(), "still waiting"); n != 1 {
		t.Errorf("the reason is given %d times, want once:\n%s", n, &r.stderr)
	}
}

func TestWaiter_TellsEachReasonOnce(t *testing.T) {
	now := time.Date(2026, 11, 20, 4, 0, 0, 0, time.UTC)
	order := func(no string, due time.Time) ledger.Order {
		return ledger.Order{MchID: mchid, OutOrderNo: no, State: tasks.Queued, Next: ledger.Collect, NextDueAt: due}
	}
	situation := explain.Situation{MchID: mchid, Workers: 1, Work: true, Holds: ledger.Holds{Now: now}}
	var stderr testkit.LogBuffer
	p := process{}
	p.Name, p.Stdout, p.Stderr = "enqueue", &testkit.LogBuffer{}, &stderr
	w := newWaiter(newReporter(p, false), 0, nil)
	w.situation = func(context.Context, string) (explain.Situation, error) { return situation, nil }
	tell := func(orders ...ledger.Order) string {
		before := len(stderr.String())
		w.tellWhy(t.Context(), orders)
		return stderr.String()[before:]
	}
	soon, later := order("SOON", now.Add(10*time.Second)), order("LATER", now.Add(time.Hour))
	want := "enqueue: still waiting for LATER: it is not due before 2026-11-20 13:00:00 Asia/Shanghai (in 60 minutes): billing asked for that time\n"
	if got := tell(soon, later); got != want {
		t.Errorf("at first %q, want %q", got, want)
	}
	if got := tell(soon, later); got != "" {
		t.Errorf("it says once more %q", got)
	}
	situation.Holds.Merchant = ledger.Hold{Kind: ledger.HoldDown, Since: now, NextProbe: now.Add(5 * time.Second)}
	var many []ledger.Order
	for _, no := range strings.Split("A B C D E F G", " ") {
		many = append(many, order(no, now))
	}
	if got := tell(many...); !strings.HasPrefix(got, "enqueue: still waiting for A, B, C, D, E and 2 more: calls are stopped since") {
		t.Errorf("of many: %q", got)
	}
	if got := tell(append(many, soon)...); !strings.HasPrefix(got, "enqueue: still waiting for SOON: calls are stopped") || strings.Count(got, "\n") != 1 {
		t.Errorf("of one that is new: %q", got)
	}
}

func TestWaitFlag(t *testing.T) {
	for _, tc := range []struct {
		args  []string
		limit time.Duration
	}{
		{[]string{"order", "--wait", "A1"}, 0},
		{[]string{"order", "A1", "--wait"}, 0},
		{[]string{"order", "--wait=1m30s", "A1"}, 90 * time.Second},
	} {
		var cli commandLine
		if _, _, ok := configParse(tc.args, &cli); !ok {
			t.Fatalf("%q is refused", tc.args)
		}
		if w := cli.Order.Wait; !w.on || w.limit != tc.limit || !slices.Equal(cli.Order.Numbers, []string{"A1"}) {
			t.Errorf("%q: --wait on %v, limit %v, numbers %q; want true, %v, [A1]", tc.args, w.on, w.limit, cli.Order.Numbers, tc.limit)
		}
	}
}
