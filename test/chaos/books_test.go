package chaos

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
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
func (b *books) take(e ledger.Event) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.booked == nil {
		b.booked = map[string]map[string]ledger.Payment{}
	}
	of := b.booked[e.OutOrderNo]
	if of == nil {
		of = map[string]ledger.Payment{}
		b.booked[e.OutOrderNo] = of
	}
	for _, p := range e.Payments {
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
func newReceiver(w *world, r *rand.Rand) *hooktest.Receiver {
	receiver := hooktest.New(w.t)
	var mu sync.Mutex // r is not for several goroutines at once
	receiver.Answer = func(rw http.ResponseWriter, _ *http.Request, e ledger.Event) {
		w.hooked.take(e)
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
func (w *world) awaitWebhooks() {
	last := w.lastEnd()
	var left int64
	for deadline := time.Now().Add(w.form.settle); time.Now().Before(deadline); <-time.After(200 * time.Millisecond) {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		n, _, err := w.ledger.HooksWaiting(ctx)
		cancel()
		taken := last == "" || slices.ContainsFunc(w.receiver.Taken(), func(e ledger.Event) bool { return e.ID == last })
		if left = n; err == nil && n == 0 && taken {
			return
		}
	}
	w.book.say("billing was not sent the ends of %d orders, or not the last one, %s", left, last)
}

// lastEnd is the ID of the newest event that is an end, or "" where there is none.
func (w *world) lastEnd() (id string) {
	mchid := w.sim.Merchant().MchID
	w.insist("read the newest events", func(ctx context.Context) error {
		for to := "+"; ; {
			page, err := w.rdb.XRevRangeN(ctx, ledger.KeysOf(mchid).Outcomes(), to, "-", 100).Result()
			if err != nil || len(page) == 0 {
				return err
			}
			for _, m := range page {
				if e, err := ledger.DecodeEvent(mchid, m.ID, m.Values); err == nil && e.End() {
					id = e.ID
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
func (v *verdict) judgePayments() {
	for no, o := range v.orders {
		p := v.truth[no]
		platform := audit.Platform(p.Payments)
		v.payments += len(platform)
		if len(platform) > 1 {
			v.inParts++
		}
		if p.Lowered > 0 {
			v.lowered++
		}
		if o.State == tasks.Paid {
			v.comparePayments(rowPayments, no, "record", o.Payments, platform, false)
		} else {
			// What is paid after another end is known where WeChat Pay tells of it.
			v.comparePayments(rowPayments, no, "record", o.Payments, platform, !syncDone(o))
		}
		// Billing has from events and webhooks what the record has. No webhook is sent
		// for the sake of a payment that billing itself reported with a withdrawal.
		v.comparePayments(rowBooked, no, "events", v.events.of(no), o.Payments, false)
		if o.State.Open() {
			continue
		}
		booked := v.w.hooked.of(no)
		v.comparePayments(rowBooked, no, "webhooks", booked, told(o, booked), false)
		if o.TotalAmount != nil && *o.TotalAmount != p.TotalAmount && o.State == tasks.Paid {
			v.breach(rowAmounts, "%s (%s): the ledger's total is %d, the platform's %d", no, p.Fate, *o.TotalAmount, p.TotalAmount)
		}
		if o.AmountDiffers != nil {
			v.breachOf(rowAmounts, no, "%s (%s): an alarm, and nothing differs: %+v", no, p.Fate, *o.AmountDiffers)
		}
		v.judgeLate(no, o)
	}
	if v.w.form.packs == nil && (v.inParts == 0 || v.w.form.everyFault && v.lowered == 0) {
		v.breach(rowDeeds, "%d orders were paid in parts, and of %d the total was lowered", v.inParts, v.lowered)
	}
}

// told are the payments that webhooks have to tell billing of.
func told(o ledger.Order, booked []ledger.Payment) []ledger.Payment {
	return slices.DeleteFunc(slices.Clone(o.Payments), func(p ledger.Payment) bool {
		return o.Sync != nil && p.PaidType != payScore && !slices.ContainsFunc(booked, func(b ledger.Payment) bool { return b.TransactionID == p.TransactionID && b.Seq == p.Seq })
	})
}

func syncDone(o ledger.Order) bool { return o.Sync != nil && o.Sync.State == ledger.SyncDone }

func (v *verdict) comparePayments(row, no, whose string, have, want []ledger.Payment, mayMiss bool) {
	for _, d := range audit.Payments(have, want) {
		if d.Kind != audit.Missing || !mayMiss {
			v.breachOf(row, no, "%s (%s), %s: %s", no, v.truth[no].Fate, whose, d.Text)
		}
	}
}

// judgeLate: a payment through PayScore that billing did not know of when it
// withdrew is never without an alarm.
func (v *verdict) judgeLate(no string, o ledger.Order) {
	if o.State != tasks.Withdrawn || !o.LatePaymentAt.IsZero() {
		return
	}
	known := map[string]bool{}
	for _, p := range v.withdrawals[no].Payments {
		known[p.TransactionID] = true
	}
	for _, p := range o.Payments {
		if p.PaidType == payScore && !known[p.TransactionID] {
			v.breach(rowPayments, "%s (%s) is withdrawn; payment %s of %d fen came after that, without an alarm", no, v.truth[no].Fate, p.TransactionID, p.Amount)
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
