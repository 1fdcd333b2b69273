package chaos

import (
	"fmt"
	"slices"
	"time"

	"payscore-collector/internal/faultpoint"
	"payscore-collector/internal/ledger"
	"payscore-collector/internal/payscore"
	"payscore-collector/internal/simulator"
	"payscore-collector/tasks"
)

// How the judge distinguishes a breach from what no program can prevent.
//
// The judge first looks only at what the platform saw of an order and at the
// order's record. What looks like a breach there is a suspicion: two calls that
// overlap, a call after the final state, a collect too soon. A suspicion names
// its kind, the call in question, and the earlier call that it collides with.
//
// Some suspicions are unavoidable. A process can be frozen between its last look
// at the clock and the write of its request, and sends that request when it
// thaws. A process that is killed cannot write down what it was just told. A
// master that is replaced takes its last writes along. And Redis measures leases,
// gaps and ages by its clock, so that a jump ahead ends all of them early.
//
// Each of these is a cause. A cause looks for its proof in the evidence: the
// journal, in which the nemesis notes what it did to which process and when, and
// the traces, in which each worker notes every point of every step. Each kind of
// suspicion has a list of the causes that can explain it, and no other cause is
// considered. The first cause that is proven turns the suspicion into an excuse,
// which the closing table counts apart, with the size of the largest one. A
// suspicion without a proven cause is a breach.
//
//	suspicion --(a cause of its kind is proven)--> excuse    counted apart
//	          --(no cause is proven)-------------> breach    fails the run
//
// Excuses never rest on a delay being "small enough". Every size is compared with
// what the evidence says: the length of a jump, a lease, the time that Redis took
// to answer this very claim.

// suspicion is something that looks like a breach, until its cause is proven.
type suspicion struct {
	kind  *kind
	no    string // the order
	text  string
	size  time.Duration // by how much the rule was missed
	order ledger.Order
	calls []call // of the order, traced
	call  int    // index of the call in question, or -1
	prior int    // index of the call that it collides with, or -1
	// reopened is when billing opened the order again; zero: never.
	reopened time.Time
}

// kind is one way in which a call or a record can look like a breach.
type kind struct {
	row    string
	causes []cause
}

// cause looks for proof that no program could prevent what a suspicion shows. It
// returns the excuse in words, or "" without proof.
type cause func(evidence, *suspicion) string

// The kinds, each with the causes that can explain it.
var (
	callsOverlap     = &kind{rowAtOnce, []cause{frozenOnItsWay, priorFrozen, priorLost, leaseOvertaken, priorOvertaken, runsForAFrozenWorker}}
	afterShownEnd    = &kind{rowAfterEnd, []cause{frozenOnItsWay, leaseOvertaken, withdrawnUnderCall, reopenedUnderCall, endNotWritten}}
	afterRecordedEnd = &kind{rowAfterEnd, []cause{frozenOnItsWay, leaseOvertaken, allowedByOldMaster, endedUnderCall}}
	outsideWindow    = &kind{rowWindow, []cause{frozenOnItsWay, leaseOvertaken}}
	collectedPaused  = &kind{rowPaused, []cause{grantedBefore, frozenOnItsWay}}
	collectedTooSoon = &kind{rowSoon, []cause{frozenOnItsWay, priorFrozen, priorLost, leaseOvertaken, priorOvertaken, gapJumpedOver}}
	collectedBlindly = &kind{rowBlind, []cause{frozenOnItsWay, priorFrozen, priorLost, leaseOvertaken, priorOvertaken}}
	givenUpEarly     = &kind{rowWrong, []cause{ageJumped, claimAnsweredLate}}
	endedLate        = &kind{rowOpen, []cause{leaseOutlivedJump}}
)

// The excuses that several places give.
const (
	excuseFrozen   = "a worker was frozen between its last look at the clock and the send"
	excuseFailover = "a failover lost what was written last"
	excuseLease    = "Redis's clock jumped ahead, past the end of a lease"
	excuseSlots    = "Redis's clock was set, and with it went the slots given out before"
)

// frozenOnItsWay: the call's process was frozen while the call was on its way.
func frozenOnItsWay(ev evidence, s *suspicion) string {
	if ev.heldBack(s.calls[s.call]) {
		return excuseFrozen
	}
	return ""
}

// priorFrozen: the same of the prior call.
func priorFrozen(ev evidence, s *suspicion) string {
	if ev.heldBack(s.calls[s.prior]) {
		return excuseFrozen
	}
	return ""
}

// priorLost: a failover lost what the prior call's step had written, so that the
// next step could not know of it.
func priorLost(ev evidence, s *suspicion) string {
	if ev.forgotten(s.calls[s.prior]) {
		return excuseFailover
	}
	return ""
}

// leaseOvertaken: Redis's clock ended the lease of the call's step.
func leaseOvertaken(ev evidence, s *suspicion) string {
	if ev.overtaken(s.calls[s.call], s.calls[s.call].Began) {
		return excuseLease
	}
	return ""
}

