package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"

	"payscore-collector/internal/simulator"
	"payscore-collector/tasks"
)

const latencyOrders = 200

// latency hands single orders over to an idle worker, and looks when the platform
// sees them.
func latency(ctx context.Context, l *lab) error {
	m, err := l.startPlatform(ctx, simulator.DefaultMchID)
	if err != nil {
		return err
	}
	defer m.kill()
	if err := l.fresh(ctx); err != nil {
		return err
	}
	if err := m.reset(true); err != nil { // declined: nothing else is to do for ten minutes
		return err
	}
	w, err := l.startWorker(m, "SWEEP_EVERY=15s", "COLLECT_RATE=50")
	if err != nil {
		return err
	}
	defer w.kill()
	producer := tasks.NewProducer(l.rdb)
	nos := numbers("IDLE", latencyOrders+1)
	begun := make(map[string]time.Time, len(nos))
	for i, no := range nos {
		begun[no] = time.Now()
		if res, err := producer.Enqueue(ctx, m.order(no)); err != nil || res.Status != tasks.Accepted {
			return fmt.Errorf("%s: %s %w", no, res.Status, err)
		}
		if err := until(ctx, 30*time.Second, "the call", func() (bool, error) {
			s, err := m.seen(false)
			return s.Calls > i, err
		}); err != nil {
			return err
		}
		sleep(ctx, 20*time.Millisecond+rand.N(100*time.Millisecond)) // anywhere between two polls
	}
	s, err := m.seen(true)
	if err != nil {
		return err
	}
	var took []float64
	for _, no := range nos[1:] { // the first one waited for the worker to start
		took = append(took, float64(s.First[no]-begun[no].UnixNano())/1e6)
	}
	slices.Sort(took)
	l.table.atMost(100, " ms", percentile(took, 0.5), "enqueue to the request on the wire, idle queue: median", "of %d, one at a time", len(took))
	l.table.atMost(300, " ms", took[len(took)-1], "the same: the worst", "99 %%: %.0f ms", percentile(took, 0.99))

	const idle = 10 * time.Second
	before, err := l.commands(ctx)
	if err != nil {
		return err
	}
	cpu, redisCPU := w.used(), l.redis.used()
	sleep(ctx, idle)
	after, err := l.commands(ctx)
	if err != nil {
		return err
	}
	var all float64
	for name, n := range after {
		if name != "info" {
			all += float64(n - before[name])
		}
	}
	l.table.note("/s", float64(after["evalsha"]-before["evalsha"])/idle.Seconds(), "scripts an idle worker asks of Redis (polls, mostly asynq's)",
		"%.0f commands a second with those that the scripts run; the worker used %.1f %% of a core, Redis %.1f %%",
		all/idle.Seconds(), 100*(w.used()-cpu).Seconds()/idle.Seconds(), 100*(l.redis.used()-redisCPU).Seconds()/idle.Seconds())
	return nil
}

// commands is how often Redis has run each command.
func (l *lab) commands(ctx context.Context) (map[string]int64, error) {
	text, err := l.rdb.Info(ctx, "commandstats").Result()
	if err != nil {
		return nil, err
	}
	out := map[string]int64{}
	for line := range strings.Lines(text) {
		name, rest, ok := strings.Cut(strings.TrimPrefix(line, "cmdstat_"), ":calls=")
		if !ok {
			continue
		}
		n, _, _ := strings.Cut(rest, ",")
		if out[name], err = strconv.ParseInt(n, 10, 64); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// dueASecond orders come due in each of dueSeconds seconds.
const (
	dueASecond = 1000
	dueSeconds = 20
	dueSweep   = 5 * time.Second
)

// due lets orders come due at a steady pace, and looks when each is called. Its
// platform costs next to nothing, so that two cores are enough for a thousand
// signatures a second.
func due(ctx context.Context, l *lab) error {
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
	nos := numbers("DUE", dueASecond*dueSeconds)
	at := make(map[string]int64, len(nos))
	start := time.Now().Add(8 * time.Second) // the hand-over takes some seconds
	orders := func(yield func(tasks.Order) bool) {
		for i, no := range nos {
			o := m.order(no)
			o.At = start.Add(time.Duration(i) * time.Second / dueASecond).Truncate(time.Millisecond)
			at[no] = o.At.UnixNano()
			if !yield(o) {
				return
			}
		}
	}
	for o, res := range tasks.NewProducer(l.rdb).EnqueueAll(ctx, orders) {
		if res.Status != tasks.Accepted {
			return fmt.Errorf("%s: %s %v", o.OutOrderNo, res.Status, res.Err)
		}
	}
	if late := time.Since(start); late > 0 {
		return fmt.Errorf("the hand-over ended %v too late for this measurement", late)
	}
	w, err := l.startWorker(m, "SWEEP_EVERY="+dueSweep.String())
	if err != nil {
		return err
	}
	defer w.kill()
	if err := until(ctx, 2*time.Minute, "the calls", func() (bool, error) {
		s, err := m.seen(false)
		return s.Calls >= len(nos), err
	}); err != nil {
		return err
	}
	s, err := m.seen(true)
	if err != nil {
		return err
	}
	var lag []float64
	for no, t := range s.First {
		lag = append(lag, float64(t-at[no])/1e9)
	}
	slices.Sort(lag)
	l.table.atMost((dueSweep + time.Second).Seconds(), " s", percentile(lag, 0.99), fmt.Sprintf("due to called at %d due a second, SWEEP_EVERY=%v: 99 %%", dueASecond, dueSweep),
		"median %.1f s, worst %.1f s; soonest %.3f s", percentile(lag, 0.5), lag[len(lag)-1], lag[0])
	return nil
}
