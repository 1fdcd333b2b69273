package ledger

import (
	"context"
)

// Notice is what a notification said of an order, under WeChat Pay's signature.
type Notice struct {
	OutOrderNo string
	// ID is the notification's, the same each time that WeChat Pay sends it; empty if it
	// has none.
	ID string
	// Token is this delivery's; see NewToken. It distinguishes concurrent
	// deliveries of one notification, so that one of them counts.
	Token string
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

// Notice writes a notice down, at once and whatever worker holds the order's
// lease. It can be repeated, any number of times: nothing changes. Where the code
// is NoticePaid or NoticeEnded, or there is news, the answer is the same for the
// same Token until NoticeTold is called with the notice's ID, for it may have been
// lost. Another delivery gets it after ten seconds; sooner, and once NoticeTold was
// called, the answer is NoticeRepeat. An error says that nothing is known to have
// been written; it is ErrAmount for facts that cannot be true.
func (l *Ledger) Notice(ctx context.Context, n Notice) (NoticeCode, []News, error) {
	money, err := n.Facts.args()
	if err != nil {
		return "", nil, err
	}
	money.Done = money.Done || n.Paid
	r := run(ctx, l.rdb, noticeScript, []string{
		l.keys.Order(n.OutOrderNo), l.keys.Log(n.OutOrderNo), l.keys.Due(), l.keys.Outcomes(),
		l.keys.Stats(), l.keys.Ended(Paid), l.keys.Words(), l.keys.Recovery(),
	}, struct {
		moneyArgs
		No      string `json:"no"`
		ID      string `json:"id"`
		Token   string `json:"token"`
		Whole   bool   `json:"whole"`
		Verdict string `json:"verdict"`
		Keep    int    `json:"keep"`
	}{money, n.OutOrderNo, n.ID, n.Token, n.Paid, n.Entry.Verdict, LogEntries}, n.Entry.encode())
	code := NoticeCode(r.str())
	_ = r.int() // Redis's clock
	news := newsOf(r.str())
	return code, news, r.err
}

// NoticeTold records that the answer to a notice was logged and counted. It can be
// repeated.
func (l *Ledger) NoticeTold(ctx context.Context, n Notice) error {
	return l.rdb.HDel(ctx, l.keys.Order(n.OutOrderNo), "n:"+n.ID).Err()
}
