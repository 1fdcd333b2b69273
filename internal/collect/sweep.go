package collect

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
	"golang.org/x/sync/errgroup"

	"payscore-collector/internal/asynqx"
	"payscore-collector/internal/ledger"
	"payscore-collector/internal/logging"
	"payscore-collector/internal/queue"
	"payscore-collector/tasks"
)

// Sweeper compares a merchant's ledger with its queue, and enqueues what is
// due and not queued. Any number may run: the ledger lets about one sweep an
// interval through, by Redis's clock. It is a loop and not a periodic task,
// since a periodic task stops for ever once one of its tasks is stuck.
type Sweeper struct {
	c         *Collector
	rdb       redis.UniversalClient
	queue     *queue.Client
	inspector *asynq.Inspector

	run          sync.Mutex           // held by Run
	mu           sync.Mutex           // held by each sweep
	warnedBehind map[string]time.Time // by reader, when its lag was last logged
	foreign      foreignPlace

	tidied  atomic.Int64  // ended orders that sweeps have removed or compacted; see Try
	next    time.Time     // when Run's next regular sweep is due
	nextDry time.Time     // before then, Run does not sweep because this process has run dry
	rest    time.Duration // between two sweeps for that reason
}

// NewSweeper returns a sweeper for c's merchant.
func NewSweeper(c *Collector, rdb redis.UniversalClient) *Sweeper {
	return &Sweeper{c: c, rdb: rdb, queue: queue.New(rdb), inspector: asynq.NewInspectorFromRedisClient(rdb), warnedBehind: map[string]time.Time{}}
}

// Sizes of a sweep.
const (
	sweepBatch   = 500 // orders taken at once
	sweepPushers = 8   // tasks enqueued at once
	// dryEvery is the shortest time between two sweeps because workers have run dry, of
	// all workers together.
	dryEvery = time.Second
	// tidiedMuch is less than what one sweep removes or compacts of a single state.
	tidiedMuch = 1000
	// sweepHeld is how many tasks are in the queue during a hold: they are its
	// probes.
	sweepHeld = 16
)

// Run sweeps until ctx ends, the first time at once, then at intervals, and whenever this
// process has run dry: the queue may have been lost with hundreds of orders that are due.
// A sweep that fails is logged and counted. A Run waits until the one before has ended.
func (s *Sweeper) Run(ctx context.Context) {
	s.run.Lock()
	defer s.run.Unlock()
	for dry := false; ctx.Err() == nil; dry = s.await(ctx) {
		if !dry {
			// Spread, so that several workers do not all ask at once.
			s.next = time.Now().Add(s.c.settings.SweepEvery*9/10 + rand.N(s.c.settings.SweepEvery/5+1))
		}
		s.pace(dry, s.try(ctx, dry))
	}
}

// pace sets how soon the next sweep may follow because this process has run dry. An idle
// Redis is left alone: such sweeps become rare if they find nothing.
func (s *Sweeper) pace(dry bool, found int) {
	soonest := min(dryEvery, s.c.settings.SweepEvery)
	if found > 0 {
		s.rest = soonest
	} else if dry {
		s.rest = min(2*s.rest, s.c.settings.SweepEvery)
	}
	s.rest = max(s.rest, soonest)
	s.nextDry = time.Now().Add(s.rest)
}

// await waits for the next sweep, and reports whether it is one for a process that has
// run dry.
func (s *Sweeper) await(ctx context.Context) (dry bool) {
	ctx, cancel := context.WithDeadline(ctx, s.next)
	defer cancel()
	for {
		select {
		case <-ctx.Done():
			return false
		case <-s.c.dry:
			if pause(ctx, nil, time.Until(s.nextDry)) && s.c.working.Load() == 0 {
				return true
			}
		}
	}
}

// Try sweeps as Run does, for a merchant whose Run does not. It reports whether it has
// removed or compacted so many ended orders that there may be more.
func (s *Sweeper) Try(ctx context.Context) (more bool) {
	s.try(ctx, false)
	return s.tidied.Swap(0) >= tidiedMuch
}

func (s *Sweeper) try(ctx context.Context, dry bool) (found int) {
	found, err := s.sweep(ctx, dry)
	if err != nil && ctx.Err() == nil {
		s.c.count(s.c.metrics.SweepErrors)
		s.c.log.Error().Str(logging.FieldEvent, "sweep_failed").Err(err).Msg("sweep failed; the next one retries")
	}
	return found
}

// Sweep does one sweep, or nothing less than an interval after another process's.
// It enqueues no more than the workers can do until the sweep after next; the rest
// stays in the ledger.
func (s *Sweeper) Sweep(ctx context.Context) error {
	_, err := s.sweep(ctx, false)
	return err
}

