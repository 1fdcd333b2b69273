// Command bench measures what a call costs beside what it must cost, and prints
// a table with a peer in the same run: a plain asynq handler on the official
// SDK that makes the same calls and keeps no promise at all.
//
//	go run ./tools/bench                 every row; under ten minutes on two cores
//	go run ./tools/bench calls latency   only these
//	go run ./tools/bench -list           what there is
//
// It needs a redis-server on the PATH, Linux's /proc, and a machine that does
// nothing else: it says how busy the machine was. The worker and enqueue are
// built and run as the processes they are, so is the peer, and the platform is
// a process too, whose processor time is nobody's.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"
)

// part is some rows that share their preparations.
type part struct {
	name, what string
	run        func(context.Context, *lab) error
}

var parts = []part{
	{"calls", "processor time of a call and orders a second, beside the peer", calls},
	{"memory", "bytes of Redis for an order", memory},
	{"latency", "from enqueue to the request on the wire, and what idling costs", latency},
	{"handover", "handing over, beside a loop over asynq's client; a million rows", handover},
	{"sweep", "a sweep of 10,000 due orders among ever more open ones", sweep},
	{"due", "from due to called at a thousand due a second", due},
	{"slow", "a slow platform and a distant Redis", slow},
	{"gate", "eight workers at one gate", gate},
	{"neighbours", "two merchants, one with a platform that hangs", neighbours},
}

func main() {
	// The same program is also the platform and the peer.
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case rolePlatform:
			exit(servePlatform(os.Args[2:]))
		case rolePeer:
			exit(runPeer())
		}
	}
	list := flag.Bool("list", false, "say what there is to measure")
	rounds := flag.Int("rounds", 3, "how often ours and the peer take turns")
	keep := flag.Bool("v", false, "show what the processes say")
	flag.Parse()
	if *list {
		for _, p := range parts {
			fmt.Printf("%-12s %s\n", p.name, p.what)
		}
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	exit(measure(ctx, flag.Args(), *rounds, *keep))
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

func measure(ctx context.Context, names []string, rounds int, verbose bool) error {
	for _, name := range names {
		if !slices.ContainsFunc(parts, func(p part) bool { return p.name == name }) {
			return fmt.Errorf("there is no part %q; -list says what there is", name)
		}
	}
	l, err := newLab(ctx, rounds, verbose)
	if err != nil {
		return err
	}
	defer l.close()
	start := time.Now()
	for _, p := range parts {
		if len(names) > 0 && !slices.Contains(names, p.name) {
			continue
		}
		began := time.Now()
		fmt.Fprintf(os.Stderr, "%s: %s\n", p.name, p.what)
		busy := busyNow()
		if err := p.run(ctx, l); err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
		fmt.Fprintf(os.Stderr, "%s: done in %.0f s%s\n", p.name, time.Since(began).Seconds(), busy())
	}
	fmt.Printf("%s\n\n", strings.Join(l.machine(), "\n"))
	l.table.print(os.Stdout)
	fmt.Printf("\n%d s in all\n", int(time.Since(start).Seconds()))
	return nil
}
