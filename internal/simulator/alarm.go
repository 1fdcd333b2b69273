package simulator

import (
	"sync"
	"time"
)

// foreignClockStep is how often a clock that is not the machine's is read: no
// timer knows when a test will put it forward.
const foreignClockStep = 20 * time.Millisecond

// alarms advances orders when something is due for them, so that a payment
// happens when it is due, and not at the next call. No goroutine runs while
// nothing is due.
type alarms struct {
	clock func() time.Time
	most  time.Duration // the longest single wait of a timer; 0 is no limit

	mu      sync.Mutex
	waiting map[*time.Timer]struct{}
	closed  bool
	ringing sync.WaitGroup
}

// set advances o at the given time of the clock, or soon after. The caller may
// hold o.mu.
func (a *alarms) set(o *order, at time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed {
		return
	}
	wait := at.Sub(a.clock())
	if a.most > 0 {
		wait = min(wait, a.most)
	}
	var t *time.Timer
	t = time.AfterFunc(wait, func() { a.ring(&t, o, at) })
	if a.waiting == nil {
		a.waiting = make(map[*time.Timer]struct{})
	}
	a.waiting[t] = struct{}{}
}

func (a *alarms) ring(timer **time.Timer, o *order, at time.Time) {
	a.mu.Lock() // set holds it until *timer is assigned
	if a.closed {
		a.mu.Unlock()
		return
	}
	delete(a.waiting, *timer)
	a.ringing.Add(1)
	a.mu.Unlock()
	defer a.ringing.Done()
	now := a.clock()
	if now.Before(at) {
		a.set(o, at)
		return
	}
	// Without a.mu: an order that a call holds may be setting an alarm.
	o.mu.Lock()
	o.advance(now)
	o.mu.Unlock()
}

// close stops the alarms, and returns when no order is being advanced. The caller
// must hold no order's mu.
func (a *alarms) close() {
	a.mu.Lock()
	a.closed = true
	for t := range a.waiting {
		t.Stop()
	}
	a.waiting = nil
	a.mu.Unlock()
	a.ringing.Wait()
}
