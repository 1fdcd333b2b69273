package chaos

import (
	"math/rand/v2"
	"slices"
	"time"

	"payscore-collector/internal/ledger"
)

// Redis's clock jumps by more than a run lasts, so each moment by that clock
// belongs to one moment of the run: the judge translates it back.

// jump is a moment at which Redis's clock was set.
type jump struct {
	at     time.Time
	offset time.Duration // from then on
}

// setClock puts Redis's clock so far ahead, or behind.
func (e *env) setClock(s standalone, offset time.Duration) {
	// Nothing is asked of Redis in between: what comes after the write sees it.
	s.clock.Set(e.t, offset)
	e.journal.mu.Lock()
	defer e.journal.mu.Unlock()
	e.journal.jumps = append(e.journal.jumps, jump{time.Now(), offset})
}

// correctClock puts Redis's clock right, where it can be set.
func (e *env) correctClock() {
	if s, ok := e.store.(standalone); ok && s.clock != nil {
		e.setClock(s, 0)
	}
}

// offsets are the jumps of a profile: from one that is a little longer than the
// whole run to eight hours.
func (f profile) offsets() []time.Duration {
	least := (f.atMost + 2*time.Minute).Round(time.Minute)
	return []time.Duration{least, 2 * least, 8 * time.Hour}
}

// clockFaults set Redis's clock, and put it right again. While it is set,
// promises that go by that clock are judged by it; see evidence.ahead.
func clockFaults(e *env, s standalone) []fault {
	if s.clock == nil {
		return nil
	}
	offsets := e.profile.offsets()
	for _, o := range slices.Clone(offsets) {
		offsets = append(offsets, -o)
	}
	// CLIENT PAUSE ends by Redis's clock: back by hours in the middle of it would
	// be an outage of hours.
	set := func(name string, takes time.Duration, do func(r *rand.Rand)) fault {
		return fault{name: name, takes: takes, do: func(e *env, r *rand.Rand, _ *worker) bool {
			e.pausing.Lock()
			defer e.pausing.Unlock()
			do(r)
			e.setClock(s, 0)
			return true
		}}
	}
	return []fault{
		set("Redis's clock minutes or hours ahead, and right again", 2*time.Second, func(r *rand.Rand) {
			e.setClock(s, e.profile.offsets()[r.IntN(len(e.profile.offsets()))])
			wait(between(r, 200*time.Millisecond, 2*time.Second))
		}),
		set("Redis's clock minutes or hours back, and right again", 4*time.Second, func(r *rand.Rand) {
			e.setClock(s, -e.profile.offsets()[r.IntN(len(e.profile.offsets()))])
			wait(between(r, time.Second, 4*time.Second))
		}),
		set("Redis's clock to and fro", 2*time.Second, func(r *rand.Rand) {
			for range 2 + r.IntN(4) {
				e.setClock(s, offsets[r.IntN(len(offsets))])
				wait(between(r, 0, 400*time.Millisecond))
			}
		}),
	}
}

// offsetAt is how far off Redis's clock was. The caller holds no lock: the
// nemesis is at rest.
func (b *journal) offsetAt(at time.Time) time.Duration {
	var offset time.Duration
	for _, j := range b.jumps {
		if j.at.After(at) {
			break
		}
		offset = j.offset
	}
	return offset
}

// unsure is how far the harness's own notes of when it set the clock may be off.
const unsure = 100 * time.Millisecond

// real is a moment by Redis's clock on the harness's own. A moment of the run at
// which that clock never stood, such as a due time, stays as it is.
func (b *journal) real(at time.Time) time.Time {
	for i, j := range b.jumps {
		until := time.Now()
		if i+1 < len(b.jumps) {
			until = b.jumps[i+1].at
		}
		if t := at.Add(-j.offset); t.After(j.at.Add(-unsure)) && t.Before(until.Add(unsure)) {
			return t
		}
	}
	return at
}

// ahead is the most by which Redis's clock jumped ahead between two moments of
// the run, in one jump or several.
func (b *journal) ahead(from, to time.Time) time.Duration {
	most, least := time.Duration(0), b.offsetAt(from.Add(-unsure))
	for _, j := range b.jumps {
		if j.at.Before(from.Add(-unsure)) || j.at.After(to.Add(unsure)) {
			continue
		}
		most = max(most, j.offset-least)
		least = min(least, j.offset)
	}
	return most
}

// jumpsBefore is how often Redis's clock had been set.
func (b *journal) jumpsBefore(at time.Time) int {
	n := 0
	for _, j := range b.jumps {
		if j.at.Before(at) {
			n++
		}
	}
	return n
}

// lastBack is when Redis's clock was last put back between two moments, or the
// zero time.
func (b *journal) lastBack(from, to time.Time) (back time.Time) {
	var offset time.Duration
	for _, j := range b.jumps {
		if j.offset < offset && j.at.After(from) && j.at.Before(to) {
			back = j.at
		}
		offset = j.offset
	}
	return back
}

// translate translates an order's times, which are by Redis's clock.
func (b *journal) translate(o *ledger.Order) {
	for _, at := range []*time.Time{&o.OpenedAt, &o.EndedAt, &o.NextDueAt, &o.LastAttemptAt} {
		*at = b.real(*at)
	}
	for i := range o.Log {
		o.Log[i].At = b.real(o.Log[i].At)
	}
}
