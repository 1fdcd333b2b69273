package chaos

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"payscore-collector/internal/control"
	"payscore-collector/internal/ledger"
	"payscore-collector/tasks"
)

// operator is what an operator has done meanwhile, and the answers.
type operator struct {
	mu    sync.Mutex
	deeds []deed
	bulks []string // ids
}

// deed is something that the operator did to one order, or to the merchant.
type deed struct {
	action, no string
	reason     string // its own: by it, the trail tells it from all others
	times      int    // how often the trail must have it
}

// paused is a time during which the merchant's collect calls were paused: from the answer
// on, until the resumption was asked for.
type paused struct{ from, to time.Time }

// theOperator is who does it.
const theOperator = "cli:operator"

// operates does something as an operator, and again where Redis fails, with a reason and a
// token of its own.
func (e *env) operates(action, no string, do func(context.Context, ledger.Deed) (done bool, err error)) bool {
	e.operator.mu.Lock()
	reason := fmt.Sprintf("%s %d", action, len(e.operator.deeds)+len(e.operator.bulks))
	e.operator.deeds = append(e.operator.deeds, deed{action: action, no: no, reason: reason})
	this := len(e.operator.deeds) - 1
	e.operator.mu.Unlock()
	d := ledger.Deed{By: theOperator, Reason: reason, Token: ledger.NewToken()}
	done := false
	if !e.retry(action, func(ctx context.Context) (err error) {
		done, err = do(ctx, d)
		return err
	}) {
		return false
	}
	if done {
		e.operator.mu.Lock()
		e.operator.deeds[this].times = 1
		e.operator.mu.Unlock()
	}
	return done
}

// operatorFaults are what an operator does.
func operatorFaults() []fault {
	bulk := func(action string) func(*env, *rand.Rand, *worker) bool {
		return func(e *env, r *rand.Rand, _ *worker) bool {
			no := e.billing.recent(r)
			if no == "" {
				return false
			}
			request := control.BulkRequest{
				Action: action, MchIDs: []string{e.sim.Merchant().MchID}, Query: ledger.Query{Prefix: no[:len(no)-1]}, // ten orders
				By: theOperator, Reason: "bulk",
			}
			var id string
			if !e.retry("bulk "+action, func(ctx context.Context) (err error) {
				id, err = control.StartBulk(ctx, e.rdb, request)
				return err
			}) {
				return false
			}
			e.operator.mu.Lock()
			e.operator.bulks = append(e.operator.bulks, id)
			e.operator.mu.Unlock()
			return true
		}
	}
	return []fault{
		{name: "the merchant paused, and resumed", takes: 4 * time.Second, do: func(e *env, r *rand.Rand, _ *worker) bool {
			if !e.operates(ledger.ActPause, "", func(ctx context.Context, d ledger.Deed) (bool, error) {
				_, err := e.ledger.Pause(ctx, d, 0)
				return true, err
			}) {
				return false
			}
			p := paused{from: time.Now()}
			wait(between(r, 2*time.Second, 4*time.Second))
			p.to = time.Now()
			e.journal.mu.Lock()
			e.journal.pauses = append(e.journal.pauses, p)
			e.journal.mu.Unlock()
			// A resumption whose answer was lost finds nothing paused.
			return e.operates(ledger.ActResume, "", func(ctx context.Context, d ledger.Deed) (bool, error) {
				_, err := e.ledger.Resume(ctx, d)
				return true, err
			})
		}},
		{name: "orders collected now", takes: time.Second, do: func(e *env, r *rand.Rand, _ *worker) (hit bool) {
			for range 10 {
				no := e.billing.recent(r)
				if no == "" {
					return hit
				}
				if e.operates(ledger.ActCollectNow, no, func(ctx context.Context, d ledger.Deed) (bool, error) {
					h, err := control.NewHastener(ctx, e.rdb, e.sim.Merchant().MchID)
					if err != nil {
						return false, err
					}
					res, err := h.CollectNow(ctx, no, d)
					return res.Status == tasks.Accepted, err
				}) {
					hit = true
				}
			}
			return hit
		}},
		{name: "orders withdrawn in bulk", takes: time.Second, do: bulk(ledger.ActWithdraw)},
		{name: "orders collected now in bulk", takes: time.Second, do: bulk(ledger.ActCollectNow)},
	}
}

// awaitBulks waits for the end of every bulk action.
func (e *env) awaitBulks() {
	for deadline := time.Now().Add(e.profile.settle); time.Now().Before(deadline); <-time.After(100 * time.Millisecond) {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		listed, err := ledger.ListedBulks(ctx, e.rdb)
		cancel()
		if err == nil && len(listed) == 0 {
			return
		}
	}
}

