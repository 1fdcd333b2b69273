package chaos

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"payscore-collector/internal/audit"
	"payscore-collector/internal/ledger"
	"payscore-collector/internal/simulator"
	"payscore-collector/internal/testkit/hooktest"
	"payscore-collector/tasks"
)

// books is billing's bookkeeping. It follows the one rule that the documentation
// gives: book each payment once, under its transaction_id; one without, which was
// made elsewhere, under its order and seq.
type books struct {
	mu     sync.Mutex
	booked map[string]map[string]ledger.Payment // by order, then by that name
}

// take books what an event lists.
func (b *books) take(ev ledger.Event) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.booked == nil {
		b.booked = map[string]map[string]ledger.Payment{}
	}
	of := b.booked[ev.OutOrderNo]
	if of == nil {
		of = map[string]ledger.Payment{}
		b.booked[ev.OutOrderNo] = of
	}
	for _, p := range ev.Payments {
		name := p.TransactionID
		if name == "" {
			name = fmt.Sprint("seq ", p.Seq)
		}
		if _, known := of[name]; !known {
			of[name] = p
		}
	}
}

// of is what is booked of an order.
func (b *books) of(no string) []ledger.Payment {
	b.mu.Lock()
	defer b.mu.Unlock()
	var list []ledger.Payment
	for _, p := range b.booked[no] {
		list = append(list, p)
	}
	return list
}

// newReceiver is billing's receiver of webhooks. It books what it is sent; now
// and then it answers late or not at all, though it has booked, and is sent the
// same again.
func newReceiver(e *env, r *rand.Rand) *hooktest.Receiver {
	receiver := hooktest.New(e.t)
	receiver.WrongClocks = e.profile.wrongClock
	var mu sync.Mutex // r is not for several goroutines at once
	receiver.Answer = func(rw http.ResponseWriter, _ *http.Request, ev ledger.Event) {
		e.hooked.take(ev)
		mu.Lock()
		failed := r.IntN(20) == 0
		mu.Unlock()
		if failed {
			rw.WriteHeader(http.StatusInternalServerError)
		}
	}
	return receiver
}

// awaitWebhooks waits until billing has taken every end: the stream's last one, and
// none is left to be sent.
func (e *env) awaitWebhooks() {
	last := e.lastEnd()
	var left int64
	for deadline := time.Now().Add(e.profile.settle); time.Now().Before(deadline); <-time.After(200 * time.Millisecond) {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		n, _, err := e.ledger.HooksWaiting(ctx)
		cancel()
		taken := last == "" || slices.ContainsFunc(e.receiver.Taken(), func(ev ledger.Event) bool { return ev.ID == last })
		if left = n; err == nil && n == 0 && taken {
			return
		}
	}
	e.journal.fail("billing was not sent the ends of %d orders, or not the last one, %s", left, last)
}

// lastEnd is the ID of the newest event that is an end, or "" without one.
func (e *env) lastEnd() (id string) {
	mchid := e.sim.Merchant().MchID
	e.retry("read the newest events", func(ctx context.Context) error {
		for to := "+"; ; {
			page, err := e.rdb.XRevRangeN(ctx, ledger.KeysOf(mchid).Outcomes(), to, "-", 100).Result()
			if err != nil || len(page) == 0 {
				return err
			}
			for _, m := range page {
				if ev, err := ledger.DecodeEvent(mchid, m.ID, m.Values); err == nil && ev.End() {
					id = ev.ID
					return nil
				}
			}
			to = "(" + page[len(page)-1].ID
		}
	})
	return id
}

// judgePayments compares each order's payments with the platform's own list, fen
// by fen: those of the record, and those that billing has booked from events and
// from webhooks.
func (res *result) judgePayments() {
	for no, o := range res.orders {
		p := res.truth[no]
		platform := audit.Platform(p.Payments)
		res.payments += len(platform)
		if len(platform) > 1 {
			res.inParts++
		}
		if p.Lowered > 0 {
			res.lowered++
		}
		// What is paid after another end is known only where WeChat Pay tells of it.
		mayMiss := o.State != tasks.Paid && (o.Sync == nil || o.Sync.State != ledger.SyncDone)
		res.comparePayments(rowPayments, no, "record", o.Payments, platform, mayMiss)
		res.comparePayments(rowBooked, no, "events", res.fromEvents.of(no), o.Payments, false)
		if o.State.Open() {
			continue
		}
		// Webhooks carry the events that are final states, and lose none of them.
		told := res.fromEnds.of(no)
		res.comparePayments(rowBooked, no, "webhooks", res.e.hooked.of(no), told, false)
		untold := slices.DeleteFunc(slices.Clone(o.Payments), func(p ledger.Payment) bool { return res.billingReported(no, o, p) })
		for _, d := range audit.Payments(told, untold) {
			if d.Kind == audit.Missing {
				res.breachOf(rowBooked, no, "%s (%s), no webhook was due: %s", no, p.Fate, d.Text)
			}
		}
		if o.TotalAmount != nil && *o.TotalAmount != p.TotalAmount && o.State == tasks.Paid {
			res.breach(rowAmounts, "%s (%s): the ledger's total is %d, the platform's %d", no, p.Fate, *o.TotalAmount, p.TotalAmount)
		}
		if o.AmountDiffers != nil {
			res.breachOf(rowAmounts, no, "%s (%s): an alarm, and nothing differs: %+v", no, p.Fate, *o.AmountDiffers)
		}
		res.judgeLate(no, o)
	}
	res.judgeFates()
}

