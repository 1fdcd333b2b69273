package chaos

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"
)

// A nemesis works on several tracks at once, each of which does one fault after
// the other: one track a worker, one for Redis, one for its clock, one for asynq's
// keys, one for the platform and one for the operator. So faults of different kinds meet, and no two contradict each
// other.
type nemesis struct {
	e      *env
	tracks []track
}

// track is what one part of the world has to suffer, in this order.
type track struct {
	name   string
	faults []scheduled
}

// fault is one kind of fault.
type fault struct {
	name  string
	takes time.Duration // about, for the schedule
	// rare faults come once, and last: they stop everything for longer than they
	// last. In forms with every fault they come last of the first set.
	rare bool
	// closesGate: it stops the calls for all orders.
	closesGate bool
	// do does it and undoes it, and reports whether it hit anything. All that
	// is left to chance comes from r. k is the worker of the track, if it has
	// one.
	do func(e *env, r *rand.Rand, k *worker) bool
}

// scheduled is a fault with its place in the schedule.
type scheduled struct {
	fault
	at   time.Duration // at the earliest, into the run
	seed uint64
}

// faultSets are the faults of a profile, by what suffers them.
type faultSets struct{ workers, store, clock, queue, platform, operator []fault }

func faultSetsOf(e *env) faultSets {
	if e.profile.faultSets != nil {
		return e.profile.faultSets(e)
	}
	p := faultSets{workers: workerFaults(e.profile), store: e.store.faults(e), queue: queueFaults(e.profile), platform: platformFaults(e.profile)}
	if s, ok := e.store.(standalone); ok && e.profile.clocks {
		p.clock = clockFaults(e, s)
	}
	if e.profile.operates {
		p.operator = operatorFaults()
	}
	for _, faults := range []*[]fault{&p.workers, &p.store, &p.clock, &p.queue, &p.platform, &p.operator} {
		*faults = slices.DeleteFunc(*faults, func(d fault) bool { return !strings.Contains(d.name, *onlyFlag) })
	}
	return p
}

// newNemesis draws the schedule. It depends on the seed and the profile alone.
func newNemesis(e *env) *nemesis {
	n := &nemesis{e: e}
	var workers []*track
	for _, k := range e.workers {
		workers = append(workers, &track{name: fmt.Sprintf("worker %d", k.no)})
	}
	// The workers share one set of cards, so that each fault comes up as soon as
	// may be: the next card is for the worker who is free first.
	r := e.random("schedule of workers")
	free := make([]time.Duration, len(workers))
	for i := range free {
		free[i] = e.profile.windowShut + n.pause(r, e.profile.pause)
	}
	p := faultSetsOf(e)
	deal(p.workers, r, func(d fault, seed uint64) bool {
		next := 0
		for i := range free {
			if free[i] < free[next] {
				next = i
			}
		}
		if free[next]+d.takes > e.profile.attack {
			return false
		}
		workers[next].faults = append(workers[next].faults, scheduled{d, free[next], seed})
		free[next] += d.takes + n.pause(r, e.profile.pause)
		return true
	})
	for _, l := range workers {
		n.tracks = append(n.tracks, *l)
	}
	for _, l := range []struct {
		name   string
		faults []fault
		pause  [2]time.Duration
		from   time.Duration
	}{
		{"redis", p.store, e.profile.storePause, 0},
		{"clock", p.clock, e.profile.clockPause, e.profile.clocksFrom},
		{"queue", p.queue, e.profile.storePause, 0},
		{"platform", p.platform, e.profile.pause, 0},
		{"operator", p.operator, e.profile.storePause, 0},
	} {
		r := e.random("schedule of " + l.name)
		made := track{name: l.name}
		at := max(e.profile.windowShut, l.from) + n.pause(r, l.pause)
		var last []fault
		until := e.profile.attack
		if !e.profile.everyFault {
			last = slices.DeleteFunc(slices.Clone(l.faults), func(d fault) bool { return !d.rare })
			l.faults = slices.DeleteFunc(l.faults, func(d fault) bool { return d.rare })
			for _, d := range last {
				until -= d.takes
			}
		}
		give := func(d fault, seed uint64) bool {
			if at+d.takes > until {
				return false
			}
			made.faults = append(made.faults, scheduled{d, at, seed})
			at += d.takes + n.pause(r, l.pause)
			return true
		}
		deal(l.faults, r, give)
		at, until = max(until, 0), e.profile.attack
		for _, d := range last {
			give(d, r.Uint64())
		}
		n.tracks = append(n.tracks, made)
	}
	return n
}

// deal deals the set again and again, shuffled anew each time, until a card is
// refused.
func deal(set []fault, r *rand.Rand, give func(fault, uint64) bool) {
	isRare := func(d fault) bool { return d.rare }
	rare := slices.DeleteFunc(slices.Clone(set), func(d fault) bool { return !d.rare })
	set = slices.DeleteFunc(slices.Clone(set), isRare)
	for len(set)+len(rare) > 0 {
		r.Shuffle(len(set), func(i, j int) { set[i], set[j] = set[j], set[i] })
		for _, d := range append(slices.Clone(set), rare...) {
			if !give(d, r.Uint64()) {
				return
			}
		}
		rare = nil
	}
}

func (n *nemesis) pause(r *rand.Rand, p [2]time.Duration) time.Duration {
	return p[0] + time.Duration(r.Int64N(int64(p[1]-p[0])+1))
}

// String is the schedule.
func (n *nemesis) String() string {
	type line struct {
		at   time.Duration
		text string
	}
	var lines []line
	for _, l := range n.tracks {
		for _, d := range l.faults {
			lines = append(lines, line{d.at, fmt.Sprintf("  %6.1fs %-9s %s\n", d.at.Seconds(), l.name, d.name)})
		}
	}
	slices.SortStableFunc(lines, func(a, b line) int { return int(a.at - b.at) })
	var b strings.Builder
	for _, l := range lines {
		b.WriteString(l.text)
	}
	return b.String()
}

// run does all of it. A track that is late stays late.
func (n *nemesis) run() {
	var all sync.WaitGroup
	for i, l := range n.tracks {
		var k *worker
		if i < len(n.e.workers) {
			k = n.e.workers[i]
		}
		all.Go(func() {
			for _, d := range l.faults {
				if wait := d.at - time.Since(n.e.started); wait > 0 {
					<-time.After(wait)
				}
				if time.Since(n.e.started) > n.e.profile.attack {
					return
				}
				hit := d.do(n.e, rand.New(rand.NewPCG(d.seed, 0)), k)
				n.e.journal.countFault(d.name, hit)
			}
		})
	}
	all.Wait()
}

// between draws a duration.
func between(r *rand.Rand, least, most time.Duration) time.Duration {
	return least + time.Duration(r.Int64N(int64(most-least)+1))
}

// hold is how a fault lets time pass.
func wait(d time.Duration) { <-time.After(d) }
