package collect

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"payscore-collector/internal/ledger"
	"payscore-collector/internal/payscore"
	"payscore-collector/tasks"
)

// seeded returns a source of randomness whose seed is logged if the test fails.
func seeded(t *testing.T) *rand.Rand {
	seed := rand.Uint64()
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("seed %d", seed)
		}
	})
	return rand.New(rand.NewPCG(seed, 1))
}

var plans = []ledger.Plan{ledger.Collect, ledger.Recheck, ledger.Confirm, ledger.Resolve, ledger.Inspect, ledger.Final}

// env is one random situation.
type env struct {
	policy Policy
	order  ledger.Snapshot
	plan   ledger.Plan
	reply  payscore.Reply
	now    time.Time
}

func (e env) String() string {
	p := e.policy
	return fmt.Sprintf("schedule %v confirm %v gap %s give up %s window %+v\norder %+v\nplan %s reply %+v\nnow %s",
		p.Schedule, p.Confirm, p.MinGap, p.GiveUp, p.Window, e.order, e.plan, e.reply, e.now)
}

var zones = []*time.Location{shanghai, zone("Europe/Berlin"), zone("America/New_York"), zone("Australia/Lord_Howe"), time.UTC}

func randomWindow(r *rand.Rand) Window {
	if r.IntN(4) == 0 {
		return Window{Always: true}
	}
	// Whole minutes, From below 24 h, To up to 24 h and not From, as the
	// configuration has them, but with no edge in the hours in which clocks are
	// changed: there the face of the clock says nothing.
	w := Window{Location: zones[r.IntN(len(zones))]}
	for w.From == w.To {
		w.From = 4*hour + time.Duration(r.IntN(20*60))*minute
		w.To = 4*hour + time.Duration(r.IntN(20*60)+1)*minute
	}
	return w
}

func randomEnv(r *rand.Rand) env {
	durations := func(n int, most time.Duration) []time.Duration {
		out := make([]time.Duration, 1+r.IntN(n))
		for i := range out {
			out[i] = time.Millisecond + rand64(r, most)
		}
		return out
	}
	e := env{now: time.UnixMilli(1.7e12 + r.Int64N(1e11))}
	e.policy = Policy{
		Schedule: durations(5, 30*24*hour), Confirm: durations(4, hour), Window: randomWindow(r),
		MinGap: rand64(r, 48*hour), GiveUp: time.Millisecond + rand64(r, 60*24*hour), Rand: r.Float64,
	}
	e.order = ledger.Snapshot{
		OutOrderNo: "A", State: []tasks.State{tasks.Queued, tasks.Awaiting}[r.IntN(2)],
		Attempts: r.Int64N(3), Declines: r.Int64N(8), Confirms: r.Int64N(6), Fails: r.Int64N(8), Missing: r.Int64N(2),
		Since: e.now.Add(-rand64(r, 90*24*hour)),
	}
	if r.IntN(3) > 0 {
		// Up to a little in the future: a claim's lease may not have ended.
		e.order.Collected = e.now.Add(20*second - rand64(r, 90*24*hour))
	}
	e.plan = plans[r.IntN(len(plans))]
	e.reply = payscore.Reply{
		Verdict: payscore.Verdicts[r.IntN(len(payscore.Verdicts))],
		Scope:   []payscore.Scope{payscore.ScopeNone, payscore.ScopeMerchant, payscore.ScopeService}[r.IntN(3)],
		Sent:    r.IntN(3) > 0,
	}
	e.reply.Call = []payscore.Call{payscore.CallCollect, payscore.CallQuery}[r.IntN(2)]
	switch e.reply.Verdict {
	case payscore.Owed, payscore.Paid, payscore.Closed:
		e.reply.Call = payscore.CallQuery
		e.reply.Order, e.reply.Verified = &payscore.Order{TotalAmount: 100}, true
	case payscore.NotCollectable, payscore.Unknown, payscore.InProgress:
		if e.reply.Call == payscore.CallQuery && r.IntN(2) == 0 {
			e.reply.Order, e.reply.Verified = &payscore.Order{TotalAmount: 100}, true
		}
	case payscore.Accepted, payscore.Declined:
		e.reply.Call = payscore.CallCollect
	}
	switch e.reply.Verdict {
	case payscore.Unavailable, payscore.Throttled, payscore.MerchantFault: // of a download of certificates, maybe
	default:
		e.reply.Sent = true
	}
	return e
}

