package chaos

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"payscore-collector/internal/ledger"
	"payscore-collector/internal/payscore"
	"payscore-collector/internal/simulator"
	"payscore-collector/tasks"
)

// readLedger reads every order that billing was told is in.
func (v *verdict) readLedger() {
	w := v.w
	var mu sync.Mutex
	work := make(chan string)
	var readers sync.WaitGroup
	for range 16 {
		readers.Go(func() {
			for no := range work {
				o, err := w.ledger.Get(context.Background(), no)
				mu.Lock()
				switch {
				case errors.Is(err, ledger.ErrNotFound):
					v.breach(rowLost, "%s was accepted and is not in the ledger", no)
				case err != nil:
					v.breach(rowTrouble, "%s: %v", no, err)
				default:
					w.book.translate(&o)
					v.orders[no] = o
					v.ends[o.State]++
				}
				mu.Unlock()
			}
		})
	}
	for _, no := range w.billing.accepted {
		work <- no
	}
	close(work)
	readers.Wait()
	for no := range w.billing.forgotten {
		_, withdrawn := w.billing.withdrawn[no]
		switch {
		case w.book.lost(w.billing.handed[no], w.billing.handed[no]):
			v.excuse(rowLost, failover+"; it was handed over again", 0)
		case withdrawn && w.book.lost(w.billing.withdrawn[no], w.billing.withdrawn[no]):
			v.excuse(rowLost, failover+", a withdrawal; it was withdrawn again", 0)
		default:
			v.breach(rowLost, "%s was accepted a second time: the ledger had forgotten it", no)
		}
	}
	if n := w.form.orders - len(w.billing.accepted); n != 0 {
		v.breach(rowTrouble, "%d orders were never handed over", n)
	}
}

// judgeEnds holds each order's end against the platform's truth.
func (v *verdict) judgeEnds() {
	w := v.w
	for no, o := range v.orders {
		p := v.truth[no]
		if !o.LatePaymentAt.IsZero() {
			v.late++
		}
		if o.State.Open() {
			if o.NextDueAt.IsZero() {
				v.breach(rowLost, "%s is %s and has no due time", no, o.State)
			}
			v.breachOf(rowOpen, no, "%s (%s) is %s, next %s at %.1fs; log %+v", no, p.Fate, o.State, o.Next, o.NextDueAt.Sub(w.started).Seconds(), lastEntries(o.Log))
			continue
		}
		_, asked := w.billing.withdrawn[no]
		want := expected(p)
		switch {
		case asked && !w.billing.collected[no].IsZero() && w.book.lost(w.billing.withdrawn[no], w.billing.withdrawn[no]):
			v.excuse(rowWrong, failover+", a withdrawal; it had ended before it was withdrawn again", 0)
		case asked != (o.State == tasks.Withdrawn):
			v.breach(rowWrong, "%s (%s) is %s; withdrawn by billing: %v", no, p.Fate, o.State, asked)
		case asked:
			v.judgeWithdrawn(no, o, p)
		case o.State == tasks.Exhausted && o.EndedAt.Sub(o.OpenedAt) < w.form.giveUp:
			v.judgeEarly(no, o)
		case o.State != want && (o.State == tasks.Paid || o.State == tasks.Closed):
			v.breach(rowUnsigned, "%s (%s) is %s; the platform says %s %s %s", no, p.Fate, o.State, p.State, p.StateDescription, p.CollectionState)
		case o.State != want:
			v.breach(rowWrong, "%s (%s) is %s %s; the platform says %s %s %s", no, p.Fate, o.State, o.Reason, p.State, p.StateDescription, p.CollectionState)
		case o.State == tasks.Paid && (o.PaidAmount == nil || *o.PaidAmount != p.PaidAmount):
			v.breach(rowAmounts, "%s: ledger %v, platform paid %d", no, o.PaidAmount, p.PaidAmount)
		}
		if answered := answeredCollects(v.calls[no]); o.Attempts > answered {
			v.breach(rowAttempts, "%s: %d attempts, and %d collects that were answered about the order", no, o.Attempts, answered)
		}
	}
}

