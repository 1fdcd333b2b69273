package collect

import (
	"payscore-collector/internal/ledger"
	"payscore-collector/internal/logging"
	"payscore-collector/internal/payscore"
	"payscore-collector/tasks"
)

// What a step or a notification has changed in the ledger is logged and counted here,
// after it was written.

// ended logs and counts an order that has reached a final state.
func (c *Collector) ended(no string, state tasks.State, reason string, f ledger.Facts) {
	c.count(c.metrics.Ended, string(state))
	e := c.log.Info().Str(logging.FieldEvent, "order_ended").Str(logging.FieldOutOrderNo, no).
		Str(logging.FieldState, string(state)).Str(logging.FieldReason, reason)
	if state == tasks.Paid && f.Paid != nil {
		e = e.Int64("paid_amount", *f.Paid).Str("transaction_id", f.TransactionID)
	}
	e.Msg("order ended")
}

// Noticed logs and counts what a notice of a notification changed.
func (c *Collector) Noticed(n ledger.Notice, code ledger.NoticeCode, news []ledger.News) {
	if code == ledger.NoticePaid {
		c.ended(n.OutOrderNo, tasks.Paid, "", n.Facts)
	}
	c.alarms(n.OutOrderNo, payscore.CallNotification, n.Facts, news)
}

// alarms logs what a signed message has revealed. All but a lowered total are for a
// person to act on; they are errors in the log, and counted.
func (c *Collector) alarms(no string, from payscore.Call, f ledger.Facts, news []ledger.News) {
	for _, n := range news {
		if n == ledger.Lowered {
			c.log.Info().Str(logging.FieldEvent, "total_lowered").Str(logging.FieldOutOrderNo, no).
				Int64("total_amount", *f.Total).Msg("the merchant lowered the order's total")
			continue
		}
		c.count(c.metrics.News, string(n))
		e := c.log.Error().Str(logging.FieldOutOrderNo, no).Str(logging.FieldCall, string(from)).Str("transaction_id", f.TransactionID)
		if f.Paid != nil {
			e = e.Int64("paid_amount", *f.Paid)
		}
		if f.Total != nil {
			e = e.Int64("total_amount", *f.Total)
		}
		switch n {
		case ledger.Late:
			e.Str(logging.FieldEvent, "paid_after_its_end").
				Msg("PAID AFTER ITS END: the user has paid an order that had ended otherwise; the money is in, and billing must decide what becomes of it (outcomes get shows both)")
		case ledger.Differs:
			e.Str(logging.FieldEvent, "amounts_differ").
				Msg("AMOUNTS DIFFER: WeChat Pay's signed amounts of this order contradict each other; see amount_differs in outcomes get --json")
		}
	}
}
