package collect

import (
	"context"
	"errors"
	"math/rand/v2"
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

	warnedBehind map[string]time.Time // by reader, when its lag was last logged
	foreign      foreignPlace
}

// NewSweeper returns a sweeper for c's merchant.
func NewSweeper(c *Collector, rdb redis.UniversalClient) *Sweeper {
	return &Sweeper{c: c, rdb: rdb, queue: queue.New(rdb), inspector: asynq.NewInspectorFromRedisClient(rdb), warnedBehind: map[string]time.Time{}}
}

// Sizes of a sweep.
const (
	sweepBatch   = 500 // orders taken at once
	sweepPushers = 8   // tasks enqueued at once
	// sweepHeld is how many tasks are in the queue during a hold: they are its
	// probes.
	sweepHeld = 16
)

// Run sweeps until ctx ends, the first time at once. A sweep that fails is logged
// and counted.
func (s *Sweeper) Run(ctx context.Context) {
	for {
		if err := s.Sweep(ctx); err != nil && ctx.Err() == nil {
			s.c.count(s.c.metrics.SweepErrors)
			s.c.log.Error().Str(logging.FieldEvent, "sweep_failed").Err(err).Msg("sweep failed; the next one retries")
		}
		// Spread, so that several workers do not all ask at once.
		if !pause(ctx, nil, s.c.settings.SweepEvery*9/10+rand.N(s.c.settings.SweepEvery/5+1)) {
			return
		}
	}
}

// Sweep does one sweep, or nothing less than an interval after another process's.
// It enqueues no more than the workers can do until the sweep after next; the rest
// stays in the ledger.
func (s *Sweeper) Sweep(ctx context.Context) error {
	keys := asynqx.KeysOf(tasks.QueueName(s.c.mchid))
	pending, err := s.rdb.LLen(ctx, keys.Pending).Result()
	if err != nil {
		return err
	}
	room := max(4*s.c.settings.Concurrency, int(2*s.c.settings.Rate*s.c.settings.SweepEvery.Seconds())) - int(pending)
	args := ledger.SweepArgs{
		Interval: max(s.c.settings.SweepEvery*9/10, time.Millisecond),
		Limit:    min(room, sweepBatch),
		Closed:   sweepHeld - int(pending),
		Grace:    max(4*s.c.settings.SweepEvery, shortWait),
	}
	for {
		asked := time.Now()
		args.Sure, args.Expected = s.c.clock.sure(), s.c.clock.expected()
		swept, err := s.c.ledger.Sweep(ctx, args)
		if !swept.Now.IsZero() && !s.c.watchClock(ctx, asked, swept.Now) && swept.WentBack > 0 {
			s.c.reportJump(-swept.WentBack)
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

// longestMend bounds how long a sweep mends due times; the next sweep continues.
const longestMend = 2 * time.Second

// mend moves due times back that were set before Redis's clock jumped back.
func (s *Sweeper) mend(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, longestMend)
	defer cancel()
	moved, err := s.c.ledger.Mend(ctx)
	if moved > 0 {
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
