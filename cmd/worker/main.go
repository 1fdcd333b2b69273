// Command worker runs the collection until it is told to stop.
//
//	worker          collect; SIGTERM and SIGINT end it in order
//	worker check    look at every setting, Redis, the keys and a signed call
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"payscore-collector/internal/config"
	"payscore-collector/internal/logging"
	"payscore-collector/internal/worker"
)

type commandLine struct {
	config.WorkerSettings

	Run   struct{} `cmd:"" default:"1" help:"Collect until SIGTERM; steps under way finish, the rest stays queued."`
	Check struct{} `cmd:"" help:"Look at every setting, Redis, the keys and a signed call to WeChat Pay."`
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	status := run(ctx, config.OSProcess("worker"))
	stop()
	os.Exit(status)
}

func run(ctx context.Context, p config.Process) int {
	var cli commandLine
	kctx, status, ok := config.Parse(p, "Collects what users still owe on WeChat Pay PayScore orders.", &cli)
	if !ok {
		return status
	}
	cfg, err := cli.Load(p)
	if kctx.Command() == "check" {
		return worker.Check(ctx, cfg, err, p.Stdout)
	}
	if err != nil {
		fmt.Fprintln(p.Stderr, err)
		return worker.ExitCode(err)
	}
	log, err := logging.New(cfg.Log.Level, cfg.Log.Format, p.Stderr)
	if err != nil {
		fmt.Fprintln(p.Stderr, err)
		return config.ExitUsage
	}
	logging.RedirectStandard(log)
	worker.TuneRuntime()
	if err := worker.Run(ctx, cfg, log); err != nil {
		log.Error().Err(err).Msg("the worker could not start")
		fmt.Fprintln(p.Stderr, err)
		return worker.ExitCode(err)
	}
	return config.ExitOK
}
