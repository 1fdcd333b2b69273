package collect

import (
	"fmt"
	"math/rand/v2"
	"time"

	"payscore-collector/internal/config"
	"payscore-collector/internal/ledger"
	"payscore-collector/internal/payscore"
	"payscore-collector/tasks"
)

// Policy decides what follows from a reply: whether the order has ended, and if not,
// its next plan and due time. It is pure: it reads no clock.
type Policy struct {
	Schedule []time.Duration // between attempts; the last one repeats; ±10 %
	Confirm  []time.Duration // between the queries after a collect that was accepted
	Window   Window          // of collect calls; queries are made at any time
	MinGap   time.Duration   // from the end of an order's collect call to its next
	GiveUp   time.Duration   // from the opening of an order
	Rand     func() float64  // in [0,1), for the jitter
}

// PolicyOf returns the policy of the worker's settings, or of a schedule's.
func PolicyOf(w config.Work) Policy {
	return Policy{
		Schedule: w.CollectSchedule,
		Confirm:  w.ConfirmSchedule,
		Window:   Window{w.Window.Always, w.Window.From, w.Window.To, w.Location},
		MinGap:   w.MinGap,
		GiveUp:   w.GiveUpAfter,
		Rand:     rand.Float64,
	}
}

// Delays that are not the merchant's to set.
var (
	// backoff is the delay after a failed call: 2, 5, 10 s. After more failures in
	// a row the schedule decides.
	backoff = []time.Duration{2 * time.Second, 5 * time.Second, 10 * time.Second}
	// inspectAfter is the delay from a refused collect to the query that follows.
	inspectAfter = time.Second
	// missingAgain is the delay before an order that was not found is queried once
	// more. An order can be invisible for tens of milliseconds after its creation.
	missingAgain = 2 * time.Second
	// faultAgain is the delay after a merchant's fault. The hold keeps the order
	// longer, if it lasts longer.
	faultAgain = 5 * time.Second
)

// ReasonGaveUp is the reason of a final state that the policy decides, and not
// WeChat Pay.
const ReasonGaveUp = "gave_up"

// Start returns a settlement that keeps the order as it is, with the given plan and
// due time.
func Start(o ledger.Snapshot, plan ledger.Plan, due time.Time) ledger.Settlement {
	return ledger.Settlement{
		State: o.State, Next: plan, Due: due,
		Declines: o.Declines, Confirms: o.Confirms, Fails: o.Fails, Missing: o.Missing,
	}
}

// Next decides what follows from the last reply of a step that began with
// plan. now is when the reply came, by Redis's clock. It panics at a verdict that
// it has no rule for; the step then retries the order later.
func (p Policy) Next(o ledger.Snapshot, plan ledger.Plan, r payscore.Reply, now time.Time) ledger.Settlement {
	s := Start(o, plan, now)
	switch {
	case r.Call == payscore.CallCollect && r.Sent:
		s.Collected, o.Collected = now, now
		s.AddAttempts = r.Attempts()
		o.Attempts += s.AddAttempts
	case r.Call == payscore.CallCollect:
		s.NotMade = ledger.CollectCall
	case r.Call == payscore.CallSync:
		if !r.Sent {
			s.NotMade = ledger.SyncCall
		}
	case !r.Sent:
		s.NotMade = ledger.QueryCall
	}
	report(&s, r)

	if r.Trouble() {
		p.afterTrouble(&s, o, plan, r, now)
		return s // the reply is not about the order, so it cannot end here
	}
	if acts(r) || plan == ledger.Confirm || plan == ledger.Inspect {
		// After a failed collect, only an answered one ends the row of failures. A
		// query that succeeds does not.
		s.Fails, o.Fails = 0, 0
	}
	if r.Verdict != payscore.NotFound && !r.RefusedQuery() {
		s.Missing = 0
	}
	s.State = tasks.Awaiting

	if r.Disowns() && (o.Known || plan == ledger.Confirm) {
		// WeChat Pay has named this order under its signature or accepted a collect
		// for it. A reply, signed or not, that the order does not exist or is
		// malformed contradicts that and ends nothing.
		s.Missing = 0
		if acts(r) {
			s.Next, s.Due = ledger.Inspect, now.Add(inspectAfter)
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
		case r.RefusedQuery():
			return p.missing(s, o, r, now)
		}
		s.Next, s.Due = ledger.Inspect, now.Add(inspectAfter)
	case payscore.NotFound:
		return p.missing(s, o, r, now)
	case payscore.Accepted, payscore.InProgress, payscore.Unknown:
		if !acts(r) {
			return p.unclear(s, o, plan, now)
		}
		s.Confirms = 0
		s.Next, s.Due = ledger.Confirm, now.Add(p.Confirm[0])
		s.Accepted = p.ours(r)
	case payscore.Declined:
		p.schedule(&s, o, now)
	case payscore.Owed:
		return p.owed(s, o, plan, now)
	default:
		panic(fmt.Sprintf("collect: the policy has no rule for the verdict %q", r.Verdict))
	}
	return p.bounded(s, o, now)
}

