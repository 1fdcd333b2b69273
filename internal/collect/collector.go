// Package collect brings open orders to their ends. It is the only place that
// knows both the ledger and WeChat Pay: the step for one order (step.go), what
// follows from a verdict (policy.go), when collecting is allowed (window.go),
// and the sweep that puts back what the queue has lost (sweep.go).
package collect

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/hibiken/asynq"
	"github.com/rs/zerolog"

	"payscore-collector/internal/asynqx"
	"payscore-collector/internal/faultpoint"
	"payscore-collector/internal/ledger"
	"payscore-collector/internal/logging"
	"payscore-collector/internal/payscore"
	"payscore-collector/tasks"
)

// Caller makes the calls. It is a payscore.Client; tests have others.
type Caller interface {
	Collect(context.Context, payscore.Request) payscore.Reply
	Query(context.Context, payscore.Request) payscore.Reply
	Sync(ctx context.Context, r payscore.Request, paidTime string) payscore.Reply
}

// Settings of one merchant's collector. All are required, but for AppID and
// ServiceID, which are for tasks that name none.
type Settings struct {
	AppID, ServiceID string
	BaseURL          string // WeChat Pay's, for what is said where it cannot be reached
	Policy           Policy
	Rate             float64       // calls a second, over all workers
	CallTimeout      time.Duration // of one call
	SweepEvery       time.Duration
	Concurrency      int // calls in flight in this process
	// Retention is how long ended orders and events stay; 0: for ever.
	Retention time.Duration
}

// Collector works on one merchant's orders. It is safe for concurrent use.
type Collector struct {
	Settings
	ledger   *ledger.Ledger
	caller   Caller
	producer *tasks.Producer
	log      zerolog.Logger
	trouble  zerolog.Logger // for what may happen to every step at once
	metrics  *Metrics
	valve    *valve
	clock    *clockWatch
	stop     chan struct{}
}

// New returns a merchant's collector.
func New(s Settings, l *ledger.Ledger, caller Caller, producer *tasks.Producer, log zerolog.Logger, m *Metrics) *Collector {
	log = log.With().Str(logging.FieldMchID, l.MchID()).Logger()
	m.introduce(l.MchID())
	return &Collector{
		Settings: s, ledger: l, caller: caller, producer: producer,
		log:     log,
		trouble: log.Sample(&zerolog.BurstSampler{Burst: 5, Period: 10 * time.Second}),
		metrics: m, valve: newValve(), clock: newClockWatch(s.CallTimeout + settleMargin + permitHorizon), stop: make(chan struct{}),
	}
}

// Stop lets workers that wait for the gate or for a due time put their tasks
// back. Steps under way go on to their end. It is to be called once.
func (c *Collector) Stop() { close(c.stop) }

// Waiting inside a worker, instead of going back to the queue.
const (
	// shortWait: a task that comes so much too early waits where it is.
	shortWait = 2 * time.Second
	// carryWait: up to this far off, the queue carries an order's task to its
	// due time; beyond, the sweep makes a new one.
	carryWait = 30 * time.Second
	// longestHold bounds how long a worker holds one task at a closed gate.
	longestHold = 5 * time.Minute
)

// Process is the handler of TypeCollect tasks: it brings one order one step
// further. An error that wraps asynq.SkipRetry is a task that can never be
// worked on; any other brings the task back.
func (c *Collector) Process(ctx context.Context, t *asynq.Task) error {
	p, err := c.decode(t)
	if err != nil {
		id, _ := asynq.GetTaskID(ctx)
		c.unusable(id, err)
		return fmt.Errorf("%w: %w", err, asynq.SkipRetry)
	}
	round := int64(ledger.NoRound)
	if id, ok := asynq.GetTaskID(ctx); ok {
		if n, ok := tasks.RoundOf(id, p); ok {
			round = n
		}
	}
	err = c.process(ctx, t, p, round)
	if asynqx.IsFailure(err) {
		// asynq keeps a handler's error to itself.
		c.metrics.StepErrors.WithLabelValues(c.ledger.MchID()).Inc()
		c.trouble.Error().Err(err).Str(logging.FieldOutOrderNo, p.OutOrderNo).
			Msg("a step failed on our side; the order is due again, and nothing is lost (at most five such lines in ten seconds)")
	}
	return err
}

func (c *Collector) decode(t *asynq.Task) (tasks.Payload, error) {
	if t.Type() != tasks.TypeCollect && t.Type() != tasks.TypeSync {
		return tasks.Payload{}, fmt.Errorf("task type %q is not known here", t.Type())
	}
	p, err := tasks.DecodePayload(t.Payload())
	if err != nil {
		return p, err
	}
	if p.MchID != c.ledger.MchID() {
		return p, fmt.Errorf("the task's mchid %.40q is not the merchant of this queue, %s", p.MchID, c.ledger.MchID())
	}
	if p.AppID == "" {
		p.AppID = c.AppID
	}
	if p.ServiceID == "" {
		p.ServiceID = c.ServiceID
	}
	return p, p.Validate()
}

