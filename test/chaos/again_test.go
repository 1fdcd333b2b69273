package chaos

import (
	"context"
	"slices"
	"time"

	"payscore-collector/tasks"
)

// handOverAgain does what docs/operations.md asks of billing after a failover: the
// orders are handed over again, and withdrawn again those that were withdrawn.
// The latter are handed over for later, so that none is collected in between.
func (w *world) handOverAgain() {
	if _, ok := w.store.(replicated); !ok {
		return
	}
	var all []tasks.Order
	for _, no := range w.billing.accepted {
		o := w.order(no)
		if _, ok := w.billing.withdrawn[no]; ok {
			o.At = time.Now().Add(time.Hour)
		}
		all = append(all, o)
	}
	w.insist("hand all orders over again", func(ctx context.Context) (failed error) {
		var left []tasks.Order
		for o, res := range w.producer.EnqueueAll(ctx, slices.Values(all)) {
			switch res.Status {
			case tasks.Accepted:
				w.billing.forgot(o.OutOrderNo)
			case tasks.Duplicate, tasks.Ended:
			default:
				left, failed = append(left, o), res.Err
			}
		}
		all = left
		return failed
	})
	for no := range w.billing.withdrawn {
		wd := tasks.Withdrawal{MchID: w.sim.Merchant().MchID, OutOrderNo: no, Reason: "paid elsewhere"}
		if w.billing.synced[no] {
			wd.PaidAt = time.Now().Add(-time.Minute)
		}
		w.insist("withdraw an order again", func(ctx context.Context) error {
			o, err := w.ledger.Get(ctx, no)
			if err != nil || o.State == tasks.Withdrawn {
				return err
			}
			res, err := w.producer.Withdraw(ctx, wd)
			switch {
			case err != nil:
				return err
			case res.Status == tasks.Ended:
				w.billing.collected[no] = time.Now()
			case w.billing.forgotten[no].IsZero():
				w.billing.forgot(no)
			}
			return nil
		})
	}
}

// forgot notes that the ledger did not know an order, or its withdrawal, any
// more. Only the first time tells when it was.
func (b *billing) forgot(no string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.forgotten[no].IsZero() {
		b.forgotten[no] = time.Now()
	}
}
