package main

import (
	"context"
	"fmt"
	"iter"
	"time"

	"payscore-collector/internal/intake"
	"payscore-collector/internal/redisconn"
	"payscore-collector/tasks"
)

// item is one order on its way, and the row of a file that it came from.
type item struct {
	order tasks.Order
	row   intake.Row // Line 0: from the command line; Err: cannot be an order
}

// sender is a *tasks.Producer, in a dry run a checker, or a withdrawer.
type sender interface {
	Enqueue(context.Context, tasks.Order) (tasks.Result, error)
	EnqueueAll(context.Context, iter.Seq[tasks.Order]) iter.Seq2[tasks.Order, tasks.Result]
}

// statusValid is what a dry run answers instead of tasks.Accepted.
const statusValid tasks.Status = "valid"

// checker only looks whether an order could be right.
type checker struct{}

func (checker) Enqueue(_ context.Context, o tasks.Order) (tasks.Result, error) {
	if err := o.Validate(); err != nil {
		return tasks.Result{Status: tasks.Invalid, Err: err}, nil
	}
	return tasks.Result{Status: statusValid}, nil
}

func (c checker) EnqueueAll(ctx context.Context, orders iter.Seq[tasks.Order]) iter.Seq2[tasks.Order, tasks.Result] {
	return oneByOne(ctx, c, orders)
}

// oneByOne is EnqueueAll for senders that have nothing better.
func oneByOne(ctx context.Context, to sender, orders iter.Seq[tasks.Order]) iter.Seq2[tasks.Order, tasks.Result] {
	return func(yield func(tasks.Order, tasks.Result) bool) {
		for o := range orders {
			// The error is in the result, too.
			if res, _ := to.Enqueue(ctx, o); !yield(o, res) {
				return
			}
		}
	}
}

// handover hands a stream of orders over and bears with a Redis that fails for
// a while.
type handover struct {
	to       sender
	patience patience
	say      func(format string, args ...any)
	report   func(item, tasks.Result)
	pause    func() // all that was read has been reported; more may be long in coming

	gaveUp *item // the first order that Redis failed for good; nil: none
	last   error // what Redis said of it
}

// run hands over until items end, ctx ends or Redis fails for good. What has
// been read until then is handed over and reported, in the order of items.
func (h *handover) run(ctx context.Context, items iter.Seq[item]) {
	// A signal ends the reading, not the batch that is under way.
	work, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(h.patience.grace, cancel) })()

	var pending []item // read, and not reported yet; one batch at most
	orders := func(yield func(tasks.Order) bool) {
		for it := range items {
			if ctx.Err() != nil || h.gaveUp != nil {
				return
			}
			pending = append(pending, it)
			order := it.order
			if it.row.Err != nil {
				// It goes along for the sake of its place among the answers.
				// Having no number it is invalid, whatever the row did have.
				order = tasks.Order{}
			}
			if !yield(order) {
				return
			}
		}
	}
	for o, res := range h.to.EnqueueAll(work, orders) {
		it := pending[0]
		pending = pending[1:]
		switch {
		case it.row.Err != nil:
			res = tasks.Result{Status: tasks.Invalid, Err: it.row.Err}
		case res.Status == tasks.Failed && h.gaveUp == nil:
			if res = h.again(ctx, work, o, res); res.Status == tasks.Failed {
				h.gaveUp, h.last = &it, res.Err
			}
		}
		h.report(it, res)
		if len(pending) == 0 {
			h.pause()
		}
	}
}

// again tries an order that Redis failed, until it is in, patience ends or ctx
// does. The first time it does so at once and silently, as Redis may be back
// already for the other orders of a batch.
func (h *handover) again(ctx, work context.Context, o tasks.Order, res tasks.Result) tasks.Result {
	if h.patience.retry <= 0 || ctx.Err() != nil {
		return res
	}
	work, cancel := context.WithTimeout(work, h.patience.retry)
	defer cancel()
	const shortest, longest = 50 * time.Millisecond, 2 * time.Second
	back := "" // what to say when it is in
	for pause := shortest; ; pause = min(2*pause, longest) {
		next, err := h.to.Enqueue(work, o)
		switch {
		case err == nil:
			if back != "" {
				h.say("%s", back)
			}
			return next
		case work.Err() == nil: // else it says nothing of Redis
			res = next
		}
		switch r := refusal(res.Err); {
		case r != nil && !r.Passes():
			return res // a change of its settings takes longer
		case back != "":
		case r != nil:
			back = "Redis serves again"
			h.say("%s; trying again for %v", r.Advice(), h.patience.retry)
		default:
			back = "Redis is back"
			h.say("Redis fails (%v); trying again for %v", res.Err, h.patience.retry)
		}
		select {
		case <-ctx.Done():
			return res
		case <-work.Done():
			return res
		case <-time.After(pause):
		}
	}
}

// refusal is what a Redis that answers has against an order; nil where the error
// is another one.
func refusal(err error) *redisconn.Refusal {
	if r := redisconn.Explain(err); r != nil && r.Kind.Answers() {
		return r
	}
	return nil
}

// sameAgain is what to do when Redis serves.
const sameAgain = "run the same command again: what was done already is answered with duplicate"

// trouble is what the user has to know where Redis failed for good.
func (h *handover) trouble() error {
	if h.gaveUp == nil {
		return nil
	}
	where := "order " + label(h.gaveUp.order.OutOrderNo)
	if h.gaveUp.row.Line > 0 {
		where = fmt.Sprintf("line %d", h.gaveUp.row.Line)
	}
	if r := refusal(h.last); r != nil {
		return fmt.Errorf("stopped at %s, because Redis refuses it: %s. Then %s", where, r.Advice(), sameAgain)
	}
	return fmt.Errorf("stopped at %s, because Redis failed (%v). When Redis is back, %s", where, h.last, sameAgain)
}
