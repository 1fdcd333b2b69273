package collect

import (
	"context"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/rs/zerolog"

	"payscore-collector/internal/asynqx"
	"payscore-collector/internal/faultpoint"
	"payscore-collector/internal/ledger"
	"payscore-collector/internal/logging"
	"payscore-collector/internal/payscore"
	"payscore-collector/tasks"
)

// step is one order's turn under a lease: look or act, and settle.
type step struct {
	*Collector
	claim ledger.Claim
	asked time.Time // local; the claim was asked for then, so Redis answered later
	log   []ledger.Entry

	calledAt time.Time // Redis's clock
	lease    time.Time // local; the lease lasts longer than this
	yielded  bool      // the order had ended from another side
}

// step does what the claim's plan says: a look, an act, or a look and an act.
func (c *Collector) step(ctx context.Context, claim ledger.Claim, asked time.Time) (err error) {
	s := &step{Collector: c, claim: claim, asked: asked}
	c.metrics.observeLag(c.ledger.MchID(), claim)
	defer func() {
		if p := recover(); p != nil {
			err = s.panicked(ctx, p)
		}
	}()
	if !s.untilSlot(ctx, asked, claim.Wait) {
		return s.uncalled(ctx)
	}
	if claim.Plan == ledger.Collect || claim.Plan == ledger.TellPaid {
		return s.act(ctx)
	}
	r := s.call(ctx, payscore.CallQuery)
	if claim.Plan != ledger.Recheck || r.Verdict != payscore.Owed || s.policy().GaveUp(claim.Order, s.now()) {
		return s.settle(ctx, s.policy().Next(claim.Order, claim.Plan, r, s.now()), r)
	}
	return s.recollect(ctx, r)
}

// recollect goes on from a look that found the order owed to a collect (or, for
// a withdrawn one, to telling WeChat Pay), if that is allowed still.
func (s *step) recollect(ctx context.Context, look payscore.Reply) error {
	if s.stopping() {
		// The worker's time to finish is for calls that were begun.
		return s.settle(ctx, s.policy().PutOff(s.claim.Order, look, s.now(), s.now()), look)
	}
	asked := time.Now()
	lim := s.limits()
	lim.Horizon = permitHorizon
	var permit ledger.Permit
	if err := insist(ctx, func() (err error) {
		permit, err = s.ledger.Permit(ctx, s.claim, lim)
		return err
	}); err != nil {
		return fmt.Errorf("permit: %w", err) // the lease runs out, and the order is due
	}
	s.watchClock(ctx, asked, permit.Now)
	o := s.claim.Order
	switch permit.Code {
	case ledger.Granted:
		faultpoint.Grant(permit.Now, permit.Wait, o.OutOrderNo)
		faultpoint.Reach(faultpoint.Permitted, o.OutOrderNo)
		if s.untilSlot(ctx, asked, permit.Wait) {
			// The look showed it under WeChat Pay's signature.
			s.claim.Order.Missing, s.claim.Order.Known = 0, true
			return s.act(ctx)
		}
		putOff := s.policy().PutOff(o, look, s.now(), s.now())
		putOff.Uncollected, putOff.Unsynced = !o.Sync, o.Sync
		return s.settle(ctx, putOff, look)
	case ledger.Lost:
		s.Collector.log.Warn().Str(logging.FieldOutOrderNo, o.OutOrderNo).Msg("the lease was lost during a call; the order is another worker's now")
		return nil
	case ledger.Closed:
		return s.settle(ctx, s.policy().PutOff(o, look, s.now().Add(faultAgain), s.now()), look)
	default: // postponed, paced; an order that has ended meanwhile ignores it
		due := permit.Now.Add(permit.Wait)
		if permit.Now.Sub(s.now()).Abs() >= jumpTolerance {
			due = s.now().Add(permit.Wait) // settle moves it by the jump
		}
		return s.settle(ctx, s.policy().PutOff(o, look, due, s.now()), look)
	}
}

// act makes the call that changes something.
func (s *step) act(ctx context.Context) error {
	name := payscore.CallCollect
	if s.claim.Order.Sync {
		name = payscore.CallSync
	}
	r := s.call(ctx, name)
	return s.settle(ctx, s.policy().Next(s.claim.Order, s.claim.Plan, r, s.now()), r)
}