func rand64(r *rand.Rand, most time.Duration) time.Duration {
	return time.Duration(r.Int64N(int64(most)))
}

// Whatever the policy, the order, the plan and the reply.
func TestPolicyProperties(t *testing.T) {
	t.Parallel()
	r := seeded(t)
	for range 40_000 {
		e := randomEnv(r)
		s := e.policy.Next(e.order, e.plan, e.reply, e.now)
		if broken := checkSettlement(e, s); broken != "" {
			t.Fatalf("%s\n%s\nsettlement %+v", broken, e, s)
		}
		// A withdrawn order takes the same way, with sync for collect.
		e.order.Sync, e.policy = true, e.policy.forSync()
		if e.reply.Call == payscore.CallCollect {
			e.reply.Call = payscore.CallSync
		}
		s = asSync(e.policy.Next(e.order, e.plan, e.reply, e.now), e.plan, e.reply)
		if s.Open() && !s.Due.After(e.now) && !mayBeDueAtOnce(e, s) {
			t.Fatalf("a sync is due at once\n%s\nsettlement %+v", e, s)
		}
	}
}

// mayBeDueAtOnce reports whether an open order may be due without any delay: its
// deadline has passed, and only the last query is left; or a query after a call of
// unknown effect, or the last one after trouble, shows it owed, and it may be
// collected once more.
func mayBeDueAtOnce(e env, s ledger.Settlement) bool {
	return s.Next == ledger.Final && !e.now.Before(e.order.Since.Add(e.policy.GiveUp)) ||
		s.Next == ledger.Recheck && e.reply.Verdict == payscore.Owed && (e.plan == ledger.Resolve || e.plan == ledger.Final && e.order.Fails > 0)
}

// A verdict that the policy, its traits or the hold's signal do not know must not
// settle by a guess.
func TestPolicyHasARuleForEveryVerdict(t *testing.T) {
	t.Parallel()
	p := testPolicy()
	next := func(v payscore.Verdict, call payscore.Call, o *payscore.Order) (panicked any) {
		defer func() { panicked = recover() }()
		r := payscore.Reply{Call: call, Verdict: v, Order: o, Sent: true}
		s := p.Next(tried(), ledger.Recheck, r, noon)
		if s.Open() && !s.Due.After(noon) {
			t.Errorf("%s of a %s is due at once", v, call)
		}
		_ = r.Signal()
		return nil
	}
	for _, v := range payscore.Verdicts {
		for _, call := range []payscore.Call{payscore.CallCollect, payscore.CallQuery, payscore.CallSync} {
			for _, o := range []*payscore.Order{nil, {TotalAmount: 100}} {
				if p := next(v, call, o); p != nil {
					t.Errorf("%s of a %s: %v", v, call, p)
				}
			}
		}
	}
	if p := next("unheard_of", payscore.CallQuery, nil); p == nil {
		t.Error("a verdict without a rule is settled")
	}
}