// sweep does one sweep, and returns how many orders it has found. One for a process that
// has run dry is only for orders: it does nothing if other processes have work.
func (s *Sweeper) sweep(ctx context.Context, dry bool) (found int, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	keys, state := asynqx.KeysOf(tasks.QueueName(s.c.mchid)), ledger.KeysOf(s.c.mchid).Sweep()
	// The field queue is read before the mark, and set after it: if another worker's first
	// sweep is under way, a missing mark is not a lost queue. Not in the pipeline, whose
	// commands a cluster's nodes run in any order.
	known := s.rdb.HExists(ctx, state, "queue")
	if err := known.Err(); err != nil {
		return 0, err
	}
	pipe := s.rdb.Pipeline()
	waiting, marked := pipe.LLen(ctx, keys.Pending), pipe.Exists(ctx, keys.Mark)
	if _, err := pipe.Exec(ctx); err != nil {
		return 0, err
	}
	pending := int(waiting.Val())
	if dry && pending > 0 {
		return 0, nil
	}
	room := max(4*s.c.settings.Concurrency, int(2*s.c.settings.Rate*s.c.settings.SweepEvery.Seconds())) - pending
	args := ledger.SweepArgs{
		Interval: max(s.c.settings.SweepEvery*9/10, time.Millisecond), Dry: dry, Lost: known.Val() && marked.Val() == 0,
		Limit:  min(room, sweepBatch),
		Closed: sweepHeld - pending,
		Grace:  max(4*s.c.settings.SweepEvery, shortWait),
	}
	if dry {
		args.Interval = min(dryEvery, args.Interval)
	}
	for {
		asked := time.Now()
		args.Sure, args.Expected = s.c.clock.sure(), s.c.clock.expected()
		swept, err := s.c.ledger.Sweep(ctx, args)
		if !swept.Now.IsZero() && !s.c.watchClock(ctx, asked, swept.Now) && swept.WentBack > 0 {
			s.c.reportJump(-swept.WentBack)
		}
		if err != nil || !swept.Taken {
			return found, err
		}
		if args.Interval > 0 && !dry {
			s.housekeeping(ctx, keys)
			defer s.takeUpForeign(ctx, keys) // after the push, which gives stuck orders new tasks
		}
		if swept.Lost || args.Interval > 0 && !dry {
			s.mend(ctx, swept)
		}
		if swept.Parked && args.Interval > 0 && !dry {
			s.unpause(ctx)
			swept.More = true
		}
		if !known.Val() || args.Lost {
			err := s.rdb.Set(ctx, keys.Mark, 1, 0).Err()
			if err == nil {
				err = s.rdb.HSet(ctx, state, "queue", 1).Err()
			}
			if err != nil {
				return found, err
			}
		}
		found += len(swept.Orders)
		if err := s.push(ctx, swept.Orders); err != nil {
			return found, err
		}
		room -= len(swept.Orders)
		if !swept.More && !swept.Lost || room <= 0 {
			return found, nil
		}
		args.Interval, args.Lost, args.Limit = 0, false, min(room, sweepBatch)
	}
}

// unpause makes the orders due that a pause has put off. What fails is left for the next
// sweep.
func (s *Sweeper) unpause(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, longestMend)
	defer cancel()
	if made, _ := s.c.ledger.Unpause(ctx); made > 0 {
		s.c.log.Info().Str(logging.FieldEvent, "orders_unpaused").Int64(logging.FieldCount, made).
			Msg("the pause has ended; its orders are due again")
	}
}

// longestMend bounds how long a sweep mends due times, or brings back what a pause has put
// off; the next sweep continues.
const longestMend = 2 * time.Second

// Carried is how far ahead in the due index an order can be whose task the queue carries:
// due in carryWait at most, and a grace of sweeps later in the index.
func Carried(sweepEvery time.Duration) time.Duration { return carryWait + 4*sweepEvery + shortWait }

// mend moves due times back that were set before Redis's clock jumped back. After the
// queue was lost it takes back the grace that sweeps leave to its tasks.
func (s *Sweeper) mend(ctx context.Context, swept ledger.Sweep) {
	ctx, cancel := context.WithTimeout(ctx, longestMend)
	defer cancel()
	moved, err := s.c.ledger.Mend(ctx, swept.Now.Add(Carried(s.c.settings.SweepEvery)))
	if swept.Lost {
		s.c.log.Warn().Str(logging.FieldEvent, "queue_lost").Int64(logging.FieldCount, moved).
			Msg("the merchant's queue was deleted; the orders in it are enqueued again")
	} else if moved > 0 {
		s.c.log.Warn().Str(logging.FieldEvent, "due_times_mended").Int64(logging.FieldCount, moved).
			Msg("due times from before the jump of Redis's clock moved back")
	}
	if err != nil && ctx.Err() == nil {
		s.c.log.Error().Str(logging.FieldEvent, "due_times_not_mended").Err(err).
			Msg("due times from before the jump of Redis's clock not moved; the next sweep tries again")
	}
}

