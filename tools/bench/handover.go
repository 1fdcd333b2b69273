package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/hibiken/asynq"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"
	"github.com/rs/zerolog"

	"payscore-collector/internal/collect"
	"payscore-collector/internal/ledger"
	"payscore-collector/tasks"
)

const (
	handoverOrders = 20_000
	fileRows       = 1_000_000
)

// handover compares handing over with a loop over asynq's client, and puts a
// million rows through enqueue file, interrupted once.
func handover(ctx context.Context, l *lab) error {
	m := merchant{mchid: "1900000109", appid: "wxd678efh567hg6787", serviceID: "500001"}
	nos := numbers("HAND", handoverOrders)
	var ratio, ours, peers []float64
	for range l.rounds {
		if err := l.fresh(ctx); err != nil {
			return err
		}
		start := time.Now()
		for o, res := range tasks.NewProducer(l.rdb).EnqueueAll(ctx, func(yield func(tasks.Order) bool) {
			for _, no := range nos {
				if !yield(m.order(no)) {
					return
				}
			}
		}) {
			if res.Status != tasks.Accepted {
				return fmt.Errorf("%s: %s %v", o.OutOrderNo, res.Status, res.Err)
			}
		}
		mine := time.Since(start)
		if err := l.fresh(ctx); err != nil {
			return err
		}
		loop, err := l.feedPeer(ctx, m, nos)
		if err != nil {
			return err
		}
		ratio = append(ratio, loop.Seconds()/mine.Seconds())
		ours = append(ours, handoverOrders/mine.Seconds())
		peers = append(peers, handoverOrders/loop.Seconds())
	}
	l.table.atLeast(5, "x", middle(ratio), "tasks.Producer.EnqueueAll beside a loop over asynq.Client.Enqueue", "%.0f/s into ledger and queue, peer %.0f/s into its queue", middle(ours), middle(peers))
	return l.file(ctx, m)
}

// file puts a million rows that are due in a month through enqueue file: once
// with an interruption, and once more. It leaves them to the sweep's part.
func (l *lab) file(ctx context.Context, m merchant) error {
	if err := l.fresh(ctx); err != nil {
		return err
	}
	path := filepath.Join(l.dir, "orders.csv")
	if err := writeRows(path, fileRows, time.Now().AddDate(0, 1, 0)); err != nil {
		return err
	}
	defer os.Remove(path)
	env := []string{"REDIS_URL=" + l.url, "WECHATPAY_MCHID=" + m.mchid, "PAYSCORE_APPID=" + m.appid, "PAYSCORE_SERVICE_ID=" + m.serviceID}
	led := ledger.New(l.rdb, m.mchid)
	run := func(interruptAt int64) (most int64, took time.Duration, err error) {
		start := time.Now()
		c, err := l.start(l.dir+"/enqueue", env, "file", path, "--json")
		if err != nil {
			return 0, 0, err
		}
		defer c.kill()
		ended := make(chan error, 1)
		go func() { ended <- c.cmd.Wait() }()
		for {
			select {
			case err := <-ended:
				if interruptAt > 0 {
					err = nil
				}
				return most, time.Since(start), err
			case <-time.After(100 * time.Millisecond):
			}
			if _, m, err := c.memory(); err == nil {
				most = max(most, m)
			}
			if interruptAt > 0 {
				if s, err := led.Stats(ctx); err == nil && s.Orders[tasks.Queued] >= interruptAt {
					_ = c.cmd.Process.Signal(os.Interrupt)
				}
			}
		}
	}
	if _, _, err := run(fileRows / 4); err != nil {
		return err
	}
	s, err := led.Stats(ctx)
	if err != nil {
		return err
	}
	part := s.Orders[tasks.Queued]
	most, took, err := run(0)
	if err != nil {
		return err
	}
	if s, err = led.Stats(ctx); err != nil {
		return err
	}
	events, err := l.rdb.XLen(ctx, tasks.KeysOf(m.mchid).Outcomes()).Result()
	if err != nil {
		return err
	}
	l.table.atMost(64, " MiB", float64(most)/(1<<20), "memory of enqueue file with a million rows", "%.0f rows/s", fileRows/took.Seconds())
	l.table.atMost(0, "", float64(s.Orders[tasks.Queued]-fileRows)+float64(events-fileRows), "orders too many or too few after an interruption and a second run",
		"interrupted at %d; then %d orders and %d events order.opened", part, s.Orders[tasks.Queued], events)
	return nil
}

func writeRows(path string, n int, at time.Time) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	w := bufio.NewWriter(f)
	fmt.Fprintln(w, "out_order_no,at")
	when := at.Format(time.RFC3339)
	for i := range n {
		fmt.Fprintf(w, "FILE2026%012d,%s\n", i, when)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	return f.Close()
}

const sweepDue = 10_000

