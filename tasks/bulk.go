package tasks

import (
	"context"
	"iter"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"payscore-collector/internal/queue"
	"payscore-collector/internal/tracing"
)

// Sizes of EnqueueAll. A batch is one round trip to the ledger; its tasks go to asynq,
// which takes one a round trip, over a few connections at once. The next batch is prepared
// while Redis has one. Memory is two batches, whatever the number of orders.
const (
	bulkBatch   = 250
	bulkPushers = 16
	// bulkQueue is how many waiting tasks EnqueueAll fills a merchant's queue up to.
	// The rest stands in the ledger, and the sweep enqueues it as fast as the workers
	// progress. The queue is first come, first served: behind a million new orders the
	// queries that confirm the payments of the first ones would come hours later.
	bulkQueue = 1000
)

// EnqueueAll enqueues a stream of orders, and yields each with its answer, in the order
// given. It reads ahead by two batches, so a million orders need no more memory than five
// hundred. An order that is invalid gets Invalid and affects no other order; where Redis
// fails, the orders of that batch get Failed and the stream continues. When ctx ends,
// EnqueueAll reads no more orders, and those that it has read get their answers.
func (p *Producer) EnqueueAll(ctx context.Context, orders iter.Seq[Order]) iter.Seq2[Order, Result] {
	return func(yield func(Order, Result) bool) {
		var last *bulk // under way, or done
		defer func() {
			if last != nil {
				<-last.done // also for a caller that has enough
			}
		}()
		answers := func(b *bulk) bool {
			if b == nil {
				return true
			}
			if <-b.done; b.panicked != nil {
				panic(b.panicked) // where the caller can recover it
			}
			for i, o := range b.orders {
				if !yield(o, b.results[i]) {
					return false
				}
			}
			return true
		}
		batch := make([]Order, 0, bulkBatch)
		flush := func() bool {
			before := last
			if before != nil && before.shares(batch) {
				// The first of two orders with the same number counts, also if Redis has failed
				// it and the caller tries it again.
				if last = nil; !answers(before) {
					return false
				}
				before = nil
			}
			last, batch = p.begin(ctx, batch, before), make([]Order, 0, bulkBatch)
			return answers(before)
		}
		for o := range orders {
			batch = append(batch, o)
			switch {
			case len(batch) == bulkBatch:
				if !flush() {
					return
				}
			case last != nil && last.ended(): // of a slow stream
				before := last
				if last = nil; !answers(before) {
					return
				}
			}
			if ctx.Err() != nil {
				break
			}
		}
		if len(batch) == 0 || flush() {
			answers(last)
		}
	}
}

// bulk is a batch of EnqueueAll that is under way. results is whole when done is closed.
type bulk struct {
	orders  []Order
	results []Result
	tasks   bool // some of its tasks are enqueued at once
	done    chan struct{}

	panicked any
}

// begin enqueues a batch beside the one before it, or behind it, where the one before
// still fills asynq's queue.
func (p *Producer) begin(ctx context.Context, orders []Order, before *bulk) *bulk {
	b := &bulk{orders: orders, done: make(chan struct{})}
	if before != nil && before.tasks {
		<-before.done
	}
	queued := p.makeRoom(ctx, orders)
	b.tasks = slices.Contains(queued, true)
	go func() {
		defer close(b.done)
		defer func() { b.panicked = recover() }()
		b.results = p.enqueueBatch(ctx, orders, queued)
	}()
	return b
}

func (b *bulk) ended() bool {
	select {
	case <-b.done:
		return true
	default:
		return false
	}
}

func (b *bulk) shares(orders []Order) bool {
	type number struct{ mchid, no string }
	its := make(map[number]bool, len(b.orders))
	for _, o := range b.orders {
		its[number{o.MchID, o.OutOrderNo}] = true
	}
	return slices.ContainsFunc(orders, func(o Order) bool { return its[number{o.MchID, o.OutOrderNo}] })
}

func (p *Producer) enqueueBatch(ctx context.Context, batch []Order, queued []bool) []Result {
	ctx, span := tracing.Start(ctx, "payscore enqueue batch")
	defer span.End()
	if span.On() {
		span.Set(tracing.Orders.Int(len(batch)))
	}
	results, opened := p.open(ctx, batch, queued)

	// The orders are safe in the ledger, and the sweep enqueues what is not queued. So
	// after the first failure the rest of the batch is left to it: each push may take as
	// long to fail as the client's timeouts say.
	var queueFails atomic.Bool
	var wg sync.WaitGroup
	work := make(chan int)
	for range min(bulkPushers, len(batch)) {
		wg.Go(func() {
			for i := range work {
				if queueFails.Load() {
					continue
				}
				err := p.push(ctx, queue.TypeCollect, batch[i].Payload, opened[i].Round)
				if err != nil && !queue.IsConflict(err) {
					queueFails.Store(true)
				}
			}
		})
	}
	for i, res := range results {
		if queued[i] && res.Status == Accepted && opened[i].Now {
			work <- i
		}
	}
	close(work)
	wg.Wait()
	if mchids := accepted(batch, results); len(mchids) > 0 && !queueFails.Load() {
		p.wake(ctx, mchids...)
	}
	return results
}

// accepted returns the merchants of the orders that were accepted.
func accepted(batch []Order, results []Result) (mchids []string) {
	for i, res := range results {
		if res.Status == Accepted && !slices.Contains(mchids, batch[i].MchID) {
			mchids = append(mchids, batch[i].MchID)
		}
	}
	return mchids
}

// makeRoom says of each order whether its task is enqueued at once.
func (p *Producer) makeRoom(ctx context.Context, batch []Order) []bool {
	queued := make([]bool, len(batch))
	pipe := p.rdb.Pipeline()
	waiting := map[string]*redis.IntCmd{}
	for _, o := range batch {
		if waiting[o.MchID] == nil && o.Validate() == nil {
			waiting[o.MchID] = pipe.LLen(ctx, queue.PendingKey(o.MchID))
		}
	}
	if len(waiting) == 0 {
		return queued
	}
	_, _ = pipe.Exec(ctx)
	room := map[string]int64{} // none where Redis does not answer
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