// judgeEarly: an order may be given up before its time, and be paid after that,
// only where Redis's clock was ahead by the rest of its time.
func (v *verdict) judgeEarly(no string, o ledger.Order) {
	age := o.EndedAt.Sub(o.OpenedAt)
	rest := v.w.form.giveUp - age
	if v.w.book.ahead(o.OpenedAt, o.EndedAt) >= rest {
		v.excuse(rowWrong, giveUpJumped, rest)
		return
	}
	// A worker reckons Redis's clock from when it asked for the order, and so
	// thinks it later by as long as Redis took to answer.
	if rest <= onItsWay || v.w.book.disturbed(o.EndedAt.Add(-rest-v.w.form.lease()), o.EndedAt) && rest <= v.w.form.lease() {
		v.excuse(rowWrong, "given up early by as long as Redis took to answer a claim", rest)
		return
	}
	v.breachOf(rowWrong, no, "%s was given up after %s, before its time", no, age)
}

func (v *verdict) judgeWithdrawn(no string, o ledger.Order, p simulator.OrderReport) {
	switch {
	case !v.w.billing.synced[no]:
		return
	case o.Sync == nil:
		v.breach(rowWrong, "%s: WeChat Pay was to be told of the withdrawal, and the ledger knows nothing of it", no)
	case o.Sync.State == ledger.SyncPending:
		v.breach(rowOpen, "%s: WeChat Pay was not told of the withdrawal in time: next %s at %.1fs", no, o.Next, o.NextDueAt.Sub(v.w.started).Seconds())
	case o.Sync.State == ledger.SyncDone && p.State != simulator.StateDone:
		v.breach(rowWrong, "%s: sync is done, and the platform says %s", no, p.State)
	}
}

// expected is the end that the platform's truth asks for.
func expected(p simulator.OrderReport) tasks.State {
	switch {
	case p.State == simulator.StateDone && p.CollectionState == simulator.CollectionUserPaid:
		return tasks.Paid
	case p.State == simulator.StateRevoked || p.State == simulator.StateExpired:
		return tasks.Closed
	case p.CollectionState == simulator.CollectionUserPaying:
		return tasks.Exhausted
	}
	return tasks.Rejected
}

// answeredCollects counts the collect calls that were answered about the order
// itself, by the platform or in its name.
func answeredCollects(calls []simulator.Seen) int64 {
	var n int64
	for _, c := range calls {
		if c.Call == simulator.CallCollect && c.Status != 0 && c.Status < 500 && c.Status != 429 && !notTheOrders[c.Fault] {
			n++
		}
	}
	return n
}

var notTheOrders = map[string]bool{"sign_error": true, "no_auth": true, "down": true, "max_rate": true, "html_502": true}

func lastEntries(log []ledger.Entry) []string {
	var out []string
	for _, e := range log[max(0, len(log)-4):] {
		out = append(out, fmt.Sprintf("%s %s %d %s", e.Call, e.Verdict, e.HTTPStatus, e.Code))
	}
	return out
}

