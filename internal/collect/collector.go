// Package collect brings open orders to their final states. It is the only package
// that knows both the ledger and WeChat Pay.
//
// # One order, from its task to settle
//
// An asynq task only names an order. What is due, and what comes next, stands in the
// order's record in the ledger.
//
//  1. Process (collector.go) decodes the task and claims the order. A granted claim
//     is a lease on the order and a slot in the merchant's rate; it carries the
//     record (ledger.Snapshot) and the plan, which is what the step begins with.
//     Any other answer ends the task or makes it wait.
//  2. step (step.go) waits for the slot and makes the plan's call: collect or sync at
//     once, or a query. A query that shows the order still owed is followed by a
//     permit, the second check right before the call that changes something: the
//     ledger looks at the record, the hold, the gap and the window once more and
//     gives a second slot.
//  3. Policy.Next (policy.go) turns the last reply into a settlement: a final state,
//     or the next plan and its due time. It is pure. A withdrawn order goes the same
//     way, with sync in the place of collect (sync.go).
//  4. settle (step.go) writes the settlement, with the lease's token, and puts the
//     task back if the order is due soon; otherwise the sweep (sweep.go) makes a new
//     task, of the next round, when it is due.
//
// A hold stops all calls of a merchant, or of one service, but for a probe; this
// process remembers it in localhold.go. window.go says when collecting is allowed,
// foreign.go takes up other clients' tasks, and clockwatch.go notices jumps of
// Redis's clock.
package collect

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hibiken/asynq"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"payscore-collector/internal/asynqx"
	"payscore-collector/internal/config"
	"payscore-collector/internal/faultpoint"
	"payscore-collector/internal/ledger"
	"payscore-collector/internal/logging"
	"payscore-collector/internal/payscore"
	"payscore-collector/internal/queue"
	"payscore-collector/internal/tracing"
	"payscore-collector/tasks"
)

// Caller makes the calls. It is a payscore.Client, except in tests.
type Caller interface {
	Collect(context.Context, payscore.Request) payscore.Reply
	Query(context.Context, payscore.Request) payscore.Reply
	Sync(ctx context.Context, r payscore.Request, paidTime string) payscore.Reply
}

// Settings of one merchant's collector. All are required, except AppID and
// ServiceID, which are for tasks that name none.
type Settings struct {
	AppID, ServiceID string
	BaseURL          string // WeChat Pay's, for the log when it cannot be reached
	Policy           Policy
	Schedules        Schedules // of orders that are not collected by Policy; see SetSchedules
	// Work has the rest. What an order's schedule may change is in its Policy: take it
	// from there. A Retention of 0 means for ever.
	config.Work
}

// Collector works on one merchant's orders. It is safe for concurrent use.
type Collector struct {
	*merchant
	stop chan struct{}
}

// merchant is what all of a merchant's collectors share.
type merchant struct {
	settings Settings
	mchid    string
	ledger   *ledger.Ledger
	caller   Caller
	producer *tasks.Producer
	log      zerolog.Logger
	trouble  zerolog.Logger // sampled, for what may happen to every step at once
	metrics  *Metrics
	hold     *localHold
	clock    *clockWatch
	answers  answerTimes // to claims and permits
	named    atomic.Pointer[Schedules]
	working  atomic.Int64  // tasks in this process
	dry      chan struct{} // receives one when there is none any more

	unknown     sync.Mutex
	unknownSaid map[string]time.Time // when each unknown schedule was logged
}

// New returns a merchant's collector.
func New(s Settings, l *ledger.Ledger, caller Caller, producer *tasks.Producer, log zerolog.Logger, m *Metrics) *Collector {
	log = log.With().Str(logging.FieldMchID, l.MchID()).Logger()
	m.set.Introduce(l.MchID())
	c := &Collector{stop: make(chan struct{}), merchant: &merchant{
		settings: s, mchid: l.MchID(), ledger: l, caller: caller, producer: producer,
		log:     log,
		trouble: log.Sample(&zerolog.BurstSampler{Burst: 5, Period: 10 * time.Second}),
		metrics: m, hold: newLocalHold(), clock: newClockWatch(s.CallTimeout + settleMargin + permitHorizon), dry: make(chan struct{}, 1),
	}}
	c.SetSchedules(s.Schedules)
	return c
}

// SetSchedules changes the schedules of the merchant's orders: those that are set hold for
// every claim from now on, and a step under way keeps to those of its claim.
func (c *Collector) SetSchedules(s Schedules) { c.named.Store(&s) }

// MchID returns the merchant's number.
func (c *Collector) MchID() string { return c.mchid }

// Again returns a collector that shares everything with c but its Stop: one for each time
// that the merchant's fetchers are started.
func (c *Collector) Again() *Collector {
	return &Collector{c.merchant, make(chan struct{})}
}

// Stop makes workers that wait for a hold or a due time put their tasks back. Steps
// under way finish. Stop must be called once.
func (c *Collector) Stop() { close(c.stop) }