// sweep times the sweep's script over the same 10,000 due orders among ever more
// open ones.
func sweep(ctx context.Context, l *lab) error {
	m := merchant{mchid: "1900000109", appid: "wxd678efh567hg6787", serviceID: "500001"}
	led := ledger.New(l.rdb, m.mchid)
	s, err := led.Stats(ctx)
	if err != nil {
		return err
	}
	if s.Orders[tasks.Queued] < fileRows { // the part before did not run
		if err := l.fresh(ctx); err != nil {
			return err
		}
	}
	// A million new orders have Redis rewrite its append-only file, in a child that
	// takes a processor of two.
	const rewrite = "auto-aof-rewrite-percentage"
	if err := l.rdb.ConfigSet(ctx, rewrite, "0").Err(); err != nil {
		return err
	}
	defer l.rdb.ConfigSet(context.WithoutCancel(ctx), rewrite, "100")
	var times, collected []float64
	sizes := []int{10_000, 100_000, 1_000_000}
	have := int(s.Orders[tasks.Queued])
	if have >= fileRows {
		// The million is there: largest first.
		sizes = []int{1_000_000, 10_000, 100_000}
	}
	for i, size := range sizes {
		if i > 0 && size < sizes[i-1] {
			if err := l.fresh(ctx); err != nil {
				return err
			}
			have = 0
		}
		if err := l.openMany(ctx, m, have, size); err != nil {
			return err
		}
		have = size
		if err := until(ctx, time.Minute, "Redis to have rewritten its append-only file", func() (bool, error) {
			info, err := l.rdb.Info(ctx, "persistence").Result()
			return strings.Contains(info, "aof_rewrite_in_progress:0") && strings.Contains(info, "aof_rewrite_scheduled:0"), err
		}); err != nil {
			return err
		}
		took, err := l.timeSweep(ctx, m, led)
		if err != nil {
			return err
		}
		times = append(times, took)
		start := time.Now()
		if _, err := led.Stats(ctx); err != nil {
			return err
		}
		if _, err := collect.QueueSizes(ctx, l.rdb, m.mchid); err != nil {
			return err
		}
		if _, err := led.Lag(ctx); err != nil {
			return err
		}
		n := 0
		for _, err := range led.List(ctx, tasks.Queued) {
			if err != nil {
				return err
			}
			if n++; n == 100 {
				break
			}
		}
		collected = append(collected, ms(time.Since(start)))
	}
	at := map[int]float64{}
	look := map[int]float64{}
	for i, size := range sizes {
		at[size], look[size] = times[i], collected[i]
	}
	l.table.atMost(1.25, "x", at[1_000_000]/at[10_000], "sweep of 10,000 due orders: a million open beside 10,000 open",
		"%.0f ms at 10,000, %.0f ms at 100,000, %.0f ms at 1,000,000 open", at[10_000], at[100_000], at[1_000_000])
	l.table.note(" ms", look[1_000_000], "stats, metrics and a page of a listing at a million open", "%.1f ms at 10,000 open", look[10_000])
	return nil
}

// openMany opens orders that are due in a month.
func (l *lab) openMany(ctx context.Context, m merchant, from, to int) error {
	at := time.Now().AddDate(0, 1, 0)
	for o, res := range tasks.NewProducer(l.rdb).EnqueueAll(ctx, func(yield func(tasks.Order) bool) {
		for i := from; i < to; i++ {
			o := m.order(fmt.Sprintf("FILE2026%012d", i))
			o.At = at
			if !yield(o) {
				return
			}
		}
	}) {
		if res.Status != tasks.Accepted {
			return fmt.Errorf("%s: %s %v", o.OutOrderNo, res.Status, res.Err)
		}
	}
	return nil
}

// timeSweep makes 10,000 orders due and has them swept into the queue, as the
// worker does; it returns the milliseconds of the best of three.
func (l *lab) timeSweep(ctx context.Context, m merchant, led *ledger.Ledger) (float64, error) {
	sweeper := collect.NewSweeper(collect.New(collect.Settings{
		AppID: m.appid, ServiceID: m.serviceID, Rate: 1e6, SweepEvery: time.Second, Concurrency: 64, CallTimeout: time.Second,
	}, led, nil, tasks.NewProducer(l.rdb), zerolog.Nop(), collect.NewMetrics(prometheus.NewRegistry())), l.rdb)
	keys := tasks.KeysOf(m.mchid)
	best := 0.0
	for range 3 {
		// Due by the index, which is all that the sweep goes by.
		const makeDue = `for _, no in ipairs(redis.call('ZRANGE', KEYS[1], 0, tonumber(ARGV[1]) - 1)) do
  redis.call('ZADD', KEYS[1], 1, no)
end`
		if err := l.rdb.Eval(ctx, makeDue, []string{keys.Due()}, sweepDue).Err(); err != nil && !errors.Is(err, redis.Nil) {
			return 0, err
		}
		if err := l.rdb.HDel(ctx, keys.Sweep(), "at").Err(); err != nil {
			return 0, err
		}
		start := time.Now()
		if err := sweeper.Sweep(ctx); err != nil {
			return 0, err
		}
		took := ms(time.Since(start))
		n, err := l.rdb.LLen(ctx, tasks.PendingKey(m.mchid)).Result()
		if err != nil {
			return 0, err
		}
		if n != sweepDue {
			return 0, fmt.Errorf("the sweep queued %d of %d due orders", n, sweepDue)
		}
		if _, err := asynq.NewInspectorFromRedisClient(l.rdb).DeleteAllPendingTasks(tasks.QueueName(m.mchid)); err != nil {
			return 0, err
		}
		if best == 0 || took < best {
			best = took
		}
	}
	return best, nil
}
