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

const (
	scanBatch = 200 // events that one round takes from the stream at most
	// queued is how many tasks may wait in the queue. More would only wait longer: each
	// is one round trip, and a time-out at worst.
	queued = 4 * Concurrency
	// mostWaiting is how many orders may wait for billing outside the stream, at about
	// 1 kB each: neither a first start on a long stream nor a receiver that is down for
	// days may fill Redis.
	mostWaiting = 50_000
)

// job is the payload of a TypeWebhook task.
type job struct {
	MchID      string `json:"mchid"`
	OutOrderNo string `json:"out_order_no"`
	Round      int64  `json:"round"`
}

// Run relays webhooks until ctx ends: it takes new final states from the stream, and
// makes tasks for what is due. Any number of workers may run it. What fails is logged,
// and retried.
func (s *Sender) Run(ctx context.Context) {
	var kept time.Time
	for {
		more, err := s.Relay(ctx)
		wait := s.Every*9/10 + rand.N(s.Every/5+1) // spread over the workers
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			s.trouble.Error().Str(logging.FieldEvent, "webhook_relay_failed").Err(err).Msg("webhook relay failed; it is retried")
			wait = max(wait, time.Second)
		case more:
			continue
		}
		if time.Since(kept) > time.Minute {
			kept = time.Now()
			s.Housekeep(ctx)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
	}
}

// Relay does one round, and reports whether there is more to do at once.
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
		s.log.Error().Str(logging.FieldEvent, "webhook_events_malformed").Int64(logging.FieldCount, relay.Foreign).
			Msg("malformed events skipped: they have the type of a final state and no valid out_order_no")
	}
	for _, o := range relay.Orders {
		if err := s.push(ctx, o); err != nil {
			return false, err // the order gets another task after the grace
		}
	}
	// While the queue is nearly full, what is due waits for the next round.
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
		return nil // enqueued before, and the reply was lost
	}
	return err
}

// Housekeep does what asynq does not: it registers the queue again after Redis has lost
// its data, and reminds of a paused queue.
func (s *Sender) Housekeep(ctx context.Context) {
	name := queue.WebhookName(s.ledger.MchID())
	_ = asynqx.Register(ctx, s.rdb, name)
	state, err := asynqx.Read(ctx, s.rdb, name)
	if err != nil || state.PausedSince.IsZero() {
		return
	}
	s.log.Warn().Str(logging.FieldEvent, "webhook_queue_paused").Time("paused_at", state.PausedSince).
		Msg("the webhooks' queue is paused, and billing gets none; to resume: worker resume --mchid " + s.ledger.MchID() + " --reason TEXT")
}