// billingReported reports whether no webhook is due for a payment, because
// billing said of it when it withdrew the order that it was made elsewhere. WeChat
// Pay repeats that payment with the time that billing gave, to the second. The
// parts of a mixed order are reported by another system of the merchant, also behind
// a withdrawal: WeChat Pay moves no money for them, and neither it nor the ledger can
// tell them from what billing has reported. They are in the stream's events, and no
// webhook is sent for their sake, so of those every MCH payment passes.
func (res *result) billingReported(no string, o ledger.Order, p ledger.Payment) bool {
	b := &res.e.billing
	if p.PaidType == payScore || o.State != tasks.Withdrawn {
		return false
	}
	return strings.HasPrefix(string(res.truth[no].Fate), "mixed") ||
		b.synced[no] && slices.ContainsFunc(b.paidAt[no], func(at time.Time) bool { return p.PaidAt.Equal(at.Truncate(time.Second)) })
}

// judgeFates sees that the run had payments in parts and lowered totals, out of
// what was drawn without the orders whose platform lies and those that billing
// withdraws: a quarter in the long form. In the short form a fault holds the calls
// for most of 42 s (Redis is away for 12 s, two of three workers are frozen for 9 s
// each, the queue is paused for 6 s), and a second collect competes with first ones
// for 36 calls a second. Of some 50 orders to be paid in parts 3 to 11 were, on a
// busy machine, before GIVE_UP_AFTER; a twentieth is demanded, and no lowered total,
// which takes three collects.
func (res *result) judgeFates() {
	if res.e.profile.faultSets != nil {
		return
	}
	var inParts, lowered int
	for _, p := range plans(res.e.profile, res.e.random("plans")) {
		switch kind, _, _ := strings.Cut(string(p.order.Fate), ":"); {
		case p.withdraw > 0 || len(p.order.Replies) > 0:
		case kind == "partial" || kind == "parts" || kind == "mixed":
			inParts++
		case kind == "lower":
			lowered++
		}
	}
	leastParts, leastLowered := max(1, inParts/20), 0
	if res.e.profile.everyFault {
		leastParts, leastLowered = max(1, inParts/4), max(1, lowered/4)
	}
	if res.inParts < leastParts || res.lowered < leastLowered {
		res.breach(rowFaults, "%d orders were paid in parts, of %d that were to be; of %d the total was lowered, of %d", res.inParts, inParts, res.lowered, lowered)
	}
}

func (res *result) comparePayments(row, no, whose string, have, want []ledger.Payment, mayMiss bool) {
	for _, d := range audit.Payments(have, want) {
		if d.Kind != audit.Missing || !mayMiss {
			res.breachOf(row, no, "%s (%s), %s: %s", no, res.truth[no].Fate, whose, d.Text)
		}
	}
}

// judgeLate: a payment through PayScore that billing did not know of when it
// withdrew is never without an alarm.
func (res *result) judgeLate(no string, o ledger.Order) {
	if o.State != tasks.Withdrawn || !o.LatePaymentAt.IsZero() {
		return
	}
	known := map[string]bool{}
	for _, p := range res.withdrawals[no].Payments {
		known[p.TransactionID] = true
	}
	for _, p := range o.Payments {
		if p.PaidType == payScore && !known[p.TransactionID] {
			res.breach(rowPayments, "%s (%s) is withdrawn; payment %s of %d fen came after that, without an alarm", no, res.truth[no].Fate, p.TransactionID, p.Amount)
		}
	}
}

// payScore is the paid_type of a payment through PayScore.
const payScore = "NEWTON"

// drawParts are the fates of orders that are not paid all at once, or not what
// they were completed with.
func drawParts(r *rand.Rand) simulator.Fate {
	switch r.IntN(6) {
	case 0:
		return simulator.FatePartial(int64(1 + r.IntN(99)))
	case 1:
		return simulator.FateParts(2 + r.IntN(2))
	case 2, 3:
		return simulator.FateLower(int64(1 + r.IntN(99)))
	}
	return simulator.FateMixed([]string{"PM", "MP", "PMP", "MPM", "PPM", "MM"}[r.IntN(6)])
}
