package collect

import (
	"time"

	"payscore-collector/internal/ledger"
	"payscore-collector/internal/payscore"
	"payscore-collector/tasks"
)

// Policy decides what follows from a verdict: whether the order has ended, and
// if not, what is done next and when. It is pure: it looks at no clock.
type Policy struct {
	Schedule []time.Duration // between attempts; the last one repeats; ±10 %
	Confirm  []time.Duration // looks after a collect that was taken or is under way
	Window   Window          // of collect calls; queries are made at any time
	MinGap   time.Duration   // from the end of a collect call of an order to its next
	GiveUp   time.Duration   // from the opening of an order
	Rand     func() float64  // in [0,1), for the jitter
}

// Delays that are not the merchant's to set.
var (
	// backoff is how soon a failed call is followed up: 2, 5, 10 s. More
	// failures in a row hand the order over to the schedule.
	backoff = []time.Duration{2 * time.Second, 5 * time.Second, 10 * time.Second}
	// lookSoon is how soon a refused collect is followed by a look.
	lookSoon = time.Second
	// missingAgain is how soon an order that was not found is asked for once
	// more. An order can be invisible for tens of milliseconds after its
	// creation.
	missingAgain = 2 * time.Second
	// faultAgain is when an order that met a merchant's fault may be due
	// again. The gate holds it back for as long as it is closed.
	faultAgain = 5 * time.Second
)

// ReasonGaveUp is the reason of an end that is decided here, and not by WeChat
// Pay's word.
const ReasonGaveUp = "gave_up"

// Start is a settlement that changes nothing: it carries on what the order is.
func Start(o ledger.Snapshot, plan ledger.Plan, due time.Time) ledger.Settlement {
	return ledger.Settlement{
		State: o.State, Next: plan, Due: due,
		Declines: o.Declines, Confirms: o.Confirms, Fails: o.Fails, Missing: o.Missing,
	}
}

// Next decides what follows from the last reply of a step that began with
// plan. now is when the reply came, by Redis's clock.
func (p Policy) Next(o ledger.Snapshot, plan ledger.Plan, r payscore.Reply, now time.Time) ledger.Settlement {
	s := Start(o, plan, now)
	switch {
	case r.Call == payscore.CallCollect && r.Sent:
		s.Collected, o.Collected = now, now
		s.AddAttempts = attempts(r)
		o.Attempts += s.AddAttempts
	case r.Call == payscore.CallCollect:
		s.Uncollected = true
	case r.Call == payscore.CallSync:
		s.Unsynced = !r.Sent
	case !r.Sent:
		s.Unqueried = true
	}
	tell(&s, r)

	switch r.Verdict {
	case payscore.Unavailable, payscore.Throttled, payscore.MerchantFault:
		p.afterTrouble(&s, o, plan, r, now)
		return s // whoever is in trouble, the order is not: it cannot end here
	case payscore.Unknown:
		if r.Order == nil {
			p.afterTrouble(&s, o, plan, r, now)
			return s
		}
		// WeChat Pay has signed something about the order that makes no sense
		// to us. It is looked at again like one that is changing.
	}
	if acts(r) || plan == ledger.Confirm || plan == ledger.Inspect {
		// Where the last collect failed, only one that is answered ends the row
		// of failures: a look that works says nothing of it.
		s.Fails, o.Fails = 0, 0
	}
	if !(r.Verdict == payscore.NotFound || refusedQuery(r)) {
		s.Missing = 0
	}
	s.State = tasks.Awaiting

	if disowned(r) && (o.Known || plan == ledger.Confirm) {
		// WeChat Pay has spoken of this order under its signature, or taken it
		// for collection. A word, signed or not, that there is no such order or
		// that it is malformed contradicts that, and ends nothing.
		s.Missing = 0
		if acts(r) {
			s.Next, s.Due = ledger.Inspect, now.Add(lookSoon)
			return p.bounded(s, o, now)
		}
		return p.unclear(s, o, plan, now)
	}

	switch r.Verdict {
	case payscore.Paid:
		return end(s, tasks.Paid, "")
	case payscore.Closed:
		return end(s, tasks.Closed, r.Reason)
	case payscore.BadRequest:
		return end(s, tasks.Rejected, r.Reason)
	case payscore.NotCollectable:
		switch {
		case r.Order != nil:
			return end(s, tasks.Rejected, r.Reason)
		case refusedQuery(r):
			return p.missing(s, o, r, now)
		}
		s.Next, s.Due = ledger.Inspect, now.Add(lookSoon)
	case payscore.NotFound:
		return p.missing(s, o, r, now)
	case payscore.Accepted:
		s.Confirms = 0
		s.Next, s.Due = ledger.Confirm, now.Add(p.Confirm[0])
	case payscore.InProgress, payscore.Unknown:
		if acts(r) {
			s.Confirms = 0
			s.Next, s.Due = ledger.Confirm, now.Add(p.Confirm[0])
			break
		}
		return p.unclear(s, o, plan, now)
	case payscore.Declined:
		p.schedule(&s, o, now)
	case payscore.Owed:
		return p.owed(s, o, plan, now)
	}
	return p.bounded(s, o, now)
}

