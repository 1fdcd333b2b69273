package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"payscore-collector/internal/redisconn"
	"payscore-collector/tasks"
)

// leisurely is the demo that keeps running: slow enough that a person can follow an order
// on the console, with a merchant's fault now and then.
var leisurely = scenario{
	settings: map[string]string{
		"COLLECT_WINDOW": "always", "COLLECT_SCHEDULE": "5s,15s,30s", "CONFIRM_SCHEDULE": "1s,3s,10s",
		"MIN_GAP": "3s", "GIVE_UP_AFTER": "3m", "SWEEP_EVERY": "1s", "CALL_TIMEOUT": "5s",
		"RETENTION": "2h", // of the embedded Redis, which keeps all in memory
	},
	acts: []act{{0, everyday}},
}

const (
	freshEvery    = time.Second      // one order
	withdrawEvery = 20               // orders from one that billing withdraws to the next
	faultEvery    = 90 * time.Second // from one fault of the merchant to the next
	faultLasts    = 8 * time.Second
)

// serve runs the demo until it is interrupted, and prints where its console is.
func serve(ctx context.Context, cli commandLine, out io.Writer) error {
	fmt.Fprintln(out, "setting up an embedded Redis, a simulated WeChat Pay and a worker ...")
	addr, err := consoleAddr()
	if err != nil {
		return err
	}
	leisurely.settings["ADMIN_ADDR"] = addr
	s, err := newStage(leisurely, cli.Seed, nil)
	if err != nil {
		return err
	}
	redisconn.RedirectLog(s.log)
	w := s.startWorker(ctx)
	err = s.keepRunning(ctx, w, cli, addr, out)
	return errors.Join(err, w.stop(), s.close(false))
}

func (s *stage) keepRunning(ctx context.Context, w *workerRun, cli commandLine, addr string, out io.Writer) error {
	began := time.Now()
	if err := s.misbehave(0); err != nil {
		return err
	}
	n := min(cli.Orders, 60)
	for i := range n {
		if err := s.fresh(ctx, i, began); err != nil {
			return err
		}
	}
	fmt.Fprintf(out, "the console: http://%s/\nA fresh order comes every second, until you interrupt this (Ctrl-C).\n", addr)
	tick := time.NewTicker(freshEvery)
	defer tick.Stop()
	for refused, fault := false, began.Add(faultEvery); ; n++ {
		select {
		case <-ctx.Done():
			return nil
		case <-w.over:
			return fmt.Errorf("the worker ended by itself: %w", w.stop())
		case <-tick.C:
		}
		if err := s.fresh(ctx, n, began); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		if time.Now().After(fault) {
			faults, lasts := everyday, faultEvery
			if refused = !refused; refused {
				faults, lasts = refusing(everyday), faultLasts
			}
			if err := s.sim.SetFaults(faults); err != nil {
				return fmt.Errorf("set the platform's faults: %w", err)
			}
			fault = time.Now().Add(lasts)
		}
	}
}

// fresh enqueues the order of a place in the list, as owed for up to forty days, and
// withdraws one now and then.
func (s *stage) fresh(ctx context.Context, i int, began time.Time) error {
	o, m := makeOrder(i), s.sim.Merchant()
	if err := s.sim.AddOrders(o); err != nil {
		return err
	}
	res, err := s.producer.Enqueue(ctx, tasks.Order{
		Payload: payload(o, m),
		Amount:  max(1, o.TotalAmount), OwedSince: began.Add(-time.Duration(i%41) * 24 * time.Hour).Truncate(time.Second),
	})
	if err != nil || res.Status != tasks.Accepted {
		return fmt.Errorf("enqueue %s: %s: %w", o.OutOrderNo, res.Status, errors.Join(err, res.Err))
	}
	if i%withdrawEvery != withdrawEvery-1 {
		return nil
	}
	// It has just been enqueued, and is open still as a rule.
	_, err = s.producer.Withdraw(ctx, tasks.Withdrawal{MchID: m.MchID, OutOrderNo: o.OutOrderNo, Reason: "paid at the counter", By: "go:demo"})
	return err
}

// consoleAddr is ADMIN_ADDR's default if its port is free, or else another one.
func consoleAddr() (string, error) {
	var failed error
	for _, addr := range []string{"127.0.0.1:9090", "127.0.0.1:0"} {
		l, err := net.Listen("tcp", addr)
		if err == nil {
			addr = l.Addr().String()
			return addr, l.Close()
		}
		failed = err
	}
	return "", fmt.Errorf("find a port for the console: %w", failed)
}
