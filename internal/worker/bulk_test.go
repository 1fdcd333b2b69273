package worker_test

import (
	"testing"
	"time"

	"payscore-collector/internal/control"
	"payscore-collector/internal/ledger"
	"payscore-collector/internal/simulator"
	"payscore-collector/internal/testkit/workertest"
	"payscore-collector/tasks"
)

// A worker does bulk actions as soon as they are begun, and what they make due is collected.
func TestBulk(t *testing.T) {
	t.Parallel()
	r := workertest.New(t, onAdminAddr(t))
	mchid := r.Sim.Merchant().MchID
	nos := workertest.Numbers("BULK", 120)
	for _, no := range nos {
		r.Add(simulator.Order{OutOrderNo: no, Fate: "pays"})
		o := r.Order(no)
		o.At = time.Now().Add(10 * time.Hour)
		if res, err := r.Producer.Enqueue(t.Context(), o); err != nil || res.Status != tasks.Accepted {
			t.Fatal(res, err)
		}
	}
	r.Work()
	do := func(action string, q ledger.Query) ledger.BulkProgress {
		t.Helper()
		id, err := control.StartBulk(t.Context(), r.Redis.Client, control.BulkRequest{
			Action: action, MchIDs: []string{mchid}, Query: q, By: "api:ops", Reason: "a test",
		})
		if err != nil {
			t.Fatal(err)
		}
		var p ledger.BulkProgress
		r.Eventually("the bulk action to be done", func() bool {
			if p, err = ledger.ProgressOfBulk(t.Context(), r.Redis.Client, []string{mchid}, id); err != nil {
				t.Fatal(err)
			}
			return p.Stage == ledger.BulkDone
		})
		return p
	}
	if p := do(ledger.ActWithdraw, ledger.Query{Prefix: "BULK-000"}); p.Done != 10 || p.Matched != 10 {
		t.Errorf("%+v", p)
	}
	if p := do(ledger.ActReopen, ledger.Query{States: []tasks.State{tasks.Withdrawn}, Prefix: "BULK-0001"}); p.Done != 1 || p.Matched != 1 {
		t.Errorf("%+v", p)
	}
	// The order that was reopened is due at once, and may be collected meanwhile.
	if p := do(ledger.ActCollectNow, ledger.Query{States: []tasks.State{tasks.Queued}}); p.Done < int64(len(nos)-10) || p.Refused > 1 {
		t.Errorf("%+v", p)
	}
	r.AllEnded()
	if s, err := r.Ledger.Stats(t.Context()); err != nil || s.Orders[tasks.Paid] != int64(len(nos)-9) || s.Orders[tasks.Withdrawn] != 9 {
		t.Errorf("%+v %v", s, err)
	}
	for _, no := range nos[10:] {
		if n := r.Report(no).CollectCalls; n != 1 {
			t.Errorf("%s was collected %d times", no, n)
		}
	}
	r.Eventually("the metric to be 0", func() bool { return gauge(t, r, "payscore_bulk_actions") == 0 })
	r.Eventually("each bulk action to be logged as done", func() bool { return len(r.Logs.Events("bulk_done")) == 3 })
}