// checkSettlement names the first property that a settlement breaks.
func checkSettlement(e env, s ledger.Settlement) string {
	trouble := slices.Contains([]payscore.Verdict{payscore.Unavailable, payscore.Throttled, payscore.MerchantFault}, e.reply.Verdict) ||
		e.reply.Verdict == payscore.Unknown && e.reply.Order == nil
	collected := e.reply.Call == payscore.CallCollect
	if !s.State.Open() {
		switch {
		case !s.Due.IsZero() || s.Next != "":
			return "an end has a due time or a plan"
		case trouble:
			return "trouble that is not the order's ended it"
		case (s.State == tasks.Paid) != (e.reply.Verdict == payscore.Paid), (s.State == tasks.Closed) != (e.reply.Verdict == payscore.Closed):
			return "paid or closed without the verdict of that name"
		case s.State == tasks.Withdrawn:
			return "only billing withdraws"
		case s.State == tasks.Exhausted && !e.policy.GaveUp(answered(e), e.now):
			return "given up too soon"
		case s.State == tasks.Exhausted && (e.reply.Call != payscore.CallQuery || !slices.Contains([]payscore.Verdict{payscore.Owed, payscore.InProgress, payscore.Unknown}, e.reply.Verdict)):
			return "given up without a query"
		}
		return ""
	}
	switch {
	case e.reply.Verdict == payscore.Paid || e.reply.Verdict == payscore.Closed:
		return "an end was left open"
	case !s.Due.After(e.now) && !mayBeDueAtOnce(e, s):
		return "due at once"
	case s.Due.Before(e.now):
		return "due in the past"
	case !slices.Contains(plans, s.Next):
		return "no plan"
	case s.Next == ledger.Collect && (e.plan != ledger.Collect || !trouble):
		return "a collect without a query, on an order that was tried"
	case collected && e.reply.Sent && (e.reply.Verdict == payscore.Unknown || e.reply.Verdict == payscore.Unavailable) && s.Next != ledger.Resolve:
		return "a collect of unknown effect is not followed by a query"
	case collected == s.Collected.IsZero() && s.NotMade != ledger.CollectCall:
		return "a collect call was not recorded, or one was that was not made"
	case s.NotMade == ledger.CollectCall && (e.reply.Sent || !collected):
		return "a call that was made is not counted"
	case trouble && s.AddAttempts != 0:
		return "trouble used up an attempt"
	case trouble && (s.Declines != e.order.Declines || s.Confirms != e.order.Confirms || s.Missing != e.order.Missing):
		return "trouble moved the order in its schedules"
	case e.reply.Verdict == payscore.Owed && e.order.Fails > 0 && (e.plan == ledger.Resolve || e.plan == ledger.Final) && s.Declines != e.order.Declines:
		return "a query after trouble moved the order in the schedule"
	}
	// A next collect that this settlement plans: not one that a query in trouble
	// merely repeats, which the ledger checks again, nor one after a merchant's
	// fault, which is the hold's next probe.
	if s.Next == ledger.Recheck && e.reply.Verdict != payscore.MerchantFault && (!trouble || collected && s.NotMade != ledger.CollectCall) {
		last := e.order.Collected
		if collected {
			last = e.now
		}
		if !last.IsZero() && s.Due.Before(last.Add(e.policy.MinGap)) {
			return "collected sooner than MIN_GAP after the last"
		}
		if !e.policy.Window.Contains(s.Due) {
			return "collected outside the window"
		}
	}
	return ""
}

// Even combinations that make no sense do not panic, and never end as paid or closed
// without WeChat Pay's word.
func TestPolicyTakesEveryCombination(t *testing.T) {
	t.Parallel()
	r := seeded(t)
	for _, plan := range plans {
		for _, verdict := range payscore.Verdicts {
			for _, call := range []payscore.Call{payscore.CallCollect, payscore.CallQuery, ""} {
				for range 20 {
					e := randomEnv(r)
					e.plan, e.reply.Verdict, e.reply.Call = plan, verdict, call
					s := e.policy.Next(e.order, e.plan, e.reply, e.now)
					if (s.State == tasks.Paid) != (verdict == payscore.Paid) || (s.State == tasks.Closed) != (verdict == payscore.Closed) {
						t.Errorf("%s after a %s %s that began with %s", s.State, call, verdict, plan)
					}
				}
			}
		}
	}
}

func TestPolicyJitterIsWithinTenPercent(t *testing.T) {
	t.Parallel()
	r := seeded(t)
	p := testPolicy()
	p.Rand = r.Float64
	least, most := 2.0, 0.0
	for range 5_000 {
		d := time.Second + rand64(r, 30*24*hour)
		part := float64(p.jitter(d)) / float64(d)
		least, most = min(least, part), max(most, part)
	}
	if least < 0.9-1e-6 || most > 1.1+1e-6 {
		t.Errorf("from %v to %v of what was asked for", least, most)
	}
	if least > 0.91 || most < 1.09 {
		t.Errorf("from %v to %v: hardly spread at all", least, most)
	}
	for _, edge := range []float64{0, 0.999999} {
		p.Rand = func() float64 { return edge }
		p.Schedule = []time.Duration{10 * minute}
		s := p.Next(tried(), ledger.Recheck, collectReply(payscore.Declined), noon)
		if in := s.Due.Sub(noon); in < 9*minute || in > 11*minute {
			t.Errorf("due in %s", in)
		}
	}
}

// answered is the order with its row of failures ended, where a query of the plan
// that succeeds ends it.
func answered(e env) ledger.Snapshot {
	if e.plan == ledger.Confirm || e.plan == ledger.Inspect {
		e.order.Fails = 0
	}
	return e.order
}
