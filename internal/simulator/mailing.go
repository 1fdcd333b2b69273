package simulator

import (
	"encoding/json"
	"fmt"
	"time"
)

// mailing is one event on its way to the merchant, with all its deliveries. They
// follow each other, so that only one goroutine at a time uses it.
type mailing struct {
	event
	order    *order
	payment  int // which of the order's, from 1 on
	url      string
	settings Notifications
	seed     uint64

	body   []byte      // encrypted for the first delivery, and the same in all
	sent   int         // deliveries so far
	failed int         // deliveries that the merchant refused
	taken  bool        // the merchant accepted it, and a duplicate follows
	then   *mailing    // waits for this one's first delivery
	timer  *time.Timer // of the next delivery; guarded by the notifier's mu
}

// mailings makes the events of the order's newest payment: the payment's own
// notification, nil where it is lost, and an event of another type that precedes
// it, nil where no other event does. told is false where the order has no address
// to notify. The caller holds o.mu: the merchant will read the order as it is at
// this moment.
func (n *notifier) mailings(o *order) (own, other *mailing, told bool) {
	m := mailing{
		order: o, payment: len(o.details), url: o.notifyAddress(),
		settings: *n.sim.notifications.Load(), seed: n.sim.seed.Load(),
	}
	if m.url == "" {
		return nil, nil, false
	}
	entity, now := o.entity(n.sim.id.Merchant), n.sim.clock()
	if m.draw("lose", 0) >= m.settings.Lose {
		paid := m
		paid.event = newEvent(EventUserPaid, entity, now)
		own = &paid
	}
	if m.draw("other_events", 0) < m.settings.OtherEvents {
		before := m
		if m.draw("which", 0) < 0.5 {
			before.event = newEvent(EventUserConfirm, entity.confirmed(), now)
		} else {
			before.event = newEvent(EventRefundSuccess, o.refund(n.sim.id.Merchant, now), now)
		}
		before.then = own
		other = &before
	}
	return own, other, true
}

// draw returns a random number in [0, 1), the same in every run with the same
// seed. Each use has a name of its own, so that the uses are independent.
func (m *mailing) draw(use string, delivery int) float64 {
	return drawFor(m.seed, fmt.Sprintf("%s %s %d %s", use, m.kind, m.payment, m.order.no), int64(delivery)).fault
}

// wait is the time to the next delivery of an event that was not refused.
func (m *mailing) wait() time.Duration {
	if m.kind != EventUserPaid {
		return 0
	}
	s := m.settings
	d := time.Duration(s.Delay) + time.Duration(m.draw("jitter", m.sent)*float64(s.DelayJitter))
	if m.sent == 0 && m.draw("late", 0) < s.Late {
		d += time.Duration(s.LateBy)
	}
	return d
}

// delivered records how a delivery ended, and returns whether another one follows,
// and after which time.
func (m *mailing) delivered(taken bool) (wait time.Duration, again bool) {
	m.sent++
	switch {
	case m.taken: // the duplicate, whose answer does not matter
		return 0, false
	case taken:
		m.taken = m.kind == EventUserPaid && m.draw("duplicate", 0) < m.settings.Duplicate
		return m.wait(), m.taken
	case m.failed < len(m.settings.Retry):
		m.failed++
		return time.Duration(m.settings.Retry[m.failed-1]), true
	default:
		return 0, false
	}
}

// confirmed is the order as it was when the user had confirmed it.
func (e Entity) confirmed() Entity {
	e.State, e.StateDescription = StateDoing, DescriptionUserConfirm
	e.TotalAmount, e.PostPayments, e.TimeRange.EndTime = 0, nil, ""
	e.NeedCollection, e.Collection = false, nil
	return e
}

// refund invents the content of a refund's event, of one fen, as far as a merchant needs
// it to tell a refund from a payment. It has the order's number, as the real one does
// where the user paid in the app. The caller holds o.mu.
func (o *order) refund(m Merchant, at time.Time) map[string]any {
	return map[string]any{
		"mchid": m.MchID, "out_trade_no": o.no, "transaction_id": o.details[len(o.details)-1].TransactionID,
		"out_refund_no": "R" + o.orderID(), "refund_id": "50000" + o.orderID(), "refund_status": "SUCCESS",
		"success_time": at.In(chinaTime).Format(time.RFC3339), "user_received_account": "支付用户零钱",
		"amount": map[string]int64{"total": o.total, "refund": 1, "payer_total": o.total, "payer_refund": 1},
	}
}

func newEvent(kind string, content any, at time.Time) event {
	plaintext, err := json.Marshal(content)
	if err != nil {
		plaintext = []byte("{}") // cannot happen: JSON can express all of our types
	}
	return event{id: newEventID(at), kind: kind, created: at, plaintext: plaintext}
}
