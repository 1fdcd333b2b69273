package chaos

import (
	"context"
	"math/rand/v2"
	"syscall"
	"time"
)

// storeFaults are what is done to Redis and to the way to it.
func storeFaults(e *env, s standalone) []fault {
	// during writes down when Redis was disturbed, and for a moment longer: who
	// was refused comes back a little later.
	during := func(what string, do func(r *rand.Rand)) func(*env, *rand.Rand, *worker) bool {
		return func(e *env, r *rand.Rand, _ *worker) bool {
			from := time.Now()
			do(r)
			e.journal.outage(outage{what: what, from: from, to: time.Now()})
			return true
		}
	}
	return []fault{
		{name: "Redis killed and restarted", takes: 3 * time.Second, do: during("Redis was killed", func(r *rand.Rand) {
			s.kill()
			wait(between(r, 200*time.Millisecond, 2500*time.Millisecond))
			if err := s.start(); err != nil {
				e.journal.fail("%v", err)
			}
		})},
		{name: "Redis frozen 5 s by CLIENT PAUSE", takes: 5 * time.Second, do: during("Redis was paused", func(*rand.Rand) {
			e.pausing.Lock()
			defer e.pausing.Unlock()
			ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
			defer cancel()
			if err := s.rdb.ClientPause(ctx, 5*time.Second).Err(); err != nil {
				e.journal.fail("CLIENT PAUSE: %v", err)
			}
			wait(5 * time.Second)
		})},
		{name: "Redis frozen 5 s by SIGSTOP", takes: 5 * time.Second, do: during("Redis was stopped", func(*rand.Rand) {
			s.signal(syscall.SIGSTOP)
			wait(5 * time.Second)
			s.signal(syscall.SIGCONT)
		})},
		{name: "all connections to Redis cut", takes: 2 * time.Second, do: during("connections were cut", func(r *rand.Rand) {
			for _, k := range e.workers {
				k.proxy.refuseAll(true)
				k.proxy.cut()
			}
			wait(between(r, 0, 2*time.Second))
			for _, k := range e.workers {
				k.proxy.refuseAll(false)
			}
		})},
		{name: "one worker's connections to Redis dead for longer than its lease", takes: e.profile.lease() + 2*time.Second, do: during("a worker was cut off", func(r *rand.Rand) {
			k := e.workers[r.IntN(len(e.workers))]
			k.proxy.unplug(true)
			wait(e.profile.lease() + between(r, time.Second, 2*time.Second))
			k.proxy.unplug(false)
		})},
		{name: "Redis's memory full", takes: 4 * time.Second, do: during("Redis's memory was full", func(*rand.Rand) {
			e.retry("fill Redis's memory", func(ctx context.Context) error {
				return s.rdb.ConfigSet(ctx, "maxmemory", "1mb").Err()
			})
			wait(4 * time.Second)
			e.retry("give Redis its memory back", func(ctx context.Context) error {
				return s.rdb.ConfigSet(ctx, "maxmemory", "0").Err()
			})
		})},
	}
}
