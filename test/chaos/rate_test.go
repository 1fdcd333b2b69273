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
func (v *verdict) judgeRate() {
	all := slices.Clone(v.w.calls)
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
		v.most = max(v.most, n)
		if float64(n) <= v.w.form.rate {
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
	e := v.w.gather(nos)
	traced := map[string][]call{}
	for no := range nos {
		traced[no] = e.trace(no, v.calls[no])
	}
	for _, s := range crowded {
		var in []call
		for _, c := range all[s.from : s.to+1] {
			i := slices.IndexFunc(traced[c.OutOrderNo], func(t call) bool { return t.Began.Equal(c.Began) })
			in = append(in, traced[c.OutOrderNo][i])
		}
		v.judgeSecond(e, in)
	}
}

// judgeSecond finds out why a second has more calls than the rate.
func (v *verdict) judgeSecond(e evidence, in []call) {
	begins := in[0].Began
	due, frozen, unproven := 0, false, 0
	unexplained := map[int]int{} // those that are due or unproven, by how often Redis's clock had been set when they were granted
	var latest time.Duration
	for _, c := range in {
		set := e.book.jumpsBefore(c.began(0))
		if c.slot.IsZero() || !c.slot.Before(begins) {
			due++
			unexplained[set]++
			continue
		}
		behind := c.Began.Sub(c.slot)
		latest = max(latest, behind)
		switch {
		case behind <= missedBy+onItsWay:
		case e.frozen(c.process, c.slot, c.Began):
			frozen = true
		default:
			unproven++
			unexplained[set]++
		}
	}
	cause := ""
	switch rate := v.w.form.rate; {
	case float64(due+unproven) > rate && e.book.lost(begins.Add(-2*time.Second), begins.Add(time.Second)):
		cause = failover // the slots that were given out
	case float64(due+unproven) > rate && float64(slices.Max(slices.Collect(maps.Values(unexplained)))) <= rate:
		cause = slotsJumped
	case float64(due+unproven) > rate:
		v.breach(rowRate, "%d calls in the second before %.3fs, %d of them with slots in it, %d far behind their slots without a cause",
			len(in), in[len(in)-1].Began.Sub(v.w.started).Seconds(), due, unproven)
		return
	case frozen:
		cause = "a worker was frozen between its last look at the clock and the send"
	default:
		cause = "on a busy machine calls left or came behind their slots"
	}
	v.excuse(rowRate, cause, latest)
}
