package chaos

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"payscore-collector/internal/audit"
	"payscore-collector/internal/ledger"
	"payscore-collector/internal/simulator"
	"payscore-collector/tasks"
)

// readLedger reads every order that the ledger has accepted.
func (res *result) readLedger() {
	e := res.e
	var mu sync.Mutex
	work := make(chan string)
	var readers sync.WaitGroup
	for range 16 {
		readers.Go(func() {
			for no := range work {
				o, err := e.ledger.Get(context.Background(), no)
				mu.Lock()
				switch {
				case errors.Is(err, ledger.ErrNotFound):
					res.breach(rowLost, "%s was accepted and is not in the ledger", no)
				case err != nil:
					res.breach(rowTrouble, "%s: %v", no, err)
				default:
					res.recorded[no] = o
					e.journal.translate(&o)
					res.orders[no] = o
					res.ends[o.State]++
				}
				mu.Unlock()
			}
		})
	}
	for _, no := range e.billing.accepted {
		work <- no
	}
	close(work)
	readers.Wait()
	for no := range e.billing.forgotten {
		_, withdrawn := e.billing.withdrawn[no]
		switch {
		case e.journal.lost(e.billing.enqueued[no], e.billing.enqueued[no]):
			res.excuse(rowLost, excuseFailover+"; it was enqueued again", 0)
		case withdrawn && e.journal.lost(e.billing.withdrawn[no], e.billing.withdrawn[no]):
			res.excuse(rowLost, excuseFailover+", a withdrawal; it was withdrawn again", 0)
		default:
			res.breach(rowLost, "%s was accepted a second time: the ledger had forgotten it", no)
		}
	}
	if n := e.profile.orders - len(e.billing.accepted); n != 0 {
		res.breach(rowTrouble, "%d orders were never enqueued", n)
	}
}

// judgeEnds compares each order's final state with the platform's truth. Whether
// it came too early or too late is among the suspicions.
func (res *result) judgeEnds() {
	e := res.e
	for no, o := range res.orders {
		p := res.truth[no]
		if !o.LatePaymentAt.IsZero() {
			res.late++
		}
		if o.State.Open() {
			if o.NextDueAt.IsZero() {
				res.breach(rowLost, "%s is %s and has no due time", no, o.State)
			}
			res.breachOf(rowOpen, no, "%s (%s) is %s, next %s at %.1fs; log %+v", no, p.Fate, o.State, o.Next, o.NextDueAt.Sub(e.started).Seconds(), lastEntries(o.Log))
			continue
		}
		asked := e.askedToEnd(no, o)
		want := audit.Expected(p)
		switch {
		case asked && !e.billing.collected[no].IsZero() && e.journal.lost(e.billing.withdrawn[no], e.billing.withdrawn[no]):
			res.excuse(rowWrong, excuseFailover+", a withdrawal; it had ended before it was withdrawn again", 0)
		case asked != (o.State == tasks.Withdrawn):
			res.breach(rowWrong, "%s (%s) is %s; withdrawn: %v", no, p.Fate, o.State, asked)
		case asked:
			res.judgeWithdrawn(no, o, p)
		case o.State == tasks.Exhausted && o.EndedAt.Sub(o.OpenedAt) < e.profile.giveUp:
			// A suspicion; it may be paid after that.
		case o.State != want && (o.State == tasks.Paid || o.State == tasks.Closed):
			res.breach(rowUnsigned, "%s (%s) is %s; the platform says %s", no, p.Fate, o.State, audit.Describe(p))
		case o.State == tasks.Exhausted && want == tasks.Rejected && p.State == simulator.StateNotExist && takenByMistake(res.calls[no]):
			res.excuse(rowWrong, "the platform had signed an answer to a collect as if it had the order", 0)
		case o.State != want:
			res.breach(rowWrong, "%s (%s) is %s %s; the platform says %s; log %+v", no, p.Fate, o.State, o.Reason, audit.Describe(p), lastEntries(o.Log))
		case o.State == tasks.Paid && (o.PaidAmount == nil || *o.PaidAmount != p.PaidAmount):
			res.breach(rowAmounts, "%s: ledger %v, platform paid %d", no, o.PaidAmount, p.PaidAmount)
		}
		if answered := answeredCollects(res.calls[no]); o.Attempts > answered {
			res.breach(rowAttempts, "%s: %d attempts, and %d collects that were answered about the order", no, o.Attempts, answered)
		}
	}
}

