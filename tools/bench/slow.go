package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"payscore-collector/internal/simulator"
)

const (
	slowRate    = 500
	slowSeconds = 15
	redisAway   = 2 * time.Millisecond
)

// slow lets calls take 200 to 400 ms, and sees whether one worker keeps up its
// rate, with Redis near and far.
func slow(ctx context.Context, l *lab) error {
	m, err := l.startPlatform(ctx, simulator.DefaultMchID)
	if err != nil {
		return err
	}
	defer m.kill()
	if err := m.faults(simulator.Faults{Latency: simulator.Duration(200 * time.Millisecond), LatencyJitter: simulator.Duration(200 * time.Millisecond)}); err != nil {
		return err
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	addr := strings.TrimSuffix(strings.TrimPrefix(l.url, "redis://"), "/0")
	far, err := distant(ctx, addr, redisAway)
	if err != nil {
		return err
	}
	for _, redis := range []struct{ url, where string }{
		{l.url, "Redis beside it"},
		{"redis://" + far + "/0", fmt.Sprintf("Redis %v away", redisAway)},
	} {
		if err := l.fresh(ctx); err != nil {
			return err
		}
		if err := m.reset(false); err != nil {
			return err
		}
		nos := numbers("SLOW", slowRate*(slowSeconds+10))
		if err := m.add(nos, simulator.FatePays); err != nil {
			return err
		}
		if err := l.feed(ctx, m, nos); err != nil {
			return err
		}
		w, err := l.startWorker(m, "REDIS_URL="+redis.url, fmt.Sprintf("COLLECT_RATE=%d", slowRate), "WORKER_CONCURRENCY=256", "CONFIRM_SCHEDULE=10s,1m,10m", "SWEEP_EVERY=15s")
		if err != nil {
			return err
		}
		err = func() error {
			defer w.kill()
			sleep(ctx, 5*time.Second)
			first, err := m.seen(false)
			if err != nil {
				return err
			}
			var memories []float64
			begun := time.Now()
			for time.Since(begun) < slowSeconds*time.Second {
				sleep(ctx, time.Second)
				now, _, err := w.memory()
				if err != nil {
					return err
				}
				memories = append(memories, float64(now)/(1<<20))
			}
			last, err := m.seen(false)
			if err != nil {
				return err
			}
			rate := float64(last.Calls-first.Calls) / time.Since(begun).Seconds()
			r, err := m.report()
			if err != nil {
				return err
			}
			l.table.atLeast(0.94, "x", rate/slowRate, fmt.Sprintf("of COLLECT_RATE=%d with calls of 200 to 400 ms, one worker; %s", slowRate, redis.where),
				"%.0f/s, the most in any second %d; a slot is 5 %% longer than the rate asks for", rate, r.MostCallsInASecond)
			third := len(memories) / 3
			l.table.atMost(1.1, "x", mean(memories[len(memories)-third:])/mean(memories[:third]), "growth of its resident memory meanwhile: the last third beside the first",
				"%.0f to %.0f MiB, WORKER_CONCURRENCY=256", slices.Min(memories), slices.Max(memories))
			return nil
		}()
		if err != nil {
			return err
		}
	}
	return nil
}

const (
	gateWorkers = 8
	gateRate    = 200
	gateSeconds = 20
)

// gate lets several workers share a merchant's rate.
func gate(ctx context.Context, l *lab) error {
	m, err := l.startPlatform(ctx, simulator.DefaultMchID)
	if err != nil {
		return err
	}
	defer m.kill()
	if err := l.fresh(ctx); err != nil {
		return err
	}
	if err := m.reset(true); err != nil {
		return err
	}
	nos := numbers("GATE", gateRate*(gateSeconds+20))
	if err := l.feed(ctx, m, nos); err != nil {
		return err
	}
	var workers []*child
	var admin []string
	defer func() {
		for _, w := range workers {
			w.kill()
		}
	}()
	for range gateWorkers {
		port, err := freePort()
		if err != nil {
			return err
		}
		admin = append(admin, fmt.Sprintf("http://127.0.0.1:%d", port))
		w, err := l.startWorker(m, fmt.Sprintf("ADMIN_ADDR=127.0.0.1:%d", port), fmt.Sprintf("COLLECT_RATE=%d", gateRate), "WORKER_CONCURRENCY=16")
		if err != nil {
			return err
		}
		workers = append(workers, w)
	}
	if err := until(ctx, time.Minute, "all workers to call", func() (bool, error) {
		for _, a := range admin {
			if n, err := callsOf(a); err != nil || n == 0 {
				return false, nil // not up yet
			}
		}
		return true, nil
	}); err != nil {
		return err
	}
	sleep(ctx, 2*time.Second)
	var before []float64
	for _, a := range admin {
		n, err := callsOf(a)
		if err != nil {
			return err
		}
		before = append(before, n)
	}
	begun := time.Now()
	sleep(ctx, gateSeconds*time.Second)
	var shares []float64
	var sum float64
	for i, a := range admin {
		n, err := callsOf(a)
		if err != nil {
			return err
		}
		shares = append(shares, n-before[i])
		sum += n - before[i]
	}
	rate := sum / time.Since(begun).Seconds()
	worst := 0.0
	for i := range shares {
		shares[i] *= gateWorkers / sum
		worst = max(worst, shares[i]-1, 1-shares[i])
	}
	s, err := m.seen(true)
	if err != nil {
		return err
	}
	l.table.atMost(0.2, "", worst, fmt.Sprintf("share of each of %d workers at one gate, furthest from its part", gateWorkers), "shares: %s", listOf("%.2f", shares))
	l.table.atMost(1, "x", float64(mostInASecond(s.Times))/gateRate, fmt.Sprintf("the most calls in any second, of COLLECT_RATE=%d", gateRate), "%d; %.0f/s on average", mostInASecond(s.Times), rate)
	return nil
}

func mostInASecond(times []int64) int {
	times = slices.Sorted(slices.Values(times))
	most, from := 0, 0
	for i, t := range times {
		for t-times[from] >= int64(time.Second) {
			from++
		}
		most = max(most, i-from+1)
	}
	return most
}
