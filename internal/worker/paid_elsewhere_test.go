package worker_test

import (
	"testing"
	"time"

	"payscore-collector/internal/config"
	"payscore-collector/internal/ledger"
	"payscore-collector/internal/simulator"
	"payscore-collector/internal/testkit/workertest"
	"payscore-collector/tasks"
)

// Orders that the user has paid elsewhere: billing withdraws them, they are synced,
// and no collect call follows, whatever the order's state was.
func TestPaidElsewhere(t *testing.T) {
	t.Parallel()
	r := workertest.New(t, func(c *config.Worker) { c.GiveUpAfter = 3 * time.Second })
	add := func(no string, fate simulator.Fate) {
		r.Add(simulator.Order{OutOrderNo: no, TotalAmount: 1000, Fate: fate})
	}
	paidAt := time.Now().Add(-time.Hour).Truncate(time.Second)
	withdraw := func(t *testing.T, no string, want tasks.Status) {
		t.Helper()
		if res := r.Withdraw(no, paidAt); res.Status != want {
			t.Fatalf("%s withdrawn: %+v, want %s", no, res, want)
		}
	}
	// enqueueForLater enqueues an order that is due in an hour.
	enqueueForLater := func(t *testing.T, no string, reopen bool) {
		t.Helper()
		o := r.Order(no)
		o.At, o.Reopen = time.Now().Add(time.Hour), reopen
		if res, err := r.Producer.Enqueue(t.Context(), o); err != nil || res.Status != tasks.Accepted {
			t.Fatalf("%s: %+v %v, want %s", no, res, err, tasks.Accepted)
		}
	}
	synced := func(t *testing.T, no string, want ledger.SyncState, reason string) ledger.Order {
		t.Helper()
		r.Eventually("the sync of "+no, func() bool {
			s := r.Get(no).Sync
			return s != nil && s.State != ledger.SyncPending
		})
		o := r.Get(no)
		if o.State != tasks.Withdrawn || o.Reason != "paid at the counter" || o.Sync.State != want || o.Sync.Reason != reason || !o.Sync.PaidAt.Equal(paidAt) {
			t.Errorf("%s is %s (%s) with sync %+v, want %s (paid at the counter) with sync %s %q at %s", no, o.State, o.Reason, o.Sync, tasks.Withdrawn, want, reason, paidAt)
		}
		return o
	}
	wantCollects := func(t *testing.T, no string, want int64) {
		t.Helper()
		if got := r.Report(no).CollectCalls; got != want {
			t.Errorf("%s: %d collect calls, want %d", no, got, want)
		}
	}
	r.Work()

	add("GIVEN-UP", "never")
	r.Enqueue("GIVEN-UP")
	r.AllEnded()
	before := r.Report("GIVEN-UP").CollectCalls
	t.Run("an exhausted order is reopened for later and withdrawn", func(t *testing.T) {
		withdraw(t, "GIVEN-UP", tasks.Ended)
		enqueueForLater(t, "GIVEN-UP", true)
		withdraw(t, "GIVEN-UP", tasks.Accepted)
		o := synced(t, "GIVEN-UP", ledger.SyncDone, "")
		wantCollects(t, "GIVEN-UP", before)
		if got := r.Report("GIVEN-UP"); got.SyncCalls != 1 || got.State != "DONE" || got.MoneyMoved != 0 || o.PaidType != "MCH" || !o.LatePaymentAt.IsZero() {
			t.Errorf("platform %+v, ledger %+v; want one sync, DONE, no money moved, paid_type MCH and no late payment", got, o)
		}
	})
	t.Run("reopened after that, it is found paid and not collected", func(t *testing.T) {
		r.Reopen("GIVEN-UP")
		r.AllEnded()
		if o := r.Get("GIVEN-UP"); o.State != tasks.Paid || o.PaidType != "MCH" || o.Sync != nil || len(o.Past) != 2 {
			t.Errorf("got %+v, want paid as MCH, without a sync, after two earlier epochs", o)
		}
		wantCollects(t, "GIVEN-UP", before)
	})
	t.Run("a part through PayScore and the rest elsewhere is not a late payment", func(t *testing.T) {
		add("IN-PART", "partial:100")
		r.Enqueue("IN-PART")
		r.Eventually("a part to be paid", func() bool { o := r.Get("IN-PART"); return o.PaidAmount != nil && *o.PaidAmount == 100 })
		withdraw(t, "IN-PART", tasks.Accepted)
		if o := synced(t, "IN-PART", ledger.SyncDone, ""); !o.LatePaymentAt.IsZero() || o.PaidType != "MCH" || o.TransactionID == "" {
			t.Errorf("got %+v, want paid_type MCH, the part's transaction_id and no late payment", o)
		}
	})
	cases := []struct {
		name, no, fate string
		state          ledger.SyncState
		reason         string
		late           bool
	}{
		{"a revoked order needs no sync", "REVOKED", "revoked", ledger.SyncNoNeed, "REVOKED", false},
		{"an order that the user has also paid through WeChat Pay", "BY-HIMSELF", "user_pays:1ms", ledger.SyncNoNeed, "paid_through_wechat", true},
		{"an order that was never collected", "UNTRIED", "pays", ledger.SyncDone, "", false},
		{"an order that WeChat Pay does not know", "WHO", "unknown", ledger.SyncFailed, "ORDER_NOT_EXIST", false},
	}
	for _, tt := range cases {
		add(tt.no, simulator.Fate(tt.fate))
		enqueueForLater(t, tt.no, false)
		withdraw(t, tt.no, tasks.Accepted)
	}
	for _, tt := range cases {
		t.Run(tt.name, func(t *testing.T) {
			if o := synced(t, tt.no, tt.state, tt.reason); o.LatePaymentAt.IsZero() == tt.late || tt.late && o.PaidType != "NEWTON" {
				t.Errorf("late payment at %s of type %s, want late payment: %t", o.LatePaymentAt, o.PaidType, tt.late)
			}
			wantCollects(t, tt.no, 0)
		})
	}
	for _, o := range r.Sim.Report().Orders {
		if o.MostAtOnce > 1 {
			t.Errorf("%s: %d calls at once, want 1", o.OutOrderNo, o.MostAtOnce)
		}
	}
}
