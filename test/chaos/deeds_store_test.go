package chaos

import (
	"context"
	"math/rand/v2"
	"syscall"
	"time"
)

// storeDeeds are what is done to Redis and to the way to it.
func storeDeeds(w *world, s standalone) []deed {
	// during writes down when Redis was disturbed, and for a moment longer: who
	// was refused comes back a little later.
	during := func(what string, do func(r *rand.Rand)) func(*world, *rand.Rand, *worker) bool {
		return func(w *world, r *rand.Rand, _ *worker) bool {
			from := time.Now()
			do(r)
			w.book.outage(outage{what: what, from: from, to: time.Now()})
			return true
		}
	}
	return []deed{
		{name: "Redis killed and restarted", takes: 3 * time.Second, do: during("Redis was killed", func(r *rand.Rand) {
			s.kill()
			hold(lasting(r, 200*time.Millisecond, 2500*time.Millisecond))
			if err := s.start(); err != nil {
				w.book.say("%v", err)
			}
		})},
		{name: "Redis frozen 5 s by CLIENT PAUSE", takes: 5 * time.Second, do: during("Redis was paused", func(*rand.Rand) {
			w.pausing.Lock()
			defer w.pausing.Unlock()
			ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
			defer cancel()
			if err := s.rdb.ClientPause(ctx, 5*time.Second).Err(); err != nil {
				w.book.say("CLIENT PAUSE: %v", err)
			}
			hold(5 * time.Second)
		})},
		{name: "Redis frozen 5 s by SIGSTOP", takes: 5 * time.Second, do: during("Redis was stopped", func(*rand.Rand) {
			s.signal(syscall.SIGSTOP)
			hold(5 * time.Second)
			s.signal(syscall.SIGCONT)
		})},
		{name: "all connections to Redis cut", takes: 2 * time.Second, do: during("connections were cut", func(r *rand.Rand) {
			for _, k := range w.crew {
				k.proxy.refuseAll(true)
				k.proxy.cut()
			}
			hold(lasting(r, 0, 2*time.Second))
			for _, k := range w.crew {
				k.proxy.refuseAll(false)
			}
		})},
		{name: "one worker's connections to Redis dead for longer than its lease", takes: w.form.lease() + 2*time.Second, do: during("a worker was cut off", func(r *rand.Rand) {
			k := w.crew[r.IntN(len(w.crew))]
			k.proxy.unplug(true)
			hold(w.form.lease() + lasting(r, time.Second, 2*time.Second))
			k.proxy.unplug(false)
		})},
		{name: "Redis's memory full", takes: 4 * time.Second, do: during("Redis's memory was full", func(*rand.Rand) {
			w.insist("fill Redis's memory", func(ctx context.Context) error {
				return s.rdb.ConfigSet(ctx, "maxmemory", "1mb").Err()
			})
			hold(4 * time.Second)
			w.insist("give Redis its memory back", func(ctx context.Context) error {
				return s.rdb.ConfigSet(ctx, "maxmemory", "0").Err()
			})
		})},
	}
}
