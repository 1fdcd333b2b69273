package intake

import (
	"cmp"
	"context"
	"fmt"
	"iter"
	"strings"
	"time"

	"payscore-collector/internal/redisconn"
	"payscore-collector/tasks"
)

// Item is an order on its way to the ledger, and the row that it comes from.
type Item struct {
	Order tasks.Order
	Row   Row // the zero Row: from no file; with Err: it cannot be an order
}

// Item returns the order that the row asks for. Whose it is comes from defaults where
// the row does not say.
func (r Row) Item(defaults tasks.Owner) Item {
	return Item{Row: r, Order: tasks.Order{
		Payload: tasks.Payload{
			MchID:      cmp.Or(r.MchID, defaults.MchID),
			OutOrderNo: r.OutOrderNo,
			AppID:      cmp.Or(r.AppID, defaults.AppID),
			ServiceID:  cmp.Or(r.ServiceID, defaults.ServiceID),
			Schedule:   r.Schedule,
		},
		At: r.At, Amount: r.Amount, OwedSince: r.OwedSince,
	}}
}

// Missing names what every order needs and has from neither the defaults nor, as has
// reports, the orders themselves.
func Missing(defaults tasks.Owner, has func(name string) bool) []string {
	var names []string
	for _, f := range []struct{ name, value string }{
		{colMchID, defaults.MchID}, {colAppID, defaults.AppID}, {colServiceID, defaults.ServiceID},
	} {
		if f.value == "" && !has(f.name) {
			names = append(names, f.name)
		}
	}
	return names
}

// Valid is the status of an order that was only checked, and not enqueued.
const Valid tasks.Status = "valid"

// Submitter enqueues orders, and endures a Redis that fails for a while.
type Submitter struct {
	// Producer enqueues the orders; with nil they are only checked.
	Producer *tasks.Producer
	// Schedule refuses the name of a schedule that does not exist; nil: every one is
	// taken. Its error continues where "schedule " ends.
	Schedule func(name string) error
	// Retry is how long an order that Redis fails is retried; 0: not at all.
	Retry time.Duration
	// Grace is how long what is in flight may take after the context has ended.
	Grace time.Duration
	// Say tells a person that Redis fails, and that it serves again.
	Say func(format string, args ...any)
}

// Submit enqueues a stream of orders, and yields each with its result, in their order.
// It reads ahead as tasks.EnqueueAll does. After an order that Redis failed for good,
// and when ctx ends, it reads no more; what it has read gets its result.
func (s Submitter) Submit(ctx context.Context, items iter.Seq[Item]) iter.Seq2[Item, tasks.Result] {
	return func(yield func(Item, tasks.Result) bool) {
		work, cancel := outlive(ctx, s.Grace)
		defer cancel()
		var pending []Item // read, and not yielded yet; two batches at most
		failed := false
		orders := func(yield func(tasks.Order) bool) {
			for it := range items {
				if ctx.Err() != nil || failed {
					return
				}
				if err := s.scheduled(it.Order); err != nil && it.Row.Err == nil {
					it.Row.Err = err
				}
				pending = append(pending, it)
				order := it.Order
				if it.Row.Err != nil {
					// It keeps the row's place among the results. Without a number
					// it is invalid.
					order = tasks.Order{}
				}
				if !yield(order) {
					return
				}
			}
		}
		for o, res := range s.enqueueAll(work, orders) {
			it := pending[0]
			pending = pending[1:]
			switch {
			case it.Row.Err != nil:
				res = tasks.Result{Status: tasks.Invalid, Err: it.Row.Err}
			case res.Status == tasks.Failed && !failed:
				res = s.again(ctx, work, res, func(ctx context.Context) (tasks.Result, error) { return s.Producer.Enqueue(ctx, o) })
				failed = res.Status == tasks.Failed
			}
			if !yield(it, res) {
				return
			}
		}
	}
}

func (s Submitter) scheduled(o tasks.Order) error {
	if s.Schedule == nil {
		return nil
	}
	if err := s.Schedule(o.Schedule); err != nil {
		return fmt.Errorf("schedule %w", err)
	}
	return nil
}

func (s Submitter) enqueueAll(ctx context.Context, orders iter.Seq[tasks.Order]) iter.Seq2[tasks.Order, tasks.Result] {
	if s.Producer != nil {
		return s.Producer.EnqueueAll(ctx, orders)
	}
	return func(yield func(tasks.Order, tasks.Result) bool) {
		for o := range orders {
			res := tasks.Result{Status: Valid}
			if err := o.Validate(); err != nil {
				res = tasks.Result{Status: tasks.Invalid, Err: err}
			}
			if !yield(o, res) {
				return
			}
		}
	}
}

// Do makes one call for an order, such as a withdrawal, and retries it as Submit does.
func (s Submitter) Do(ctx context.Context, call func(context.Context) (tasks.Result, error)) tasks.Result {
	work, cancel := outlive(ctx, s.Grace)
	defer cancel()
	res, err := call(work)
	if err != nil {
		res = s.again(ctx, work, res, call)
	}
	return res
}

// outlive returns a context that ends some time after ctx: a signal ends the reading,
// and not the batch in flight.
func outlive(ctx context.Context, grace time.Duration) (context.Context, context.CancelFunc) {
	work, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() { time.AfterFunc(grace, cancel) })
	return work, func() { stop(); cancel() }
}

// again retries a call that Redis failed, until it succeeds, s.Retry has passed or ctx
// ends. The first retry is immediate and silent, since Redis may already serve the
// other orders of a batch again.
func (s Submitter) again(ctx, work context.Context, res tasks.Result, call func(context.Context) (tasks.Result, error)) tasks.Result {
	if s.Retry <= 0 || ctx.Err() != nil {
		return res
	}
	work, cancel := context.WithTimeout(work, s.Retry)
	defer cancel()
	const shortest, longest = 50 * time.Millisecond, 2 * time.Second
	back := "" // what to say when it succeeds
	for pause := shortest; ; pause = min(2*pause, longest) {
		next, err := call(work)
		switch {
		case err == nil:
			if back != "" {
				s.Say("%s", back)
			}
			return next
		case work.Err() == nil: // else the error says nothing about Redis
			res = next
		}
		switch r := Refusal(res.Err); {
		case r != nil && !r.Passes():
			return res // an administrator must change something first
		case back != "":
		case r != nil:
			back = "Redis serves again"
			s.Say("%s; trying again for %v", r.Advice(), s.Retry)
		default:
			back = "Redis is back"
			s.Say("Redis fails (%v); trying again for %v", res.Err, s.Retry)
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

// Refusal returns why a Redis that answers refuses an order; nil where the error is
// another one.
func Refusal(err error) *redisconn.Refusal {
	if r := redisconn.Explain(err); r != nil && r.Kind.Answers() {
		return r
	}
	return nil
}

// Detail says in one line why an order has its result; it is empty where the status
// says all.
func Detail(res tasks.Result) string {
	switch {
	case res.Status == tasks.Failed && Refusal(res.Err) != nil:
		return Refusal(res.Err).Advice()
	case res.Err != nil:
		return strings.ReplaceAll(res.Err.Error(), "\n", "; ")
	case res.Status == tasks.Conflict:
		return "open already under another appid or service_id"
	}
	return ""
}
