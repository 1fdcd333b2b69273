package worker_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"payscore-collector/internal/config"
	"payscore-collector/internal/ledger"
	"payscore-collector/internal/simulator"
	"payscore-collector/internal/testkit"
	"payscore-collector/internal/testkit/workertest"
	"payscore-collector/tasks"
)

// Orders are withdrawn while they are collected, on a platform that fails now and then.
// Whatever the platform then shows is in the record, and no call follows.
func TestWithdrawnOrdersAreSynced(t *testing.T) {
	t.Parallel()
	r := workertest.New(t, func(c *config.Worker) { c.Rate = 200 })
	if err := r.Sim.SetFaults(simulator.Faults{
		Error5xx: 0.05, DropBefore: 0.03, DropAfter: 0.05, WrongSignature: 0.03, PayDelay: simulator.Duration(150 * time.Millisecond),
	}); err != nil {
		t.Fatal(err)
	}
	nos := workertest.Numbers("W", testkit.Form(48, 120))
	for i, no := range nos {
		fate := []string{"never", "declines:1", "pays", "userpaying:300ms"}[i%4]
		r.Add(simulator.Order{OutOrderNo: no, TotalAmount: 1000, Fate: simulator.Fate(fate)})
	}
	for range 3 {
		r.Work()
	}
	r.Enqueue(nos...)
	// Some orders are withdrawn too late, also where the workers start slowly.
	r.Eventually("the workers to be in their calls", func() bool { return r.Sim.Report().Calls >= 20 })
	paidAt := time.Now().Add(-time.Hour)
	var withdrawn sync.Map
	var wg sync.WaitGroup
	for i, no := range nos {
		wg.Go(func() {
			<-time.After(time.Duration(i) * 10 * time.Millisecond)
			if r.Withdraw(no, paidAt).Status == tasks.Accepted {
				withdrawn.Store(no, true)
			}
			if res := r.Withdraw(no, paidAt); res.Status != tasks.Duplicate && res.Status != tasks.Ended {
				t.Errorf("%s, withdrawn again: %+v", no, res)
			}
		})
	}
	wg.Wait()
	r.Eventually("WeChat Pay to be notified of every withdrawn order", func() bool {
		for _, no := range nos {
			o := r.Get(no)
			if o.State.Open() || o.Sync != nil && o.Sync.State == ledger.SyncPending {
				return false
			}
		}
		return true
	})
	told, both, collected := 0, 0, 0
	for _, no := range nos {
		o, truth := r.Get(no), r.Report(no)
		if truth.MostAtOnce > 1 {
			t.Errorf("%s: %d calls at once", no, truth.MostAtOnce)
		}
		if _, ok := withdrawn.Load(no); !ok {
			if o.State != tasks.Paid {
				t.Errorf("%s was not withdrawn, and is %s", no, o.State)
			}
			collected++
			continue
		}
		paidThroughWeChat := truth.MoneyMoved > 0
		switch {
		case o.State != tasks.Withdrawn || truth.State != "DONE":
			t.Errorf("%s: ledger %s, platform %s", no, o.State, truth.State)
		case o.Sync.State == ledger.SyncDone && !paidThroughWeChat && o.LatePaymentAt.IsZero():
			told++
		case o.Sync.State == ledger.SyncNoNeed && paidThroughWeChat && !o.LatePaymentAt.IsZero() && o.TransactionID != "" && *o.PaidAmount == truth.MoneyMoved:
			both++
		default:
			t.Errorf("%s: sync %+v, late payment %s, %d fen moved", no, o.Sync, o.LatePaymentAt, truth.MoneyMoved)
		}
		if truth.SyncCalls == 0 {
			t.Errorf("%s: the platform was never told", no)
		}
	}
	t.Logf("%d were told to WeChat Pay, %d had been paid through it as well, %d were paid before they were withdrawn", told, both, collected)
	if told == 0 || both+collected == 0 {
		t.Error("the run shows too little: nothing was withdrawn in time, or nothing too late")
	}
}

// Without a time of payment no call follows a withdrawal. The order can be reopened.
func TestWithdrawnOrdersAreLeftAlone(t *testing.T) {
	t.Parallel()
	r := workertest.New(t)
	r.Add(simulator.Order{OutOrderNo: "A", Fate: "declines:1"})
	r.Work()
	r.Enqueue("A")
	r.Eventually("the first decline", func() bool { return r.Get("A").Attempts == 1 })
	if res := r.Withdraw("A", time.Time{}); res.Status != tasks.Accepted {
		t.Fatalf("%+v", res)
	}
	calls := func() string {
		truth := r.Report("A")
		return fmt.Sprint(truth.CollectCalls, truth.QueryCalls, truth.SyncCalls)
	}
	before := calls()
	<-time.After(2500 * time.Millisecond) // several schedules and sweeps
	if after := calls(); after != before || r.Get("A").State != tasks.Withdrawn {
		t.Errorf("calls %s became %s, %s", before, after, r.Get("A").State)
	}
	r.Reopen("A")
	r.AllEnded()
	r.Audit()
	if o := r.Get("A"); o.State != tasks.Paid || o.Reason != "" {
		t.Errorf("%+v", o)
	}
}
