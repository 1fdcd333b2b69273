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

// leaseMargin is from the latest moment at which a delivery is over to the end of
// its lease: time to write down what became of it.
const leaseMargin = 5 * time.Second

// busyAgain is when an end that has failed before comes again, where as many of
// those are under way as may be.
const busyAgain = time.Second

// Process is the handler of TypeWebhook tasks: it delivers the ends of one order,
// oldest first, the next one only when billing has taken the one before. A
// failure ends the task and is no error of it: the ledger has the time of the
// next delivery.
//
// The worker may die at any point:
//   - before the claim, the order is handed out again after the grace;
//   - between the claim and the request, when the lease has run out;
//   - between the request and the settlement, billing has taken the end and
//     nobody here knows. It is delivered once more after the lease, with the same
//     webhook-id and the same body, and the ends after it come after that. The
//     same goes for an answer that came too late, or not at all.
func (s *Sender) Process(ctx context.Context, t *asynq.Task) error {
	j, err := s.decode(t)
	if err != nil {
		s.log.Error().Err(err).Msg("a task of the webhooks' queue that cannot be worked on was put into the archive")
		return fmt.Errorf("%w: %w", err, asynq.SkipRetry)
	}
	d := delivery{Sender: s, no: j.OutOrderNo, token: ledger.NewToken()}
	if err := d.all(ctx, j.Round); err != nil {
		// asynq keeps a handler's error to itself.
		s.trouble.Error().Err(err).Str(logging.FieldOutOrderNo, j.OutOrderNo).
			Msg("a webhook's delivery failed on our side; it comes again, and nothing is lost (at most five such lines in ten seconds)")
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
	return j, tasks.ValidateOutOrderNo(j.OutOrderNo)
}

// delivery is one task's turn at an order, under one token.
type delivery struct {
	*Sender
	no, token string
}

func (d *delivery) lease() time.Duration { return d.Timeout + leaseMargin }

// all delivers until there is nothing left, or a failure.
func (d *delivery) all(ctx context.Context, round int64) error {
	// Counted from before the script ran: the lease began later.
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
		// What billing has taken is written down even where this task's time
		// is over.
		claim, err = insist(context.WithoutCancel(ctx), func(ctx context.Context) (ledger.HookClaim, error) {
			return d.ledger.SettleHook(ctx, set)
		})
		if err != nil {
			return fmt.Errorf("settle: %w", err)
		}
		if claim.Code == ledger.Lost && set.Done {
			d.log.Warn().Str(logging.FieldOutOrderNo, d.no).
				Msg("the lease was lost during a webhook's delivery; billing may be told twice, by the same webhook-id")
		}
	}
	return nil
}

// one delivers one end, and says what is to be written down.
func (d *delivery) one(ctx context.Context, claim ledger.HookClaim, asked time.Time) ledger.HookSettlement {
	if claim.EventErr != nil {
		d.count(givenUp)
		d.log.Error().Err(claim.EventErr).Str(logging.FieldOutOrderNo, d.no).
			Msg("an end of an order was given up: billing was not told, since the stream of outcomes has no readable event")
		return ledger.HookSettlement{Done: true}
	}
	if d.stopping() || ctx.Err() != nil {
		return ledger.HookSettlement{} // other workers' at once, or this one's next start's
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
		return ledger.HookSettlement{Wait: busyAgain} // it says nothing about billing
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
		line.Info().Msg("webhook delivered")
		return ledger.HookSettlement{Done: true}
	}
	d.count(failed)
	age := claim.Now.Sub(claim.Event.At)
	if d.Retention > 0 && age > d.Retention {
		// Said before it is removed: who dies in between says it twice.
		d.count(givenUp)
		line.Error().Str(logging.FieldReason, a.reason).Str(logging.FieldState, string(claim.Event.State)).
			Msg("an end of an order was given up: billing was not told of it within RETENTION; it must be told by hand")
		return ledger.HookSettlement{Done: true}
	}
	wait := d.wait(claim.Fails+1, a.retryAfter)
	line.Warn().Str(logging.FieldReason, a.reason).Time(logging.FieldDue, claim.Now.Add(a.elapsed+wait)).
		Msg("webhook not delivered; it is tried again")
	return ledger.HookSettlement{Failed: true, Wait: wait}
}

func (d *delivery) count(outcome string) {
	d.metrics.Total.WithLabelValues(d.ledger.MchID(), outcome).Inc()
}

// insist repeats a claim or a settlement whose answer was lost, for as long as
// the lease's margin allows: it may have taken effect, and repeated with its token
// it does so once. Otherwise an end would be delivered twice, or wait for the end
// of a lease that nobody knows of.
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