// untilSlot waits for the slot of the next call, and reports whether the call
// may be made: not where the gate has closed meanwhile, or the worker's context
// is over.
func (s *step) untilSlot(ctx context.Context, asked time.Time, wait time.Duration) bool {
	// Counted from before the script ran: the lease began later.
	s.lease = asked.Add(wait + s.CallTimeout + settleMargin)
	slot := time.Now().Add(wait)
	if !pause(ctx, nil, wait) {
		return false
	}
	if s.claim.Probe {
		return true
	}
	return time.Since(slot) < missedBy && !s.valve.closed() && !s.valve.closedFor(s.pair())
}

// missedBy is how late a call may leave for its slot. A process that stood still
// for longer (SIGSTOP, a machine starved of CPU) gives its slots back: sent all
// at once, the missed calls would come on top of those whose turn it is.
const missedBy = time.Second

// call makes one call, within the lease, and writes it down.
func (s *step) call(ctx context.Context, name payscore.Call) payscore.Reply {
	ctx, cancel := context.WithDeadline(ctx, s.lease.Add(-settleMargin+sendMargin))
	defer cancel()
	req := payscore.Request{OutOrderNo: s.claim.Order.OutOrderNo, AppID: s.claim.Order.AppID, ServiceID: s.claim.Order.ServiceID}
	s.calledAt = s.now()
	var r payscore.Reply
	switch name {
	case payscore.CallCollect:
		r = s.caller.Collect(ctx, req)
	case payscore.CallSync:
		r = s.caller.Sync(ctx, req, s.claim.Order.PaidAt)
	default:
		r = s.caller.Query(ctx, req)
	}
	if r.Scope == payscore.ScopeService {
		// At once: others may be waiting for their slots.
		s.valve.closeFor(s.pair(), firstProbe)
	}
	s.metrics.observeCall(s.ledger.MchID(), r)
	s.log = append(s.log, ledger.Entry{
		Call: string(r.Call), Verdict: string(r.Verdict), HTTPStatus: r.HTTPStatus,
		Code: r.Code, DetailCode: r.DetailCode, Message: r.Message, RequestID: r.RequestID,
		ElapsedMS: r.Elapsed.Milliseconds(), Failed: r.Failed(),
	})
	s.Collector.log.Info().
		Str(logging.FieldOutOrderNo, req.OutOrderNo).
		Int64(logging.FieldAttempt, s.claim.Order.Attempts+1).
		Str(logging.FieldCall, string(r.Call)).
		Str(logging.FieldVerdict, string(r.Verdict)).
		Int(logging.FieldHTTPStatus, r.HTTPStatus).
		Str(logging.FieldCode, r.Code).
		Str(logging.FieldDetailCode, r.DetailCode).
		Str(logging.FieldRequestID, r.RequestID).
		Int64(logging.FieldElapsedMS, r.Elapsed.Milliseconds()).
		Str("reason", r.Reason).
		Msg(r.Message)
	return r
}

// pair is what a service's permission is about.
func (s *step) pair() string { return s.claim.Order.AppID + ":" + s.claim.Order.ServiceID }

// now is Redis's clock as this step knows it: never behind it.
func (s *step) now() time.Time { return s.claim.Now.Add(time.Since(s.asked)) }

// uncalled gives the order back without a call.
func (s *step) uncalled(ctx context.Context) error {
	o := s.claim.Order
	back := Start(o, s.claim.Plan, s.now())
	back.Uncollected = s.claim.Plan == ledger.Collect
	back.Unsynced = s.claim.Plan == ledger.TellPaid
	back.Unqueried = !back.Uncollected && !back.Unsynced
	return s.settle(ctx, back, payscore.Reply{})
}

// panicked gives an order back whose step panicked. What its last call did is
// unknown.
func (s *step) panicked(ctx context.Context, p any) error {
	o := s.claim.Order
	s.metrics.Panics.WithLabelValues(s.ledger.MchID()).Inc()
	s.Collector.log.Error().Str(logging.FieldOutOrderNo, o.OutOrderNo).
		Str("stack", string(debug.Stack())).Msgf("a step panicked: %v", p)
	back := Start(o, ledger.Resolve, s.now().Add(s.Policy.again(o.Fails+1)))
	back.Fails++
	if o.Sync {
		back = asSync(back, s.claim.Plan, payscore.Reply{})
	}
	if err := s.write(ctx, back, payscore.Reply{Reason: payscore.ReasonGivenUp, Verdict: payscore.Unknown}); err != nil {
		return err
	}
	return fmt.Errorf("a step panicked: %v", p)
}

