package webhook

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/hibiken/asynq"

	"payscore-collector/internal/ledger"
	"payscore-collector/internal/logging"
	"payscore-collector/internal/queue"
	"payscore-collector/tasks"
)

const (
	// leaseMargin is the time between the deadline of a delivery and the end of its
	// lease, in which its result is recorded.
	leaseMargin = 5 * time.Second
	// busyAgain delays a retry while all places for retries are taken.
	busyAgain = time.Second
)

// Process is the handler of TypeWebhook tasks: it delivers the final states of one
// order, oldest first, each one only when billing has accepted the one before. A failed
// delivery ends the task without an error: the ledger has the time of the next one.
//
// The worker may die at any point:
//   - before the claim: the order gets another task after the grace;
//   - between the claim and the request: the same, when the lease has run out;
//   - between the request and the settlement: billing has accepted the event and the
//     ledger does not know. It is delivered again after the lease, with the same
//     webhook-id and the same body, before any later event. The same happens after an
//     answer that came too late, or not at all.
func (s *Sender) Process(ctx context.Context, t *asynq.Task) error {
	j, err := s.decode(t)
	if err != nil {
		s.log.Error().Str(logging.FieldEvent, "webhook_task_unusable").Err(err).Msg("invalid webhook task archived")
		return fmt.Errorf("%w: %w", err, asynq.SkipRetry)
	}
	d := delivery{Sender: s, no: j.OutOrderNo, token: ledger.NewToken()}
	if err := d.all(ctx, j.Round); err != nil {
		// asynq keeps a handler's error to itself.
		s.trouble.Error().Str(logging.FieldEvent, "webhook_step_failed").Err(err).Str(logging.FieldOutOrderNo, j.OutOrderNo).
			Msg("webhook task failed on our side; it is retried (this log line is sampled)")
		return err
	}
	return nil
}

func (s *Sender) decode(t *asynq.Task) (job, error) {
	var j job
	if t.Type() != queue.TypeWebhook {
		return j, fmt.Errorf("task type %.40q is not known here", t.Type())
	}
	if err := json.Unmarshal(t.Payload(), &j); err != nil {
		return j, errors.New("the task's payload is not the JSON object that a worker writes")
	}
	if j.MchID != s.ledger.MchID() {
		return j, fmt.Errorf("the task's mchid %.40q is not the merchant of this queue, %s", j.MchID, s.ledger.MchID())
	}
	if ledger.ValidHook(j.OutOrderNo) {
		return j, nil
	}
	return j, tasks.ValidateOutOrderNo(j.OutOrderNo)
}

// delivery is what one task does for an order, under one token.
type delivery struct {
	*Sender
	no, token string
}

func (d *delivery) lease() time.Duration { return d.Timeout + leaseMargin }

// all delivers until nothing is left, or a delivery fails.
func (d *delivery) all(ctx context.Context, round int64) error {
	// Taken before the script runs: the lease begins later.
	asked := time.Now()
	claim, err := insist(ctx, func(ctx context.Context) (ledger.HookClaim, error) {
		return d.ledger.ClaimHook(ctx, d.no, d.token, round, d.lease())
	})
	if err != nil {
		return fmt.Errorf("claim: %w", err)
	}
	for claim.Code == ledger.Granted {
		set := d.one(ctx, claim, asked)
		set.OutOrderNo, set.Token, set.EntryID, set.Lease = d.no, d.token, claim.EntryID, d.lease()
		asked = time.Now()
		// What billing has accepted is recorded even after this task's own deadline.
		claim, err = insist(context.WithoutCancel(ctx), func(ctx context.Context) (ledger.HookClaim, error) {
			return d.ledger.SettleHook(ctx, set)
		})
		if err != nil {
			return fmt.Errorf("settle: %w", err)
		}
		if claim.Code == ledger.Lost && set.Done {
			d.log.Warn().Str(logging.FieldEvent, "webhook_lease_lost").Str(logging.FieldOutOrderNo, d.no).
				Msg("lease lost during a webhook's delivery; billing may get it twice, with the same webhook-id")
		}
	}
	return nil
}