func (res *result) judgeWithdrawn(no string, o ledger.Order, p simulator.OrderReport) {
	switch {
	case !res.e.billing.synced[no]:
		return
	case o.Sync == nil:
		res.breach(rowWrong, "%s: WeChat Pay was to be told of the withdrawal, and the ledger knows nothing of it", no)
	case o.Sync.State == ledger.SyncPending:
		res.breach(rowOpen, "%s: WeChat Pay was not told of the withdrawal in time: next %s at %.1fs", no, o.Next, o.NextDueAt.Sub(res.e.started).Seconds())
	case o.Sync.State == ledger.SyncDone && p.State != simulator.StateDone:
		res.breach(rowWrong, "%s: sync is done, and the platform says %s", no, p.State)
	}
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

// takenByMistake reports whether a fault of the platform signed an answer to a collect
// that it gives only for orders that it has: a 200, or that it is cancelled. The worker then knows the order to exist, and no unsigned word that it
// does not exist can reject it.
func takenByMistake(calls []simulator.Seen) bool {
	return slices.ContainsFunc(calls, func(c simulator.Seen) bool {
		return c.Call == simulator.CallCollect && c.Answered && c.Signed && (c.Fault == string(simulator.KindBody) || c.Fault == string(simulator.KindError))
	})
}

var notTheOrders = map[string]bool{"sign_error": true, "no_auth": true, "down": true, "max_rate": true, "html_502": true}

func lastEntries(log []ledger.Entry) []string {
	var out []string
	for _, ev := range log[max(0, len(log)-4):] {
		out = append(out, fmt.Sprintf("%s %s %d %s", ev.Call, ev.Verdict, ev.HTTPStatus, ev.Code))
	}
	return out
}

// knowsPayment reports whether the ledger knows the order to be paid, as its end
// or beside another one.
func knowsPayment(o ledger.Order) bool { return o.State == tasks.Paid || !o.LatePaymentAt.IsZero() }

// judgeEvents reads the whole stream: each order's events are counted without a
// gap, the newest one is the order, and the counters equal a recount of the orders.
func (res *result) judgeEvents() {
	e, ctx := res.e, context.Background()
	mchid := e.sim.Merchant().MchID
	newest, seq, declines := map[string]ledger.Event{}, map[string]int64{}, audit.FirstDeclines{}
	for from := "-"; ; {
		page, err := e.rdb.XRangeN(ctx, ledger.KeysOf(mchid).Outcomes(), from, "+", 2000).Result()
		if err != nil {
			res.breach(rowTrouble, "the stream of outcomes: %v", err)
			return
		}
		for _, m := range page {
			event, err := ledger.DecodeEvent(mchid, m.ID, m.Values)
			if err != nil {
				res.breach(rowEvents, "%v", err)
				continue
			}
			no := event.OutOrderNo
			if seq[no]++; event.Seq != seq[no] {
				res.breach(rowEvents, "%s: event %d follows %d", no, event.Seq, seq[no]-1)
				seq[no] = event.Seq
			}
			newest[no] = event
			declines.Take(event)
			res.fromEvents.take(event)
			if event.End() {
				res.fromEnds.take(event)
			}
			if event.Type == "order.withdrawn" {
				res.withdrawals[no] = event
			}
			from = "(" + m.ID
		}
		if len(page) < 2000 {
			break
		}
	}
	for no, o := range res.orders {
		if event := newest[no]; event.State != o.State {
			res.breach(rowEvents, "%s is %s, and its newest event says %s %s", no, o.State, event.Type, event.State)
		}
	}
	stats, err := e.ledger.Stats(ctx)
	if err != nil {
		res.breach(rowTrouble, "the counters: %v", err)
	}
	for _, d := range audit.Stats(stats, slices.Collect(maps.Values(res.orders))) {
		res.breach(rowStats, "%s", d.Text)
	}
	recount := audit.RecoveryCounts{}
	for no, o := range res.recorded {
		recount.Add(o, declines[no])
	}
	recovery, err := e.ledger.Recovery(ctx, "2000-01-01", "2999-01-01")
	if err != nil {
		res.breach(rowTrouble, "the counters of the recovery: %v", err)
	}
	for _, d := range recount.Differ(recovery.Counts) {
		res.breach(rowStats, "%s", d.Text)
	}
	res.counters = len(recount)
}