// askedToEnd reports whether an order was withdrawn, and not reopened since: by billing's
// word, or, where the operator had a hand in it, by the order's history. That the operator
// did not do more than was asked, and that the history is complete, judgeTrail sees.
func (e *env) askedToEnd(no string, o ledger.Order) bool {
	_, asked := e.billing.withdrawn[no]
	if !slices.ContainsFunc(o.Actions, func(a ledger.Action) bool { return a.By == theOperator && a.Action == ledger.ActWithdraw }) {
		return asked
	}
	for _, a := range o.Actions {
		switch a.Action {
		case ledger.ActWithdraw:
			asked = true
		case ledger.ActReopen:
			asked = false
		}
	}
	return asked
}

// judgeTrail demands that the trail has every deed of the operator once, and no other, and
// that bulk actions have done what they say.
func (res *result) judgeTrail() {
	e, ctx := res.e, context.Background()
	type entry struct{ reason, no string }
	trail, bulk := map[entry]int{}, map[string]map[string]int{} // bulk: by action, by order
	for cursor := ""; ; {
		list, next, err := ledger.Audit(ctx, []*ledger.Ledger{e.ledger}, 1000, cursor)
		if err != nil {
			res.breach(rowTrouble, "the trail: %v", err)
			return
		}
		for _, a := range list {
			if a.By != theOperator {
				continue
			}
			if a.Reason != "bulk" {
				trail[entry{a.Reason, a.OutOrderNo}]++
				continue
			}
			if bulk[a.Action.Action] == nil {
				bulk[a.Action.Action] = map[string]int{}
			}
			bulk[a.Action.Action][a.OutOrderNo]++
		}
		if cursor = next; next == "" {
			break
		}
	}
	for _, d := range e.operator.deeds {
		if n := trail[entry{d.reason, d.no}]; n != d.times {
			res.breach(rowTrail, "%s of %q stands in the trail %d times, want %d", d.reason, d.no, n, d.times)
		}
		delete(trail, entry{d.reason, d.no})
	}
	for x, n := range trail {
		res.breach(rowTrail, "the trail has %d times what no operator did: %+v", n, x)
	}
	done := map[string]int64{}
	for _, id := range e.operator.bulks {
		p, err := ledger.ProgressOfBulk(ctx, e.rdb, []string{e.sim.Merchant().MchID}, id)
		switch {
		case errors.Is(err, ledger.ErrNotFound):
			res.breach(rowLost, "the bulk action %s is gone", id)
		case err != nil:
			res.breach(rowTrouble, "the bulk action %s: %v", id, err)
		case p.Stage != ledger.BulkDone || p.Left != 0 || p.Matched > 10:
			res.breach(rowOpen, "the bulk action %s was not done in time, or is wrong: %+v", id, p)
		}
		done[p.Action] += p.Done
	}
	if n := bulk[ledger.ActBulk][""]; n != len(e.operator.bulks) {
		res.breach(rowTrail, "the trail has %d bulk actions, and %d were begun", n, len(e.operator.bulks))
	}
	for _, action := range []string{ledger.ActWithdraw, ledger.ActCollectNow} {
		var n int64
		for _, times := range bulk[action] {
			n += int64(times)
		}
		if n != done[action] {
			res.breach(rowTrail, "the trail has %d deeds %s of bulk actions, and they say that they have done %d", n, action, done[action])
		}
	}
}

// pausedAt returns the pause that was in force at a moment.
func (b *journal) pausedAt(t time.Time) (paused, bool) {
	i := slices.IndexFunc(b.pauses, func(p paused) bool { return !t.Before(p.from) && t.Before(p.to) })
	if i < 0 {
		return paused{}, false
	}
	return b.pauses[i], true
}

// leavesWithin is how long after its grant a collect may leave: it may wait for its slot.
// As in internal/collect.
const leavesWithin = 5 * time.Second

// grantedBefore: the call was granted before the pause, and left no later than its slot
// allows.
func grantedBefore(ev evidence, s *suspicion) string {
	c := s.calls[s.call]
	p, _ := ev.journal.pausedAt(c.Began)
	if !c.granted.IsZero() && c.granted.Before(p.from) && c.Began.Sub(c.granted) <= leavesWithin+missedBy+onItsWay {
		return "it was granted before the pause, and left in its turn"
	}
	return ""
}
