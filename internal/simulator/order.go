package simulator

import (
	"cmp"
	"fmt"
	"hash/fnv"
	"regexp"
	"sync"
	"time"
)

// Order is one order to add. JSON names are those of the control API.
type Order struct {
	// OutOrderNo is the merchant's number: 1 to 32 of [0-9A-Za-z_|*-].
	OutOrderNo string `json:"out_order_no"`
	// TotalAmount is what is owed, in fen. 0 stands for an amount that the
	// simulator makes up from the number, always the same one.
	TotalAmount int64 `json:"total_amount,omitempty"`
	// Fate says how it behaves.
	Fate Fate `json:"fate,omitempty"`
	// Replies precede the fate, in this order.
	Replies []ScriptedReply `json:"replies,omitempty"`
	// NotifyURL replaces [Notifications].URL for its payments, under the same
	// rules. The real platform gets it when the order is created.
	NotifyURL string `json:"notify_url,omitempty"`
}

// maxAmount (a thousand million yuan) keeps sums over all orders in an int64.
const maxAmount = 100_000_000_000

// order is the platform's record of one order. Its timed changes (a deduction that
// completes, a user who pays on their own) happen when they are due, by an alarm,
// and before every access: advance is called first, so that no reply depends on a
// punctual timer.
type order struct {
	seq       int64 // makes order_id and transaction_id unique
	no        string
	fate      Fate
	plan      plan
	exists    bool
	added     time.Time
	notifyURL string    // its own; empty: that of the settings
	notifier  *notifier // set before the order can be found
	told      int64     // notifications of its payments that were taken; guarded by the notifier's mu

	mu sync.Mutex
	// What follows is guarded by mu.
	state       string
	description string
	total       int64 // fen
	lowered     int64 // how often the total amount was lowered
	paid        int64
	details     []PaymentDetail
	byUser      []int // seq of the payments that the user made in the app
	declined    int
	lastCollect time.Time // the last one that the order's gap let pass
	deducting   int64     // fen under way; 0 when no deduction runs
	deductedAt  time.Time
	replies     []ScriptedReply
	audit       orderAudit
}

// newOrder validates o and makes its record. Its errors name the order.
func newOrder(o Order, seq int64, now time.Time) (*order, error) {
	if !validOrderNo(o.OutOrderNo) {
		return nil, fmt.Errorf("order %q: out_order_no must be 1 to 32 characters of 0-9 A-Z a-z _ | * -", o.OutOrderNo)
	}
	p, err := o.Fate.parse()
	if err != nil {
		return nil, fmt.Errorf("order %q: %w", o.OutOrderNo, err)
	}
	if o.TotalAmount < 0 || o.TotalAmount > maxAmount {
		return nil, fmt.Errorf("order %q: total_amount is %d; it must be from 0 to %d fen", o.OutOrderNo, o.TotalAmount, int64(maxAmount))
	}
	rec := &order{
		seq: seq, no: o.OutOrderNo, fate: cmp.Or(o.Fate, FatePays), plan: p, exists: true, added: now,
		total: cmp.Or(o.TotalAmount, madeUpAmount(o.OutOrderNo)),
	}
	switch Fate(p.kind) {
	case FateUnknown:
		rec.exists = false
	case FateCreated:
		rec.state = StateCreated
	case FateNotCompleted:
		rec.state, rec.description = StateDoing, DescriptionUserConfirm
	case FateRevoked:
		rec.state = StateRevoked
	case FateExpired:
		rec.state = StateExpired
	case FateNothingOwed:
		if o.TotalAmount > 0 {
			return nil, fmt.Errorf("order %q: total_amount is %d, but fate nothing_owed owes nothing; leave total_amount out", o.OutOrderNo, o.TotalAmount)
		}
		rec.state, rec.total = StateDone, 0
	default:
		rec.state, rec.description = StateDoing, DescriptionMchComplete
	}
	switch {
	case p.kind == fatePartial && p.first >= rec.total:
		return nil, fmt.Errorf("order %q: fate %q must pay less than the total amount of %d fen", o.OutOrderNo, string(o.Fate), rec.total)
	case p.kind == fateLower && p.first >= rec.total:
		return nil, fmt.Errorf("order %q: fate %q must lower the total amount, which is %d fen", o.OutOrderNo, string(o.Fate), rec.total)
	case int64(len(p.parts)) > rec.total:
		return nil, fmt.Errorf("order %q: fate %q needs a fen for each of its %d parts, and the total amount is %d fen", o.OutOrderNo, string(o.Fate), len(p.parts), rec.total)
	}
	if rec.notifyURL = o.NotifyURL; o.NotifyURL != "" {
		if err := validNotifyURL(o.NotifyURL); err != nil {
			return nil, fmt.Errorf("order %q: notify_url %w", o.OutOrderNo, err)
		}
	}
	for i, r := range o.Replies {
		r, err := r.normalise()
		if err != nil {
			return nil, fmt.Errorf("order %q: reply %d: %w", o.OutOrderNo, i+1, err)
		}
		rec.replies = append(rec.replies, r)
	}
	return rec, nil
}

