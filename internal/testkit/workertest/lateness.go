package workertest

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// lateness measures how late this process does what is due at a certain time. On a
// machine that is busy with other tests, timers fire late, and Redis stands still while it
// writes its append-only file: calls with slots one after another then leave together.
type lateness struct{ nanos, redis atomic.Int64 }

// watch measures until the test ends.
func (l *lateness) watch(t *testing.T, rdb *redis.Client) {
	go func() {
		for t.Context().Err() == nil {
			asked := time.Now()
			if rdb.Ping(context.Background()).Err() != nil {
				return // another test has killed or closed it
			}
			l.redis.Store(max(l.redis.Load(), int64(time.Since(asked))))
			<-time.After(5 * time.Millisecond)
		}
	}()
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
				// Measured when the tick is received, not when it was sent.
				if by := time.Since(last) - every; by > time.Duration(l.nanos.Load()) {
					l.nanos.Store(int64(by))
				}
				last = time.Now()
			}
		}
	}()
}

func (l *lateness) most() time.Duration { return time.Duration(l.nanos.Load() + l.redis.Load()) }