// one delivers one event, and returns what to record.
func (d *delivery) one(ctx context.Context, claim ledger.HookClaim, asked time.Time) ledger.HookSettlement {
	if claim.EventErr != nil {
		d.count(givenUp)
		d.log.Error().Str(logging.FieldEvent, "webhook_given_up").Err(claim.EventErr).Str(logging.FieldOutOrderNo, d.no).
			Msg("webhook abandoned: its event in the stream is unreadable; notify billing manually")
		return ledger.HookSettlement{Done: true}
	}
	if d.stopped.Load() || ctx.Err() != nil {
		return ledger.HookSettlement{} // another worker may deliver it at once
	}
	if claim.Fails > 0 {
		select {
		case d.retries <- struct{}{}:
			defer func() { <-d.retries }()
		default:
			return ledger.HookSettlement{Wait: busyAgain}
		}
	}

	a := d.post(ctx, claim.Event, asked.Add(d.Timeout))
	if a.unsent || a.status == 0 && ctx.Err() != nil {
		return ledger.HookSettlement{Wait: busyAgain} // this says nothing about billing
	}
	d.metrics.Seconds.WithLabelValues(d.ledger.MchID()).Observe(a.elapsed.Seconds())
	line := d.log.With().
		Str(logging.FieldOutOrderNo, d.no).
		Str(logging.FieldEventID, claim.Event.ID).
		Str(logging.FieldEventType, claim.Event.Type).
		Int(logging.FieldHTTPStatus, a.status).
		Int64(logging.FieldAttempt, claim.Fails+1).
		Int64(logging.FieldElapsedMS, a.elapsed.Milliseconds()).
		Logger()
	if a.delivered() {
		d.count(delivered)
		line.Info().Str(logging.FieldEvent, "webhook_delivered").Msg("webhook delivered")
		return ledger.HookSettlement{Done: true}
	}
	d.count(failed)
	age := claim.Now.Sub(claim.Event.At)
	if d.Retention > 0 && age > d.Retention {
		// Logged before it is removed: a worker that dies in between logs it twice.
		d.count(givenUp)
		line.Error().Str(logging.FieldEvent, "webhook_given_up").Str(logging.FieldReason, a.reason).Str(logging.FieldState, string(claim.Event.State)).
			Msg("webhook abandoned after RETENTION: notify billing manually")
		return ledger.HookSettlement{Done: true}
	}
	wait := d.wait(claim.Fails+1, a.retryAfter)
	line.Warn().Str(logging.FieldEvent, "webhook_failed").Str(logging.FieldReason, a.reason).Time(logging.FieldDue, claim.Now.Add(a.elapsed+wait)).
		Msg("webhook not delivered; it is retried")
	return ledger.HookSettlement{Failed: true, Wait: wait, Status: a.status, Why: a.reason}
}

func (d *delivery) count(outcome string) {
	d.metrics.Total.WithLabelValues(d.ledger.MchID(), outcome).Inc()
}

// insist repeats a claim or a settlement whose reply was lost, as long as the lease's
// margin allows. It may have taken effect, and with the same token it does so once.
// Without the repetition an event would be delivered twice, or wait until the lease of
// the lost claim ends.
func insist(ctx context.Context, ask func(context.Context) (ledger.HookClaim, error)) (ledger.HookClaim, error) {
	ctx, cancel := context.WithTimeout(ctx, leaseMargin-time.Second)
	defer cancel()
	for try := time.Duration(1); ; try++ {
		c, err := ask(ctx)
		if err == nil || ctx.Err() != nil {
			return c, err
		}
		select {
		case <-ctx.Done():
			return c, err
		case <-time.After(min(try*100*time.Millisecond, time.Second)):
		}
	}
}
