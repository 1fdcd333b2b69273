package chaos

import (
	"context"
	"slices"
	"time"

	"payscore-collector/tasks"
)

// enqueueAgain does what docs/operations.md asks of billing after a failover: the
// orders are enqueued again, and withdrawn again those that were withdrawn.
// The latter are enqueued for later, so that none is collected in between.
func (e *env) enqueueAgain() {
	if _, ok := e.store.(replicated); !ok {
		return
	}
	var all []tasks.Order
	for _, no := range e.billing.accepted {
		o := e.order(no)
		if _, ok := e.billing.withdrawn[no]; ok {
			o.At = time.Now().Add(time.Hour)
		}
		all = append(all, o)
	}
	e.retry("hand all orders over again", func(ctx context.Context) (failed error) {
		var left []tasks.Order
		for o, res := range e.producer.EnqueueAll(ctx, slices.Values(all)) {
			switch res.Status {
			case tasks.Accepted:
				e.billing.noteForgotten(o.OutOrderNo)
			case tasks.Duplicate, tasks.Ended:
			default:
				left, failed = append(left, o), res.Err
			}
		}
		all = left
		return failed
	})
	for no := range e.billing.withdrawn {
		wd := e.withdrawal(no, e.billing.synced[no])
		e.retry("withdraw an order again", func(ctx context.Context) error {
			o, err := e.ledger.Get(ctx, no)
			if err != nil || o.State == tasks.Withdrawn {
				return err
			}
			res, err := e.producer.Withdraw(ctx, wd)
			switch {
			case err != nil:
				return err
			case res.Status == tasks.Ended:
				e.billing.collected[no] = time.Now()
			case e.billing.forgotten[no].IsZero():
				e.billing.noteForgotten(no)
			}
			return nil
		})
	}
}

// noteForgotten notes that the ledger did not know an order, or its withdrawal, any
// more. Only the first time tells when it was.
func (b *billing) noteForgotten(no string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.forgotten[no].IsZero() {
		b.forgotten[no] = time.Now()
	}
}
