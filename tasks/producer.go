package tasks

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"payscore-collector/internal/ledger"
	"payscore-collector/internal/queue"
	"payscore-collector/internal/tracing"
)

// Order is one order to collect.
type Order struct {
	Payload
	// At is when to start, by Redis's clock, to the millisecond. The zero value and
	// the past mean at once.
	At time.Time
	// Reopen opens an order again that has ended in any state but Paid, with the
	// appid and service_id given here.
	Reopen bool
	// Amount is what is owed, in fen, and OwedSince is since when, to the
	// millisecond; both are optional. They are shown and passed on. WeChat Pay has
	// not signed them, and they change nothing of how the order is collected. Those
	// of a Reopen replace earlier ones; those of a Duplicate do not.
	Amount    int64
	OwedSince time.Time
	// Reason says why a Reopen opens the order again, in billing's own words; optional, at
	// most MaxReason characters.
	Reason string
	// By is who reopens it, as the order's history shows it: a word for the kind, a colon
	// and a name, such as api:billing or cli:anna. Without it, go: and the name of this
	// program. What By and Reason say of an order that is not reopened is ignored: that it
	// was enqueued is no action of its history.
	By string
	// Token is the reopening's own, and optional. A repeated Reopen with the token of one
	// that was done gets the same answer, and does nothing again, even if the order has
	// ended in the meantime.
	Token string
}

// MaxAmount is the largest amount that is taken, in fen: a hundred thousand million
// yuan.
const MaxAmount = ledger.MaxAmount

// owedLongest is how long ago a debt may have begun. It catches mistyped years.
const owedLongest = 30 * 365 * 24 * time.Hour

// Validate reports everything that is wrong with o, as Payload's Validate does.
func (o Order) Validate() error {
	errs := []error{o.Payload.Validate()}
	if o.Amount < 0 || o.Amount > MaxAmount {
		errs = append(errs, &FieldError{"amount", fmt.Sprintf("is %d; only 0 to %d fen are allowed", o.Amount, int64(MaxAmount))})
	}
	errs = append(errs, validateText("reason", o.Reason, MaxReason))
	if !o.OwedSince.IsZero() {
		switch ago := time.Since(o.OwedSince); {
		case ago < -24*time.Hour: // today's date, in whatever time zone, is no future
			errs = append(errs, &FieldError{"owed_since", "lies in the future; it is since when the order is owed"})
		case ago > owedLongest:
			errs = append(errs, &FieldError{"owed_since", "lies more than thirty years back; it is since when the order is owed"})
		}
	}
	return errors.Join(errs...)
}

// Status is the answer to an order that was enqueued or withdrawn. The words are part
// of the interface.
type Status string

// The answers.
const (
	// Accepted: the order is in the ledger and will reach a final state.
	Accepted = Status(ledger.Accepted)
	// Duplicate: the order is open already; nothing changed.
	Duplicate = Status(ledger.Duplicate)
	// Conflict: the order is open already under another appid or service_id; nothing
	// changed.
	Conflict = Status(ledger.Conflict)
	// Ended: the order has ended, see Result.State; nothing changed.
	Ended = Status(ledger.Ended)
	// Absent: the ledger has no such order to withdraw; nothing changed.
	Absent = Status(ledger.NoOrder)
	// Invalid: the order is invalid, see Result.Err; nothing was written.
	Invalid Status = "invalid"
	// Failed: Redis did not answer, see Result.Err. The order may or may not be in
	// the ledger: enqueue it again.
	Failed Status = "failed"
)

// Result is the answer for one order.
type Result struct {
	Status Status
	State  State     // where the order stands; empty for Invalid and Failed
	Due    time.Time // when it is worked on next, at the earliest; zero if it has ended
	Err    error     // why, for Invalid and Failed
}

func failed(err error) Result {
	return Result{Status: Failed, Err: fmt.Errorf("the order was not enqueued: %w", err)}
}

// EnqueueGrace is how long the sweep leaves a new order to the task that the producer
// is about to enqueue. Where the producer dies in between, the order waits that long
// and for the next sweep.
const EnqueueGrace = 10 * time.Second

