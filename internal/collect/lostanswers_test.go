package collect

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/hibiken/asynq"

	"payscore-collector/internal/ledger"
	"payscore-collector/internal/payscore"
	"payscore-collector/internal/testkit/redistest"
	"payscore-collector/tasks"
)

// It took effect, and the answer was lost.
func TestLostAnswers(t *testing.T) {
	t.Parallel()
	srv := redistest.Start(t)

	t.Run("settle: written once, however often it is tried", func(t *testing.T) {
		t.Parallel()
		for name, inject := range map[string]func(*redistest.Faults){
			"lost":             func(f *redistest.Faults) { f.Lose("settle", 2) },
			"failed":           func(f *redistest.Faults) { f.Fail("settle", 2) },
			"failed, and lost": func(f *redistest.Faults) { f.Fail("settle", 1); f.Lose("settle", 1) },
		} {
			t.Run(name, func(t *testing.T) {
				b := parallelWithA(t, srv)
				inject(b.faults)
				if _, ok := again(b.run("A")); !ok {
					t.Error("not put back for the query")
				}
				b.wants("A", tasks.Awaiting, ledger.Confirm, "collect")
				if o := b.get("A"); o.Attempts != 1 || o.CollectCalls != 1 || len(o.Log) != 1 {
					t.Errorf("%+v", o)
				}
				if b.events("A") != "opened attempted" {
					t.Errorf("events: %s", b.events("A"))
				}
				if b.logs.HasEvent("lease_lost") {
					t.Errorf("a repeated settle is taken for a lost lease: %s", b.logs)
				}
				s, err := b.ledger.Stats(t.Context())
				if err != nil || s.Orders[tasks.Queued] != 0 || s.Orders[tasks.Awaiting] != 1 {
					t.Errorf("%+v %v", s, err)
				}
			})
		}
	})
	t.Run("settle of a final state: one event, and the money counted once", func(t *testing.T) {
		b := parallelWithA(t, srv)
		b.set("A", "next", "recheck")
		paid := queryReply(payscore.Paid)
		paid.Order.Collection = &payscore.Collection{State: "USER_PAID", TotalAmount: 150, PaidAmount: 150}
		b.platform.query = says(paid)
		b.faults.Lose("settle", 3)
		if err := b.run("A"); err != nil {
			t.Fatal(err)
		}
		b.wants("A", tasks.Paid, "", "query")
		if s, _ := b.ledger.Stats(t.Context()); s.PaidAmount != 150 || s.Orders[tasks.Paid] != 1 {
			t.Errorf("%+v", s)
		}
		if b.events("A") != "opened paid" {
			t.Errorf("events: %s", b.events("A"))
		}
	})
	t.Run("settle of a payment after another final state: the alarm is logged, and no other final state", func(t *testing.T) {
		b := parallelWithA(t, srv)
		b.set("A", "next", "recheck")
		paid := queryReply(payscore.Paid)
		paid.Order.Collection = &payscore.Collection{
			State: "USER_PAID", TotalAmount: 150, PaidAmount: 150,
			Details: []payscore.Detail{{Seq: 1, Amount: 150, PaidType: "NEWTON", TransactionID: "4200001"}},
		}
		b.platform.query = func(context.Context) payscore.Reply {
			b.withdraw("A")
			return paid
		}
		b.faults.Lose("settle", 2)
		if err := b.run("A"); err != nil {
			t.Fatal(err)
		}
		if late, ended := b.count(b.metrics.News, "late"), b.count(b.metrics.Ended, "paid"); late != 1 || ended != 0 ||
			len(b.logs.Events("paid_after_its_end")) != 1 || b.logs.HasEvent("order_ended") || !b.logs.HasEvent("order_ended_during_step") {
			t.Errorf("counted %v late, %v ends: %s", late, ended, b.logs)
		}
		if o := b.get("A"); o.State != tasks.Withdrawn || o.LatePaymentAt.IsZero() || len(o.Payments) != 1 {
			t.Errorf("%+v", o)
		}
	})
	t.Run("settle until the lease has ended: the order is queried next", func(t *testing.T) {
		b := parallel(t, srv, func(s *Settings) { s.CallTimeout = 100 * time.Millisecond })
		b.open("A")
		b.faults.Fail("settle", 1_000)
		if err := b.run("A"); !errors.Is(err, redistest.ErrInjected) && !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v", err)
		}
		b.wants("A", tasks.Queued, ledger.Resolve, "collect")
		b.faults.Mend()
		b.set("A", "lease", 1)
		_ = b.run("A")
		if made := b.platform.made(); made != "query" {
			t.Errorf("the next step: %q", made)
		}
	})
	t.Run("claim, once: it is repeated with its token, and the step continues", func(t *testing.T) {
		b := parallelWithA(t, srv)
		b.faults.Lose("claim", 2)
		if _, later := again(b.run("A")); !later {
			t.Error("not put back for the query")
		}
		b.wants("A", tasks.Awaiting, ledger.Confirm, "collect")
		if o := b.get("A"); o.CollectCalls != 1 {
			t.Errorf("%d collect calls were counted", o.CollectCalls)
		}
	})
	t.Run("claim: no call, and the order is queried when the lease ends", func(t *testing.T) {
		b := parallel(t, srv)
		p := b.open("A")
		b.faults.Lose("claim", 1_000)
		if err := b.run("A"); !errors.Is(err, redistest.ErrInjected) {
			t.Fatal(err)
		}
		b.faults.Mend()
		if made := b.platform.made(); made != "" {
			t.Fatalf("calls: %q", made)
		}
		// Meanwhile no other task gets it.
		if err := b.process(t.Context(), asynq.NewTask(tasks.TypeCollect, nil), p, 1); err != nil {
			t.Error(err)
		}
		b.wants("A", tasks.Queued, ledger.Resolve, "")
		b.makeDue("A")
		_ = b.run("A")
		b.wants("A", tasks.Awaiting, ledger.Recheck, "query")
	})
	t.Run("permit, once: it is repeated with its token, and the step continues", func(t *testing.T) {
		b := parallelWithA(t, srv)
		b.set("A", "next", "recheck")
		b.faults.Lose("permit", 2)
		if _, later := again(b.run("A")); !later {
			t.Error("not put back for the query")
		}
		b.wants("A", tasks.Awaiting, ledger.Confirm, "query collect")
		if o := b.get("A"); o.CollectCalls != 1 {
			t.Errorf("%d collect calls were counted", o.CollectCalls)
		}
	})
	t.Run("permit: at most one collect, and then a query", func(t *testing.T) {
		b := parallelWithA(t, srv)
		b.set("A", "next", "recheck")
		b.faults.Lose("permit", 1_000)
		if err := b.run("A"); !errors.Is(err, redistest.ErrInjected) {
			t.Fatal(err)
		}
		b.faults.Mend()
		if made := b.platform.made(); made != "query" {
			t.Fatalf("calls: %q", made)
		}
		b.wants("A", tasks.Queued, ledger.Resolve, "")
		b.makeDue("A")
		_ = b.run("A")
		b.wants("A", tasks.Awaiting, ledger.Recheck, "query")
	})
}

