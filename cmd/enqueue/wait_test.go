package main

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"payscore-collector/internal/ledger"
	"payscore-collector/tasks"
)

func TestOrder_WaitPrintsHowOrdersEnd(t *testing.T) {
	pr, server := newProgram(t)
	pr.run(t.Context(), "order", "A1", "A2", "A3")
	endOrder(t, server, "A3", tasks.Closed, "revoked")

	var stdout, stderr buffer
	done := make(chan int, 1)
	go func() {
		done <- pr.runInto(t.Context(), &stdout, &stderr, "order", "A1", "A2", "A3", "A1", "A.4", "--wait")
	}()
	eventually(t, "the end of A3", func() bool { return strings.Contains(stdout.String(), "A3 closed revoked\n") })
	endOrder(t, server, "A2", tasks.Rejected, "not completed")
	eventually(t, "the end of A2", func() bool { return strings.Contains(stdout.String(), "A2 rejected not completed\n") })
	endOrder(t, server, "A1", tasks.Paid, "")

	got := ran{<-done, stdout.String(), stderr.String()}
	wantRun(t, got, 3, []string{
		"A1 duplicate", "A2 duplicate", "A3 ended closed", "A1 duplicate",
		"A.4 invalid out_order_no has '.' at position 2; only digits, letters and _ | * - are allowed",
		"A3 closed revoked", "A2 rejected not completed", "A1 paid",
	})
}

func TestOrder_WaitJSON(t *testing.T) {
	pr, server := newProgram(t)
	pr.run(t.Context(), "order", "A1")
	endOrder(t, server, "A1", tasks.Rejected, "unknown order")
	lines := linesOf(pr.run(t.Context(), "order", "A1", "--json", "--wait=10s").stdout)
	if len(lines) != 2 {
		t.Fatalf("lines %q, want two", lines)
	}
	sameJSON(t, lines[1], `{"mchid":"1900000001","out_order_no":"A1","state":"rejected","reason":"unknown order"}`)
}

func TestOrder_WaitTimesOut(t *testing.T) {
	pr, _ := newProgram(t)
	wantRun(t, pr.run(t.Context(), "order", "A1", "A2", "--wait=10ms"), 1, []string{"A1 accepted", "A2 accepted"},
		"the 10ms are over, and still open: A1, A2 (they go on being collected)")
}

func TestOrder_WaitInterrupted(t *testing.T) {
	pr, _ := newProgram(t)
	ctx, cancel := context.WithCancel(t.Context())
	var stdout, stderr buffer
	done := make(chan int, 1)
	go func() { done <- pr.runInto(ctx, &stdout, &stderr, "order", "--wait", "A1") }()
	eventually(t, "the answer", func() bool { return strings.Contains(stdout.String(), "A1 accepted") })
	cancel()
	wantRun(t, ran{<-done, stdout.String(), stderr.String()}, 1, []string{"A1 accepted"}, "interrupted, and still open: A1")
}

func TestWaiter(t *testing.T) {
	a1 := tasks.Payload{MchID: mchid, OutOrderNo: "A1"}
	// waitWith runs a waiter for A1 whose looks have the given results, the
	// last one again and again.
	type look struct {
		state tasks.State
		err   error
	}
	waitWith := func(t *testing.T, looks ...look) (ok bool, out ran) {
		t.Helper()
		var stdout, stderr buffer
		p := process{}
		p.Name, p.Stdout, p.Stderr = "enqueue", &stdout, &stderr
		w := waiter{r: newReporter(p, false), get: func(context.Context, tasks.Payload) (ledger.Order, error) {
			l := looks[0]
			if len(looks) > 1 {
				looks = looks[1:]
			}
			return ledger.Order{MchID: mchid, OutOrderNo: "A1", State: l.state}, l.err
		}}
		ok = w.run(t.Context(), []tasks.Payload{a1, a1})
		return ok, ran{0, stdout.String(), stderr.String()}
	}
	t.Run("bears with a Redis that fails", func(t *testing.T) {
		ok, out := waitWith(t, look{tasks.Queued, nil}, look{"", errors.New("gone")}, look{"", errors.New("gone")}, look{tasks.Paid, nil})
		if !ok {
			t.Error("it gave up")
		}
		wantRun(t, out, 0, []string{"A1 paid"}, "Redis fails (gone); still waiting")
		if strings.Count(out.stderr, "gone") != 1 {
			t.Errorf("it complains more than once:\n%s", out.stderr)
		}
	})
	t.Run("gives up an order that is gone", func(t *testing.T) {
		ok, out := waitWith(t, look{tasks.Queued, nil}, look{"", ledger.ErrNotFound})
		if ok {
			t.Error("it says that the order ended")
		}
		wantRun(t, out, 0, nil, "A1: there is no such order in the ledger any more")
	})
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
			t.Errorf("%q: %+v, numbers %q", tc.args, w, cli.Order.Numbers)
		}
	}
}