// Producer enqueues orders: into the ledger first, and then into the queue. It is safe
// for concurrent use.
type Producer struct {
	rdb   redis.UniversalClient
	queue *queue.Client
	known sync.Map // mchids that this producer has entered in the directory of ledgers
}

// NewProducer returns a Producer on rdb. The caller closes rdb, after the last call.
func NewProducer(rdb redis.UniversalClient) *Producer {
	return &Producer{rdb: rdb, queue: queue.New(rdb)}
}

// Enqueue enqueues one order. The error is not nil exactly where the status is Failed;
// what is wrong with the order itself is in the Result. It may be called again for the
// same order at any time.
func (p *Producer) Enqueue(ctx context.Context, o Order) (Result, error) {
	ctx, span := tracing.Start(ctx, "payscore enqueue")
	defer span.End()
	results, opened := p.open(ctx, []Order{o}, []bool{true})
	res := results[0]
	if span.On() {
		span.Set(tracing.MchID.String(o.MchID), tracing.OutOrderNo.String(o.OutOrderNo), tracing.Result.String(string(res.Status)))
	}
	if res.Status == Accepted && opened[0].Now {
		// The order is safe from here on. Where its task could not be enqueued, the
		// sweep enqueues it; a conflict is our own push, whose answer was lost.
		if err := p.push(ctx, queue.TypeCollect, o.Payload, opened[0].Round); err == nil || queue.IsConflict(err) {
			p.wake(ctx, o.MchID)
		}
	}
	if res.Status == Failed {
		return res, res.Err
	}
	return res, nil
}

func (p *Producer) push(ctx context.Context, taskType string, pl Payload, round int64) error {
	pl.Schedule = "" // the ledger has it
	return p.queue.Push(ctx, queue.Task{Type: taskType, MchID: pl.MchID, OutOrderNo: pl.OutOrderNo, Round: round, Payload: pl})
}

// wake wakes merchants whose workers sleep. Where a user of Redis may not publish, or the
// message is lost, they see for themselves within their SWEEP_EVERY.
func (p *Producer) wake(ctx context.Context, mchids ...string) { _ = p.queue.Wake(ctx, mchids...) }

// open opens the valid orders of a batch in one round trip, and gives every order its
// result. queued says which orders' tasks the caller then enqueues.
func (p *Producer) open(ctx context.Context, batch []Order, queued []bool) ([]Result, []ledger.Opened) {
	results, opened := make([]Result, len(batch)), make([]ledger.Opened, len(batch))
	unknown := map[string]error{} // merchants that could not be introduced, tried once each
	var openings []ledger.Opening
	var places []int
	for i, o := range batch {
		if err := o.Validate(); err != nil {
			results[i] = Result{Status: Invalid, Err: err}
			continue
		}
		if unknown[o.MchID] == nil {
			unknown[o.MchID] = p.introduce(ctx, o.MchID)
		}
		if err := unknown[o.MchID]; err != nil {
			results[i] = failed(err)
			continue
		}
		opening := ledger.Opening{
			Owner: o.Owner(), OutOrderNo: o.OutOrderNo, At: o.At, Reopen: o.Reopen, Amount: o.Amount, OwedSince: o.OwedSince,
			Schedule: o.Schedule,
		}
		if o.Reopen {
			opening.Deed = deed(o.By, o.Reason, o.Token)
		}
		if queued[i] {
			opening.Grace = EnqueueGrace
		}
		openings, places = append(openings, opening), append(places, i)
	}
	for n, answer := range ledger.Open(ctx, p.rdb, openings) {
		i := places[n]
		if opened[i] = answer; answer.Err != nil {
			results[i] = failed(answer.Err)
			continue
		}
		results[i] = Result{Status: Status(answer.Code), State: answer.State, Due: answer.Due}
	}
	return results, opened
}

func (p *Producer) introduce(ctx context.Context, mchid string) error {
	if _, ok := p.known.Load(mchid); ok {
		return nil
	}
	err := ledger.Introduce(ctx, p.rdb, mchid)
	if err == nil {
		p.known.Store(mchid, true)
	}
	return err
}
