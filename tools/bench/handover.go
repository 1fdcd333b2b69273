package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"payscore-collector/internal/ledger"
	"payscore-collector/internal/simulator"
	"payscore-collector/tasks"
)

const (
	handoverOrders = 20_000
	fileRows       = 1_000_000
)

// handover compares EnqueueAll with a loop over asynq's client, and puts a
// million rows through enqueue file.
func handover(ctx context.Context, e *env) error {
	nos := numbers("HAND", handoverOrders)
	orders := make([]tasks.Order, len(nos))
	for i, no := range nos {
		orders[i] = order(no)
	}
	var ratios, ours, peers []float64
	for range e.rounds {
		if err := e.flush(ctx); err != nil {
			return err
		}
		start := time.Now()
		for o, res := range tasks.NewProducer(e.rdb).EnqueueAll(ctx, slices.Values(orders)) {
			if res.Status != tasks.Accepted {
				return fmt.Errorf("%s: %s %v", o.OutOrderNo, res.Status, res.Err)
			}
		}
		mine := time.Since(start)
		if err := e.flush(ctx); err != nil {
			return err
		}
		start = time.Now()
		if err := e.enqueuePeer(ctx, nos); err != nil {
			return err
		}
		loop := time.Since(start)
		ratios = append(ratios, loop.Seconds()/mine.Seconds())
		ours = append(ours, handoverOrders/mine.Seconds())
		peers = append(peers, handoverOrders/loop.Seconds())
	}
	e.table.atLeast(6, "x", median(ratios), "tasks.Producer.EnqueueAll beside a loop over asynq.Client.Enqueue", "%.0f/s into ledger and queue, peer %.0f/s into its queue", median(ours), median(peers))
	return e.file(ctx)
}

// file puts a million rows that are due in a month through enqueue file: a first
// run is interrupted, and a second one completes it.
func (e *env) file(ctx context.Context) error {
	if err := e.flush(ctx); err != nil {
		return err
	}
	path := filepath.Join(e.dir, "orders.csv")
	if err := writeRows(path, fileRows, time.Now().AddDate(0, 1, 0)); err != nil {
		return err
	}
	defer os.Remove(path)
	led := ledger.New(e.rdb, simulator.DefaultMchID)
	queued := func() (int64, error) {
		s, err := led.Stats(ctx)
		return s.Orders[tasks.Queued], err
	}
	_, _, err := e.enqueueFile(path, func() bool {
		n, err := queued()
		return err == nil && n >= fileRows/4
	})
	if err != nil {
		return err
	}
	part, err := queued()
	if err != nil {
		return err
	}
	memory, took, err := e.enqueueFile(path, nil)
	if err != nil {
		return err
	}
	all, err := queued()
	if err != nil {
		return err
	}
	events, err := e.rdb.XLen(ctx, ledger.KeysOf(simulator.DefaultMchID).Outcomes()).Result()
	if err != nil {
		return err
	}
	e.table.atMost(64, " MiB", float64(memory)/(1<<20), "memory of enqueue file with a million rows", "%.0f rows/s", fileRows/took.Seconds())
	e.table.atMost(0, "", float64(all-fileRows)+float64(events-fileRows), "orders too many or too few after an interruption and a second run",
		"interrupted at %d; then %d orders and %d events order.opened", part, all, events)
	return nil
}

// enqueueFile runs enqueue file until its end, or, where interrupt is given,
// until interrupt returns true. It returns the most memory that it had.
func (e *env) enqueueFile(path string, interrupt func() bool) (memory uint64, took time.Duration, err error) {
	start := time.Now()
	p, err := e.start(e.dir+"/enqueue", []string{
		"REDIS_URL=" + e.url, "WECHATPAY_MCHID=" + simulator.DefaultMchID, "PAYSCORE_APPID=" + simulator.DefaultAppID, "PAYSCORE_SERVICE_ID=" + simulator.DefaultServiceID,
	}, "file", path, "--json")
	if err != nil {
		return 0, 0, err
	}
	defer p.kill()
	exited := make(chan error, 1)
	go func() { exited <- p.cmd.Wait() }()
	for {
		select {
		case err := <-exited:
			if interrupt != nil {
				err = nil // an interrupted run reports its interruption
			}
			return memory, time.Since(start), err
		case <-time.After(100 * time.Millisecond):
		}
		memory = max(memory, e.maxMemory(p))
		if interrupt != nil && interrupt() {
			_ = p.cmd.Process.Signal(os.Interrupt)
		}
	}
}

func writeRows(path string, n int, at time.Time) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	w := bufio.NewWriter(f)
	fmt.Fprintln(w, "out_order_no,at")
	when := at.Format(time.RFC3339)
	for _, no := range numbers("FILE", n) {
		fmt.Fprintf(w, "%s,%s\n", no, when)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	return f.Close()
}