// process claims the order, and waits where waiting is all there is to do.
func (c *Collector) process(ctx context.Context, t *asynq.Task, p tasks.Payload, round int64) error {
	hold := time.Now().Add(longestHold)
	token := ledger.NewToken()
	opened := false
	for {
		c.valve.wait(ctx, c.stop)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case c.stopping():
			return &asynqx.Later{After: time.Second, Why: "the worker is stopping"}
		case time.Now().After(hold):
			return &asynqx.Later{After: recheckEvery, Why: "the merchant's calls are held back"}
		}
		asked, openings := time.Now(), c.valve.openings()
		var claim ledger.Claim
		if err := insist(ctx, func() (err error) {
			claim, err = c.ledger.Claim(ctx, p.OutOrderNo, token, round, c.limits())
			return err
		}); err != nil {
			return fmt.Errorf("claim: %w", err)
		}
		c.watchClock(ctx, asked, claim.Now)
		switch claim.Code {
		case ledger.Granted:
			faultpoint.Grant(claim.Now, claim.Wait, p.OutOrderNo)
			faultpoint.Reach(faultpoint.Claimed, p.OutOrderNo)
			return c.step(ctx, claim, asked)
		case ledger.Absent:
			if c.outlived(t) {
				c.log.Error().Str(logging.FieldOutOrderNo, p.OutOrderNo).
					Msg("a task has outlived its order in the ledger (RETENTION), and nothing is done: where the order is still owed, hand it over again")
				return nil
			}
			if t.Type() == tasks.TypeSync {
				// Its record was lost. Opened anew it would be collected, though
				// the user has paid elsewhere.
				c.log.Error().Str(logging.FieldOutOrderNo, p.OutOrderNo).
					Msg("WeChat Pay was to be told of a withdrawn order that the ledger does not know any more: hand it over again and withdraw it again")
				return nil
			}
			// Some other asynq client's task: open its record, and claim that.
			if opened {
				return fmt.Errorf("the record of %s was opened, and is gone again", p.OutOrderNo)
			}
			if err := c.producer.Open(ctx, tasks.Order{Payload: p}); err != nil {
				return err
			}
			round, opened = ledger.NoRound, true
		case ledger.Closed:
			c.valve.closeUnlessOpened(claim.Wait, openings)
		case ledger.Paced:
			pause(ctx, c.stop, claim.Wait)
		case ledger.Early:
			switch {
			case claim.Wait <= shortWait:
				pause(ctx, c.stop, claim.Wait)
			case claim.Wait <= carryWait && round != ledger.NoRound:
				return &asynqx.Later{After: claim.Wait, Why: "not due yet"}
			default:
				return nil // the sweep brings it when it is due
			}
		default:
			// Ended, stale, under another's lease, put off: the ledger knows
			// when there is something to do, and the sweep asks it.
			return nil
		}
	}
}

// outlived reports whether a task of ours is so old that its order may have ended
// and left the ledger since. Opened anew it would be collected, though it may have
// been withdrawn.
func (c *Collector) outlived(t *asynq.Task) bool {
	made, err := strconv.ParseInt(t.Headers()[tasks.HeaderMadeAt], 10, 64)
	return err == nil && c.Retention > 0 && time.Since(time.UnixMilli(made)) >= c.Retention
}

// insist repeats a claim or a permit whose answer was lost: it may have been
// given, and repeated with its token it is given again. Otherwise the order
// would wait for the end of a lease that nobody knows of.
func insist(ctx context.Context, ask func() error) error {
	for try := time.Duration(0); ; try++ {
		err := ask()
		if err == nil || try == 3 || !pause(ctx, nil, (try+1)*100*time.Millisecond) {
			return err
		}
	}
}

func (c *Collector) stopping() bool {
	select {
	case <-c.stop:
		return true
	default:
		return false
	}
}

// Margins of a lease. The call's own deadline comes first, then there is time
// to settle, and only then may another worker claim the order.
const (
	settleMargin = 5 * time.Second
	sendMargin   = time.Second
)

// How long a call may wait for its slot under its lease. A collect that was
// just looked for waits longer: were it put off, the look was for nothing.
const (
	claimHorizon  = time.Second
	permitHorizon = 5 * time.Second
)

// limits are what a claim must keep to.
func (c *Collector) limits() ledger.Limits {
	return ledger.Limits{
		Lease:   c.CallTimeout + settleMargin,
		Rate:    c.Rate,
		Horizon: claimHorizon,
		MinGap:  c.Policy.MinGap,
		Windows: closingEarly(c.Policy.Window.Ahead(c.clock.now())),
		Sure:    c.clock.sure(),
		Most:    mostProbe,
	}
}

// closingEarly takes the last second off collection windows: from a slot that
// is inside to a request that is written some milliseconds pass.
func closingEarly(windows []time.Time) []time.Time {
	for i := 1; i < len(windows); i += 2 {
		windows[i] = windows[i].Add(-sendMargin)
	}
	return windows
}

// A gate that closed is probed after 5 s at first, and then ever more rarely,
// up to every 30 s.
const (
	firstProbe = 5 * time.Second
	mostProbe  = 30 * time.Second
	// failuresToClose is how many calls in a row, of any order, must go
	// without a proper answer for the platform to count as down. At one call
	// in five failing by chance, ten in a row are one in ten million.
	failuresToClose = 10
)