// unclear decides what follows from a query that did not show where the order
// stands: it is queried again, and given up at its deadline like any other.
func (p Policy) unclear(s ledger.Settlement, o ledger.Snapshot, plan ledger.Plan, now time.Time) ledger.Settlement {
	if plan == ledger.Final && p.GaveUp(o, now) {
		return end(s, tasks.Exhausted, ReasonGaveUp)
	}
	p.confirmNext(&s, o, now)
	return p.bounded(s, o, now)
}

// owed decides what follows from a query that shows the order waiting for
// payment, where the step does not continue with a collect.
func (p Policy) owed(s ledger.Settlement, o ledger.Snapshot, plan ledger.Plan, now time.Time) ledger.Settlement {
	switch {
	case plan == ledger.Confirm:
		p.confirmNext(&s, o, now)
	case plan == ledger.Resolve:
		// The call of unknown effect apparently had none.
		s.Confirms = 0
		p.onceMore(&s, o, now)
	case plan == ledger.Final && o.Fails > 0:
		p.onceMore(&s, o, now)
	default:
		p.schedule(&s, o, now)
	}
	if s.Next == ledger.Recheck && p.GaveUp(o, now) {
		return end(s, tasks.Exhausted, ReasonGaveUp)
	}
	return p.bounded(s, o, now)
}

// onceMore has an order collected again after trouble: as soon as it may be, or,
// after several failures in a row, when the schedule says. The order keeps its place
// in the schedule, since the user has not declined.
func (p Policy) onceMore(s *ledger.Settlement, o ledger.Snapshot, now time.Time) {
	if o.Fails > int64(len(backoff)) {
		p.inPlace(s, o, now)
		return
	}
	s.Next, s.Due = ledger.Recheck, p.collectable(now, o)
}

// GaveUp reports whether the time for an order has run out. It never has for an order
// that was not collected since it was opened, nor for one whose last collect
// met trouble: a merchant's fault, an outage or a closed window may have used up
// its time, and none of them ends an order.
func (p Policy) GaveUp(o ledger.Snapshot, now time.Time) bool {
	tried := o.Sync || o.Attempts > 0 && !o.Collected.Before(o.Since)
	return tried && o.Fails == 0 && !now.Before(o.Since.Add(p.GiveUp))
}

// Postpone returns the settlement of a step that queried, found the order owed and
// may not collect before due.
func (p Policy) Postpone(o ledger.Snapshot, r payscore.Reply, due, now time.Time) ledger.Settlement {
	s := Start(o, ledger.Recheck, due)
	s.State = tasks.Awaiting
	s.Missing = 0
	report(&s, r)
	return p.bounded(s, o, now)
}

// report copies what a reply says into the settlement, for the record and the event.
func report(s *ledger.Settlement, r payscore.Reply) {
	s.Facts = facts(r)
	s.VerifiedPaid = r.Verdict == payscore.Paid
	s.Call, s.Verdict, s.Code, s.DetailCode = string(r.Call), string(r.Verdict), r.Code, r.DetailCode
}

// bounded moves an order's last query to its deadline, where the schedule would come
// later.
func (p Policy) bounded(s ledger.Settlement, o ledger.Snapshot, now time.Time) ledger.Settlement {
	until := o.Since.Add(p.GiveUp)
	if s.Next == ledger.Recheck && !s.Due.Before(until) && p.GaveUp(o, until) {
		s.Next, s.Due = ledger.Final, later(now, until)
	}
	return s
}

