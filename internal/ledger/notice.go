package ledger

import (
	"context"

	"payscore-collector/tasks"
)

// Notice is what a notification said of an order, under WeChat Pay's signature.
type Notice struct {
	OutOrderNo string
	// Paid: all of it is paid, by its three state fields and its amounts. False:
	// a part of it is, and Facts.Paid says how much.
	Paid  bool
	Facts Facts
	// Entry is for the order's log; its Call is "notification".
	Entry Entry
}

// NoticeCode is what became of a notice.
type NoticeCode string

// The codes of notice.lua.
const (
	NoticeAbsent  NoticeCode = "absent"  // the ledger has no such order
	NoticePaid    NoticeCode = "paid"    // the order ended now
	NoticePartial NoticeCode = "partial" // it stays open, with more paid than was known
	NoticeEnded   NoticeCode = "ended"   // it had ended otherwise; the payment stands beside the end
	NoticeRepeat  NoticeCode = "repeat"  // nothing new
)

// Notice writes a notice down, at once and whoever holds the order's lease. It
// can be repeated, any number of times: nothing changes, and nothing is told
// twice. An error says that nothing is known to have been written.
func (l *Ledger) Notice(ctx context.Context, n Notice) (NoticeCode, News, error) {
	reply, err := run(ctx, l.rdb, noticeScript, []string{
		l.keys.Order(n.OutOrderNo), l.keys.Log(n.OutOrderNo), l.keys.Due(), l.keys.Outcomes(),
		l.keys.Stats(), l.keys.Ended(tasks.Paid),
	}, struct {
		No       string `json:"no"`
		Paid     bool   `json:"paid"`
		OrderID  string `json:"order_id,omitempty"`
		TxID     string `json:"transaction_id,omitempty"`
		PaidType string `json:"paid_type,omitempty"`
		Total    *int64 `json:"total,omitempty"`
		Amount   *int64 `json:"paid_amount,omitempty"`
		Payments string `json:"payments,omitempty"`
		Verdict  string `json:"verdict"`
		Keep     int    `json:"keep"`
	}{
		n.OutOrderNo, n.Paid, n.Facts.OrderID, n.Facts.TransactionID, n.Facts.PaidType,
		n.Facts.Total, n.Facts.Paid, packPayments(n.Facts.Payments), n.Entry.Verdict, LogEntries,
	}, n.Entry.encode())
	if err != nil {
		return "", NoNews, err
	}
	r := reader{vals: reply}
	code := NoticeCode(r.str())
	_ = r.int()
	news := News(r.str())
	return code, news, r.err()
}
