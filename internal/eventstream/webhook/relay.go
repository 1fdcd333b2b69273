package webhook

import (
	"context"
	"encoding/json"
	"math/rand/v2"
	"time"

	"github.com/hibiken/asynq"

	"payscore-collector/internal/asynqx"
	"payscore-collector/internal/ledger"
	"payscore-collector/internal/logging"
	"payscore-collector/internal/queue"
)

// Sizes of a look.
const (
	scanBatch = 200 // events taken from the stream at once
	// queued is how many tasks the queue may have waiting. More would only
	// wait there: each is one round trip and, at the worst, a time-out.
	queued = 4 * Concurrency
	// mostWaiting is how many orders may wait for billing outside the stream,
	// each at about 1 kB: a first start on a long stream, or a receiver that is
	// away for days, is not to fill Redis.
	mostWaiting = 50_000
)

// job is the payload of a TypeWebhook task.
type job struct {
	MchID      string `json:"mchid"`
	OutOrderNo string `json:"out_order_no"`
	Round      int64  `json:"round"`
}

// Run moves webhooks on until ctx ends: it takes new ends from the stream, and
// makes tasks for what is due. Any number of workers may run it. What fails is
// logged, and tried again.
func (s *Sender) Run(ctx context.Context) {
	var kept time.Time
	for {
		more, err := s.Relay(ctx)
		wait := s.Every*9/10 + rand.N(s.Every/5+1) // spread, so that several workers do not all ask at once
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			s.trouble.Error().Err(err).Msg("webhooks could not be moved on; the next look tries again")
			wait = max(wait, time.Second)
		case more:
			continue
		}
		if time.Since(kept) > time.Minute {
			kept = time.Now()
			s.housekeeping(ctx)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
	}
}

// Relay does one look, and reports whether there is more to do at once.
func (s *Sender) Relay(ctx context.Context) (more bool, err error) {
	pending, err := s.rdb.LLen(ctx, asynqx.KeysOf(queue.WebhookName(s.ledger.MchID())).Pending).Result()
	if err != nil {
		return false, err
	}
	room := max(0, queued-int(pending))
	relay, err := s.ledger.RelayHooks(ctx, ledger.HookRelayArgs{Scan: scanBatch, Take: room, Most: mostWaiting, Grace: s.Grace})
	if err != nil {
		return false, err
	}
	if relay.Foreign > 0 {
		s.log.Error().Int64(logging.FieldCount, relay.Foreign).
			Msg("the stream of outcomes has entries that call themselves ends of orders and name none; billing is not told of them")
	}
	for _, o := range relay.Orders {
		if err := s.push(ctx, o); err != nil {
			return false, err // it is handed out again after the grace
		}
	}
	// Where the queue is nearly full, what is due waits for the next look.
	return relay.More || len(relay.Orders) == room && room > queued/2, nil
}

func (s *Sender) push(ctx context.Context, o ledger.DueHook) error {
	mchid := s.ledger.MchID()
	body, err := json.Marshal(job{mchid, o.OutOrderNo, o.Round})
	if err != nil {
		return err
	}
	_, err = s.queue.EnqueueContext(ctx, asynq.NewTask(queue.TypeWebhook, body),
		queue.Options(queue.WebhookName(mchid), queue.WebhookTaskID(mchid, o.OutOrderNo, o.Round))...)
	if queue.IsConflict(err) {
		return nil // our own, whose answer was lost
	}
	return err
}

// housekeeping sees to what asynq forgets: queues are not registered again after
// Redis was lost, and a paused queue stays paused until somebody remembers.
func (s *Sender) housekeeping(ctx context.Context) {
	name := queue.WebhookName(s.ledger.MchID())
	_ = asynqx.Register(ctx, s.rdb, name)
	state, err := asynqx.Read(ctx, s.rdb, name)
	if err != nil || state.PausedSince.IsZero() {
		return
	}
	s.log.Warn().Time("paused_at", state.PausedSince).
		Msg("the queue of webhooks is paused: billing is told nothing until somebody resumes it (redis-cli DEL '" + state.PauseKey + "')")
}
