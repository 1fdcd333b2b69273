package ledger

import (
	"context"
	"iter"
	"time"
)

// Records returns the orders of some numbers, without their logs and past, in the same
// order. The state of a number that the ledger does not have is empty.
func (l *Ledger) Records(ctx context.Context, nos []string) ([]Order, error) {
	orders := make([]Order, 0, len(nos))
	for len(nos) > 0 {
		n := min(len(nos), listPage)
		page, err := l.records(ctx, nos[:n])
		if err != nil {
			return nil, err
		}
		orders, nos = append(orders, page...), nos[n:]
	}
	return orders, nil
}

// PaidSince yields the orders of which WeChat Pay has signed a payment, but for paid ones
// that ended before a time: all their payments are older. No order is missed whose payment
// the ledger has when it begins, unless the order is reopened meanwhile; one that changes
// its state may come twice.
// After an error it stops.
func (l *Ledger) PaidSince(ctx context.Context, since time.Time) iter.Seq2[Order, error] {
	return func(yield func(Order, error) bool) {
		// Open orders come first and paid ones last, as orders move.
		states := make([]State, 0, len(States))
		for _, s := range States {
			if s != Paid {
				states = append(states, s)
			}
		}
		for _, q := range []Query{{States: states}, {States: []State{Paid}, Since: since}} {
			for _, part := range q.parts() {
				for at, last := (Place{Part: part}), false; !last; {
					b, err := l.batch(ctx, q, at, batchMost)
					if err != nil {
						yield(Order{}, err)
						return
					}
					if !l.paid(ctx, b.nos, yield) {
						return
					}
					at, last = b.end, b.last
				}
			}
		}
	}
}

// paid yields those of some orders that have a payment. It reports whether to continue.
func (l *Ledger) paid(ctx context.Context, nos []string, yield func(Order, error) bool) bool {
	for len(nos) > 0 {
		page := nos[:min(len(nos), listPage)]
		nos = nos[len(page):]
		keys := append(make([]string, 0, 1+len(page)), l.keys.Words())
		for _, no := range page {
			keys = append(keys, l.keys.Order(no))
		}
		rows, err := paidScript.Run(ctx, l.rdb, keys).Slice()
		if err == nil && len(rows) != len(page) {
			err = errReply
		}
		if err != nil {
			yield(Order{}, err)
			return false
		}
		for i, row := range rows {
			fields, ok := row.([]any)
			if ok && len(fields) == 0 {
				continue
			}
			var o Order
			if err = errReply; ok {
				o, err = l.order(page[i], fields, nil)
			}
			if err != nil {
				yield(Order{}, err)
				return false
			}
			o.Past = nil
			if !yield(o, nil) {
				return false
			}
		}
	}
	return true
}
