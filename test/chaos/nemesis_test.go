package chaos

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"
)

// A nemesis works on several lanes at once, each of which does one deed after
// the other: one lane a worker, one for Redis, one for its clock, one for asynq's
// keys and one for the platform. So faults of different kinds meet, and no two contradict each
// other.
type nemesis struct {
	w     *world
	lanes []lane
}

// lane is what one part of the world has to suffer, in this order.
type lane struct {
	name  string
	deeds []dealt
}

// deed is one kind of fault.
type deed struct {
	name  string
	takes time.Duration // about, for the schedule
	// rare deeds come once, and last: they stop everything for longer than they
	// last. In forms with every fault they come last of the first pack.
	rare bool
	// closesGate: it stops the calls for all orders.
	closesGate bool
	// do does it and undoes it, and reports whether it hit anything. All that
	// is left to chance comes from r. k is the worker of the lane, if it has
	// one.
	do func(w *world, r *rand.Rand, k *worker) bool
}

// dealt is a deed with its place in the schedule.
type dealt struct {
	deed
	at   time.Duration // at the earliest, into the run
	seed uint64
}

// packs are the faults of a form, by what suffers them.
type packs struct{ workers, store, clock, queue, platform []deed }

func packsOf(w *world) packs {
	if w.form.packs != nil {
		return w.form.packs(w)
	}
	p := packs{workers: workerDeeds(w.form), store: w.store.deeds(w), queue: queueDeeds(w.form), platform: platformDeeds(w.form)}
	if s, ok := w.store.(standalone); ok && w.form.clocks {
		p.clock = clockDeeds(w, s)
	}
	for _, deeds := range []*[]deed{&p.workers, &p.store, &p.clock, &p.queue, &p.platform} {
		*deeds = slices.DeleteFunc(*deeds, func(d deed) bool { return !strings.Contains(d.name, *onlyFlag) })
	}
	return p
}

// newNemesis draws the schedule. It depends on the seed and the form alone.
func newNemesis(w *world) *nemesis {
	n := &nemesis{w: w}
	var workers []*lane
	for _, k := range w.crew {
		workers = append(workers, &lane{name: fmt.Sprintf("worker %d", k.no)})
	}
	// The workers share one pack of cards, so that each fault comes up as soon as
	// may be: the next card is for the worker who is free first.
	r := w.random("schedule of workers")
	free := make([]time.Duration, len(workers))
	for i := range free {
		free[i] = w.form.windowShut + n.pause(r, w.form.pause)
	}
	p := packsOf(w)
	deal(p.workers, r, func(d deed, seed uint64) bool {
		next := 0
		for i := range free {
			if free[i] < free[next] {
				next = i
			}
		}
		if free[next]+d.takes > w.form.attack {
			return false
		}
		workers[next].deeds = append(workers[next].deeds, dealt{d, free[next], seed})
		free[next] += d.takes + n.pause(r, w.form.pause)
		return true
	})
	for _, l := range workers {
		n.lanes = append(n.lanes, *l)
	}
	for _, l := range []struct {
		name  string
		deeds []deed
		pause [2]time.Duration
	}{
		{"redis", p.store, w.form.storePause},
		{"clock", p.clock, w.form.clockPause},
		{"queue", p.queue, w.form.storePause},
		{"platform", p.platform, w.form.pause},
	} {
		r := w.random("schedule of " + l.name)
		made := lane{name: l.name}
		at := w.form.windowShut + n.pause(r, l.pause)
		var last []deed
		until := w.form.attack
		if !w.form.everyFault {
			last = slices.DeleteFunc(slices.Clone(l.deeds), func(d deed) bool { return !d.rare })
			l.deeds = slices.DeleteFunc(l.deeds, func(d deed) bool { return d.rare })
			for _, d := range last {
				until -= d.takes
			}
		}
		give := func(d deed, seed uint64) bool {
			if at+d.takes > until {
				return false
			}
			made.deeds = append(made.deeds, dealt{d, at, seed})
			at += d.takes + n.pause(r, l.pause)
			return true
		}
		deal(l.deeds, r, give)
		at, until = max(until, 0), w.form.attack
		for _, d := range last {
			give(d, r.Uint64())
		}
		n.lanes = append(n.lanes, made)
	}
	return n
}

// deal deals the pack again and again, shuffled anew each time, until a card is
// refused.
func deal(pack []deed, r *rand.Rand, give func(deed, uint64) bool) {
	isRare := func(d deed) bool { return d.rare }
	rare := slices.DeleteFunc(slices.Clone(pack), func(d deed) bool { return !d.rare })
	pack = slices.DeleteFunc(slices.Clone(pack), isRare)
	for len(pack)+len(rare) > 0 {
		r.Shuffle(len(pack), func(i, j int) { pack[i], pack[j] = pack[j], pack[i] })
		for _, d := range append(slices.Clone(pack), rare...) {
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
	for _, l := range n.lanes {
		for _, d := range l.deeds {
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

// run does all of it. A lane that is late stays late.
func (n *nemesis) run() {
	var all sync.WaitGroup
	for i, l := range n.lanes {
		var k *worker
		if i < len(n.w.crew) {
			k = n.w.crew[i]
		}
		all.Go(func() {
			for _, d := range l.deeds {
				if wait := d.at - time.Since(n.w.started); wait > 0 {
					<-time.After(wait)
				}
				if time.Since(n.w.started) > n.w.form.attack {
					return
				}
				hit := d.do(n.w, rand.New(rand.NewPCG(d.seed, 0)), k)
				n.w.book.fault(d.name, hit)
			}
		})
	}
	all.Wait()
}

// lasting draws a duration.
func lasting(r *rand.Rand, least, most time.Duration) time.Duration {
	return least + time.Duration(r.Int64N(int64(most-least)+1))
}

// hold is how a deed lets time pass.
func hold(d time.Duration) { <-time.After(d) }