// madeUpAmount returns 1.00 to 99.99 yuan, so that totals distinguish orders.
func madeUpAmount(no string) int64 {
	h := fnv.New32a()
	_, _ = h.Write([]byte(no)) // a hash's Write never fails
	return 100 + int64(h.Sum32()%9900)
}

var orderNo = regexp.MustCompile(`^[0-9A-Za-z_|*-]{1,32}$`)

func validOrderNo(no string) bool { return orderNo.MatchString(no) }

// awaitsPayment reports whether money is owed and can be collected.
// The caller holds o.mu.
func (o *order) awaitsPayment() bool {
	return o.state == StateDoing && o.description == DescriptionMchComplete
}

// ended reports whether nothing will ever change again. The caller holds o.mu.
func (o *order) ended() bool {
	return o.state == StateDone || o.state == StateRevoked || o.state == StateExpired
}

// collectionState is USER_PAYING or USER_PAID, or "" where there is nothing to
// collect, or nothing yet. The caller holds o.mu.
func (o *order) collectionState() string {
	switch {
	case o.awaitsPayment():
		return CollectionUserPaying
	case o.state == StateDone && o.total > 0:
		return CollectionUserPaid
	default:
		return ""
	}
}

// advance applies everything that was due by now. The caller holds o.mu.
func (o *order) advance(now time.Time) {
	if o.deducting > 0 && !now.Before(o.deductedAt) {
		amount := o.deducting
		o.deducting = 0
		o.pay(amount, PaidTypeNewton, o.deductedAt)
	}
	if due := o.added.Add(o.plan.after); o.plan.kind == fateUserPays && o.awaitsPayment() && o.deducting == 0 && !now.Before(due) {
		o.byUser = append(o.byUser, len(o.details)+1)
		o.pay(o.total-o.paid, PaidTypeNewton, due)
	}
}

// deduct starts a deduction that completes at the given time.
// The caller holds o.mu.
func (o *order) deduct(amount int64, completes, now time.Time) {
	o.deducting, o.deductedAt = amount, completes
	o.advance(now)
	if o.deducting > 0 {
		o.notifier.alarms.set(o, completes)
	}
}

// pay records one payment and has it notified; every payment of every kind passes
// through here. The caller holds o.mu.
func (o *order) pay(amount int64, paidType string, at time.Time) {
	seq := len(o.details) + 1
	d := PaymentDetail{Seq: seq, Amount: amount, PaidType: paidType, PaidTime: formatTime(at)}
	if paidType == PaidTypeNewton {
		d.TransactionID = fmt.Sprintf("42000%s%013d%02d", at.In(chinaTime).Format("20060102"), o.seq, seq)
		d.PromotionDetail = []Promotion{}
	}
	o.details = append(o.details, d)
	o.paid += amount
	if o.paid == o.total {
		o.state, o.description = StateDone, ""
	}
	o.notifier.paid(o)
}

// nextPart returns the next payment of an order in parts. The caller holds o.mu.
func (o *order) nextPart() (letter byte, amount int64) {
	parts, i, rest := o.plan.parts, len(o.details), o.total-o.paid
	if last := len(parts) - 1; i >= last {
		return parts[last], rest
	}
	return parts[i], min(max(1, o.total/int64(len(parts))), rest)
}

