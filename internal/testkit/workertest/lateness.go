package workertest

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// lateness is how late this process is at the most for what it means to do at a
// time. On a machine that is busy with other tests timers fire late, and Redis
// stands still while the disk takes its append-only file: calls that had their
// slots one after another then leave together.
type lateness struct{ nanos, redis atomic.Int64 }

// watch measures until the test ends.
func (l *lateness) watch(t *testing.T, rdb *redis.Client) {
	go func() {
		for t.Context().Err() == nil {
			asked := time.Now()
			if rdb.Ping(context.Background()).Err() != nil {
				return // it was killed, or closed: that is another test's subject
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
				// By when it is looked at, not when the tick was sent.
				if by := time.Since(last) - every; by > time.Duration(l.nanos.Load()) {
					l.nanos.Store(int64(by))
				}
				last = time.Now()
			}
		}
	}()
}

func (l *lateness) most() time.Duration { return time.Duration(l.nanos.Load() + l.redis.Load()) }
