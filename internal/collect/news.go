package collect

import (
	"payscore-collector/internal/ledger"
	"payscore-collector/internal/logging"
	"payscore-collector/internal/payscore"
	"payscore-collector/tasks"
)

// What the ledger has taken is told here, once, whether it came by a step's own
// call or by a notification.

// ended says and counts that an order has come to an end.
func (c *Collector) ended(no string, state tasks.State, reason string, f ledger.Facts) {
	c.metrics.Ended.WithLabelValues(c.ledger.MchID(), string(state)).Inc()
	e := c.log.Info().Str(logging.FieldOutOrderNo, no).Str(logging.FieldState, string(state)).Str(logging.FieldReason, reason)
	if state == tasks.Paid && f.Paid != nil {
		e = e.Int64("paid_amount", *f.Paid).Str("transaction_id", f.TransactionID)
	}
	e.Msg("the order has ended")
}

// Noticed says and counts what a notification's notice came to, after it was
// written down.
func (c *Collector) Noticed(n ledger.Notice, code ledger.NoticeCode, news []ledger.News) {
	if code == ledger.NoticePaid {
		c.ended(n.OutOrderNo, tasks.Paid, "", n.Facts)
	}
	c.news(n.OutOrderNo, payscore.CallNotification, n.Facts, news)
}

// news says loudly, and counts, what a signed message has brought to light; what is
// no alarm it only logs. It is
// told by the step and by the receiver of notifications, each after it was
// written down.
func (c *Collector) news(no string, from payscore.Call, f ledger.Facts, news []ledger.News) {
	for _, n := range news {
		if n == ledger.Lowered {
			c.log.Info().Str(logging.FieldEvent, "total_lowered").Str(logging.FieldOutOrderNo, no).
				Int64("total_amount", *f.Total).Msg("the merchant lowered what the order comes to")
			continue
		}
		c.metrics.News.WithLabelValues(c.ledger.MchID(), string(n)).Inc()
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