// afterTrouble continues an order whose call met trouble that is not its own:
// no attempt is used up, and it keeps its place in the schedules.
func (p Policy) afterTrouble(s *ledger.Settlement, o ledger.Snapshot, plan ledger.Plan, r payscore.Reply, now time.Time) {
	if r.Verdict == payscore.MerchantFault {
		s.Fails = max(1, s.Fails)
		s.Due = now.Add(faultAgain)
	} else {
		s.Fails++
		s.Due = now.Add(p.again(s.Fails))
	}
	if !acts(r) {
		return // the same query again
	}
	switch {
	case !r.Sent:
		s.Next = refusedPlan(plan)
	case r.Verdict == payscore.MerchantFault:
		// Refused without any effect. The order is queried next and not collected,
		// so that it can be the hold's probe without waiting for MIN_GAP.
		s.Next = ledger.Recheck
	case r.Verdict == payscore.Throttled:
		if o.Fails = s.Fails; o.Fails > int64(len(backoff)) {
			p.inPlace(s, o, now)
			return
		}
		s.Next, s.Due = ledger.Recheck, p.collectable(s.Due, o)
	default:
		// It may have taken effect: query before anything else.
		s.Next, s.State = ledger.Resolve, tasks.Awaiting
		s.Accepted = p.ours(r)
	}
}

// ours is how long before and after the reply a payment counts as the doing of a collect
// call that was accepted, or may have taken effect: the platform may have received it at
// any time of the call.
func (p Policy) ours(r payscore.Reply) time.Duration {
	if r.Call != payscore.CallCollect {
		return 0
	}
	return p.Confirm[0] + r.Elapsed
}

// actsAtOnce reports whether the plan is a call that changes something, without a
// query before it.
func actsAtOnce(plan ledger.Plan) bool { return plan == ledger.Collect || plan == ledger.TellPaid }

// refusedPlan is the plan after a collect that was never sent: no query is needed
// before an order's first collect.
func refusedPlan(plan ledger.Plan) ledger.Plan {
	if actsAtOnce(plan) {
		return plan
	}
	return ledger.Recheck
}

// acts reports whether the reply is to a call that changes something.
func acts(r payscore.Reply) bool { return r.Call != payscore.CallQuery }

// missing decides what follows when an order is not found: it is queried once more,
// and then rejected.
func (p Policy) missing(s ledger.Settlement, o ledger.Snapshot, r payscore.Reply, now time.Time) ledger.Settlement {
	s.Missing = o.Missing + 1
	if s.Missing >= 2 {
		return end(s, tasks.Rejected, r.Reason)
	}
	s.Next, s.Due = ledger.Resolve, now.Add(missingAgain)
	if acts(r) {
		s.Next = ledger.Inspect // if the query shows it owed, the schedule decides
	}
	return s
}

// confirmNext plans the next confirming query, or the next attempt after the last
// one.
func (p Policy) confirmNext(s *ledger.Settlement, o ledger.Snapshot, now time.Time) {
	s.Confirms = o.Confirms + 1
	if s.Confirms < int64(len(p.Confirm)) {
		s.Next, s.Due = ledger.Confirm, now.Add(p.Confirm[s.Confirms])
		return
	}
	s.Confirms = 0
	p.schedule(s, o, now)
}

// schedule plans the order's next attempt by the schedule, and advances its place
// there.
func (p Policy) schedule(s *ledger.Settlement, o ledger.Snapshot, now time.Time) {
	p.inPlace(s, o, now)
	s.Declines = o.Declines + 1
}

// inPlace is schedule for an order that keeps its place.
func (p Policy) inPlace(s *ledger.Settlement, o ledger.Snapshot, now time.Time) {
	step := p.Schedule[min(o.Declines, int64(len(p.Schedule)-1))]
	s.Next, s.Due = ledger.Recheck, p.collectable(now.Add(p.jitter(step)), o)
}

// again is the delay after so many failed calls in a row.
func (p Policy) again(fails int64) time.Duration {
	if fails <= int64(len(backoff)) {
		return p.jitter(backoff[fails-1])
	}
	return p.jitter(max(p.Schedule[0], backoff[len(backoff)-1]))
}

// collectable is the first moment from t on at which the order may be
// collected. The ledger checks again when it comes.
func (p Policy) collectable(t time.Time, o ledger.Snapshot) time.Time {
	if !o.Collected.IsZero() {
		t = later(t, o.Collected.Add(p.MinGap))
	}
	return p.Window.Earliest(t)
}

func (p Policy) jitter(d time.Duration) time.Duration {
	return d + time.Duration((p.Rand()-0.5)*0.2*float64(d))
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

// facts returns what a reply says of the order under WeChat Pay's signature.
func facts(r payscore.Reply) ledger.Facts {
	f := ledger.Facts{OrderID: r.OrderID}
	if r.Order != nil {
		f = FactsOf(r.Order)
	}
	f.Known = r.Knows()
	return f
}

// FactsOf returns what a signed order says.
func FactsOf(o *payscore.Order) ledger.Facts {
	f := ledger.Facts{Done: o.Done(), Known: true}
	f.SetTexts(o.Texts())
	// 0 means that the platform did not say.
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
