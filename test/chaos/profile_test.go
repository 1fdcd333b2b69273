package chaos

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"payscore-collector/internal/simulator"
)

// profile is one size of the attack. Everything that takes a day is compressed to
// seconds.
type profile struct {
	orders  int
	feedFor time.Duration // in which billing enqueues the orders, evenly
	attack  time.Duration // how long the nemesis is at work
	settle  time.Duration // how long what is open then may take to end
	atMost  time.Duration // the whole run

	workers     int
	concurrency int
	rate        float64
	callTimeout time.Duration
	minGap      time.Duration
	giveUp      time.Duration
	schedule    []time.Duration
	confirm     []time.Duration
	logLevel    string
	repeatEvery time.Duration // how often billing does something that it need not
	foreignOnly bool          // and whether that is only tasks of other asynq clients
	windowShut  time.Duration // into the run: until then (0: never) the collection window is shut

	pause      [2]time.Duration // between two faults of one track
	storePause [2]time.Duration // the same, of Redis, which all workers wait for
	clockPause [2]time.Duration // the same, of Redis's clock: what is open when it is ahead may be given up
	clocksFrom time.Duration    // into the run: Redis's clock stays right until then
	merchant   time.Duration    // how long a merchant's fault lasts
	minKills   int              // fewer kills are no attack
	// reachesWithin is how long the nemesis waits for a process to come to a point.
	// Redis or the platform may be away for some of it.
	reachesWithin time.Duration

	// What differs from the usual, where it is not nil.
	faultSets func(*env) faultSets
	newStore  func(*testing.T) store
	binary    func(*testing.T) string
	fate      func(*rand.Rand) simulator.Fate

	reopens    bool // billing opens some orders again that it has withdrawn
	operates   bool // an operator pauses the merchant, collects and withdraws
	clocks     bool // Redis's clock is set, where that can be done
	wrongClock bool // on one worker, for as long as a merchant's fault lasts
	everyFault bool // each fault at least once
}

// longestLease is how long an order can be left to a worker that died, where
// Redis's clock was put back since then: LONGEST_LEASE in internal/ledger, the
// longest lease that any setting allows (CALL_TIMEOUT of 2m, 5 s to settle and the
// wait for a slot).
const longestLease = 130 * time.Second

func shortProfile() profile {
	return profile{
		orders: 500, feedFor: 32 * time.Second, attack: 42 * time.Second, settle: time.Minute, atMost: 5 * time.Minute,
		workers: 3, concurrency: 24, rate: 36, callTimeout: time.Second,
		minGap: 1100 * time.Millisecond, giveUp: 20 * time.Second,
		schedule: []time.Duration{1200 * time.Millisecond, 2 * time.Second},
		confirm:  []time.Duration{100 * time.Millisecond, 500 * time.Millisecond, time.Second},
		logLevel: "info", repeatEvery: 15 * time.Millisecond, windowShut: 2 * time.Second,
		pause: [2]time.Duration{300 * time.Millisecond, 1500 * time.Millisecond}, storePause: [2]time.Duration{2 * time.Second, 4 * time.Second}, clockPause: [2]time.Duration{3 * time.Second, 6 * time.Second}, merchant: 4 * time.Second,
		// An order whose second collect meets a jump back may wait for longestLease, and
		// is given up before that: so the orders of the first half come first.
		clocksFrom: 18 * time.Second,
		// Under every seed at least ten kills are scheduled: see TestSchedule. The four
		// at random always hit, and one of the others must: each misses only where no
		// step comes to its point within three seconds.
		minKills: 5, reachesWithin: 3 * time.Second, reopens: true, operates: true, clocks: true,
	}
}

// topologyProfile is the short profile with time for failovers, and without what is
// done to asynq's keys, nor what closes the gate: while it is closed there is
// little to lose.
func topologyProfile() profile {
	f := shortProfile()
	f.reopens = false // a failover can lose that as well
	f.feedFor, f.attack, f.atMost, f.giveUp = 65*time.Second, 75*time.Second, 4*time.Minute, 30*time.Second
	f.faultSets = func(e *env) faultSets {
		open := slices.DeleteFunc(platformFaults(e.profile), func(d fault) bool { return d.closesGate })
		return faultSets{workers: workerFaults(e.profile), store: e.store.faults(e), platform: open}
	}
	return f
}

func longProfile() profile {
	return profile{
		orders: 100_000, feedFor: 16 * time.Minute, attack: 17 * time.Minute, settle: 4 * time.Minute, atMost: 25 * time.Minute,
		workers: 4, concurrency: 64, rate: 400, callTimeout: 2 * time.Second,
		minGap: 2 * time.Second, giveUp: 90 * time.Second,
		schedule: []time.Duration{3 * time.Second, 10 * time.Second, 30 * time.Second},
		confirm:  []time.Duration{200 * time.Millisecond, 2 * time.Second, 5 * time.Second},
		logLevel: "warn", repeatEvery: 15 * time.Millisecond, windowShut: 20 * time.Second,
		pause: [2]time.Duration{4 * time.Second, 16 * time.Second}, storePause: [2]time.Duration{8 * time.Second, 20 * time.Second}, clockPause: [2]time.Duration{20 * time.Second, 60 * time.Second}, merchant: 20 * time.Second,
		minKills: 50, reachesWithin: 8 * time.Second, reopens: true, operates: true, clocks: true, wrongClock: true, everyFault: true,
	}
}

// part is a profile with a part of the orders in a part of the time, to find out
// what the whole would take. Not every fault has its turn in it.
func (f profile) part(of float64) profile {
	scale := func(d time.Duration) time.Duration { return time.Duration(float64(d) * of) }
	f.orders = int(float64(f.orders) * of)
	f.feedFor, f.attack = scale(f.feedFor), max(scale(f.attack), scale(f.feedFor)+10*time.Second)
	f.atMost = f.attack + f.settle + 2*time.Minute
	f.minKills, f.clockPause = 0, f.storePause
	return f
}

// lease is how long a worker that stands still keeps an order, at the most: the
// call's time, the margin for settling, and the wait for a slot.
func (f profile) lease() time.Duration { return f.callTimeout + 5*time.Second + time.Second }

func durations(ds []time.Duration) string {
	var out []string
	for _, d := range ds {
		out = append(out, d.String())
	}
	return strings.Join(out, ",")
}

// environment is a worker's, beside the merchant's keys and where Redis is.
func (f profile) environment() []string {
	return []string{
		"ADMIN_ADDR=",
		fmt.Sprintf("WORKER_CONCURRENCY=%d", f.concurrency),
		fmt.Sprintf("COLLECT_RATE=%v", f.rate),
		"CALL_TIMEOUT=" + f.callTimeout.String(),
		"MIN_GAP=" + f.minGap.String(),
		"GIVE_UP_AFTER=" + f.giveUp.String(),
		"COLLECT_SCHEDULE=" + durations(f.schedule),
		"CONFIRM_SCHEDULE=" + durations(f.confirm),
		"SWEEP_EVERY=500ms",
		"LOG_LEVEL=" + f.logLevel,
	}
}
