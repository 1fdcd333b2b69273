package collect

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"payscore-collector/internal/asynqx"
	"payscore-collector/internal/ledger"
	"payscore-collector/internal/logging"
	"payscore-collector/tasks"
)

// Sweeper compares a merchant's ledger with its queue, and puts back what is
// due and not queued. Any number may run: the ledger lets about one sweep an
// interval through, by Redis's clock. It is a loop and not a periodic task,
// since a periodic task stops for ever once one of its tasks is stuck.
type Sweeper struct {
	*Collector
	rdb       redis.UniversalClient
	inspector *asynq.Inspector

	saidBehind map[string]time.Time // when a reader was last said to be far behind
	foreign    foreignPlace
}

// NewSweeper returns a sweeper for c's merchant.
func NewSweeper(c *Collector, rdb redis.UniversalClient) *Sweeper {
	return &Sweeper{Collector: c, rdb: rdb, inspector: asynq.NewInspectorFromRedisClient(rdb)}
}

// Sizes of a sweep.
const (
	sweepBatch   = 500 // orders taken at once
	sweepPushers = 8   // tasks enqueued at once
	// sweepClosed is how many tasks are in the queue while the gate is
	// closed: they are its probes.
	sweepClosed = 16
)

// Run sweeps until ctx ends, the first time at once. A sweep that fails is
// logged and counted, and the next one comes all the same.
func (s *Sweeper) Run(ctx context.Context) {
	for {
		if err := s.Sweep(ctx); err != nil && ctx.Err() == nil {
			s.metrics.SweepErrors.WithLabelValues(s.ledger.MchID()).Inc()
			s.log.Error().Err(err).Msg("the sweep failed; the next one tries again")
		}
		// Spread, so that several workers do not all ask at once.
		if !pause(ctx, nil, s.SweepEvery*9/10+rand.N(s.SweepEvery/5+1)) {
			return
		}
	}
}

// Sweep does one sweep, or nothing where another's was less than an interval
// ago. What it puts into the queue is bounded by what the workers can do until
// the sweep after next; the rest stays in the ledger.
func (s *Sweeper) Sweep(ctx context.Context) error {
	keys := asynqx.KeysOf(tasks.QueueName(s.ledger.MchID()))
	pending, err := s.rdb.LLen(ctx, keys.Pending).Result()
	if err != nil {
		return err
	}
	room := max(4*s.Concurrency, int(2*s.Rate*s.SweepEvery.Seconds())) - int(pending)
	args := ledger.SweepArgs{
		Interval: max(s.SweepEvery*9/10, time.Millisecond),
		Limit:    min(room, sweepBatch),
		Closed:   sweepClosed - int(pending),
		Grace:    max(4*s.SweepEvery, shortWait),
	}
	for {
		asked := time.Now()
		args.Sure, args.Expected = s.clock.sure(), s.clock.expected()
		swept, err := s.ledger.Sweep(ctx, args)
		if !swept.Now.IsZero() && !s.watchClock(ctx, asked, swept.Now) && swept.WentBack > 0 {
			s.sayJumped(-swept.WentBack)
		}
		if err != nil || !swept.Taken {
			return err
		}
		if args.Interval > 0 {
			s.housekeeping(ctx, keys)
			s.mend(ctx)
			defer s.takeUpForeign(ctx, keys) // after the push, which gives stuck orders new tasks
		}
		if err := s.push(ctx, swept.Orders); err != nil {
			return err
		}
		room -= len(swept.Orders)
		if !swept.More || room <= 0 {
			return nil
		}
		args.Interval, args.Limit = 0, min(room, sweepBatch)
	}
}

// longestMend bounds how long a sweep mends due times; the next sweep goes on.
const longestMend = 2 * time.Second

// mend moves due times back that were made before Redis's clock went back.
func (s *Sweeper) mend(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, longestMend)
	defer cancel()
	moved, err := s.ledger.Mend(ctx)
	if moved > 0 {
		s.log.Warn().Str(logging.FieldEvent, "due_times_mended").Int64(logging.FieldCount, moved).
			Msg("due times from before the jump of Redis's clock moved back")
	}
	if err != nil && ctx.Err() == nil {
		s.log.Error().Str(logging.FieldEvent, "due_times_not_mended").Err(err).
			Msg("due times from before the jump of Redis's clock not moved; the next sweep tries again")
	}
}

