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
func (c *Collector) Noticed(n ledger.Notice, code ledger.NoticeCode, news ledger.News) {
	switch code {
	case ledger.NoticePaid:
		c.ended(n.OutOrderNo, tasks.Paid, "", n.Facts)
	case ledger.NoticeEnded:
		c.News(n.OutOrderNo, payscore.CallNotification, n.Facts, ledger.Late)
	}
	c.News(n.OutOrderNo, payscore.CallNotification, n.Facts, news)
}

// News says loudly, and counts, what a payment has brought to light. It is
// told by the step and by the receiver of notifications, each after it was
// written down.
func (c *Collector) News(no string, from payscore.Call, f ledger.Facts, news ledger.News) {
	if news == ledger.NoNews {
		return
	}
	c.metrics.News.WithLabelValues(c.ledger.MchID(), string(news)).Inc()
	e := c.log.Error().Str(logging.FieldOutOrderNo, no).Str(logging.FieldCall, string(from)).Str("transaction_id", f.TransactionID)
	if f.Paid != nil {
		e = e.Int64("paid_amount", *f.Paid)
	}
	if f.Total != nil {
		e = e.Int64("total_amount", *f.Total)
	}
	switch news {
	case ledger.Late:
		e.Msg("PAID AFTER ITS END: the user has paid an order that had ended otherwise; the money is in, and billing must decide what becomes of it (outcomes get shows both)")
	case ledger.Differs:
		e.Msg("AMOUNTS DIFFER: a payment's amount is not the one that WeChat Pay gave before; see amount_differs in outcomes get --json")
	}
}