// priorOvertaken: Redis's clock ended the lease of the prior call's step.
func priorOvertaken(ev evidence, s *suspicion) string {
	if ev.overtaken(s.calls[s.prior], s.calls[s.call].Began) {
		return excuseLease
	}
	return ""
}

// runsForAFrozenWorker: the prior call's process stood still and could not hang
// up when CALL_TIMEOUT had passed.
func runsForAFrozenWorker(ev evidence, s *suspicion) string {
	c, began := s.calls[s.prior], s.calls[s.call].Began
	if c.process != "" && ev.journal.frozen(c.process, c.Began, began) && began.Sub(c.Began) > ev.profile.callTimeout {
		return "a call still ran at the platform for a worker that was frozen"
	}
	return ""
}

// gapJumpedOver: Redis measures MIN_GAP, and its clock jumped ahead by what was
// left of it.
func gapJumpedOver(ev evidence, s *suspicion) string {
	if ev.journal.ahead(s.calls[s.prior].since(ev.profile.lease()), s.calls[s.call].Began) >= s.size {
		return "Redis's clock jumped ahead, past the end of MIN_GAP"
	}
	return ""
}

// withdrawnUnderCall: billing withdrew the order while the call ran that showed
// its final state, and a sync follows a withdrawal in any case.
func withdrawnUnderCall(_ evidence, s *suspicion) string {
	if c := s.calls[s.prior]; tellsWithdrawal(s.order, s.calls[s.call].Call) && !c.granted.IsZero() && !c.granted.After(s.order.EndedAt) {
		return "it was withdrawn under that call, and WeChat Pay was told all the same"
	}
	return ""
}

// reopenedUnderCall: billing opened the order again after the claim whose call
// showed the final state. The reply belongs to the time before, so that the step
// records what it says and the next step queries once more.
func reopenedUnderCall(ev evidence, s *suspicion) string {
	if c := s.calls[s.prior]; !c.granted.IsZero() && c.granted.Before(s.reopened) && s.reopened.Before(c.Over.Add(ev.profile.lease())) {
		return "it was reopened under that call"
	}
	return ""
}

// endNotWritten: the step that was shown the final state could not write it down.
func endNotWritten(ev evidence, s *suspicion) string {
	c, lease := s.calls[s.prior], ev.profile.lease()
	until := c.Over.Add(lease)
	switch {
	case ev.forgotten(c):
		return excuseFailover
	case ev.overtaken(c, until):
		return excuseLease
	case c.process == "" || !c.settled.IsZero():
		return ""
	case ev.journal.died(c.process, c.Began, until):
		return "its worker was killed before it could write the end down"
	case ev.journal.frozen(c.process, c.Began, until):
		return "its worker was frozen before it could write the end down"
	}
	for _, o := range ev.journal.outages {
		if o.from.Before(until) && o.to.After(c.Over) {
			return "Redis could not be written to: " + o.what
		}
	}
	return ""
}

// allowedByOldMaster: the call was granted after the end, by a master that had
// been replaced and did not have the end.
func allowedByOldMaster(ev evidence, s *suspicion) string {
	if c := s.calls[s.call]; !c.granted.IsZero() && c.granted.After(s.order.EndedAt) && ev.journal.lost(c.granted, c.granted) {
		return "a master that had been replaced let it through"
	}
	return ""
}

// endedUnderCall: the call had been granted before the end, which came from
// billing or in a notification.
func endedUnderCall(_ evidence, s *suspicion) string {
	c, o := s.calls[s.call], s.order
	if c.granted.IsZero() || c.granted.After(o.EndedAt) {
		return ""
	}
	if o.State == tasks.Withdrawn {
		return "it was withdrawn between the permission to call and the call"
	}
	if o.State == tasks.Paid && slices.ContainsFunc(o.Log, func(e ledger.Entry) bool {
		return e.Call == string(payscore.CallNotification) && e.Verdict == string(payscore.Paid) && e.At.Equal(o.EndedAt)
	}) {
		return "a notification showed it paid between the permission to call and the call"
	}
	return ""
}

// ageJumped: Redis's clock jumped ahead by what was left of GIVE_UP_AFTER.
func ageJumped(ev evidence, s *suspicion) string {
	if ev.journal.ahead(s.order.OpenedAt, s.order.EndedAt) >= s.size {
		return "Redis's clock jumped ahead, past GIVE_UP_AFTER"
	}
	return ""
}

// claimAnsweredLate: a worker counts from when it asked for the order, and not
// from when Redis read its clock, so that it never takes a lease for longer than
// it is. It therefore believes Redis's clock later than it is by as long as Redis
// took to get to its claim, and gives up that much too early: never by more than
// the trace of this very claim shows. A grant is in whole milliseconds, cut off,
// as are the order's times: hence two of them.
func claimAnsweredLate(ev evidence, s *suspicion) string {
	if ev.claimTook(s.no, s.order.EndedAt)+2*time.Millisecond >= s.size {
		return "given up early by as long as Redis took to answer a claim"
	}
	return ""
}