func (c *Collector) stopping() bool {
	select {
	case <-c.stop:
		return true
	default:
		return false
	}
}

// count adds one to the merchant's counter with the given further labels.
func (c *Collector) count(v *prometheus.CounterVec, labels ...string) {
	v.WithLabelValues(append([]string{c.mchid}, labels...)...).Inc()
}

// Waiting inside a worker, instead of returning the task to the queue.
const (
	// shortWait: a task that is early by no more than this waits where it is.
	shortWait = 2 * time.Second
	// carryWait: up to this far off, the queue carries an order's task to its
	// due time; beyond, the sweep makes a new one.
	carryWait = 30 * time.Second
	// longestWait bounds how long a worker keeps one task during a hold.
	longestWait = 5 * time.Minute
)

// Process is the handler of TypeCollect and TypeSync tasks: it brings one order one
// step further. An error that wraps asynq.SkipRetry marks a task that can never be
// worked on; any other brings the task back.
func (c *Collector) Process(ctx context.Context, t *asynq.Task) error {
	c.working.Add(1)
	defer c.done()
	id, _ := asynq.GetTaskID(ctx)
	p, err := c.decode(t)
	if err != nil {
		c.unusable(id, err)
		return fmt.Errorf("%w: %w", err, asynq.SkipRetry)
	}
	round := int64(ledger.NoRound)
	if n, ok := queue.RoundOf(id, p.MchID, p.OutOrderNo); ok {
		round = n
	}
	err = c.process(ctx, t, p, round)
	if asynqx.IsFailure(err) {
		// asynq does not log a handler's error.
		c.count(c.metrics.StepErrors)
		c.trouble.Error().Str(logging.FieldEvent, "step_failed").Str(logging.FieldOutOrderNo, p.OutOrderNo).Err(err).
			Msg("step failed; the order stays due and is retried (log sampled)")
	}
	return err
}

// done tells the sweeper when this process runs dry.
func (c *Collector) done() {
	if c.working.Add(-1) > 0 {
		return
	}
	select {
	case c.dry <- struct{}{}:
	default:
	}
}

func (c *Collector) decode(t *asynq.Task) (tasks.Payload, error) {
	if t.Type() != tasks.TypeCollect && t.Type() != queue.TypeSync {
		return tasks.Payload{}, fmt.Errorf("task type %q is not known here", t.Type())
	}
	p, err := tasks.DecodePayload(t.Payload())
	if err != nil {
		return p, err
	}
	if p.MchID != c.mchid {
		return p, fmt.Errorf("the task's mchid %.40q is not the merchant of this queue, %s", p.MchID, c.mchid)
	}
	if p.AppID == "" {
		p.AppID = c.settings.AppID
	}
	if p.ServiceID == "" {
		p.ServiceID = c.settings.ServiceID
	}
	return p, p.Validate()
}

// process claims the order, and waits where waiting is all there is to do.
func (c *Collector) process(ctx context.Context, t *asynq.Task, p tasks.Payload, round int64) error {
	until := time.Now().Add(longestWait)
	token := ledger.NewToken()
	opened := false
	var order ledger.Snapshot
	var terms string
	var schedules *Schedules
	for {
		c.hold.wait(ctx, c.stop)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case c.stopping():
			return &asynqx.Later{After: time.Second, Why: "the worker is stopping"}
		case time.Now().After(until):
			return &asynqx.Later{After: recheckEvery, Why: "the merchant's calls are held"}
		}
		if now := c.named.Load(); now != schedules {
			// Most orders name no schedule. The claim of one that does costs a second
			// question, if it would be followed by a collect.
			schedules, order, terms = now, ledger.Snapshot{Owner: p.Owner()}, ""
			if byOrder := len(schedules.Named) > 0; byOrder {
				terms = ledger.Unnamed(p.ServiceID, schedules.ByAmount())
			}
		}
		asked := time.Now()
		policy, _ := c.policyOf(schedules, order)
		var claim ledger.Claim
		if err := insist(ctx, func() (err error) {
			limits := c.limits(policy)
			limits.Terms, limits.ByAmount = terms, schedules.ByAmount()
			claim, err = c.ledger.Claim(ctx, p.OutOrderNo, token, round, limits)
			return err
		}); err != nil {
			return fmt.Errorf("claim: %w", err)
		}
		c.watchClock(ctx, asked, claim.Now)
		switch claim.Code {
		case ledger.Granted:
			faultpoint.Grant(asked, claim.Now, claim.Wait, p.OutOrderNo)
			faultpoint.Reach(faultpoint.Claimed, p.OutOrderNo)
			return c.traced(ctx, t, schedules, claim, asked)
		case ledger.Unlike:
			order, terms = claim.Order, claim.Terms
		case ledger.Absent:
			if c.lost(t, p.OutOrderNo) {
				return nil
			}
			// Another asynq client's task: open its record, and claim that.
			if opened {
				return fmt.Errorf("the record of %s was opened and has disappeared", p.OutOrderNo)
			}
			if _, err := c.ledger.Open(ctx, ledger.Opening{Owner: p.Owner(), OutOrderNo: p.OutOrderNo, Schedule: p.Schedule, Grace: tasks.EnqueueGrace}); err != nil {
				return err
			}
			round, opened = ledger.NoRound, true
		case ledger.Held:
			c.hold.hold(claim.Wait, asked)
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
			// Ended, stale, leased by another worker, postponed: the ledger knows
			// when there is something to do, and the sweep asks it.
			return nil
		}
	}
}

