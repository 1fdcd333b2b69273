package worker_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"payscore-collector/internal/audit"
	"payscore-collector/internal/config"
	"payscore-collector/internal/ledger"
	"payscore-collector/internal/simulator"
	"payscore-collector/internal/testkit"
	"payscore-collector/internal/testkit/workertest"
	"payscore-collector/tasks"
)

// booked is what a receiver books that takes each payment of the stream's events
// once, by its transaction_id, and by order and seq where it has none.
func booked(r *workertest.Rig) map[string][]ledger.Payment {
	seen, books := map[string]bool{}, map[string][]ledger.Payment{}
	for _, e := range r.Events() {
		for _, p := range e.Payments {
			key := p.TransactionID
			if key == "" {
				key = fmt.Sprintf("%s/%d", e.OutOrderNo, p.Seq)
			}
			if !seen[key] {
				seen[key] = true
				books[e.OutOrderNo] = append(books[e.OutOrderNo], p)
			}
		}
	}
	return books
}

func platformPayments(t *testing.T, r *workertest.Rig, no string) []ledger.Payment {
	t.Helper()
	o, ok := r.Sim.Order(no)
	if !ok || o.Entity.Collection == nil {
		return nil
	}
	return audit.Platform(o.Entity.Collection.Details)
}

func TestPaymentsInParts(t *testing.T) {
	t.Parallel()
	t.Run("each payment has its own number in the events", func(t *testing.T) {
		t.Parallel()
		r := workertest.New(t)
		r.Add(simulator.Order{OutOrderNo: "TWO", TotalAmount: 1000, Fate: "partial:400"})
		r.Work()
		r.Enqueue("TWO")
		r.Eventually("the whole to be paid", func() bool { return r.Get("TWO").State == tasks.Paid })
		o := r.Get("TWO")
		if len(o.Payments) != 2 || o.Payments[0].TransactionID == o.Payments[1].TransactionID || o.TransactionID != o.Payments[1].TransactionID {
			t.Errorf("%+v", o)
		}
		for _, d := range audit.Payments(booked(r)["TWO"], platformPayments(t, r, "TWO")) {
			t.Error(d.Text)
		}
	})
	// collect brings a part; before the query that confirms it the user pays all of
	// it at the counter, and billing withdraws. He has paid that part twice.
	t.Run("a part through PayScore is not hidden by the rest that was paid elsewhere", func(t *testing.T) {
		t.Parallel()
		r := workertest.New(t, func(c *config.Worker) { c.ConfirmSchedule = []time.Duration{3 * time.Second} })
		r.Add(simulator.Order{OutOrderNo: "HALF", TotalAmount: 1000, Fate: "partial:400"})
		r.Work()
		r.Enqueue("HALF")
		r.Eventually("a collect call", func() bool { return r.Get("HALF").Attempts == 1 })
		r.Withdraw("HALF", time.Now().Add(-time.Minute))
		r.Eventually("WeChat Pay to be notified", func() bool {
			s := r.Get("HALF").Sync
			return s != nil && s.State != ledger.SyncPending
		})
		o := r.Get("HALF")
		if o.State != tasks.Withdrawn || o.Sync.State != ledger.SyncDone || o.LatePaymentAt.IsZero() || len(o.Payments) != 2 {
			t.Errorf("%+v %+v", o, o.Sync)
		}
		for _, d := range audit.Payments(booked(r)["HALF"], platformPayments(t, r, "HALF")) {
			t.Error(d.Text)
		}
		// The worker logs after it has recorded.
		r.Eventually("the alarm", func() bool { return r.Logs.HasEvent("paid_after_its_end") })
		if n := len(r.Logs.Events("paid_after_its_end")); n != 1 {
			t.Errorf("the alarm was logged %d times, want once", n)
		}
	})
}

