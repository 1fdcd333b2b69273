package collect

import (
	"cmp"
	"context"
	"fmt"
	"runtime/debug"
	"sync"
	"time"

	"payscore-collector/internal/asynqx"
	"payscore-collector/internal/faultpoint"
	"payscore-collector/internal/ledger"
	"payscore-collector/internal/logging"
	"payscore-collector/internal/payscore"
	"payscore-collector/internal/tracing"
)

// step processes one order while holding its lease: query or act, then settle. The
// package's documentation shows its place in an order's way.
type step struct {
	c     *Collector
	claim ledger.Claim
	asked time.Time // local; the claim was asked for then, so Redis answered later

	policy   Policy // of an open order or of a withdrawn one
	entries  []ledger.Entry
	found    payscore.Reply // by the query of this step, after which it collects or syncs
	calledAt time.Time      // Redis's clock
	lease    time.Time      // local; the lease lasts longer than this
	yielded  bool           // the order had ended during the step
}

// step makes the call that the claim's plan says, or a query and a call.
func (c *Collector) step(ctx context.Context, schedules *Schedules, claim ledger.Claim, asked time.Time) (err error) {
	s := &step{c: c, claim: claim, asked: asked, policy: c.policyFor(schedules, claim.Order)}
	if claim.Order.Sync {
		s.policy = s.policy.forSync()
	}
	c.metrics.observeLag(c.mchid, claim)
	defer func() {
		if p := recover(); p != nil {
			err = s.panicked(ctx, p)
		}
	}()
	if !s.untilSlot(ctx, asked, claim.Wait) {
		return s.uncalled(ctx)
	}
	if actsAtOnce(claim.Plan) {
		return s.act(ctx)
	}
	query := s.call(ctx, payscore.CallQuery)
	if claim.Plan != ledger.Recheck || query.Verdict != payscore.Owed || s.policy.GaveUp(claim.Order, s.now()) {
		return s.decide(ctx, query)
	}
	return s.recollect(ctx, query)
}

// act makes the call that changes something, and settles by its reply.
func (s *step) act(ctx context.Context) error {
	if s.claim.Order.Sync {
		return s.decide(ctx, s.call(ctx, payscore.CallSync))
	}
	return s.decide(ctx, s.call(ctx, payscore.CallCollect))
}

// decide settles as the policy says after the step's last reply.
func (s *step) decide(ctx context.Context, last payscore.Reply) error {
	set := s.policy.Next(s.claim.Order, s.claim.Plan, last, s.now())
	if last.Order == nil && s.found.Order != nil {
		// A refusal says nothing of the amounts. Those that the query has shown would be
		// unknown as long as every collect is declined.
		said := set.Facts
		set.Facts = facts(s.found)
		set.Facts.Known = set.Facts.Known || said.Known
		set.Facts.OrderID = cmp.Or(said.OrderID, set.Facts.OrderID)
	}
	return s.settle(ctx, set, last)
}

// recollect continues after a query that found the order owed: it collects (or, for
// a withdrawn order, syncs) if the ledger still permits it.
func (s *step) recollect(ctx context.Context, query payscore.Reply) error {
	if s.c.stopping() {
		// The time that a stopping worker has is for calls that have begun.
		return s.postpone(ctx, query, s.now())
	}
	asked := time.Now()
	lim := s.c.limits(s.policy)
	lim.Horizon = permitHorizon
	var permit ledger.Permit
	if err := insist(ctx, func() (err error) {
		permit, err = s.c.ledger.Permit(ctx, s.claim, lim)
		return err
	}); err != nil {
		return fmt.Errorf("permit: %w", err) // the lease expires, and the order is due
	}
	s.c.watchClock(ctx, asked, permit.Now)
	o := s.claim.Order
	switch permit.Code {
	case ledger.Granted:
		faultpoint.Grant(time.Time{}, permit.Now, permit.Wait, o.OutOrderNo)
		faultpoint.Reach(faultpoint.Permitted, o.OutOrderNo)
		if s.untilSlot(ctx, asked, permit.Wait) {
			// The query showed it under WeChat Pay's signature.
			s.claim.Order.Missing, s.claim.Order.Known, s.found = 0, true, query
			return s.act(ctx)
		}
		set := s.policy.Postpone(o, query, s.now(), s.now())
		if set.NotMade = ledger.CollectCall; o.Sync {
			set.NotMade = ledger.SyncCall
		}
		return s.settle(ctx, set, query)
	case ledger.Lost:
		s.c.log.Warn().Str(logging.FieldEvent, "lease_lost").Str(logging.FieldOutOrderNo, o.OutOrderNo).
			Msg("lease lost during a query; another worker has the order")
		return nil
	case ledger.Held:
		return s.postpone(ctx, query, s.now().Add(faultAgain))
	case ledger.Paused:
		set := s.policy.Postpone(o, query, s.now().Add(permit.Wait), s.now())
		set.Paused = set.Next == ledger.Recheck // its last query is not brought forward
		return s.settle(ctx, set, query)
	default: // postponed, paced; an order that has ended meanwhile ignores the settlement
		due := permit.Now.Add(permit.Wait)
		if permit.Now.Sub(s.now()).Abs() >= jumpTolerance {
			due = s.now().Add(permit.Wait) // settle moves it by the jump
		}
		return s.postpone(ctx, query, due)
	}
}

