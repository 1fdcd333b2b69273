package chaos

import (
	"fmt"
	"math/rand/v2"
	"os"
	"syscall"
	"time"

	"payscore-collector/internal/faultpoint"
)

// comesBy is how long the nemesis waits for a process to come to a point.
// Redis or the platform may be away for some of it.
const comesBy = 8 * time.Second

// workerDeeds are what is done to worker processes.
func workerDeeds(f form) []deed {
	frozen := f.lease() + 2*time.Second
	deeds := []deed{
		{name: "kill -9 at random", takes: 2 * time.Second, do: killAtRandom},
		{name: "kill -9 at random", takes: 2 * time.Second, do: killAtRandom},
		{name: "kill -9 at random", takes: 2 * time.Second, do: killAtRandom},
		{name: "kill -9 at random", takes: 2 * time.Second, do: killAtRandom},
		{name: "SIGSTOP longer than the lease, at random", takes: frozen + time.Second, do: freezeAtRandom},
		{name: "SIGTERM, and another", takes: 2 * time.Second, do: upgrade},
	}
	for _, p := range faultpoint.Points {
		deeds = append(deeds, deed{name: fmt.Sprintf("kill -9 at %q", p), takes: 3 * time.Second, do: killAt(p)})
	}
	for _, p := range []faultpoint.Point{faultpoint.Sending, faultpoint.Answered, faultpoint.Settling} {
		deeds = append(deeds, deed{name: fmt.Sprintf("SIGSTOP longer than the lease, at %q", p), takes: frozen + 2*time.Second, do: freezeAt(p)})
	}
	if f.wrongClock {
		deeds = append(deeds, deed{name: "a clock ten minutes ahead", takes: f.merchant + 4*time.Second, rare: true, do: wrongClock})
	}
	return deeds
}

// wrongClock has a process work in the worker's place for a while whose clock is
// wrong.
func wrongClock(w *world, r *rand.Rand, k *worker) bool {
	right := k.bin
	if !replace(w, r, k, func() { k.bin, k.ahead = w.aheadBin, clockOff }) {
		return false
	}
	hold(w.form.merchant)
	return replace(w, r, k, func() { k.bin, k.ahead = right, 0 })
}

// comeBack starts the next process of a worker, after a while.
func (k *worker) comeBack(r *rand.Rand) {
	hold(lasting(r, 0, 1500*time.Millisecond))
	if err := k.start(); err != nil {
		k.w.book.say("a worker could not be started: %v", err)
	}
}

// alive reports whether the worker's process is there, and writes it down where
// it is not, though nobody has killed it.
func (k *worker) alive() bool {
	select {
	case <-k.now.exited:
		k.w.book.say("%s has ended, and nobody had told it to: %v; the end of its log:\n%s", k.now.name, k.now.status, k.now.lastWords())
		return false
	default:
		return true
	}
}

// lastWords are the end of the process's log.
func (p *process) lastWords() string {
	log, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	return string(log[max(0, len(log)-2000):])
}

func killAtRandom(w *world, r *rand.Rand, k *worker) bool {
	hold(lasting(r, 0, time.Second))
	if !k.alive() {
		k.comeBack(r)
		return false
	}
	k.now.kill()
	w.book.death(death{process: k.now.name, at: time.Now()})
	k.comeBack(r)
	return true
}

func killAt(p faultpoint.Point) func(*world, *rand.Rand, *worker) bool {
	return func(w *world, r *rand.Rand, k *worker) bool {
		if !k.alive() {
			k.comeBack(r)
			return false
		}
		k.now.arm("kill", p)
		if !k.now.exitsWithin(comesBy) {
			k.now.arm("off", "")
			if !k.now.exitsWithin(200 * time.Millisecond) {
				return false // no step came that far: Redis or the platform was away
			}
		}
		if !k.now.killed() {
			w.book.say("%s ended with %v instead of by SIGKILL at %q", k.now.name, k.now.status, p)
		}
		w.book.death(death{process: k.now.name, at: time.Now(), point: p})
		k.comeBack(r)
		return true
	}
}

// thaw lets a stopped process stand for longer than its leases last, and then go
// on.
func (k *worker) thaw(r *rand.Rand, since time.Time) {
	hold(k.w.form.lease() + lasting(r, time.Second, 2*time.Second))
	_ = k.now.cmd.Process.Signal(syscall.SIGCONT)
	k.w.book.freeze(freeze{k.now.name, since, time.Now()})
}

func freezeAtRandom(w *world, r *rand.Rand, k *worker) bool {
	hold(lasting(r, 0, time.Second))
	if !k.alive() {
		k.comeBack(r)
		return false
	}
	since := time.Now()
	_ = k.now.cmd.Process.Signal(syscall.SIGSTOP)
	k.thaw(r, since)
	return true
}

func freezeAt(p faultpoint.Point) func(*world, *rand.Rand, *worker) bool {
	return func(_ *world, r *rand.Rand, k *worker) bool {
		if !k.alive() {
			k.comeBack(r)
			return false
		}
		since := time.Now()
		k.now.arm("stop", p)
		if !k.now.stopsWithin(comesBy) {
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
func upgrade(w *world, r *rand.Rand, k *worker) bool { return replace(w, r, k, func() {}) }

// replace ends a worker in order and starts another, as change has it.
func replace(w *world, r *rand.Rand, k *worker, change func()) bool {
	if !k.alive() {
		k.comeBack(r)
		return false
	}
	hold(time.Second) // one that has just begun does not listen yet
	_ = k.now.cmd.Process.Signal(syscall.SIGTERM)
	if !k.now.exitsWithin(45 * time.Second) {
		w.book.say("%s did not end within 45 s of SIGTERM", k.now.name)
		k.now.kill()
	} else if k.now.status != nil {
		w.book.say("%s ended with %v after SIGTERM", k.now.name, k.now.status)
	}
	change()
	k.comeBack(r)
	return true
}
