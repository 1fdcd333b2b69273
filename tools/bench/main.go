// Command bench measures what a call costs beside what it must cost. It prints
// a table that compares the worker with a peer in the same run: a plain asynq
// handler on the official SDK that makes the same calls and keeps no promise.
//
//	go run ./tools/bench                 every part; about a quarter of an hour on two cores
//	go run ./tools/bench calls latency   only these parts
//	go run ./tools/bench -list           the names of the parts
//
// It needs a redis-server on the PATH, Linux's /proc, and an otherwise idle
// machine; it reports how busy the machine was. The worker, enqueue, the peer,
// the platform and Redis each run as a process of their own.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"syscall"
	"time"
)

// part is a group of rows that share their preparations.
type part struct {
	name, what string
	run        func(context.Context, *env) error
}

var parts = []part{
	{"calls", "processor time of a call and orders a second, beside the peer", calls},
	{"memory", "bytes of Redis for an order that waits", memory},
	{"ended", "bytes of Redis for a finished order, before and after it is kept compact", ended},
	{"sink", "events a second into PostgreSQL, beside its own COPY", sink},
	{"latency", "from enqueue to the request on the wire, and the cost of an idle worker", latency},
	{"merchants", "merchants without work, and from enqueue to the wire of one of them; seven minutes", merchants},
	{"handover", "enqueueing, beside a loop over asynq's client; a file of a million rows", handover},
	{"api", "enqueueing over HTTP, beside enqueue file; reading an order beside a worker at full load", overHTTP},
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	list := flag.Bool("list", false, "list the parts")
	rounds := flag.Int("rounds", 3, "how often the workers and the peer alternate")
	verbose := flag.Bool("v", false, "show the logs of the processes")
	flag.Parse()
	names := flag.Args()
	// The same program also serves as the platform, the peer and the floor, and measures a signer.
	switch flag.Arg(0) {
	case rolePlatform:
		return servePlatform(ctx, flag.Arg(1))
	case rolePeer:
		return runPeer(ctx)
	case roleFloor:
		return serveFloor(ctx, flag.Arg(1), flag.Arg(2))
	case roleSigner:
		return measureSigner(flag.Arg(1))
	}
	if *list {
		for _, p := range parts {
			fmt.Printf("%-12s %s\n", p.name, p.what)
		}
		return nil
	}
	for _, name := range names {
		if !slices.ContainsFunc(parts, func(p part) bool { return p.name == name }) {
			return fmt.Errorf("there is no part %q; -list shows their names", name)
		}
	}
	e, err := newEnv(ctx, *rounds, *verbose)
	if err != nil {
		return err
	}
	defer e.close()
	start := time.Now()
	for _, p := range parts {
		if len(names) > 0 && !slices.Contains(names, p.name) {
			continue
		}
		began := time.Now()
		fmt.Fprintf(os.Stderr, "%s: %s\n", p.name, p.what)
		busy := e.watchCPU()
		if err := p.run(ctx, e); err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
		fmt.Fprintf(os.Stderr, "%s: done in %.0f s; the machine was %.0f %% busy\n", p.name, time.Since(began).Seconds(), 100*busy())
	}
	fmt.Printf("%s\n\n", e.machine())
	e.table.print(os.Stdout)
	fmt.Printf("\n%d s in all\n", int(time.Since(start).Seconds()))
	return nil
}