// traced is step with a span.
func (c *Collector) traced(ctx context.Context, t *asynq.Task, schedules *Schedules, claim ledger.Claim, asked time.Time) error {
	ctx, span := tracing.Step(ctx, "payscore step", t.Headers()[tracing.Header])
	defer span.End()
	if span.On() {
		span.Set(tracing.MchID.String(c.mchid), tracing.OutOrderNo.String(claim.Order.OutOrderNo), tracing.Plan.String(string(claim.Plan)))
	}
	return c.step(ctx, schedules, claim, asked)
}

// lost reports whether the missing record of a task must not be opened again: the
// order would be collected although the user may have paid elsewhere.
func (c *Collector) lost(t *asynq.Task, no string) bool {
	switch {
	case c.outlived(t):
		c.log.Error().Str(logging.FieldEvent, "task_outlived_order").Str(logging.FieldOutOrderNo, no).
			Msg("task ignored: its order was removed after RETENTION; enqueue it again if it is still owed")
	case t.Type() == queue.TypeSync:
		c.log.Error().Str(logging.FieldEvent, "sync_order_missing").Str(logging.FieldOutOrderNo, no).
			Msg("sync impossible: the ledger has no record of the withdrawn order; enqueue it and withdraw it again")
	default:
		return false
	}
	return true
}

// outlived reports whether a task of ours is so old that its order may have ended
// and left the ledger since.
func (c *Collector) outlived(t *asynq.Task) bool {
	made, err := strconv.ParseInt(t.Headers()[queue.HeaderMadeAt], 10, 64)
	return err == nil && c.settings.Retention > 0 && time.Since(time.UnixMilli(made)) >= c.settings.Retention
}

// insist repeats a claim or a permit whose answer was lost. It may have been granted;
// repeated with its token it is granted again. Without the repeat the order would
// wait for the end of a lease that no worker knows of.
func insist(ctx context.Context, ask func() error) error {
	for try := time.Duration(0); ; try++ {
		err := ask()
		if err == nil || try == 3 || !pause(ctx, nil, (try+1)*100*time.Millisecond) {
			return err
		}
	}
}

// Margins of a lease. The call's own deadline comes first, then there is time
// to settle, and only then may another worker claim the order.
const (
	settleMargin = 5 * time.Second
	sendMargin   = time.Second
)

// Lease is how long a lease for one call lasts from the call's slot on.
func Lease(callTimeout time.Duration) time.Duration { return callTimeout + settleMargin }

// Within bounds a call by the lease that it is made under, which lasts until end at least: a
// process that was frozen sends nothing beside the next holder of the lease.
func Within(ctx context.Context, end time.Time) (context.Context, context.CancelFunc) {
	return context.WithDeadline(ctx, end.Add(-settleMargin+sendMargin))
}

// How long a call may wait for its slot under its lease. A collect after a query
// waits longer; postponed, the query would be wasted.
const (
	claimHorizon  = time.Second
	permitHorizon = 5 * time.Second
)

// Sure is the earliest that Redis's clock can be without a jump ahead; see ledger.Limits.
func (c *Collector) Sure() time.Time { return c.clock.sure() }

// limits are what a claim or a permit of an order with the policy must keep to; see
// ledger.Limits, also for the terms, which a claim adds.
func (c *Collector) limits(policy Policy) ledger.Limits {
	return ledger.Limits{
		Lease:   Lease(c.settings.CallTimeout),
		Rate:    c.settings.Rate,
		Horizon: claimHorizon,
		MinGap:  policy.MinGap,
		Windows: closingEarly(policy.Window.Ahead(c.clock.now())),
		Sure:    c.clock.sure(),
		Most:    mostProbe,
	}
}

// closingEarly takes the last second off collection windows: some milliseconds pass
// from a slot inside the window until the request is written.
func closingEarly(windows []time.Time) []time.Time {
	for i := 1; i < len(windows); i += 2 {
		windows[i] = windows[i].Add(-sendMargin)
	}
	return windows
}

// A hold is probed after 5 s at first, and then ever more rarely, up to every 30 s.
const (
	firstProbe = 5 * time.Second
	mostProbe  = 30 * time.Second
	// failuresToHold is how many calls in a row, of any order, must fail to get a
	// proper answer for the platform to count as down. With one call in five failing
	// by chance, ten in a row are one in ten million.
	failuresToHold = 10
)