// push enqueues the tasks of due orders. After the first error it begins no more of
// them and finishes those under way; the orders that were not pushed are found again
// after the grace.
func (s *Sweeper) push(ctx context.Context, orders []ledger.Due) error {
	var pushers errgroup.Group
	var failed atomic.Bool
	pushers.SetLimit(sweepPushers)
	for _, o := range orders {
		pushers.Go(func() error {
			if failed.Load() || ctx.Err() != nil {
				return ctx.Err()
			}
			err := s.pushOne(ctx, o)
			if err != nil {
				failed.Store(true)
			}
			return err
		})
	}
	return pushers.Wait()
}

func (s *Sweeper) pushOne(ctx context.Context, o ledger.Due) error {
	task := queue.Task{Type: queue.TypeCollect, MchID: o.MchID, OutOrderNo: o.OutOrderNo, Round: o.Round,
		Payload: tasks.Payload{MchID: o.MchID, OutOrderNo: o.OutOrderNo, AppID: o.AppID, ServiceID: o.ServiceID}}
	if o.Sync {
		task.Type = queue.TypeSync
	}
	err := s.queue.Push(ctx, task)
	if queue.IsConflict(err) {
		if !s.stuck(ctx, o) {
			return nil // a worker will take it
		}
		next, ok, err := s.c.ledger.Rewind(ctx, o.OutOrderNo, o.Round)
		if err != nil || !ok {
			return err
		}
		s.c.count(s.c.metrics.Stuck)
		s.c.log.Warn().Str(logging.FieldEvent, "task_stuck").Str(logging.FieldOutOrderNo, o.OutOrderNo).
			Str(logging.FieldTaskID, queue.TaskID(o.MchID, o.OutOrderNo, o.Round)).
			Msg("the order's task was stuck in asynq; a new one was enqueued")
		task.Round = next
		err = s.queue.Push(ctx, task)
		if queue.IsConflict(err) {
			return nil
		}
		return err
	}
	if err == nil {
		s.c.count(s.c.metrics.Swept)
	}
	return err
}

// asynq's leases last 30 s and are renewed every 5 s for as long as a worker
// lives. One that was not renewed for more than two beats belongs to a worker that
// died or lost Redis. asynq itself takes such a task back after 68 s at the soonest.
const (
	asynqLease = 30 * time.Second
	unrenewed  = 12 * time.Second
)

// stuck reports whether the task that holds a due order's ID must be given up: it is
// archived; or active after its worker died; or active without a lease, which asynq
// never recovers. A false positive only costs one extra task: no worker has the
// order's lease in the ledger, and a task of an earlier round is stale.
func (s *Sweeper) stuck(ctx context.Context, o ledger.Due) bool {
	id, keys := queue.TaskID(o.MchID, o.OutOrderNo, o.Round), asynqx.KeysOf(tasks.QueueName(o.MchID))
	// until is the score of the task in one of asynq's sets, as a time from now. A
	// task that is missing there is stuck, which asynq's Inspector does not show.
	until := func(key string) (d time.Duration, missing bool, err error) {
		at, err := s.rdb.ZScore(ctx, key, id).Result()
		return time.Until(time.Unix(int64(at), 0)), errors.Is(err, redis.Nil), err
	}
	info, err := s.inspector.GetTaskInfo(tasks.QueueName(o.MchID), id)
	if err != nil {
		return false // gone meanwhile, or Redis is in trouble: the next sweep decides
	}
	switch info.State {
	case asynq.TaskStateArchived, asynq.TaskStateCompleted:
		return true
	case asynq.TaskStatePending:
		// Its record without its place in the list is never fetched. The list is no
		// longer than a sweep fills it.
		return errors.Is(s.rdb.LPos(ctx, keys.Pending, id, redis.LPosArgs{}).Err(), redis.Nil)
	case asynq.TaskStateRetry, asynq.TaskStateScheduled:
		waiting := keys.Retry
		if info.State == asynq.TaskStateScheduled {
			waiting = keys.Scheduled
		}
		d, missing, err := until(waiting)
		return missing || err == nil && d > 2*carryWait
	case asynq.TaskStateActive:
		d, missing, err := until(keys.Lease)
		return missing || err == nil && d < asynqLease-unrenewed
	}
	return false
}

// housekeeping does what asynq does not: it registers the queue again after Redis
// was lost, and measures whether it is paused. The worker's presence logs the pause.
func (s *Sweeper) housekeeping(ctx context.Context, keys asynqx.Keys) {
	mchid := s.c.mchid
	if err := ledger.Introduce(ctx, s.rdb, mchid); err != nil {
		return // the sweep itself fails and logs it
	}
	_ = asynqx.Register(ctx, s.rdb, tasks.QueueName(mchid))
	s.retain(ctx)
	if paused, err := s.rdb.Exists(ctx, keys.Paused).Result(); err == nil {
		s.c.metrics.Paused.WithLabelValues(mchid).Set(float64(paused))
	}
}
