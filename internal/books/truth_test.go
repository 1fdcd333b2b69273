package books_test

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"payscore-collector/internal/books"
	"payscore-collector/internal/simulator"
	"payscore-collector/internal/testkit"
)

// The truth has no exceptions: orders paid at once, in parts over midnight, by the user, and
// partly or wholly elsewhere, some refunded.
func TestCompare_Truth(t *testing.T) {
	midnight := books.Day(time.Now()).AddDate(0, 0, -1)
	var clock atomic.Int64
	clock.Store(midnight.Add(-3 * time.Second).UnixNano())
	p := newPlatform(t, func() time.Time { return time.Unix(0, clock.Load()) })
	fates := []simulator.Fate{"pays", "parts:3", "mixed", "pays", "parts:2"}
	orders := make([]simulator.Order, testkit.Form(100, 1000))
	for i := range orders {
		orders[i] = simulator.Order{OutOrderNo: fmt.Sprintf("TRUTH-%d", i), TotalAmount: int64(100 + i), Fate: fates[i%len(fates)]}
		p.nos = append(p.nos, orders[i].OutOrderNo)
	}
	if err := p.AddOrders(orders...); err != nil {
		t.Fatal(err)
	}
	for round := range 3 {
		for i, no := range p.nos {
			switch truth, _ := p.Order(no); {
			case truth.Entity.State == simulator.StateDone:
			case i%7 == 6 && round == 1:
				if err := p.Pay(no, 0, []string{simulator.PaidTypeNewton, simulator.PaidTypeMch}[i%2]); err != nil {
					t.Fatal(err)
				}
			default:
				p.client.Collect(t.Context(), p.request(no))
			}
		}
		clock.Add(int64(2 * time.Second)) // the third round is after midnight
	}
	l := p.ledger()
	want := int64(0)
	for _, o := range l.orders {
		for _, paid := range o.Payments {
			if paid.PaidType == simulator.PaidTypeNewton {
				want += paid.Amount
			}
		}
	}
	if err := p.SetBill(simulator.Bill{Refunds: 5}); err != nil {
		t.Fatal(err)
	}
	got := int64(0)
	for _, day := range []time.Time{midnight.AddDate(0, 0, -1), midnight} {
		r, err := books.Compare(t.Context(), l, day, books.Fetch(p.client, day, time.Now()))
		if err != nil {
			t.Fatal(err)
		}
		if !r.Agrees() || r.Waiting != nil || len(r.Exceptions) != 5 || r.Matched != r.Ledger || r.Matched.Amount == 0 {
			t.Errorf("%s: matched %+v of %+v, waiting %+v, exceptions %+v", r.Date, r.Matched, r.Ledger, r.Waiting, r.Exceptions)
		}
		got += r.Matched.Amount
	}
	if got != want {
		t.Errorf("both days have %d fen, and %d were paid", got, want)
	}
}
