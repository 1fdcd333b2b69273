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

// Orders that the user has paid elsewhere: billing withdraws them, WeChat Pay is
// told, and none is collected again, wherever it stood.
func TestPaidElsewhere(t *testing.T) {
	t.Parallel()
	r := workertest.New(t, func(c *config.Worker) { c.GiveUpAfter = 3 * time.Second })
	for no, fate := range map[string]simulator.Fate{
		"GIVEN-UP": "never", "IN-PART": "partial:100", "REVOKED": "revoked", "BY-HIMSELF": "user_pays:1ms", "UNTRIED": "pays", "WHO": "unknown",
	} {
		r.Add(simulator.Order{OutOrderNo: no, TotalAmount: 1000, Fate: fate})
	}
	paidAt := time.Now().Add(-time.Hour).Truncate(time.Second)
	withdraw := func(no string) tasks.Result {
		t.Helper()
		res, err := r.Producer.Withdraw(t.Context(), tasks.Withdrawal{MchID: r.Sim.Merchant().MchID, OutOrderNo: no, Reason: "paid at the counter", PaidAt: paidAt})
		if err != nil {
			t.Fatal(err)
		}
		return res
	}
	later := func(no string, reopen bool) {
		t.Helper()
		o := r.Order(no)
		o.At, o.Reopen = time.Now().Add(time.Hour), reopen
		if res, err := r.Producer.Enqueue(t.Context(), o); err != nil || res.Status != tasks.Accepted {
			t.Fatalf("%s: %+v %v", no, res, err)
		}
	}
	told := func(no string, want ledger.SyncState, reason string) ledger.Order {
		t.Helper()
		r.Until(20*time.Second, "WeChat Pay to be told of "+no, func() bool {
			s := r.Get(no).Sync
			return s != nil && s.State != ledger.SyncPending
		})
		o := r.Get(no)
		if o.State != tasks.Withdrawn || o.Reason != "paid at the counter" || o.Sync.State != want || o.Sync.Reason != reason || !o.Sync.PaidAt.Equal(paidAt) {
			t.Errorf("%s: %+v, %+v", no, o, o.Sync)
		}
		return o
	}
	collects := func(no string, want int64) {
		t.Helper()
		if got := r.Report(no); got.CollectCalls != want {
			t.Errorf("%s: %d collect calls, want %d", no, got.CollectCalls, want)
		}
	}
	r.Work()

	// Given up, and then paid elsewhere: opened again for later, and withdrawn.
	r.Enqueue("GIVEN-UP")
	r.AllEnded(30 * time.Second)
	before := r.Report("GIVEN-UP").CollectCalls
	if res := withdraw("GIVEN-UP"); res.Status != tasks.Ended || res.State != tasks.Exhausted {
		t.Fatalf("%+v", res)
	}
	later("GIVEN-UP", true)
	if res := withdraw("GIVEN-UP"); res.Status != tasks.Accepted {
		t.Fatalf("%+v", res)
	}
	o := told("GIVEN-UP", ledger.SyncDone, "")
	collects("GIVEN-UP", before)
	if got := r.Report("GIVEN-UP"); got.SyncCalls != 1 || got.State != "DONE" || got.MoneyMoved != 0 || o.PaidType != "MCH" || !o.LatePaymentAt.IsZero() {
		t.Errorf("%+v, %+v", got, o)
	}

	// Opened again after that, it is found to be paid, and nothing is collected.
	if res, err := r.Producer.Enqueue(t.Context(), func() tasks.Order { o := r.Order("GIVEN-UP"); o.Reopen = true; return o }()); err != nil || res.Status != tasks.Accepted {
		t.Fatalf("%+v %v", res, err)
	}
	r.AllEnded(20 * time.Second)
	if o := r.Get("GIVEN-UP"); o.State != tasks.Paid || o.PaidType != "MCH" || o.Sync != nil || len(o.Past) != 2 {
		t.Errorf("%+v", o)
	}
	collects("GIVEN-UP", before)

	// A part came in through PayScore, and the rest elsewhere: that is no payment
	// after the end.
	r.Enqueue("IN-PART")
	r.Until(20*time.Second, "a part to come in", func() bool { o := r.Get("IN-PART"); return o.PaidAmount != nil && *o.PaidAmount == 100 })
	if res := withdraw("IN-PART"); res.Status != tasks.Accepted {
		t.Fatalf("%+v", res)
	}
	if o := told("IN-PART", ledger.SyncDone, ""); !o.LatePaymentAt.IsZero() || o.PaidType != "MCH" || o.TransactionID == "" {
		t.Errorf("%+v", o)
	}

	for _, no := range []string{"REVOKED", "BY-HIMSELF", "UNTRIED", "WHO"} {
		later(no, false)
		if res := withdraw(no); res.Status != tasks.Accepted {
			t.Fatalf("%s: %+v", no, res)
		}
	}
	told("REVOKED", ledger.SyncNoNeed, "REVOKED")
	if o := told("BY-HIMSELF", ledger.SyncNoNeed, "paid_through_wechat"); o.LatePaymentAt.IsZero() || o.PaidType != "NEWTON" {
		t.Errorf("%+v", o)
	}
	told("UNTRIED", ledger.SyncDone, "")
	told("WHO", ledger.SyncFailed, "ORDER_NOT_EXIST")
	for _, no := range []string{"REVOKED", "BY-HIMSELF", "UNTRIED", "WHO"} {
		collects(no, 0)
	}
	for _, o := range r.Sim.Report().Orders {
		if o.MostAtOnce > 1 {
			t.Errorf("%s: %d calls at once", o.OutOrderNo, o.MostAtOnce)
		}
	}
}
