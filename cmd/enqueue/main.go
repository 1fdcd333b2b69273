// Command enqueue hands orders over to be collected: some by number, or a file
// or pipe of any length; and it withdraws them. Doing either twice is harmless.
package main

import (
	"context"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/mattn/go-isatty"
	"github.com/rs/zerolog"

	"payscore-collector/internal/config"
	"payscore-collector/internal/redisconn"
)

const description = `Hands PayScore orders over to be collected, and withdraws them.

Each order gets one word: accepted (it will reach an end, whatever happens), duplicate (it is open already), ended STATE, conflict (it is open under another appid or service_id), invalid WHY, or failed WHY. Handing an order over or withdrawing it twice is harmless, so after any failure the same command can be run again.

    enqueue order BIKE-1001 BIKE-1002
    enqueue order BIKE-1001 --wait=5m
    enqueue file orders.csv --rejects rejects.csv
    billing-export | enqueue file - --format jsonl
    enqueue withdraw BIKE-1001 --reason "paid at the counter" --paid-at "2025-12-24 10:00"

The exit status is 0 where all were accepted or duplicate, 1 where something failed (run it again), 2 for a mistake in usage or configuration, and 3 where some were invalid, in conflict or ended.`

// process is what run is given; tests give it something else than the real
// thing.
type process struct {
	config.Process
	Stdin io.Reader

	// Whether a person is looking.
	StdoutTerminal, StderrTerminal bool

	// RedisLog takes over what go-redis logs by itself. It is a setting of
	// the whole process, so that only main gives it.
	RedisLog func(zerolog.Logger)

	patience patience

	found *config.Collector // what is wrong with the settings; set by run
}

// patience is how long Redis is borne with.
type patience struct {
	start time.Duration // for its first answer
	retry time.Duration // for coming back midway
	grace time.Duration // for what is under way when a signal comes
}

var usualPatience = patience{start: 8 * time.Second, retry: 30 * time.Second, grace: 10 * time.Second}

type commandLine struct {
	config.ClientSettings

	Order orderCommand `cmd:"" help:"Hand over orders by number."`
	File  fileCommand  `cmd:"" help:"Hand over the orders in a CSV or JSONL file, or from a pipe."`

	Withdraw withdrawCommand `cmd:"" help:"Stop collecting orders: billing has been paid elsewhere, or waives them."`
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	// The first signal asks for an end in order; the second one gets its way.
	context.AfterFunc(ctx, stop)
	status := run(ctx, process{
		Process:        config.OSProcess("enqueue"),
		Stdin:          os.Stdin,
		StdoutTerminal: isatty.IsTerminal(os.Stdout.Fd()),
		StderrTerminal: isatty.IsTerminal(os.Stderr.Fd()),
		RedisLog:       redisconn.RedirectLog,
		patience:       usualPatience,
	})
	stop()
	os.Exit(status)
}

// run does what the command line asks for and returns the exit status.
func run(ctx context.Context, p process) int {
	var cli commandLine
	parsed, status, ok := config.Parse(p.Process, description, &cli)
	if !ok {
		return status
	}
	p.found = parsed.Collector
	switch parsed.Selected().Name {
	case "file":
		return cli.File.run(ctx, p, cli.ClientSettings)
	case "withdraw":
		return cli.Withdraw.run(ctx, p, cli.ClientSettings)
	default:
		return cli.Order.run(ctx, p, cli.ClientSettings)
	}
}
