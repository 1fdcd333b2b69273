package simulator

import (
	"container/heap"
	"sync"
	"time"
)

// foreignClockStep is how often a clock that is not the machine's is looked
// at: no timer knows when somebody will put it forward.
const foreignClockStep = 20 * time.Millisecond

// alarms wakes orders when something is due for them, so that a payment
// happens when it is due and not when somebody looks. One timer serves all
// orders; nothing runs while none is waiting.
type alarms struct {
	clock func() time.Time
	most  time.Duration // that the timer waits at once; 0 is no limit

	mu      sync.Mutex
	waiting alarmHeap
	timer   *time.Timer
	closed  bool
	ringing sync.WaitGroup
}

// set wakes o at the given time of the clock, or soon after. It may be called
// with o.mu held.
func (a *alarms) set(o *order, at time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed {
		return
	}
	heap.Push(&a.waiting, alarm{o, at})
	if a.waiting[0].order == o {
		a.arm()
	}
}

// arm sets the timer to the first alarm. The caller holds a.mu.
func (a *alarms) arm() {
	if len(a.waiting) == 0 {
		return
	}
	wait := max(0, a.waiting[0].at.Sub(a.clock()))
	if a.most > 0 {
		wait = min(wait, a.most)
	}
	if a.timer == nil {
		a.timer = time.AfterFunc(wait, a.ring)
		return
	}
	a.timer.Reset(wait)
}

// ring wakes all orders that are due.
func (a *alarms) ring() {
	a.mu.Lock()
	if a.closed {
		a.mu.Unlock()
		return
	}
	a.ringing.Add(1)
	defer a.ringing.Done()
	now := a.clock()
	var due []*order
	for len(a.waiting) > 0 && !now.Before(a.waiting[0].at) {
		due = append(due, heap.Pop(&a.waiting).(alarm).order)
	}
	a.arm()
	a.mu.Unlock()
	// Without a.mu: an order that is being looked at may be setting an alarm.
	for _, o := range due {
		o.mu.Lock()
		o.advance(now)
		o.mu.Unlock()
	}
}

// close wakes nobody any more, and returns when nobody is being woken. No
// order's mu may be held.
func (a *alarms) close() {
	a.mu.Lock()
	a.closed, a.waiting = true, nil
	if a.timer != nil {
		a.timer.Stop()
	}
	a.mu.Unlock()
	a.ringing.Wait()
}

type alarm struct {
	order *order
	at    time.Time
}

// alarmHeap has the alarm that is due first in front.
type alarmHeap []alarm

func (h alarmHeap) Len() int           { return len(h) }
func (h alarmHeap) Less(i, j int) bool { return h[i].at.Before(h[j].at) }
func (h alarmHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *alarmHeap) Push(x any)        { *h = append(*h, x.(alarm)) }
func (h *alarmHeap) Pop() any {
	last := len(*h) - 1
	x := (*h)[last]
	(*h)[last] = alarm{} // an order that is gone must not be held
	*h = (*h)[:last]
	return x
}