// unclear decides what follows from a look that did not show where the order
// stands: it is looked at again, and given up in the end like any other.
func (p Policy) unclear(s ledger.Settlement, o ledger.Snapshot, plan ledger.Plan, now time.Time) ledger.Settlement {
	if plan == ledger.Final && p.GaveUp(o, now) {
		return end(s, tasks.Exhausted, ReasonGaveUp)
	}
	p.confirmOn(&s, o, now)
	return p.bounded(s, o, now)
}

// owed decides what follows from a query that shows the order waiting for
// payment, where the step does not go on to collect.
func (p Policy) owed(s ledger.Settlement, o ledger.Snapshot, plan ledger.Plan, now time.Time) ledger.Settlement {
	switch plan {
	case ledger.Confirm:
		p.confirmOn(&s, o, now)
	case ledger.Resolve:
		// The call of unknown effect had none, as far as one can see.
		s.Confirms = 0
		p.onceMore(&s, o, now)
	case ledger.Final:
		if o.Fails > 0 {
			p.onceMore(&s, o, now)
			break
		}
		p.schedule(&s, o, now)
	default:
		p.schedule(&s, o, now)
	}
	if s.Next == ledger.Recheck && p.GaveUp(o, now) {
		return end(s, tasks.Exhausted, ReasonGaveUp)
	}
	return p.bounded(s, o, now)
}

// onceMore has an order collected again after trouble, as soon as it may be;
// after several failures in a row, after the time that the schedule says. It keeps
// its place in the schedule: the user has not declined.
func (p Policy) onceMore(s *ledger.Settlement, o ledger.Snapshot, now time.Time) {
	if o.Fails > int64(len(backoff)) {
		p.inPlace(s, o, now)
		return
	}
	s.Next, s.Due = ledger.Recheck, p.collectable(now, o)
}

// GaveUp reports whether the time for an order is over. It never is for one
// that was not collected since it was opened, nor for one whose last collect
// met trouble: a merchant's fault, an outage or a closed window may have taken
// its time, and none of them ends an order.
func (p Policy) GaveUp(o ledger.Snapshot, now time.Time) bool {
	if o.Sync {
		return o.Fails == 0 && !now.Before(o.Since.Add(p.GiveUp))
	}
	tried := o.Attempts > 0 && !o.Collected.Before(o.Since) && o.Fails == 0
	return tried && !now.Before(o.Since.Add(p.GiveUp))
}

// PutOff is the settlement of a step that looked, found the order owed and may
// not collect before due.
func (p Policy) PutOff(o ledger.Snapshot, r payscore.Reply, due, now time.Time) ledger.Settlement {
	s := Start(o, ledger.Recheck, due)
	s.State = tasks.Awaiting
	s.Missing = 0
	tell(&s, r)
	return p.bounded(s, o, now)
}