// leaseOutlivedJump: a worker took a lease and could not settle, and Redis's clock
// was put back after that. The lease then lasts longer than its worker meant, at
// most longestLease from the jump on.
func leaseOutlivedJump(ev evidence, s *suspicion) string {
	// By process: since when it holds the order. A process that could not settle one
	// claim may well settle the next.
	held := map[string][]time.Time{}
	for _, m := range ev.marks[s.no] {
		claims := held[m.process]
		switch {
		case m.point == faultpoint.Claimed:
			held[m.process] = append(claims, m.at)
		case m.point == faultpoint.Settled && len(claims) > 0:
			held[m.process] = claims[:len(claims)-1]
		}
	}
	// A claim whose answer no worker lived to read leaves no mark, but a trace: the first
	// claim to collect leaves a query to the next one.
	if len(s.calls) > 0 && s.calls[0].Call == simulator.CallQuery && s.reopened.IsZero() {
		if opened := ev.journal.real(s.order.OpenedAt); !ev.journal.lastBack(opened, s.calls[0].Began).IsZero() {
			held[""] = append(held[""], opened)
		}
	}
	for _, claims := range held {
		for _, since := range claims {
			if back := ev.journal.lastBack(since, s.order.EndedAt); !back.IsZero() && s.order.EndedAt.Sub(back) < longestLease+ev.profile.settle {
				return "Redis's clock was put back, and a lease that no worker could give up lasted longer by it"
			}
		}
	}
	return ""
}

// tellsWithdrawal reports whether a call tells WeChat Pay of a withdrawal, which
// happens after the order's end.
func tellsWithdrawal(o ledger.Order, c simulator.Call) bool {
	return o.State == tasks.Withdrawn && o.Sync != nil && c != simulator.CallCollect
}

// suspect looks at all calls of one order for what looks like a breach.
func (res *result) suspect(no string, calls []simulator.Seen) []suspicion {
	var out []suspicion
	e := res.e
	o, known := res.orders[no]
	// By the record: an event's time is its place in the stream, which stays ahead for as
	// long as Redis's clock was.
	var reopened time.Time
	if n := len(o.Past); n > 0 {
		reopened = e.journal.real(o.Past[n-1].ReopenedAt)
	}
	suspect := func(k *kind, call, prior int, size time.Duration, text string, args ...any) {
		out = append(out, suspicion{
			kind: k, no: no, order: o, call: call, prior: prior, size: size, reopened: reopened,
			text: size.Round(time.Millisecond).String() + " " + fmt.Sprintf(text, args...),
		})
	}
	lastCollect, queriedSince, shown := -1, false, -1
	for i, c := range calls {
		for j := i - 1; j >= 0 && j >= i-8; j-- {
			if calls[j].Over.After(c.Began) {
				suspect(callsOverlap, i, j, calls[j].Over.Sub(c.Began), "of a %s and the %s before it overlap", c.Call, calls[j].Call)
			}
		}
		if shown >= 0 {
			suspect(afterShownEnd, i, shown, c.Began.Sub(calls[shown].Over), "after a reply had shown the final state, a %s", c.Call)
		}
		if c.Call == simulator.CallQuery && c.Ended && c.Answered && c.Signed {
			shown = i
		}
		if known && !tellsWithdrawal(o, c.Call) && !o.EndedAt.IsZero() && c.Began.After(o.EndedAt.Add(time.Millisecond)) {
			suspect(afterRecordedEnd, i, -1, c.Began.Sub(o.EndedAt), "after the final state %s was recorded, a %s", o.State, c.Call)
		}
		if c.Call == simulator.CallQuery {
			queriedSince = queriedSince || c.Answered && c.Signed && c.Owed
		}
		if c.Call != simulator.CallCollect {
			continue
		}
		if !e.shut[0].After(c.Began) && c.Began.Before(e.shut[1]) {
			suspect(outsideWindow, i, -1, e.shut[1].Sub(c.Began), "before the window opened, a collect")
		}
		if p, ok := e.journal.pausedAt(c.Began); ok {
			suspect(collectedPaused, i, -1, c.Began.Sub(p.from), "into a pause, a collect")
		}
		if lastCollect >= 0 {
			// From the end of the collect before, where that was answered; else the
			// worker had left, which the server may notice late.
			gap := c.Began.Sub(calls[lastCollect].Began)
			if calls[lastCollect].Answered {
				gap = c.Began.Sub(calls[lastCollect].Over)
			}
			if short := e.profile.minGap - gap; short > 0 {
				suspect(collectedTooSoon, i, lastCollect, short, "too soon after the last one, a collect")
			}
			if !queriedSince {
				suspect(collectedBlindly, i, lastCollect, gap, "after the last one, a collect, and no reply had shown the order owed since")
			}
		}
		lastCollect, queriedSince = i, false
	}
	if !known || o.EndedAt.IsZero() {
		return out
	}
	if rest := e.profile.giveUp - o.EndedAt.Sub(o.OpenedAt); o.State == tasks.Exhausted && rest > 0 {
		suspect(givenUpEarly, -1, -1, rest, "before its time, it was given up")
	}
	if late := o.EndedAt.Sub(e.healed.Add(e.profile.settle)); late > 0 {
		suspect(endedLate, -1, -1, late, "too late, it ended as %s", o.State)
	}
	return out
}