// A payment in the time of a collect call whose answer was lost is that call's doing.
func TestStep_PaidByACallWithoutAnAnswer(t *testing.T) {
	srv := redistest.Start(t)
	for name, tt := range map[string]struct {
		ago  time.Duration // the payment, before the answer was given up
		want string
	}{
		"during the call":      {30 * minute, ledger.PaidByCollect},
		"long before the call": {2 * hour, ledger.PaidByUser},
	} {
		t.Run(name, func(t *testing.T) {
			b := parallelWithA(t, srv)
			lost := collectReply(payscore.Unknown)
			lost.HTTPStatus, lost.Elapsed = 0, hour
			b.platform.collect = says(lost)
			if _, ok := again(b.run("A")); !ok {
				t.Fatal("the task is not put back")
			}
			b.wants("A", tasks.Awaiting, ledger.Resolve, "collect")
			paid := queryReply(payscore.Paid)
			paid.Order = &payscore.Order{TotalAmount: 150, Collection: &payscore.Collection{State: "USER_PAID", TotalAmount: 150, PaidAmount: 150,
				Details: []payscore.Detail{{Amount: 150, TransactionID: "42", PaidType: "NEWTON", PaidTime: time.Now().Add(-tt.ago).In(tasks.China).Format("20060102150405")}}}}
			b.platform.query = says(paid)
			b.makeDue("A")
			if err := b.run("A"); err != nil {
				t.Fatal(err)
			}
			b.wants("A", tasks.Paid, "", "query")
			if o := b.get("A"); o.PaidBy != tt.want {
				t.Errorf("paid by %q, want %q", o.PaidBy, tt.want)
			}
		})
	}
}
