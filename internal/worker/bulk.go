package worker

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hibiken/asynq"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"payscore-collector/internal/asynqx"
	"payscore-collector/internal/control"
	"payscore-collector/internal/ledger"
	"payscore-collector/internal/logging"
	"payscore-collector/internal/queue"
)

// bulks does bulk actions, of every merchant that has a ledger in this Redis: they need no
// merchant's keys. asynq carries them, in a queue of their own. They stand in a directory
// until they are done, and what no task brings to a worker is enqueued again, every
// SWEEP_EVERY or when an operator has begun one. Without any, there is no asynq server, and
// the directory costs a command in an interval.
type bulks struct {
	every  time.Duration
	conns  connections
	serves func() bool
	queue  *queue.Client
	log    zerolog.Logger
	listed prometheus.Gauge

	kicked   chan struct{}
	stopping atomic.Bool
	running  atomic.Int64 // tasks under way
	cancel   context.CancelFunc
	loop     sync.WaitGroup

	complaints *asynqx.Complaints

	server *asynq.Server                 // of the loop
	used   time.Time                     // when there was something to do last
	absent map[ledger.BulkPart]time.Time // when a part in the directory was missed first
}

const (
	// bulkSlice is how long one task works on a bulk action; then the next one in the
	// queue has its turn.
	bulkSlice = 30 * time.Second
	// bulkConcurrency is how many bulk actions a process works on at once.
	bulkConcurrency = 4
	// bulkIdle is how long the asynq server outlives the last bulk action.
	bulkIdle = time.Minute
	// bulkAbsent is how long a part may be in the directory before it is written. One that
	// is still missing then was begun by a process that has died, or has been removed.
	bulkAbsent = 5 * time.Minute
)

func newBulks(every time.Duration, conns connections, serves func() bool, log zerolog.Logger, reg prometheus.Registerer) *bulks {
	b := &bulks{
		every: every, conns: conns, serves: serves, queue: queue.New(conns.Queue), log: log, kicked: make(chan struct{}, 1), absent: map[ledger.BulkPart]time.Time{},
		listed: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "payscore_bulk_actions", Help: "Bulk actions that are not done, counted for each merchant that they are about.",
		}),
	}
	reg.MustRegister(b.listed)
	return b
}

func (b *bulks) start(complaints *asynqx.Complaints) {
	b.complaints = complaints
	var ctx context.Context
	ctx, b.cancel = context.WithCancel(context.Background())
	b.loop.Go(func() {
		for ctx.Err() == nil {
			if b.serves() {
				b.keep(ctx)
			}
			select {
			case <-ctx.Done():
			case <-b.kicked:
			case <-time.After(b.every*9/10 + rand.N(b.every/5+1)):
			}
		}
	})
}

// kick has the directory read at once.
func (b *bulks) kick() {
	select {
	case b.kicked <- struct{}{}:
	default:
	}
}

// stop lets the batches under way finish.
func (b *bulks) stop() {
	b.stopping.Store(true)
	if b.cancel != nil {
		b.cancel()
	}
	b.loop.Wait()
	if b.server != nil {
		b.server.Shutdown()
	}
}

// grace is how long a bulk action is left to its task in the queue.
func (b *bulks) grace() time.Duration { return max(2*b.every, 2*time.Second) }

// keep enqueues the bulk actions that no worker has and no task brings.
func (b *bulks) keep(ctx context.Context) {
	parts, err := ledger.ListedBulks(ctx, b.conns.Ledger)
	if err != nil {
		return // what keeps Redis from answering is logged elsewhere
	}
	b.listed.Set(float64(len(parts)))
	if len(parts) > 0 || b.running.Load() > 0 {
		b.used = time.Now()
	}
	switch {
	case b.server == nil && len(parts) > 0:
		b.server = asynqx.NewServer(b.conns.Queue, queue.BulkQueue, bulkConcurrency, nil, b.complaints.Logger(""))
		if err := b.server.Start(asynq.HandlerFunc(b.process)); err != nil {
			panic(err) // cannot happen: it is new, and has a handler
		}
	case b.server != nil && time.Since(b.used) > bulkIdle:
		b.server.Shutdown()
		b.server = nil
	}
	b.enqueue(ctx, parts)
}

// enqueue is keep for the parts in the directory.
func (b *bulks) enqueue(ctx context.Context, parts []ledger.BulkPart) {
	missed := map[ledger.BulkPart]time.Time{}
	for _, part := range parts {
		l := ledger.New(b.conns.Ledger, part.MchID)
		switch round, code, err := l.ReserveBulk(ctx, part.ID, b.grace()); {
		case err != nil:
			return
		case code == ledger.Granted:
			// The sweep enqueues after the grace what this push does not.
			_ = b.queue.PushBulk(ctx, queue.BulkPayload{MchID: part.MchID, ID: part.ID}, round)
		case code == ledger.Absent && !b.gone(part):
			missed[part] = b.absent[part]
		case code != ledger.Leased:
			_ = ledger.UnlistBulk(ctx, b.conns.Ledger, part)
		}
	}
	b.absent = missed
}

// gone reports whether a part of the directory that is not there will not come either.
func (b *bulks) gone(part ledger.BulkPart) bool {
	first, again := b.absent[part]
	if !again {
		b.absent[part] = time.Now()
	}
	return again && time.Since(first) > bulkAbsent
}

// process is the handler of TypeBulk tasks.
func (b *bulks) process(ctx context.Context, t *asynq.Task) error {
	b.running.Add(1)
	defer b.running.Add(-1)
	var p queue.BulkPayload
	if err := json.Unmarshal(t.Payload(), &p); err != nil || t.Type() != queue.TypeBulk {
		id, _ := asynq.GetTaskID(ctx)
		err := fmt.Errorf("type %.40q with this payload is no bulk action", t.Type())
		b.log.Error().Str(logging.FieldEvent, "task_unusable").Str(logging.FieldTaskID, id).Err(err).Msg("unusable task archived")
		return fmt.Errorf("%w: %w", err, asynq.SkipRetry)
	}
	log := b.log.With().Str(logging.FieldMchID, p.MchID).Str(logging.FieldBulk, p.ID).Logger()
	begun := time.Now()
	stop := func() bool { return b.stopping.Load() || time.Since(begun) > bulkSlice }
	bulk, left, err := control.WorkOnBulk(ctx, b.conns.Ledger, ledger.BulkPart{MchID: p.MchID, ID: p.ID}, stop, b.grace())
	switch {
	case err != nil:
		log.Error().Str(logging.FieldEvent, "bulk_failed").Err(err).Msg("bulk action interrupted; it is continued")
		return err
	case left:
		return &asynqx.Later{After: time.Second, Why: "the next slice"}
	case bulk.Stage == ledger.BulkDone:
		log.Info().Str(logging.FieldEvent, "bulk_done").Str("action", bulk.Action).Str(logging.FieldBy, bulk.By).Msg("bulk action done")
	}
	return nil
}