// tell takes over what a reply says, for the record and the event.
func tell(s *ledger.Settlement, r payscore.Reply) {
	s.Facts = facts(r)
	s.VerifiedPaid = r.Verdict == payscore.Paid
	s.Call, s.Verdict, s.Code, s.DetailCode = string(r.Call), string(r.Verdict), r.Code, r.DetailCode
}

// bounded sees that an order's last look comes when its time is over, and not
// at whatever the schedule says.
func (p Policy) bounded(s ledger.Settlement, o ledger.Snapshot, now time.Time) ledger.Settlement {
	until := o.Since.Add(p.GiveUp)
	if s.Next == ledger.Recheck && !s.Due.Before(until) && p.GaveUp(o, until) {
		s.Next, s.Due = ledger.Final, later(now, until)
	}
	return s
}

// afterTrouble carries on an order whose call met trouble that is not its own:
// no attempt is used up, and its place in the schedules stays.
func (p Policy) afterTrouble(s *ledger.Settlement, o ledger.Snapshot, plan ledger.Plan, r payscore.Reply, now time.Time) {
	if r.Verdict == payscore.MerchantFault {
		s.Fails = max(1, s.Fails)
		s.Due = now.Add(faultAgain)
	} else {
		s.Fails++
		s.Due = now.Add(p.again(s.Fails))
	}
	if !acts(r) {
		return // the same look again
	}
	switch {
	case !r.Sent:
		s.Next = refusedPlan(plan)
	case r.Verdict == payscore.MerchantFault:
		// Refused without any effect. It is looked at and not collected next,
		// so that it can be the gate's probe without waiting for MIN_GAP.
		s.Next = ledger.Recheck
	case r.Verdict == payscore.Throttled:
		if o.Fails = s.Fails; o.Fails > int64(len(backoff)) {
			p.inPlace(s, o, now)
			return
		}
		s.Next, s.Due = ledger.Recheck, p.collectable(s.Due, o)
	default:
		// It may have taken effect: look before anything else.
		s.Next, s.State = ledger.Resolve, tasks.Awaiting
	}
}

// refusedPlan is the plan after a collect that was never sent: an order that was
// never looked at need not be now.
func refusedPlan(plan ledger.Plan) ledger.Plan {
	if plan == ledger.Collect || plan == ledger.TellPaid {
		return plan
	}
	return ledger.Recheck
}

// acts reports whether the reply is to a call that changes something, and not to
// a look.
func acts(r payscore.Reply) bool { return r.Call != payscore.CallQuery }

// missing: an order that is not found is asked for once more, and then given
// up.
func (p Policy) missing(s ledger.Settlement, o ledger.Snapshot, r payscore.Reply, now time.Time) ledger.Settlement {
	s.Missing = o.Missing + 1
	if s.Missing >= 2 {
		return end(s, tasks.Rejected, r.Reason)
	}
	s.Next, s.Due = ledger.Resolve, now.Add(missingAgain)
	if acts(r) {
		s.Next = ledger.Inspect // should the look show it owed, it is no hurry
	}
	return s
}

// confirmOn goes on to the next look, or to the schedule after the last one.
func (p Policy) confirmOn(s *ledger.Settlement, o ledger.Snapshot, now time.Time) {
	s.Confirms = o.Confirms + 1
	if s.Confirms < int64(len(p.Confirm)) {
		s.Next, s.Due = ledger.Confirm, now.Add(p.Confirm[s.Confirms])
		return
	}
	s.Confirms = 0
	p.schedule(s, o, now)
}

// schedule puts the order's next attempt at its place in the schedule, and moves it
// on to the next place.
func (p Policy) schedule(s *ledger.Settlement, o ledger.Snapshot, now time.Time) {
	p.inPlace(s, o, now)
	s.Declines = o.Declines + 1
}