// suspect looks at all calls of one order for what looks like a breach.
func (v *verdict) suspect(no string, calls []simulator.Seen) []suspicion {
	var out []suspicion
	w := v.w
	o, known := v.orders[no]
	add := func(row string, size time.Duration, text string, innocent func(e evidence, all []call) string) {
		out = append(out, suspicion{row: row, no: no, text: fmt.Sprintf(text, size.Round(time.Millisecond)), size: size, innocent: innocent})
	}
	// late: the call was frozen on its way, or the one before it was.
	late := func(i, before int) func(evidence, []call) string {
		return func(e evidence, all []call) string {
			if e.late(all[i]) || before >= 0 && e.late(all[before]) {
				return "a worker was frozen between its last look at the clock and the send"
			}
			if before >= 0 && e.forgotten(all[before], w.form.lease()) {
				return failover
			}
			if e.overtaken(w.form.lease(), all[i].Began, all[i]) || before >= 0 && e.overtaken(w.form.lease(), all[i].Began, all[before]) {
				return leaseJumped
			}
			return ""
		}
	}
	lastCollect, lookedSince, shown := -1, false, -1
	for i, c := range calls {
		for j := i - 1; j >= 0 && j >= i-8; j-- {
			if calls[j].Over.After(c.Began) {
				add(rowAtOnce, calls[j].Over.Sub(c.Began), fmt.Sprintf("a %s began %%s before a %s was over", c.Call, calls[j].Call),
					v.overlap(i, j, late(i, j)))
			}
		}
		// WeChat Pay is told of a withdrawal after it: that is no breach.
		telling := o.State == tasks.Withdrawn && o.Sync != nil && c.Call != simulator.CallCollect
		if shown >= 0 {
			add(rowAfterEnd, c.Began.Sub(calls[shown].Over), fmt.Sprintf("a %s %%s after a reply had shown the end", c.Call),
				v.unwritten(shown, o, telling, late(i, -1)))
		}
		if c.Call == simulator.CallQuery && c.Ended && c.Answered && c.Signed {
			shown = i
		}
		if known && !telling && !o.EndedAt.IsZero() && c.Began.After(o.EndedAt.Add(time.Millisecond)) {
			add(rowAfterEnd, c.Began.Sub(o.EndedAt), fmt.Sprintf("a %s %%s after the end was recorded (%s)", c.Call, o.State),
				v.afterRecord(i, o, late(i, -1)))
		}
		if c.Call == simulator.CallQuery {
			lookedSince = lookedSince || c.Answered && c.Signed && c.Owed
			continue
		}
		if c.Call != simulator.CallCollect {
			continue
		}
		if !w.shut[0].After(c.Began) && c.Began.Before(w.shut[1]) {
			add(rowWindow, w.shut[1].Sub(c.Began), "collected %s before the window opened", late(i, -1))
		}
		if lastCollect >= 0 {
			before := calls[lastCollect]
			// From the end of the one before, where that was answered; where the
			// worker had left, the server may notice late.
			gap := c.Began.Sub(before.Began)
			if before.Answered {
				gap = c.Began.Sub(before.Over)
			}
			if gap < w.form.minGap {
				short := w.form.minGap - gap
				add(rowSoon, short, "collected again %s too soon", v.tooSoon(i, lastCollect, short, late(i, lastCollect)))
			}
			if !lookedSince {
				add(rowBlind, gap, "collected again after %s, and no reply had shown it owed since the last time", late(i, lastCollect))
			}
		}
		lastCollect, lookedSince = i, false
	}
	return out
}

// overlap: two calls at once are nobody's fault where the later one was frozen
// on its way, or the earlier one's process stands still and cannot hang up.
func (v *verdict) overlap(i, j int, late func(evidence, []call) string) func(evidence, []call) string {
	return func(e evidence, all []call) string {
		if cause := late(e, all); cause != "" {
			return cause
		}
		if c := all[j]; c.process != "" && e.frozen(c.process, c.Began, all[i].Began) && all[i].Began.Sub(c.Began) > v.w.form.callTimeout {
			return "a call still ran at the platform for a worker that was frozen"
		}
		return ""
	}
}

// tooSoon: the gap is measured by Redis's clock.
func (v *verdict) tooSoon(i, before int, short time.Duration, late func(evidence, []call) string) func(evidence, []call) string {
	return func(e evidence, all []call) string {
		if cause := late(e, all); cause != "" {
			return cause
		}
		if e.book.ahead(all[before].began(v.w.form.lease()), all[i].Began) >= short {
			return gapJumped
		}
		return ""
	}
}

