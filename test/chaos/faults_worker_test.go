package chaos

import (
	"fmt"
	"math/rand/v2"
	"os"
	"syscall"
	"time"

	"payscore-collector/internal/faultpoint"
)

// workerFaults are what is done to worker processes.
func workerFaults(f profile) []fault {
	frozen := f.lease() + 2*time.Second
	faults := []fault{
		{name: "kill -9 at random", takes: 2 * time.Second, do: killAtRandom},
		{name: "kill -9 at random", takes: 2 * time.Second, do: killAtRandom},
		{name: "kill -9 at random", takes: 2 * time.Second, do: killAtRandom},
		{name: "kill -9 at random", takes: 2 * time.Second, do: killAtRandom},
		{name: "SIGSTOP longer than the lease, at random", takes: frozen + time.Second, do: freezeAtRandom},
		{name: "SIGTERM, and another", takes: 2 * time.Second, do: upgrade},
	}
	for _, p := range faultpoint.Points {
		faults = append(faults, fault{name: fmt.Sprintf("kill -9 at %q", p), takes: 3 * time.Second, do: killAt(p)})
	}
	for _, p := range []faultpoint.Point{faultpoint.Sending, faultpoint.Answered, faultpoint.Settling} {
		faults = append(faults, fault{name: fmt.Sprintf("SIGSTOP longer than the lease, at %q", p), takes: frozen + 2*time.Second, do: freezeAt(p)})
	}
	if f.wrongClock {
		faults = append(faults, fault{name: "a clock ten minutes ahead", takes: f.merchant + 4*time.Second, rare: true, do: wrongClock})
	}
	return faults
}

// wrongClock has a process work in the worker's place for a while whose clock is
// wrong.
func wrongClock(e *env, r *rand.Rand, k *worker) bool {
	right := k.bin
	if !replace(e, r, k, func() { k.bin, k.ahead = e.aheadBin, clockOff }) {
		return false
	}
	wait(e.profile.merchant)
	return replace(e, r, k, func() { k.bin, k.ahead = right, 0 })
}

// restart starts the next process of a worker, after a while.
func (k *worker) restart(r *rand.Rand) {
	wait(between(r, 0, 1500*time.Millisecond))
	if err := k.start(); err != nil {
		k.e.journal.fail("a worker could not be started: %v", err)
	}
}

// alive reports whether the worker's process is there, and writes it down where
// it is not, though no fault has killed it.
func (k *worker) alive() bool {
	select {
	case <-k.now.exited:
		k.e.journal.fail("%s exited unasked: %v; the end of its log:\n%s", k.now.name, k.now.status, k.now.logTail())
		return false
	default:
		return true
	}
}

// logTail are the end of the process's log.
func (p *process) logTail() string {
	log, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	return string(log[max(0, len(log)-2000):])
}

func killAtRandom(e *env, r *rand.Rand, k *worker) bool {
	wait(between(r, 0, time.Second))
	if !k.alive() {
		k.restart(r)
		return false
	}
	k.now.kill()
	e.journal.death(death{process: k.now.name, at: time.Now()})
	k.restart(r)
	return true
}

func killAt(p faultpoint.Point) func(*env, *rand.Rand, *worker) bool {
	return func(e *env, r *rand.Rand, k *worker) bool {
		if !k.alive() {
			k.restart(r)
			return false
		}
		k.now.arm("kill", p)
		if !k.now.exitsWithin(e.profile.reachesWithin) {
			k.now.arm("off", "")
			if !k.now.exitsWithin(200 * time.Millisecond) {
				return false // no step came that far: Redis or the platform was away
			}
		}
		if !k.now.killed() {
			e.journal.fail("%s ended with %v instead of by SIGKILL at %q", k.now.name, k.now.status, p)
		}
		e.journal.death(death{process: k.now.name, at: time.Now(), point: p})
		k.restart(r)
		return true
	}
}

// thaw lets a stopped process stand for longer than its leases last, and then go
// on.
func (k *worker) thaw(r *rand.Rand, since time.Time) {
	wait(k.e.profile.lease() + between(r, time.Second, 2*time.Second))
	_ = k.now.cmd.Process.Signal(syscall.SIGCONT)
	k.e.journal.freeze(freeze{k.now.name, since, time.Now()})
}

func freezeAtRandom(e *env, r *rand.Rand, k *worker) bool {
	wait(between(r, 0, time.Second))
	if !k.alive() {
		k.restart(r)
		return false
	}
	since := time.Now()
	_ = k.now.cmd.Process.Signal(syscall.SIGSTOP)
	k.thaw(r, since)
	return true
}

func freezeAt(p faultpoint.Point) func(*env, *rand.Rand, *worker) bool {
	return func(_ *env, r *rand.Rand, k *worker) bool {
		if !k.alive() {
			k.restart(r)
			return false
		}
		since := time.Now()
		k.now.arm("stop", p)
		if !k.now.stopsWithin(k.e.profile.reachesWithin) {
			k.now.arm("off", "")
			if !k.now.stopsWithin(200 * time.Millisecond) {
				return false
			}
		}
		k.thaw(r, since)
		return true
	}
}

// upgrade ends a worker in order, and starts another.
func upgrade(e *env, r *rand.Rand, k *worker) bool { return replace(e, r, k, func() {}) }

// replace ends a worker in order and starts another, as change has it.
func replace(e *env, r *rand.Rand, k *worker, change func()) bool {
	if !k.alive() {
		k.restart(r)
		return false
	}
	wait(time.Second) // one that has just begun does not listen yet
	_ = k.now.cmd.Process.Signal(syscall.SIGTERM)
	if !k.now.exitsWithin(45 * time.Second) {
		e.journal.fail("%s did not end within 45 s of SIGTERM", k.now.name)
		k.now.kill()
	} else if k.now.status != nil {
		e.journal.fail("%s ended with %v after SIGTERM", k.now.name, k.now.status)
	}
	change()
	k.restart(r)
	return true
}
