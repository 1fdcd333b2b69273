// Command demo shows the whole collection on a machine with nothing but Go: an
// embedded Redis, a simulated WeChat Pay that fails on purpose, and the real
// worker, all in this process. It collects a few hundred orders of mixed fates,
// and in the end compares what the ledger recorded with what the platform knows.
//
//	go run ./cmd/demo
//	go run ./cmd/demo -serve     keeps running, for a look at the console in a browser
//
// Days are compressed into seconds, see scenario.go. Exit status: 0 everything
// agrees; 1 something differs, or an order did not end in time; 2 wrong usage;
// 130 interrupted.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"payscore-collector/internal/config"
	"payscore-collector/internal/redisconn"
)

// Exit statuses beside config's.
const (
	exitFailed      = 1
	exitInterrupted = 130 // as a shell reports a program that SIGINT ended
)

type commandLine struct {
	Orders int           `name:"orders" default:"300" placeholder:"N" help:"How many orders (default ${default})."`
	Seed   uint64        `name:"seed" default:"1" placeholder:"N" help:"Decides which calls go wrong; the same seed picks the same ones (default ${default})."`
	Limit  time.Duration `name:"time-limit" default:"90s" placeholder:"DURATION" help:"How long the orders may take to end (default ${default})."`
	Serve  bool          `name:"serve" help:"Keep running, with fresh orders, and print the address of the console; until interrupted."`
	List   bool          `name:"list" help:"At the end, also list every order: what the ledger recorded beside what the platform knows."`
}

// maxOrders keeps the demo a demo: the embedded Redis and the audit hold
// everything in memory.
const maxOrders = 10_000

func main() { config.Main("demo", run) }

func run(ctx context.Context, p config.Process) int {
	for i, arg := range p.Args {
		if arg == "-serve" { // as Go's own flags are written
			p.Args[i] = "-" + arg
		}
	}
	var cli commandLine
	if _, status, ok := config.Parse(p, "Collects orders of mixed fates from a simulated WeChat Pay that goes wrong on purpose, and audits the result.", &cli); !ok {
		return status
	}
	if cli.Orders < 1 || cli.Orders > maxOrders {
		p.Say(fmt.Sprintf("--orders is %d: write 1 to %d", cli.Orders, maxOrders))
		return config.ExitUsage
	}
	if cli.Serve {
		if err := serve(ctx, cli, p.Stdout); err != nil {
			p.Complain(err)
			return exitFailed
		}
		return config.ExitOK
	}
	agrees, err := play(ctx, cli, compressed, p.Stdout)
	switch {
	case ctx.Err() != nil:
		fmt.Fprintln(p.Stdout, "\ninterrupted")
		return exitInterrupted
	case err != nil:
		p.Complain(err)
		return exitFailed
	case !agrees:
		return exitFailed
	}
	return config.ExitOK
}

// play runs the demo, and reports whether the audit found nothing.
func play(ctx context.Context, cli commandLine, sc scenario, out io.Writer) (agrees bool, err error) {
	fmt.Fprintln(out, "setting up an embedded Redis, a simulated WeChat Pay and a worker ...")
	s, err := newStage(sc, cli.Seed, yesterday)
	if err != nil {
		return false, err
	}
	redisconn.RedirectLog(s.log)
	defer func() {
		// The log is worth keeping where something went wrong.
		keep := !agrees && ctx.Err() == nil
		err = errors.Join(err, s.close(keep))
		if keep {
			fmt.Fprintf(out, "the worker's log: %s\n", s.logPath)
		}
	}()
	orders := makeOrders(cli.Orders)
	if err := s.sim.AddOrders(orders...); err != nil {
		return false, err
	}
	worker := s.startWorker(ctx)
	defer func() { _ = worker.stop() }() // its error is checked below, where it matters

	began := time.Now()
	if err := s.misbehave(0); err != nil {
		return false, err
	}
	if err := s.enqueue(ctx, orders, out); err != nil {
		return false, err
	}
	ended, err := s.watch(ctx, worker, out, len(orders), began, cli.Limit)
	if err != nil {
		return false, err
	}
	took := time.Since(began)
	// With the worker stopped, no call is in flight: what the ledger and the
	// platform say from here on is final.
	if err := worker.stop(); err != nil {
		return false, err
	}
	e, err := s.evidence(ctx)
	if err != nil {
		return false, err
	}
	e.report(out, took)
	if cli.List {
		e.list(out)
	}
	if !ended {
		fmt.Fprintf(out, "\nnot all orders ended within %s\n", cli.Limit)
	}
	balanced, err := s.books(ctx, out, began.Add(-24*time.Hour))
	if err != nil {
		return false, err
	}
	return e.audit(out) && balanced && ended, nil
}
