package chaos

import (
	"testing"
	"time"

	"payscore-collector/internal/faultpoint"
	"payscore-collector/internal/ledger"
	"payscore-collector/internal/simulator"
)

// Each cause needs its proof: what lacks it by a little stays a breach.
func TestCauses(t *testing.T) {
	begin := time.Now().Add(-10 * time.Minute)
	at := func(s float64) time.Time { return begin.Add(time.Duration(s * float64(time.Second))) }
	m := func(s float64, p faultpoint.Point) mark { return mark{at(s), p, "w1.1"} }
	profile := shortProfile()
	const no = "A"
	for _, tt := range []struct {
		name    string
		cause   cause
		journal *journal
		marks   []mark
		s       suspicion
		want    bool
	}{
		{name: "the claim was answered as late as the order was given up early", cause: claimAnsweredLate,
			marks: []mark{m(10, faultpoint.Asked), m(10.3, faultpoint.Granted)},
			s:     suspicion{size: 300 * time.Millisecond, order: ledger.Order{EndedAt: at(10.5)}}, want: true},
		{name: "the claim was answered sooner than that", cause: claimAnsweredLate,
			marks: []mark{m(10, faultpoint.Asked), m(10.29, faultpoint.Granted)},
			s:     suspicion{size: 300 * time.Millisecond, order: ledger.Order{EndedAt: at(10.5)}}},
		{name: "it was an earlier claim that was answered late", cause: claimAnsweredLate,
			marks: []mark{m(5, faultpoint.Asked), m(9, faultpoint.Granted), m(10, faultpoint.Asked), m(10.01, faultpoint.Granted)},
			s:     suspicion{size: 300 * time.Millisecond, order: ledger.Order{EndedAt: at(10.5)}}},
		{name: "a permit's grant says nothing of the claim", cause: claimAnsweredLate,
			marks: []mark{m(10, faultpoint.Asked), m(10.01, faultpoint.Granted), m(12, faultpoint.Granted)},
			s:     suspicion{size: 300 * time.Millisecond, order: ledger.Order{EndedAt: at(12.5)}}},
		{name: "billing opened the order again under the call that showed its final state", cause: reopenedUnderCall,
			s: suspicion{call: 1, calls: []call{shownAt(at, 10), shownAt(at, 20)}, reopened: at(10.2)}, want: true},
		{name: "billing had opened the order again before that call", cause: reopenedUnderCall,
			s: suspicion{call: 1, calls: []call{shownAt(at, 10), shownAt(at, 20)}, reopened: at(9)}},
		{name: "billing opened the order again long after that call", cause: reopenedUnderCall,
			s: suspicion{call: 1, calls: []call{shownAt(at, 10), shownAt(at, 200)}, reopened: at(100)}},
		{name: "Redis's clock jumped by what was left", cause: ageJumped,
			journal: &journal{jumps: []jump{{at(0), 0}, {at(5), 10 * time.Second}}},
			s:       suspicion{size: 10 * time.Second, order: ledger.Order{OpenedAt: at(1), EndedAt: at(9)}}, want: true},
		{name: "Redis's clock jumped by less", cause: ageJumped,
			journal: &journal{jumps: []jump{{at(0), 0}, {at(5), 9 * time.Second}}},
			s:       suspicion{size: 10 * time.Second, order: ledger.Order{OpenedAt: at(1), EndedAt: at(9)}}},
		{name: "the clock went back under a lease that was never given up", cause: leaseOutlivedJump,
			journal: &journal{jumps: []jump{{at(0), time.Hour}, {at(20), 0}}},
			marks:   []mark{m(10, faultpoint.Claimed)},
			s:       suspicion{order: ledger.Order{EndedAt: at(150)}}, want: true},
		{name: "the lease had been given up", cause: leaseOutlivedJump,
			journal: &journal{jumps: []jump{{at(0), time.Hour}, {at(20), 0}}},
			marks:   []mark{m(10, faultpoint.Claimed), m(11, faultpoint.Settled)},
			s:       suspicion{order: ledger.Order{EndedAt: at(150)}}},
		{name: "the same process has claimed the order again since, and settled", cause: leaseOutlivedJump,
			journal: &journal{jumps: []jump{{at(0), time.Hour}, {at(20), 0}}},
			marks:   []mark{m(10, faultpoint.Claimed), m(149, faultpoint.Claimed), m(150, faultpoint.Settled)},
			s:       suspicion{order: ledger.Order{EndedAt: at(150)}}, want: true},
		{name: "the same process has settled both of its claims", cause: leaseOutlivedJump,
			journal: &journal{jumps: []jump{{at(0), time.Hour}, {at(20), 0}}},
			marks: []mark{m(10, faultpoint.Claimed), m(11, faultpoint.Settled),
				m(149, faultpoint.Claimed), m(150, faultpoint.Settled)},
			s: suspicion{order: ledger.Order{EndedAt: at(150)}}},
		{name: "no worker read the answer to the claim, which left a query", cause: leaseOutlivedJump,
			journal: &journal{jumps: []jump{{at(0), time.Hour}, {at(20), 0}}},
			s: suspicion{order: ledger.Order{OpenedAt: at(1).Add(time.Hour), EndedAt: at(150)},
				calls: []call{{Seen: simulator.Seen{Call: simulator.CallQuery, Began: at(149)}}}}, want: true},
		{name: "the first call is a collect: nothing had claimed the order", cause: leaseOutlivedJump,
			journal: &journal{jumps: []jump{{at(0), time.Hour}, {at(20), 0}}},
			s: suspicion{order: ledger.Order{OpenedAt: at(1).Add(time.Hour), EndedAt: at(150)},
				calls: []call{{Seen: simulator.Seen{Call: simulator.CallCollect, Began: at(149)}}}}},
		{name: "its first call was made before the clock went back", cause: leaseOutlivedJump,
			journal: &journal{jumps: []jump{{at(0), time.Hour}, {at(20), 0}}},
			s: suspicion{order: ledger.Order{OpenedAt: at(1).Add(time.Hour), EndedAt: at(150)},
				calls: []call{{Seen: simulator.Seen{Call: simulator.CallQuery, Began: at(19)}}}}},
		{name: "the clock went ahead only", cause: leaseOutlivedJump,
			journal: &journal{jumps: []jump{{at(0), 0}, {at(20), time.Hour}}},
			marks:   []mark{m(10, faultpoint.Claimed)},
			s:       suspicion{order: ledger.Order{EndedAt: at(150)}}},
		{name: "it took longer than the longest lease", cause: leaseOutlivedJump,
			journal: &journal{jumps: []jump{{at(0), time.Hour}, {at(20), 0}}},
			marks:   []mark{m(10, faultpoint.Claimed)},
			s:       suspicion{order: ledger.Order{EndedAt: at(20).Add(longestLease + profile.settle)}}},
		{name: "the process was frozen between its look at the clock and the send", cause: frozenOnItsWay,
			journal: &journal{freezes: []freeze{{"w1.1", at(10), at(15)}}},
			s:       suspicion{calls: []call{{process: "w1.1", sent: at(9.9), Seen: simulator.Seen{Began: at(15.1)}}}}, want: true},
		{name: "another process was", cause: frozenOnItsWay,
			journal: &journal{freezes: []freeze{{"w2.1", at(10), at(15)}}},
			s:       suspicion{calls: []call{{process: "w1.1", sent: at(9.9), Seen: simulator.Seen{Began: at(15.1)}}}}},
	} {
		tt.s.no = no
		if tt.journal == nil {
			tt.journal = &journal{}
		}
		ev := evidence{journal: tt.journal, profile: profile, marks: map[string][]mark{no: tt.marks}}
		if excuse := tt.cause(ev, &tt.s); (excuse != "") != tt.want {
			t.Errorf("%s: excuse %q, want one: %v", tt.name, excuse, tt.want)
		}
	}
}

// shownAt is a call that was granted at second s and was over half a second later.
func shownAt(at func(float64) time.Time, s float64) call {
	return call{Seen: simulator.Seen{Began: at(s + 0.1), Over: at(s + 0.5)}, granted: at(s)}
}
