package chaos

import (
	"maps"
	"slices"
	"time"

	"payscore-collector/internal/simulator"
)

// The ledger gives every call a slot, and no second has more slots than the rate.
// A call may leave behind its slot: a timer fires late on a busy machine, a
// process is frozen. It then comes on top of those whose turn it is. A worker
// gives back a slot that it has missed by a second, so what remains is bounded
// by that, but for a process that was frozen after its look at the clock.
const (
	missedBy = time.Second // as in internal/collect
	// onItsWay is what signing, connecting and a busy platform may take.
	onItsWay = 500 * time.Millisecond
)

// judgeRate looks at every second, from each call on, for more calls than the
// rate. Those too many are no breach where the slots of so many others lie
// before that second, for a cause that is proven.
func (res *result) judgeRate() {
	all := slices.Clone(res.e.calls)
	slices.SortFunc(all, func(a, b simulator.Seen) int { return a.Began.Compare(b.Began) })
	type second struct{ from, to int } // indices of its first and its last call
	var crowded []second
	nos := map[string]bool{}
	first := 0
	for i, c := range all {
		for c.Began.Sub(all[first].Began) >= time.Second {
			first++
		}
		n := i - first + 1
		res.most = max(res.most, n)
		if float64(n) <= res.e.profile.rate {
			continue
		}
		crowded = append(crowded, second{first, i})
		for _, in := range all[first : i+1] {
			nos[in.OutOrderNo] = true
		}
	}
	if len(crowded) == 0 {
		return
	}
	ev := res.e.gather(nos)
	traced := map[string][]call{}
	for no := range nos {
		traced[no] = ev.trace(no, res.calls[no])
	}
	for _, s := range crowded {
		var in []call
		for _, c := range all[s.from : s.to+1] {
			i := slices.IndexFunc(traced[c.OutOrderNo], func(t call) bool { return t.Began.Equal(c.Began) })
			in = append(in, traced[c.OutOrderNo][i])
		}
		res.judgeSecond(ev, in)
	}
}

// judgeSecond finds out why a second has more calls than the rate.
func (res *result) judgeSecond(ev evidence, in []call) {
	begins := in[0].Began
	due, frozen, unproven := 0, false, 0
	unexplained := map[int]int{} // those that are due or unproven, by how often Redis's clock had been set when they were granted
	var latest time.Duration
	for _, c := range in {
		set := ev.journal.jumpsBefore(c.since(0))
		if c.slot.IsZero() || !c.slot.Before(begins) {
			due++
			unexplained[set]++
			continue
		}
		behind := c.Began.Sub(c.slot)
		latest = max(latest, behind)
		switch {
		case behind <= missedBy+onItsWay:
		case ev.journal.frozen(c.process, c.slot, c.Began):
			frozen = true
		default:
			unproven++
			unexplained[set]++
		}
	}
	cause := ""
	switch rate := res.e.profile.rate; {
	case float64(due+unproven) > rate && ev.journal.lost(begins.Add(-2*time.Second), begins.Add(time.Second)):
		cause = excuseFailover // the slots that were given out
	case float64(due+unproven) > rate && float64(slices.Max(slices.Collect(maps.Values(unexplained)))) <= rate:
		cause = excuseSlots
	case float64(due+unproven) > rate:
		res.breach(rowRate, "%d calls in the second before %.3fs, %d of them with slots in it, %d far behind their slots without a cause",
			len(in), in[len(in)-1].Began.Sub(res.e.started).Seconds(), due, unproven)
		return
	case frozen:
		cause = excuseFrozen
	default:
		cause = "on a busy machine calls left or came behind their slots"
	}
	res.excuse(rowRate, cause, latest)
}