// inPlace is schedule for an order that keeps its place.
func (p Policy) inPlace(s *ledger.Settlement, o ledger.Snapshot, now time.Time) {
	step := p.Schedule[min(o.Declines, int64(len(p.Schedule)-1))]
	s.Next, s.Due = ledger.Recheck, p.collectable(now.Add(p.jitter(step)), o)
}

// again is when a failed call is followed up, after so many in a row.
func (p Policy) again(fails int64) time.Duration {
	if fails <= int64(len(backoff)) {
		return p.jitter(backoff[fails-1])
	}
	return p.jitter(max(p.Schedule[0], backoff[len(backoff)-1]))
}

// collectable is the first moment from t on at which the order may be
// collected. The ledger asks again when it comes.
func (p Policy) collectable(t time.Time, o ledger.Snapshot) time.Time {
	if !o.Collected.IsZero() {
		t = later(t, o.Collected.Add(p.MinGap))
	}
	return p.Window.Earliest(t)
}

func (p Policy) jitter(d time.Duration) time.Duration {
	return d + time.Duration((p.Rand()-0.5)*0.2*float64(d))
}

// attempts is how many attempts a collect call's reply uses up: one, where it
// is about the order itself.
func attempts(r payscore.Reply) int64 {
	switch r.Verdict {
	case payscore.Accepted, payscore.InProgress, payscore.Declined, payscore.NotCollectable,
		payscore.NotFound, payscore.BadRequest:
		return 1
	}
	return 0
}

// disowned: a word that there is no such order, or none that can be right.
func disowned(r payscore.Reply) bool {
	return r.Verdict == payscore.NotFound || r.Verdict == payscore.BadRequest || refusedQuery(r)
}

// refusedQuery: a query that was refused in words about the order. There is
// no further way to look.
func refusedQuery(r payscore.Reply) bool {
	return r.Call == payscore.CallQuery && r.Verdict == payscore.NotCollectable && r.Order == nil
}

func end(s ledger.Settlement, state tasks.State, reason string) ledger.Settlement {
	s.State, s.Reason = state, reason
	s.Next, s.Due = "", time.Time{}
	return s
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// facts are what WeChat Pay says in a reply under its signature.
func facts(r payscore.Reply) ledger.Facts {
	f := ledger.Facts{OrderID: r.OrderID}
	if r.Order != nil {
		f = FactsOf(r.Order)
	}
	f.Known = r.Knows()
	return f
}

// FactsOf are what WeChat Pay says of an order under its signature.
func FactsOf(o *payscore.Order) ledger.Facts {
	pay := o.LastPayment()
	f := ledger.Facts{
		OrderID: o.OrderID, TransactionID: pay.TransactionID, PaidType: pay.PaidType,
		Done: o.Done(), Known: true,
	}
	// 0 is what the platform did not say.
	if total := o.Total(); total > 0 {
		f.Total = &total
	}
	if paid := o.Paid(); paid > 0 || f.Done && f.Total != nil {
		f.Paid = &paid
	}
	for _, p := range o.Payments() {
		f.Payments = append(f.Payments, ledger.Payment(p))
	}
	return f
}

// gateSignal is what a reply says about the merchant as a whole.
func gateSignal(r payscore.Reply) ledger.GateSignal {
	switch r.Verdict {
	case payscore.MerchantFault:
		if r.Scope == payscore.ScopeService {
			return ledger.GateService
		}
		return ledger.GateFault
	case payscore.Throttled:
		return ledger.GateThrottled
	case payscore.Unavailable, payscore.Unknown:
		switch {
		case r.Order != nil: // it answered, if in riddles
			return ledger.GateOK
		case r.Reason == payscore.ReasonGivenUp: // it was not asked
			return ledger.GateNothing
		}
		return ledger.GateDown
	}
	return ledger.GateOK
}