// unwritten: a call after an end that was shown is nobody's fault where whoever
// was shown it could not write it down.
func (v *verdict) unwritten(shown int, o ledger.Order, telling bool, late func(evidence, []call) string) func(evidence, []call) string {
	return func(e evidence, all []call) string {
		if cause := late(e, all); cause != "" {
			return cause
		}
		if c := all[shown]; telling && !c.granted.IsZero() && !c.granted.After(o.EndedAt) {
			return "it was withdrawn under that call, and WeChat Pay was told all the same"
		}
		return e.unwritten(all[shown], v.w.form.lease())
	}
}

// afterRecord: a call after a recorded end is nobody's fault where it had been
// allowed before, and the end came from another side.
func (v *verdict) afterRecord(i int, o ledger.Order, late func(evidence, []call) string) func(evidence, []call) string {
	return func(e evidence, all []call) string {
		c := all[i]
		if cause := late(e, all); cause != "" {
			return cause
		}
		if c.granted.IsZero() {
			return ""
		}
		if c.granted.After(o.EndedAt) {
			if e.book.lost(c.granted, c.granted) {
				return "a master that had been replaced let it through"
			}
			return ""
		}
		switch {
		case o.State == tasks.Withdrawn:
			return "it was withdrawn between the permission to call and the call"
		case endedByNotification(o):
			return "a notification showed it paid between the permission to call and the call"
		}
		return ""
	}
}

// endedByNotification reports whether the order's end came from a notification.
func endedByNotification(o ledger.Order) bool {
	return o.State == tasks.Paid && slices.ContainsFunc(o.Log, func(e ledger.Entry) bool {
		return e.Call == string(payscore.CallNotification) && e.Verdict == string(payscore.Paid) && e.At.Equal(o.EndedAt)
	})
}

// knowsPayment reports whether the ledger knows the order to be paid, as its end
// or beside another one.
func knowsPayment(o ledger.Order) bool { return o.State == tasks.Paid || !o.LatePaymentAt.IsZero() }

// judgeEvents reads the whole stream: each order's events are counted without a
// gap, the newest one is the order, and the counters are the orders.
func (v *verdict) judgeEvents() {
	w, ctx := v.w, context.Background()
	mchid := w.sim.Merchant().MchID
	newest, seq := map[string]ledger.Event{}, map[string]int64{}
	for from := "-"; ; {
		page, err := w.rdb.XRangeN(ctx, ledger.KeysOf(mchid).Outcomes(), from, "+", 2000).Result()
		if err != nil {
			v.breach(rowTrouble, "the stream of outcomes: %v", err)
			return
		}
		for _, m := range page {
			e, err := ledger.DecodeEvent(mchid, m.ID, m.Values)
			if err != nil {
				v.breach(rowEvents, "%v", err)
				continue
			}
			if seq[e.OutOrderNo]++; e.Seq != seq[e.OutOrderNo] {
				v.breach(rowEvents, "%s: event %d follows %d", e.OutOrderNo, e.Seq, seq[e.OutOrderNo]-1)
				seq[e.OutOrderNo] = e.Seq
			}
			newest[e.OutOrderNo] = e
			v.events.take(e)
			if e.Type == "order.withdrawn" {
				v.withdrawals[e.OutOrderNo] = e
			}
			from = "(" + m.ID
		}
		if len(page) < 2000 {
			break
		}
	}
	for no, o := range v.orders {
		if e := newest[no]; e.State != o.State {
			v.breach(rowEvents, "%s is %s, and its newest event says %s %s", no, o.State, e.Type, e.State)
		}
	}
	stats, err := w.ledger.Stats(ctx)
	if err != nil {
		v.breach(rowTrouble, "the counters: %v", err)
	}
	for _, s := range tasks.States {
		if stats.Orders[s] != int64(v.ends[s]) {
			v.breach(rowStats, "%d orders are %s, and the counter says %d", v.ends[s], s, stats.Orders[s])
		}
	}
}