// postpone settles after a query that found the order owed, without a collect.
func (s *step) postpone(ctx context.Context, query payscore.Reply, due time.Time) error {
	return s.settle(ctx, s.policy.Postpone(s.claim.Order, query, due, s.now()), query)
}

// untilSlot waits for the slot of the next call, and reports whether the call
// may be made. It may not after a hold has begun, or the worker's context has ended.
func (s *step) untilSlot(ctx context.Context, asked time.Time, wait time.Duration) bool {
	// Counted from before the script ran: the lease began later.
	s.lease = asked.Add(max(0, wait) + Lease(s.c.settings.CallTimeout))
	now := time.Now()
	slot := now.Add(wait - s.c.answers.late(now.Sub(asked), now))
	if !pause(ctx, nil, wait) {
		return false
	}
	return s.claim.Probe || time.Since(slot) < missedBy && !s.c.hold.holds(s.claim.Order.Scope())
}

// missedBy is how late a call may leave for its slot. A process that was frozen for
// longer (SIGSTOP, a machine starved of CPU), or whose answers a network withheld, gives
// its slots back: sent all at once, the missed calls would come on top of those whose
// slots are now.
const missedBy = time.Second

// answerTimes knows how long the ledger usually takes to answer. An answer that was
// withheld is late; the answers of a ledger that is always slow are not, or no call
// would ever be made.
type answerTimes struct {
	mu    sync.Mutex
	least [2]time.Duration // the quickest answer of the previous span and of this one
	span  time.Time        // when this span began
}

// answerSpan: a ledger that has become slow is known as slow after two spans at most.
const answerSpan = 5 * time.Second

// late returns how much longer than usual an answer took that came at now. It counts
// from the question: the slot in the answer may have gone by since then.
func (a *answerTimes) late(took time.Duration, now time.Time) time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case a.span.IsZero():
		a.least, a.span = [2]time.Duration{took, took}, now
	case now.Sub(a.span) > answerSpan:
		a.least, a.span = [2]time.Duration{a.least[1], took}, now
	}
	a.least[1] = min(a.least[1], took)
	return took - min(a.least[0], a.least[1])
}

// spans are the names of the calls' spans.
var spans = map[payscore.Call]string{
	payscore.CallCollect: "wechatpay collect", payscore.CallQuery: "wechatpay query", payscore.CallSync: "wechatpay sync",
}

// call makes one call within the lease, and records and logs it.
func (s *step) call(ctx context.Context, name payscore.Call) payscore.Reply {
	ctx, cancel := Within(ctx, s.lease)
	defer cancel()
	o := s.claim.Order
	req := payscore.Request{Owner: o.Owner, OutOrderNo: o.OutOrderNo}
	s.calledAt = s.now()
	// WeChat Pay gets no traceparent.
	ctx, span := tracing.Call(ctx, spans[name])
	defer span.End()
	var r payscore.Reply
	switch name {
	case payscore.CallCollect:
		r = s.c.caller.Collect(ctx, req)
	case payscore.CallSync:
		r = s.c.caller.Sync(ctx, req, o.PaidAt)
	default:
		r = s.c.caller.Query(ctx, req)
	}
	if r.Scope == payscore.ScopeService {
		// At once: other calls of the service may be waiting for their slots.
		s.c.hold.holdService(o.Scope(), firstProbe)
	}
	s.c.metrics.observeCall(s.c.mchid, r)
	if span.On() {
		span.Set(tracing.MchID.String(s.c.mchid), tracing.OutOrderNo.String(o.OutOrderNo), tracing.Verdict.String(string(r.Verdict)),
			tracing.HTTPStatus.Int(r.HTTPStatus), tracing.Code.String(r.Code), tracing.RequestID.String(r.RequestID))
		if r.Failed() {
			span.Failed(string(r.Verdict))
		}
	}
	s.entries = append(s.entries, ledger.Entry{
		Call: string(r.Call), Verdict: string(r.Verdict), HTTPStatus: r.HTTPStatus,
		Code: r.Code, DetailCode: r.DetailCode, Message: r.Message, RequestID: r.RequestID,
		ElapsedMS: r.Elapsed.Milliseconds(), Failed: r.Failed(),
	})
	s.c.log.Info().
		Str(logging.FieldEvent, "call").
		Str(logging.FieldOutOrderNo, o.OutOrderNo).
		Int64(logging.FieldAttempt, o.Attempts+1).
		Str(logging.FieldCall, string(r.Call)).
		Str(logging.FieldVerdict, string(r.Verdict)).
		Int(logging.FieldHTTPStatus, r.HTTPStatus).
		Str(logging.FieldCode, r.Code).
		Str(logging.FieldDetailCode, r.DetailCode).
		Str(logging.FieldRequestID, r.RequestID).
		Int64(logging.FieldElapsedMS, r.Elapsed.Milliseconds()).
		Str(logging.FieldReason, r.Reason).
		Msg(r.Message)
	return r
}

