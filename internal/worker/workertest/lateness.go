package workertest

import (
	"sync/atomic"
	"testing"
	"time"
)

// lateness is how late this process is at the most for what it means to do at a
// time: on a machine that is busy with other tests, timers fire late, and so do
// requests leave and arrive.
type lateness struct{ nanos atomic.Int64 }

// watch measures until the test ends.
func (l *lateness) watch(t *testing.T) {
	const every = 5 * time.Millisecond
	tick := time.NewTicker(every)
	t.Cleanup(tick.Stop)
	go func() {
		last := time.Now()
		for {
			select {
			case <-t.Context().Done():
				return
			case <-tick.C:
				// By when it is looked at, not when the tick was sent.
				if by := time.Since(last) - every; by > time.Duration(l.nanos.Load()) {
					l.nanos.Store(int64(by))
				}
				last = time.Now()
			}
		}
	}()
}

func (l *lateness) most() time.Duration { return time.Duration(l.nanos.Load()) }