// settle writes the settlement, and tells asynq whether to bring the task back
// for the order's next due time.
func (s *step) settle(ctx context.Context, set ledger.Settlement, last payscore.Reply) error {
	if s.claim.Order.Sync {
		set = asSync(set, s.claim.Plan, last)
	}
	if !set.Open() {
		return s.write(ctx, set, last)
	}
	wait := set.Due.Sub(s.now())
	if wait > carryWait {
		set.NewRound = true
		return s.write(ctx, set, last)
	}
	// The queue carries the task to the due time. Where it loses it, the
	// sweep finds the order a little later.
	set.Grace = 2*s.SweepEvery + shortWait
	if err := s.write(ctx, set, last); err != nil || s.yielded {
		return err
	}
	return &asynqx.Later{After: max(0, set.Due.Sub(s.now())), Why: string(last.Verdict)}
}

// write settles, and keeps trying for as long as the lease lasts: an answer
// from WeChat Pay is worth waiting for Redis.
func (s *step) write(ctx context.Context, set ledger.Settlement, last payscore.Reply) error {
	set.Log, set.CalledAt = s.log, s.calledAt
	set.First, set.Most, set.Failures = firstProbe, mostProbe, failuresToClose
	if len(s.log) > 0 {
		set.Gate = gateSignal(last)
	}
	// Giving the lease back survives the worker's own cancellation.
	ctx, cancel := context.WithDeadline(context.WithoutCancel(ctx), s.lease)
	defer cancel()
	faultpoint.Reach(faultpoint.Settling, s.claim.Order.OutOrderNo)
	for try := time.Duration(1); ; try++ {
		asked := time.Now()
		set.At = s.now()
		res, err := s.ledger.Settle(ctx, s.claim, set)
		if err == nil {
			s.watchClock(ctx, asked, res.Now)
			s.settled(ctx, set, last, res)
			return nil
		}
		if !pause(ctx, nil, min(try*100*time.Millisecond, time.Second)) {
			// The order is due again when the lease ends, and what its last
			// call did is unknown then.
			return fmt.Errorf("settle: %w", err)
		}
	}
}

// settled says what a settlement did, once, and loudly where it matters.
func (s *step) settled(ctx context.Context, set ledger.Settlement, last payscore.Reply, res ledger.SettleResult) {
	log := s.Collector.log.With().Str(logging.FieldOutOrderNo, s.claim.Order.OutOrderNo).Logger()
	code := res.Code
	if code == ledger.Repeat { // the first answer was lost
		code = res.First
	}
	switch code {
	case ledger.Lost:
		log.Warn().Msg("the lease was lost before the step was settled; its result was left out, but for payments that it showed")
	case ledger.Reopened:
		log.Info().Msg("the order ended and was opened again meanwhile; the step's call was added to its log")
	case ledger.HasEnded:
		s.yielded = true
		s.endedBefore(log, last, res.State)
	case ledger.Settled:
		faultpoint.Reach(faultpoint.Settled, s.claim.Order.OutOrderNo)
		switch {
		case set.Sync != "":
			s.synced(log, set)
		case !set.State.Open():
			s.ended(s.claim.Order.OutOrderNo, set.State, set.Reason, set.Facts)
		}
	}
	s.news(s.claim.Order.OutOrderNo, last.Call, set.Facts, res.News)
	s.gateChanged(ctx, res.Gate, last)
}

// endedBefore: the order's end came from another side while the call was under
// way.
func (s *step) endedBefore(log zerolog.Logger, last payscore.Reply, as tasks.State) {
	if as == tasks.Paid {
		// By a notification as a rule, of the payment that this call brought about.
		log.Info().Msg("the order was paid from another side while the step was under way; its call was added to the log")
		return
	}
	if last.Call == payscore.CallCollect && (last.Verdict == payscore.Accepted || last.Verdict == payscore.InProgress || last.Verdict == payscore.Unknown) {
		log.Warn().Str(logging.FieldVerdict, string(last.Verdict)).
			Msg("the order had ended from another side while it was being collected; should money come of that call, only a notification can tell")
		return
	}
	log.Info().Msg("the order had ended from another side; the step's call was added to its log")
}

