// Command worker collects until it gets a signal.
//
//	worker          collect; SIGTERM and SIGINT end it after the steps under way
//	worker pause    stop the collect calls of a merchant; worker resume ends that
//	worker check    check every setting, Redis, the keys and a signed call
//	worker token    make a token for the HTTP API
package main

import (
	"cmp"
	"context"
	"errors"
	"io"

	"github.com/rs/zerolog"

	"payscore-collector/internal/config"
	"payscore-collector/internal/logging"
	"payscore-collector/internal/redisconn"
	"payscore-collector/internal/worker"
)

type commandLine struct {
	config.WorkerSettings

	Run    struct{}      `cmd:"" default:"1" help:"Collect until SIGTERM; steps under way finish, the rest stays queued."`
	Pause  pauseCommand  `cmd:"" help:"Stop the collect calls of a merchant, in every worker, until resume or for a time."`
	Resume resumeCommand `cmd:"" help:"End the pause of a merchant."`
	Check  struct{}      `cmd:"" help:"Check every setting, Redis, the keys and a signed call to WeChat Pay."`
	Token  tokenCommand  `cmd:"" help:"Make a token for the HTTP API: print it once, and the line for API_TOKENS_FILE."`
}

func main() { config.Main("worker", run) }

func run(ctx context.Context, p config.Process) int {
	var cli commandLine
	parsed, status, ok := config.Parse(p, "Collects what users still owe on WeChat Pay PayScore orders.", &cli)
	if !ok {
		return status
	}
	if parsed.Selected().Name == "token" { // which needs no setting
		return cli.Token.run(p)
	}
	if name := parsed.Selected().Name; name == "pause" || name == "resume" { // which need only Redis
		s := session{p: p, redis: cli.RedisFlags.Resolve(parsed.Collector), mchid: cli.MchID}
		if err := parsed.Collector.Err(); err != nil {
			p.Complain(err)
			return config.ExitUsage
		}
		if name == "pause" {
			return cli.Pause.run(ctx, s)
		}
		return cli.Resume.run(ctx, s)
	}
	cfg, _ := cli.Load(parsed.Collector)
	err := worker.CanSign(cfg, parsed.Collector)
	if parsed.Command() == "check" {
		redisconn.RedirectLog(zerolog.Nop()) // the findings say what is wrong
		return worker.Check(ctx, cfg, err, p.Stdout)
	}
	log := logger(cfg.Log, p.Stderr)
	if err == nil {
		logging.RedirectStandard(log)
		redisconn.RedirectLog(log)
		worker.TuneRuntime(cfg)
		err = worker.Run(ctx, cfg, log)
	}
	switch problems, refused := errors.AsType[config.Problems](err); {
	case refused:
		for _, warning := range cfg.Warnings { // a misspelt variable is why another is missing
			log.Warn().Str(logging.FieldEvent, "setting_doubtful").Msg(warning)
		}
		for _, problem := range problems {
			log.Error().Str(logging.FieldEvent, "setting_refused").Str(logging.FieldSetting, problem.Setting).Msg(problem.String())
		}
	case err != nil:
		log.Error().Str(logging.FieldEvent, "start_failed").Err(err).Msg("worker could not start")
	}
	return worker.ExitCode(err)
}

// logger follows LOG_LEVEL and LOG_FORMAT, as far as they are valid: problems with them
// are logged too. An invalid value is empty.
func logger(c config.Log, w io.Writer) zerolog.Logger {
	log, err := logging.New(cmp.Or(c.Level, "info"), cmp.Or(c.Format, logging.FormatJSON), w)
	if err != nil {
		panic(err) // both are valid
	}
	return log
}