// now is Redis's clock as this step knows it: never behind it.
func (s *step) now() time.Time { return s.claim.Now.Add(time.Since(s.asked)) }

// uncalled gives the order back without a call.
func (s *step) uncalled(ctx context.Context) error {
	set := Start(s.claim.Order, s.claim.Plan, s.now())
	switch s.claim.Plan {
	case ledger.Collect:
		set.NotMade = ledger.CollectCall
	case ledger.TellPaid:
		set.NotMade = ledger.SyncCall
	default:
		set.NotMade = ledger.QueryCall
	}
	return s.settle(ctx, set, payscore.Reply{})
}

// panicked gives back an order whose step panicked. The effect of its last call is
// unknown.
func (s *step) panicked(ctx context.Context, p any) error {
	o := s.claim.Order
	s.c.count(s.c.metrics.Panics)
	s.c.log.Error().Str(logging.FieldEvent, "step_panicked").Str(logging.FieldOutOrderNo, o.OutOrderNo).
		Interface("panic", fmt.Sprint(p)).Str("stack", string(debug.Stack())).Msg("step panicked; the order is queried next")
	set := Start(o, ledger.Resolve, s.now().Add(s.policy.again(o.Fails+1)))
	set.Fails++
	if o.Sync {
		set = asSync(set, s.claim.Plan, payscore.Reply{})
	}
	if err := s.write(ctx, set, payscore.Reply{Reason: payscore.ReasonGivenUp, Verdict: payscore.Unknown}); err != nil {
		return err
	}
	return fmt.Errorf("step panicked: %v", p)
}

// settle writes the settlement, and has asynq bring the task back where the queue
// carries it to the order's next due time.
func (s *step) settle(ctx context.Context, set ledger.Settlement, last payscore.Reply) error {
	if s.claim.Order.Sync {
		set = asSync(set, s.claim.Plan, last)
	}
	if !set.Open() {
		return s.write(ctx, set, last)
	}
	if set.Due.Sub(s.now()) > carryWait {
		set.NewRound = true
		return s.write(ctx, set, last)
	}
	// If the queue loses the task, the sweep finds the order a little later.
	set.Grace = 2*s.c.settings.SweepEvery + shortWait
	if err := s.write(ctx, set, last); err != nil || s.yielded {
		return err
	}
	return &asynqx.Later{After: max(0, set.Due.Sub(s.now())), Why: string(last.Verdict)}
}

// write settles, and keeps trying for as long as the lease lasts, since a lost reply
// of WeChat Pay costs the order a query.
func (s *step) write(ctx context.Context, set ledger.Settlement, last payscore.Reply) error {
	set.Log, set.CalledAt = s.entries, s.calledAt
	set.First, set.Most, set.Failures = firstProbe, mostProbe, failuresToHold
	if len(s.entries) > 0 {
		set.Gate = ledger.GateSignal(last.Signal())
	}
	// Giving the lease back survives the worker's own cancellation.
	ctx, cancel := context.WithDeadline(context.WithoutCancel(ctx), s.lease)
	defer cancel()
	faultpoint.Reach(faultpoint.Settling, s.claim.Order.OutOrderNo)
	for try := time.Duration(1); ; try++ {
		asked := time.Now()
		set.At = s.now()
		res, err := s.c.ledger.Settle(ctx, s.claim, set)
		if err == nil {
			if span := tracing.Of(ctx); span.On() {
				span.Set(tracing.State.String(string(set.State)))
			}
			s.c.watchClock(ctx, asked, res.Now)
			s.settled(ctx, set, last, res)
			return nil
		}
		if !pause(ctx, nil, min(try*100*time.Millisecond, time.Second)) {
			// The order is due again when the lease ends, and the effect of its
			// last call is unknown then.
			return fmt.Errorf("settle: %w", err)
		}
	}
}