// synced says how the telling of a withdrawn order went.
func (s *step) synced(log zerolog.Logger, set ledger.Settlement) {
	switch set.Sync {
	case ledger.SyncDone:
		log.Info().Msg("WeChat Pay has been told that the user paid elsewhere, and shows the order as done")
	case ledger.SyncNoNeed:
		log.Info().Str("reason", set.SyncReason).Msg("WeChat Pay need not be told of the withdrawn order: it was over there before")
	case ledger.SyncFailed:
		log.Error().Str("reason", set.SyncReason).
			Msg("WeChat Pay could not be told that the user paid elsewhere, and may go on deducting: withdraw the order again with --paid-at, or tell it on the merchant platform")
	default:
		return
	}
	s.metrics.Syncs.WithLabelValues(s.ledger.MchID(), string(set.Sync)).Inc()
}

func (s *step) gateChanged(ctx context.Context, change ledger.GateChange, last payscore.Reply) {
	switch change {
	case ledger.GateClosed:
		if last.Scope == payscore.ScopeService {
			// What held the merchant has ended with it, if anything did.
			s.valve.open()
			s.valve.closeFor(s.pair(), firstProbe)
		} else {
			s.valve.close(firstProbe)
		}
		s.metrics.GateClosings.WithLabelValues(s.ledger.MchID()).Inc()
		s.Collector.log.Error().
			Str(logging.FieldVerdict, string(last.Verdict)).Int(logging.FieldHTTPStatus, last.HTTPStatus).
			Str(logging.FieldCode, last.Code).Str(logging.FieldDetailCode, last.DetailCode).Str(logging.FieldRequestID, last.RequestID).
			Str("appid", s.claim.Order.AppID).Str("service_id", s.claim.Order.ServiceID).
			Msg(closedMessage(last, s.Collector.BaseURL, time.Since(s.now())))
	case ledger.GateOpened:
		s.valve.open()
		s.Collector.log.Warn().Msg("calls to WeChat Pay work again; collecting goes on")
	case ledger.GateSlowed:
		line := s.Collector.log.Warn().Str(logging.FieldCode, last.Code)
		if holds, err := s.ledger.Holds(ctx); err == nil {
			line.Float64(logging.FieldRate, s.Rate*holds.Share)
		}
		line.Msg("WeChat Pay throttles this merchant; its rate is halved, and comes back within a minute")
	}
}

// closedMessage is what the engineer on call reads. Without a code the words are
// the client's, and where there was no answer at all, WeChat Pay's address is of
// interest. ahead is this machine's clock before Redis's: WeChat Pay refuses what
// was signed with one that is five minutes off.
func closedMessage(r payscore.Reply, baseURL string, ahead time.Duration) string {
	const tail = "; no order is blamed, a probe is sent now and then, and collecting goes on by itself: "
	said := r.Message
	switch {
	case r.Code != "":
		said = "WeChat Pay says: " + r.Code + " " + r.Message
	case r.HTTPStatus == 0 && baseURL != "":
		said += " (" + baseURL + ")"
	}
	switch {
	case r.Verdict == payscore.Throttled:
		return "CALLS STOPPED for this merchant: WeChat Pay throttles every call; lower COLLECT_RATE, or find out who else uses this merchant's quota" + tail + said
	case r.Verdict == payscore.MerchantFault && r.Scope == payscore.ScopeService:
		return "CALLS STOPPED for one appid and service_id: WeChat Pay refuses them to this mchid; check that mchid, appid and service_id are bound together and PayScore is open" + tail + said
	case r.Verdict == payscore.MerchantFault:
		clock := " and the clock"
		if ahead.Abs() > time.Minute {
			clock = fmt.Sprintf(", and first of all the clock of this machine, which is %s", aside(ahead))
		}
		return "CALLS STOPPED for this merchant: WeChat Pay refuses its signature; check WECHATPAY_PRIVATE_KEY_FILE, WECHATPAY_SERIAL_NO, WECHATPAY_MCHID" + clock + tail + said
	case r.NeedsAPIV3Key:
		return "CALLS STOPPED for this merchant: replies are signed with a platform certificate, which this worker cannot download" + tail + said
	case r.Reason == "unverified":
		return "CALLS STOPPED for this merchant: replies do not carry WeChat Pay's signature; check WECHATPAY_PUBLIC_KEY_ID and WECHATPAY_PUBLIC_KEY_FILE, and what stands between" + tail + said
	}
	return "CALLS STOPPED for this merchant: WeChat Pay does not answer properly" + tail + said
}

// aside puts a difference of clocks into words.
func aside(ahead time.Duration) string {
	if ahead < 0 {
		return ahead.Abs().Round(time.Second).String() + " behind Redis's"
	}
	return ahead.Round(time.Second).String() + " ahead of Redis's"
}