// Orders are withdrawn and opened again at random while they are collected, on a
// platform that goes wrong and notifies late, twice and not at all: what a
// receiver books is what the platform has.
func TestBookingWhileOrdersAreWithdrawnAndReopened(t *testing.T) {
	t.Parallel()
	r := workertest.New(t, func(c *config.Worker) {
		c.GiveUpAfter, c.Rate = 10*time.Second, 150
		c.ConfirmSchedule = []time.Duration{400 * time.Millisecond, time.Second}
	})
	r.Listen()
	r.FaultsExpected = true
	if err := r.Sim.SetFaults(simulator.Faults{
		Latency: simulator.Duration(100 * time.Millisecond), LatencyJitter: simulator.Duration(200 * time.Millisecond),
		PayDelay: simulator.Duration(100 * time.Millisecond), DropAfter: 0.05, WrongSignature: 0.05,
	}); err != nil {
		t.Fatal(err)
	}
	fates := []simulator.Fate{"pays", "partial:400", "declines:1", "userpaying:800ms", "user_pays:4s", "never", "partial:1"}
	nos := workertest.Numbers("R", testkit.Form(42, 70))
	for i, no := range nos {
		r.Add(simulator.Order{OutOrderNo: no, TotalAmount: 1000, Fate: fates[i%len(fates)]})
	}
	r.Work()
	r.Notify(simulator.Notifications{Lose: 0.5, Late: 0.2, LateBy: simulator.Duration(2 * time.Second), Duplicate: 0.3, DelayJitter: simulator.Duration(500 * time.Millisecond)})
	r.Enqueue(nos...)
	m := r.Sim.Merchant().MchID
	// On a busy machine it takes longer until billing has told WeChat Pay of a payment.
	elsewhere := func() bool {
		return slices.ContainsFunc(nos, func(no string) bool {
			return slices.ContainsFunc(platformPayments(t, r, no), func(p ledger.Payment) bool { return p.PaidType == "MCH" })
		})
	}
	enough := time.Now().Add(testkit.Form(4*time.Second, 8*time.Second))
	for end := enough.Add(time.Minute); time.Now().Before(enough) || time.Now().Before(end) && !elsewhere(); {
		<-time.After(20 * time.Millisecond)
		no := nos[rand.IntN(len(nos))]
		w := tasks.Withdrawal{MchID: m, OutOrderNo: no, Reason: "waived"}
		o := r.Order(no)
		o.Reopen = true
		switch rand.IntN(5) {
		case 0:
			_, _ = r.Producer.Withdraw(t.Context(), w)
		case 1:
			w.PaidAt = time.Now().Add(-time.Minute)
			_, _ = r.Producer.Withdraw(t.Context(), w)
		case 2, 3:
			_, _ = r.Producer.Enqueue(t.Context(), o)
		case 4:
			o.At = time.Now().Add(5 * time.Second)
			_, _ = r.Producer.Enqueue(t.Context(), o)
			_, _ = r.Producer.Withdraw(t.Context(), w)
		}
	}
	// Every order is queried once more, so that the platform's last word is known.
	for _, no := range nos {
		o := r.Order(no)
		o.Reopen = true
		if _, err := r.Producer.Enqueue(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
	r.AllEnded()

	books := booked(r)
	parts := 0
	for _, no := range nos {
		rec := r.Get(no)
		platform := platformPayments(t, r, no)
		for _, d := range audit.Payments(books[no], platform) {
			// What the user pays after an order was given up stays with the platform
			// until it is queried.
			if rec.State == tasks.Exhausted && d.Kind == audit.Missing {
				continue
			}
			t.Errorf("%s, %s: %s", no, rec.State, d.Text)
		}
		if len(platform) > 1 {
			parts++
		}
		if truth := r.Report(no); truth.MostAtOnce > 1 {
			t.Errorf("%s: %d calls at once", no, truth.MostAtOnce)
		}
		if rec.AmountDiffers != nil {
			t.Errorf("%s: %+v", no, rec.AmountDiffers)
		}
	}
	if parts == 0 || !elsewhere() {
		t.Errorf("the run shows too little: %d orders were paid in parts, and one elsewhere: %t", parts, elsewhere())
	}
}