// lower is what a modify call does: it lowers the total amount of an order that
// waits for payment. What has been paid by then stays, and an order that has
// nothing left to pay is done. The caller holds o.mu and has advanced it.
func (o *order) lower(total int64) error {
	switch {
	case !o.awaitsPayment():
		return fmt.Errorf("order %q does not wait for payment: its total amount cannot be lowered", o.no)
	case o.deducting > 0:
		return fmt.Errorf("order %q has a deduction under way: its total amount cannot be lowered before that has ended", o.no)
	case total <= 0 || total >= o.total || total < o.paid:
		return fmt.Errorf("order %q: total_amount is %d; it must be above 0, below the present %d fen, and at least the %d fen that are paid", o.no, total, o.total, o.paid)
	}
	o.total = total
	o.lowered++
	if o.paid == o.total {
		o.state, o.description = StateDone, ""
		o.notifier.paid(o)
	}
	return nil
}

// payNow is a payment that no collect brings: the user pays in the app, or the
// merchant reports one from elsewhere. An amount of 0 stands for what is left.
// The caller holds o.mu and has advanced it.
func (o *order) payNow(amount int64, paidType string, now time.Time) error {
	rest := o.total - o.paid
	if amount == 0 {
		amount = rest
	}
	switch {
	case !o.awaitsPayment():
		return fmt.Errorf("order %q does not wait for payment", o.no)
	case o.deducting > 0:
		return fmt.Errorf("order %q has a deduction under way: pay when that has ended", o.no)
	case paidType != PaidTypeNewton && paidType != PaidTypeMch:
		return fmt.Errorf("order %q: paid_type is %q; write NEWTON (through PayScore) or MCH (elsewhere)", o.no, paidType)
	case amount < 0 || amount > rest:
		return fmt.Errorf("order %q: amount is %d; it must be from 1 to the %d fen that are left to pay", o.no, amount, rest)
	}
	o.byUser = append(o.byUser, len(o.details)+1)
	o.pay(amount, paidType, now)
	return nil
}

// notifyAddress is where the order's payments are notified; empty: nowhere.
func (o *order) notifyAddress() string {
	if o.notifyURL != "" {
		return o.notifyURL
	}
	return o.notifier.sim.notifications.Load().URL
}

// moneyMoved is what the user paid through the platform, in fen: payments
// that the merchant reported by sync moved elsewhere. The caller holds o.mu.
func (o *order) moneyMoved() int64 {
	var sum int64
	for _, d := range o.details {
		if d.PaidType == PaidTypeNewton {
			sum += d.Amount
		}
	}
	return sum
}

func (o *order) openID() string { return fmt.Sprintf("oUpF8uMuAJO_M2pxb1Q9%08d", o.seq%100_000_000) }

func (o *order) orderID() string { return fmt.Sprintf("1%019d", o.seq) }

// entity shows the order as a query does. The caller holds o.mu.
func (o *order) entity(m Merchant) Entity {
	e := Entity{
		AppID: m.AppID, MchID: m.MchID, OutOrderNo: o.no, ServiceID: m.ServiceID,
		OrderID:             o.orderID(),
		OpenID:              o.openID(),
		State:               o.state,
		StateDescription:    o.description,
		ServiceIntroduction: "共享充电宝",
		RiskFund:            RiskFund{Name: "DEPOSIT", Amount: 9900},
		TimeRange:           TimeRange{StartTime: formatTime(o.added.Add(-2 * time.Hour))},
		Attach:              "simulated",
		NotifyURL:           cmp.Or(o.notifyAddress(), "https://merchant.example/notify"),
		NeedCollection:      o.collectionState() != "",
		Undocumented:        map[string]any{"since": "2099-01-01", "list": []int{1, 2, 3}},
	}
	if o.state == StateDone || o.awaitsPayment() {
		e.TotalAmount = o.total
		e.TimeRange.EndTime = formatTime(o.added)
		if o.total > 0 {
			e.PostPayments = []Payment{{Name: "租借费", Amount: o.total, Count: 1}}
		}
	}
	if e.NeedCollection {
		e.Collection = &Collection{
			State: o.collectionState(), TotalAmount: o.total,
			PayingAmount: o.total - o.paid, PaidAmount: o.paid,
			// A copy: the entity outlives the lock.
			Details: append([]PaymentDetail(nil), o.details...),
		}
	}
	return e
}

// nextReply takes the next scripted reply for the call, if one is left.
// The caller holds o.mu.
func (o *order) nextReply(c Call) (ScriptedReply, bool) {
	for i := range o.replies {
		if r := &o.replies[i]; r.answers(c) {
			taken := *r
			if r.Times--; r.Times == 0 {
				o.replies = append(o.replies[:i], o.replies[i+1:]...)
			}
			return taken, true
		}
	}
	return ScriptedReply{}, false
}
