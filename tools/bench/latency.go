package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"payscore-collector/internal/simulator"
	"payscore-collector/tasks"
)

const latencyOrders = 200

// latency enqueues single orders for an idle worker, and measures when the
// platform receives the call.
func latency(ctx context.Context, e *env) error {
	p, err := e.startPlatform(ctx)
	if err != nil {
		return err
	}
	defer p.kill()
	if err := e.flush(ctx); err != nil {
		return err
	}
	nos := numbers("IDLE", latencyOrders+1)
	// Every collect is declined, so that nothing else is due for ten minutes.
	if err := p.reset(nos, simulator.FateNever); err != nil {
		return err
	}
	w, err := e.startWorker(p, "SWEEP_EVERY=15s", "COLLECT_RATE=50")
	if err != nil {
		return err
	}
	defer w.kill()
	producer := tasks.NewProducer(e.rdb)
	enqueued := make(map[string]time.Time, len(nos))
	for i, no := range nos {
		enqueued[no] = time.Now()
		if res, err := producer.Enqueue(ctx, order(no)); err != nil || res.Status != tasks.Accepted {
			return fmt.Errorf("%s: %s %w", no, res.Status, err)
		}
		if err := until(ctx, 30*time.Second, "the call", func() (bool, error) {
			n, err := p.countCalls()
			return n > i, err
		}); err != nil {
			return err
		}
		// At any moment between two polls of the worker.
		if err := sleep(ctx, 20*time.Millisecond+rand.N(100*time.Millisecond)); err != nil {
			return err
		}
	}
	all, err := p.calls()
	if err != nil {
		return err
	}
	var took []float64
	for _, c := range all {
		if c.OutOrderNo != nos[0] { // that one waited for the worker's start
			took = append(took, ms(c.Began.Sub(enqueued[c.OutOrderNo])))
		}
	}
	slices.Sort(took)
	percentile := func(n int) float64 { return took[min(len(took)-1, n*len(took)/100)] }
	e.table.atMost(100, " ms", percentile(50), "enqueue to the request on the wire, idle queue: median", "of %d, one at a time", len(took))
	e.table.atMost(300, " ms", percentile(100), "the same: the worst", "99 %%: %.0f ms", percentile(99))
	return e.idle(ctx, w)
}

// idle measures what an idle worker costs Redis.
func (e *env) idle(ctx context.Context, w *process) error {
	const idle = 10 * time.Second
	before, err := e.commands(ctx)
	if err != nil {
		return err
	}
	cpu, redisCPU := e.cpu(w), e.cpu(e.redis)
	if err := sleep(ctx, idle); err != nil {
		return err
	}
	after, err := e.commands(ctx)
	if err != nil {
		return err
	}
	var all float64
	for name, n := range after {
		if name != "info" {
			all += float64(n - before[name])
		}
	}
	e.table.note("/s", float64(after["evalsha"]-before["evalsha"])/idle.Seconds(), "scripts that an idle worker runs on Redis (polls, mostly asynq's)",
		"%.0f commands a second with those that the scripts run; the worker used %.1f %% of a core, Redis %.1f %%",
		all/idle.Seconds(), 100*(e.cpu(w)-cpu).Seconds()/idle.Seconds(), 100*(e.cpu(e.redis)-redisCPU).Seconds()/idle.Seconds())
	return nil
}

// commands is how often Redis has run each command.
func (e *env) commands(ctx context.Context) (map[string]int64, error) {
	info, err := e.rdb.InfoMap(ctx, "commandstats").Result()
	if err != nil {
		return nil, err
	}
	out := map[string]int64{}
	for name, stat := range info["Commandstats"] {
		var calls int64
		if _, err := fmt.Sscanf(stat, "calls=%d", &calls); err != nil {
			return nil, fmt.Errorf("INFO commandstats: %s:%s: %w", name, stat, err)
		}
		out[strings.TrimPrefix(name, "cmdstat_")] = calls
	}
	return out, nil
}
