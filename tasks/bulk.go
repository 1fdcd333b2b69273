package tasks

import (
	"context"
	"iter"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

// Sizes of a bulk hand-over. A batch is one round trip to the ledger; its
// tasks go to asynq, which takes one a round trip, over a few connections at
// once. Memory is one batch, whatever the number of orders.
const (
	bulkBatch   = 500
	bulkPushers = 16
	// bulkTogether is how many orders one call of the script opens: Redis serves
	// nobody else meanwhile, which is one or two milliseconds.
	bulkTogether = 50
	// bulkQueue is up to how many waiting tasks a bulk hand-over adds to a
	// merchant's queue. The rest of a large one stands in the ledger, where the
	// next sweep finds it, and brings it as fast as the workers get on: the queue
	// is first come first served, and behind a million new orders the looks that
	// confirm the payments of the first ones would come hours later.
	bulkQueue = 1000
)

// EnqueueAll hands over a stream of orders, and yields each with its answer,
// in the order given. It reads ahead by one batch and no more, so a million
// orders need no more memory than five hundred. An order that cannot be right
// gets Invalid and disturbs no other; where Redis fails, the orders of that
// batch get Failed and the stream goes on. When ctx ends, it stops reading
// orders, and what was read gets its answer.
func (p *Producer) EnqueueAll(ctx context.Context, orders iter.Seq[Order]) iter.Seq2[Order, Result] {
	return func(yield func(Order, Result) bool) {
		batch := make([]Order, 0, bulkBatch)
		flush := func() bool {
			results := p.enqueueBatch(ctx, batch)
			for i, o := range batch {
				if !yield(o, results[i]) {
					return false
				}
			}
			batch = batch[:0]
			return true
		}
		for o := range orders {
			batch = append(batch, o)
			if len(batch) == bulkBatch && !flush() {
				return
			}
			if ctx.Err() != nil {
				break
			}
		}
		flush()
	}
}

func (p *Producer) enqueueBatch(ctx context.Context, batch []Order) []Result {
	results := make([]Result, len(batch))
	queued := p.makeRoom(ctx, batch)
	p.openBatch(ctx, batch, queued, results)

	// The orders are safe in the ledger, and what is not queued the sweep
	// queues. So where the queue fails once, the rest of the batch is left to
	// it: each push may take as long to fail as the client's time-outs say.
	var queueFails atomic.Bool
	var wg sync.WaitGroup
	work := make(chan Result)
	for range min(bulkPushers, len(batch)) {
		wg.Go(func() {
			for res := range work {
				if queueFails.Load() {
					continue
				}
				if err := p.Push(ctx, res.payload, res.round); err != nil && !IsConflict(err) {
					queueFails.Store(true)
				}
			}
		})
	}
	for i, res := range results {
		if queued[i] && res.Status == Accepted && res.dueNow {
			work <- res
		}
	}
	close(work)
	wg.Wait()
	return results
}

// makeRoom says of each order whether its task goes into the queue at once.
func (p *Producer) makeRoom(ctx context.Context, batch []Order) []bool {
	queued := make([]bool, len(batch))
	pipe := p.rdb.Pipeline()
	waiting := map[string]*redis.IntCmd{}
	for _, o := range batch {
		if waiting[o.MchID] == nil && o.Validate() == nil {
			waiting[o.MchID] = pipe.LLen(ctx, PendingKey(o.MchID))
		}
	}
	if len(waiting) == 0 {
		return queued
	}
	_, _ = pipe.Exec(ctx)
	room := map[string]int64{} // a queue that cannot be asked has none
	for mchid, cmd := range waiting {
		if cmd.Err() == nil {
			room[mchid] = bulkQueue - cmd.Val()
		}
	}
	for i, o := range batch {
		if room[o.MchID] > 0 && !o.At.After(time.Now()) {
			room[o.MchID]--
			queued[i] = true
		}
	}
	return queued
}

// together is orders of one merchant that are opened by one call of the script,
// where each stands in its batch, and for how long the sweep leaves them alone.
type together struct {
	orders []Order
	at     []int
	grace  time.Duration
	cmd    *redis.Cmd
}

// openBatch opens the valid orders of a batch in one pipeline.
func (p *Producer) openBatch(ctx context.Context, batch []Order, queued []bool, results []Result) {
	type kind struct {
		mchid          string
		reopen, queued bool
	}
	filling := map[kind]*together{}
	var calls []*together
	unknown := map[string]error{} // merchants that could not be introduced, asked once each
	for i, o := range batch {
		if err := o.Validate(); err != nil {
			results[i] = Result{Status: Invalid, Err: err}
			continue
		}
		if unknown[o.MchID] == nil {
			if err := p.introduceOnce(ctx, o.MchID); err != nil {
				unknown[o.MchID] = err
			}
		}
		if err := unknown[o.MchID]; err != nil {
			results[i] = failed(err)
			continue
		}
		k := kind{o.MchID, o.Reopen, queued[i]}
		c := filling[k]
		if c == nil || len(c.orders) == bulkTogether {
			c = &together{}
			if queued[i] {
				c.grace = handoverGrace
			}
			filling[k] = c
			calls = append(calls, c)
		}
		c.orders, c.at = append(c.orders, o), append(c.at, i)
	}
	pipe := p.rdb.Pipeline()
	for _, c := range calls {
		keys, args := openCall(c.orders, c.grace)
		c.cmd = openScript.EvalSha(ctx, pipe, keys, args...)
	}
	_, _ = pipe.Exec(ctx) // each command has its own error
	for _, c := range calls {
		// A node that has not seen the script yet ran nothing: ask it again
		// with the source, which loads it for the next batch.
		if err := c.cmd.Err(); err != nil && strings.HasPrefix(err.Error(), "NOSCRIPT") {
			keys, args := openCall(c.orders, c.grace)
			c.cmd = openScript.Run(ctx, p.rdb, keys, args...)
		}
		openResults(c.orders, c.cmd, func(i int, res Result) { results[c.at[i]] = res })
	}
}
