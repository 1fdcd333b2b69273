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

// seeded returns a source of randomness whose seed is told where the test
// fails.
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

// world is one random situation.
type world struct {
	policy Policy
	order  ledger.Snapshot
	plan   ledger.Plan
	reply  payscore.Reply
	now    time.Time
}

func (w world) String() string {
	p := w.policy
	return fmt.Sprintf("schedule %v confirm %v gap %s give up %s window %+v\norder %+v\nplan %s reply %+v\nnow %s",
		p.Schedule, p.Confirm, p.MinGap, p.GiveUp, p.Window, w.order, w.plan, w.reply, w.now)
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

func randomWorld(r *rand.Rand) world {
	durations := func(n int, most time.Duration) []time.Duration {
		out := make([]time.Duration, 1+r.IntN(n))
		for i := range out {
			out[i] = time.Millisecond + rand64(r, most)
		}
		return out
	}
	w := world{now: time.UnixMilli(1.7e12 + r.Int64N(1e11))}
	w.policy = Policy{
		Schedule: durations(5, 30*24*hour), Confirm: durations(4, hour), Window: randomWindow(r),
		MinGap: rand64(r, 48*hour), GiveUp: time.Millisecond + rand64(r, 60*24*hour), Rand: r.Float64,
	}
	w.order = ledger.Snapshot{
		OutOrderNo: "A", State: []tasks.State{tasks.Queued, tasks.Awaiting}[r.IntN(2)],
		Attempts: r.Int64N(3), Declines: r.Int64N(8), Confirms: r.Int64N(6), Fails: r.Int64N(8), Missing: r.Int64N(2),
		Since: w.now.Add(-rand64(r, 90*24*hour)),
	}
	if r.IntN(3) > 0 {
		// Up to a little in the future: a claim's lease may not be over yet.
		w.order.Collected = w.now.Add(20*second - rand64(r, 90*24*hour))
	}
	w.plan = plans[r.IntN(len(plans))]
	w.reply = payscore.Reply{
		Verdict: payscore.Verdicts[r.IntN(len(payscore.Verdicts))],
		Scope:   []payscore.Scope{payscore.ScopeNone, payscore.ScopeMerchant, payscore.ScopeService}[r.IntN(3)],
		Sent:    r.IntN(3) > 0,
	}
	w.reply.Call = []payscore.Call{payscore.CallCollect, payscore.CallQuery}[r.IntN(2)]
	switch w.reply.Verdict {
	case payscore.Owed, payscore.Paid, payscore.Closed:
		w.reply.Call = payscore.CallQuery
		w.reply.Order, w.reply.Verified = &payscore.Order{TotalAmount: 100}, true
	case payscore.NotCollectable, payscore.Unknown, payscore.InProgress:
		if w.reply.Call == payscore.CallQuery && r.IntN(2) == 0 {
			w.reply.Order, w.reply.Verified = &payscore.Order{TotalAmount: 100}, true
		}
	case payscore.Accepted, payscore.Declined:
		w.reply.Call = payscore.CallCollect
	}
	switch w.reply.Verdict {
	case payscore.Unavailable, payscore.Throttled, payscore.MerchantFault: // of a download of certificates, maybe
	default:
		w.reply.Sent = true
	}
	return w
}

func rand64(r *rand.Rand, most time.Duration) time.Duration {
	return time.Duration(r.Int64N(int64(most)))
}

// Whatever the policy, the order, the plan and the reply.
func TestPolicyProperties(t *testing.T) {
	t.Parallel()
	r := seeded(t)
	for range 40_000 {
		w := randomWorld(r)
		s := w.policy.Next(w.order, w.plan, w.reply, w.now)
		if broken := checkSettlement(w, s); broken != "" {
			t.Fatalf("%s\n%s\nsettlement %+v", broken, w, s)
		}
	}
}

// checkSettlement names the first property that a settlement breaks.
func checkSettlement(w world, s ledger.Settlement) string {
	trouble := slices.Contains([]payscore.Verdict{payscore.Unavailable, payscore.Throttled, payscore.MerchantFault}, w.reply.Verdict) ||
		w.reply.Verdict == payscore.Unknown && w.reply.Order == nil
	collected := w.reply.Call == payscore.CallCollect
	if !s.State.Open() {
		switch {
		case !s.Due.IsZero() || s.Next != "":
			return "an end has a due time or a plan"
		case trouble:
			return "somebody else's trouble ended the order"
		case (s.State == tasks.Paid) != (w.reply.Verdict == payscore.Paid), (s.State == tasks.Closed) != (w.reply.Verdict == payscore.Closed):
			return "paid or closed without the verdict of that name"
		case s.State == tasks.Withdrawn:
			return "only billing withdraws"
		case s.State == tasks.Exhausted && !w.policy.GaveUp(answered(w), w.now):
			return "given up too soon"
		case s.State == tasks.Exhausted && (w.reply.Call != payscore.CallQuery || !slices.Contains([]payscore.Verdict{payscore.Owed, payscore.InProgress, payscore.Unknown}, w.reply.Verdict)):
			return "given up without a look"
		}
		return ""
	}
	switch {
	case w.reply.Verdict == payscore.Paid || w.reply.Verdict == payscore.Closed:
		return "an end was left open"
	case s.Due.Before(w.now):
		return "due in the past"
	case !slices.Contains(plans, s.Next):
		return "no plan"
	case s.Next == ledger.Collect && (w.plan != ledger.Collect || !trouble):
		return "a collect without a look, on an order that was tried"
	case collected && w.reply.Sent && (w.reply.Verdict == payscore.Unknown || w.reply.Verdict == payscore.Unavailable) && s.Next != ledger.Resolve:
		return "a collect of unknown effect is not looked after"
	case collected == s.Collected.IsZero() && !s.Uncollected:
		return "a collect call was not written down, or was where none was made"
	case s.Uncollected && (w.reply.Sent || !collected):
		return "a call that was made is not counted"
	case trouble && s.AddAttempts != 0:
		return "trouble used up an attempt"
	case trouble && (s.Declines != w.order.Declines || s.Confirms != w.order.Confirms || s.Missing != w.order.Missing):
		return "trouble moved the order in its schedules"
	case w.reply.Verdict == payscore.Owed && w.order.Fails > 0 && (w.plan == ledger.Resolve || w.plan == ledger.Final) && s.Declines != w.order.Declines:
		return "a look after trouble moved the order in the schedule"
	}
	// A next collect: one that is planned by this settlement, not one that a
	// look in trouble merely carries on, which the ledger judges again.
	// Nor one after a merchant's fault, which is the gate's next probe.
	if s.Next == ledger.Recheck && w.reply.Verdict != payscore.MerchantFault && (!trouble || collected && !s.Uncollected) {
		last := w.order.Collected
		if collected {
			last = w.now
		}
		if !last.IsZero() && s.Due.Before(last.Add(w.policy.MinGap)) {
			return "collected sooner than MIN_GAP after the last"
		}
		if !w.policy.Window.Contains(s.Due) {
			return "collected outside the window"
		}
	}
	return ""
}

// Even combinations that make no sense do not panic, and never come to an end
// that WeChat Pay has not spoken of.
func TestPolicyTakesEveryCombination(t *testing.T) {
	t.Parallel()
	r := seeded(t)
	for _, plan := range plans {
		for _, verdict := range append(slices.Clone(payscore.Verdicts), "", "nonsense") {
			for _, call := range []payscore.Call{payscore.CallCollect, payscore.CallQuery, ""} {
				for range 20 {
					w := randomWorld(r)
					w.plan, w.reply.Verdict, w.reply.Call = plan, verdict, call
					s := w.policy.Next(w.order, w.plan, w.reply, w.now)
					if (s.State == tasks.Paid) != (verdict == payscore.Paid) || (s.State == tasks.Closed) != (verdict == payscore.Closed) {
						t.Errorf("%s after a %s %s that began with %s", s.State, call, verdict, plan)
					}
					_ = gateSignal(w.reply)
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

// answered is the order with its row of failures ended, where a good look of
// the plan ends it.
func answered(w world) ledger.Snapshot {
	if w.plan == ledger.Confirm || w.plan == ledger.Inspect {
		w.order.Fails = 0
	}
	return w.order
}