// push puts the tasks of due orders into the queue. The first error ends it;
// the orders that were not pushed are found again after the grace.
func (s *Sweeper) push(ctx context.Context, orders []ledger.Due) error {
	var wg sync.WaitGroup
	work := make(chan ledger.Due)
	errs := make(chan error, sweepPushers)
	for range min(sweepPushers, len(orders)) {
		wg.Go(func() {
			var failed error
			for o := range work {
				if failed == nil {
					failed = s.pushOne(ctx, o)
				}
			}
			errs <- failed
		})
	}
	for _, o := range orders {
		work <- o
	}
	close(work)
	wg.Wait()
	close(errs)
	for err := range errs {
		if err != nil {
			return err // one of several, all for the same reason as a rule
		}
	}
	return nil
}

func (s *Sweeper) pushOne(ctx context.Context, o ledger.Due) error {
	push := s.producer.Push
	if o.Sync {
		push = s.producer.PushSync
	}
	err := push(ctx, o.Payload, o.Round)
	if asynqx.IsConflict(err) {
		if !s.stuck(ctx, o) {
			return nil // it is on its way
		}
		next, ok, err := s.ledger.Rewind(ctx, o.OutOrderNo, o.Round)
		if err != nil || !ok {
			return err
		}
		s.metrics.Stuck.WithLabelValues(s.ledger.MchID()).Inc()
		s.log.Warn().Str(logging.FieldOutOrderNo, o.OutOrderNo).
			Str("task_id", tasks.TaskID(o.MchID, o.OutOrderNo, o.Round)).
			Msg("the order's task was stuck in the queue; it was given a new one")
		err = push(ctx, o.Payload, next)
		if asynqx.IsConflict(err) {
			return nil
		}
		return err
	}
	if err == nil {
		s.metrics.Swept.WithLabelValues(s.ledger.MchID()).Inc()
	}
	return err
}

// asynq's leases last 30 s and are renewed every 5 s for as long as a worker
// lives. One that was not renewed for two beats and more belongs to a worker
// that died or lost Redis. asynq itself takes such a task back after 68 s at
// the soonest; nobody has to wait for that.
const (
	asynqLease = 30 * time.Second
	unrenewed  = 12 * time.Second
)

// stuck reports whether the task that holds a due order's ID had better be
// given up: it is archived; or active and its worker gone; or active without a
// lease, which asynq recovers by no means. To be wrong costs nothing but a
// task: the order is under nobody's lease in the ledger, and a task of an
// earlier round finds itself stale.
func (s *Sweeper) stuck(ctx context.Context, o ledger.Due) bool {
	id := tasks.TaskID(o.MchID, o.OutOrderNo, o.Round)
	queue := tasks.QueueName(o.MchID)
	keys := asynqx.KeysOf(queue)
	info, err := s.inspector.GetTaskInfo(queue, id)
	if err != nil {
		return false // gone meanwhile, or Redis is in trouble: the next sweep sees
	}
	switch info.State {
	case asynq.TaskStateArchived, asynq.TaskStateCompleted:
		return true
	case asynq.TaskStatePending:
		// Its record without its place in the list: nobody will ever fetch it.
		// The list is no longer than a sweep fills it.
		err := s.rdb.LPos(ctx, keys.Pending, id, redis.LPosArgs{}).Err()
		return errors.Is(err, redis.Nil)
	case asynq.TaskStateRetry, asynq.TaskStateScheduled:
		waiting := keys.Retry
		if info.State == asynq.TaskStateScheduled {
			waiting = keys.Scheduled
		}
		until, err := s.rdb.ZScore(ctx, waiting, id).Result()
		if errors.Is(err, redis.Nil) {
			return true // likewise; asynq's Inspector says nothing of that
		}
		return err == nil && time.Until(time.Unix(int64(until), 0)) > 2*carryWait
	case asynq.TaskStateActive:
		until, err := s.rdb.ZScore(ctx, keys.Lease, id).Result()
		if errors.Is(err, redis.Nil) {
			return true
		}
		return err == nil && time.Until(time.Unix(int64(until), 0)) < asynqLease-unrenewed
	}
	return false
}

// housekeeping sees to what asynq forgets: queues are not registered again
// after Redis was lost, and a paused queue stays paused until it is resumed. The
// worker's presence logs the pause.
func (s *Sweeper) housekeeping(ctx context.Context, keys asynqx.Keys) {
	mchid := s.ledger.MchID()
	if err := s.producer.Introduce(ctx, mchid); err != nil {
		return // the sweep itself will say so
	}
	_ = asynqx.Register(ctx, s.rdb, tasks.QueueName(mchid))
	s.retain(ctx)
	if paused, err := s.rdb.Exists(ctx, keys.Paused).Result(); err == nil {
		s.metrics.Paused.WithLabelValues(mchid).Set(float64(paused))
	}
}
