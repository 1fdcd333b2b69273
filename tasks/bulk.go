package tasks

import (
	"context"
	"iter"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/redis/go-redis/v9"
)

// Sizes of a bulk hand-over. A batch is one round trip to the ledger; its
// tasks go to asynq, which takes one a round trip, over a few connections at
// once. Memory is one batch, whatever the number of orders.
const (
	bulkBatch   = 500
	bulkPushers = 16
	// bulkQueue is up to how many waiting tasks a bulk hand-over adds to a
	// merchant's queue. The rest of a large one stands in the ledger, and the
	// sweep brings it as fast as the workers get on: the queue is first come
	// first served, and behind a million new orders the looks that confirm the
	// payments of the first ones would come hours later.
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
	p.openBatch(ctx, batch, results)

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
	room := p.room(ctx, results)
	for _, res := range results {
		if res.Status == Accepted && res.dueNow && room[res.payload.MchID] > 0 {
			room[res.payload.MchID]--
			work <- res
		}
	}
	close(work)
	wg.Wait()
	return results
}

// room returns how many tasks each merchant's queue takes.
func (p *Producer) room(ctx context.Context, results []Result) map[string]int64 {
	pipe := p.rdb.Pipeline()
	waiting := map[string]*redis.IntCmd{}
	for _, res := range results {
		if mchid := res.payload.MchID; res.Status == Accepted && res.dueNow && waiting[mchid] == nil {
			waiting[mchid] = pipe.LLen(ctx, PendingKey(mchid))
		}
	}
	room := map[string]int64{}
	if len(waiting) == 0 {
		return room
	}
	_, _ = pipe.Exec(ctx) // a queue that cannot be asked has no room
	for mchid, cmd := range waiting {
		if cmd.Err() == nil {
			room[mchid] = bulkQueue - cmd.Val()
		}
	}
	return room
}

// openBatch opens the valid orders of a batch in one pipeline.
func (p *Producer) openBatch(ctx context.Context, batch []Order, results []Result) {
	pipe := p.rdb.Pipeline()
	cmds := make([]*redis.Cmd, len(batch))
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
		keys, args := openCall(o)
		cmds[i] = openScript.EvalSha(ctx, pipe, keys, args...)
	}
	_, _ = pipe.Exec(ctx) // each command has its own error
	for i, cmd := range cmds {
		if cmd == nil {
			continue
		}
		// A node that has not seen the script yet ran nothing: ask it again
		// with the source, which loads it for the next batch.
		if err := cmd.Err(); err != nil && strings.HasPrefix(err.Error(), "NOSCRIPT") {
			results[i] = p.open(ctx, batch[i])
			continue
		}
		results[i] = openResult(batch[i], cmd)
	}
}
