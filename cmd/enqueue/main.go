// Command enqueue enqueues orders for collection, by number or from a file or pipe of
// any length, withdraws them, and brings them forward. Doing either twice is harmless.
package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/mattn/go-isatty"
	"github.com/redis/go-redis/v9"
	"github.com/rs/zerolog"

	"payscore-collector/internal/config"
	"payscore-collector/internal/intake"
	"payscore-collector/internal/logging"
	"payscore-collector/internal/redisconn"
	"payscore-collector/internal/tracing/export"
	"payscore-collector/tasks"
)

const description = `Enqueues PayScore orders for collection, and withdraws them.

Each order gets one word: accepted (it will reach a final state, whatever happens), duplicate (it is open already), ended STATE, conflict (it is open under another appid or service_id), invalid WHY, or failed WHY. Enqueueing or withdrawing an order twice is harmless, so after any failure the same command can be run again.

    enqueue order BIKE-1001 BIKE-1002
    enqueue order BIKE-1001 --wait=5m
    enqueue file orders.csv --rejects rejects.csv
    billing-export | enqueue file - --format jsonl
    enqueue withdraw BIKE-1001 --reason "paid at the counter" --paid-at "2025-12-24 10:00"

The exit status is 0 where all were accepted or duplicate, 1 where something failed (run it again), 2 for a mistake in usage or configuration, and 3 where some were invalid, in conflict or ended.`

// Exit statuses beside config.ExitOK and config.ExitUsage.
const (
	exitFailed  = 1 // something failed; running it again is the remedy
	exitRefused = 3 // some orders were invalid, in conflict or ended
)

// process is what run is given, so that tests can give it something else.
type process struct {
	config.Process
	Stdin io.Reader

	// Whether a person is watching.
	StdoutTerminal, StderrTerminal bool

	// RedisLog redirects what go-redis logs by itself. It is a setting of the whole
	// process, so only main sets it.
	RedisLog func(zerolog.Logger)

	patience patience
}

// patience holds the timeouts for an unavailable Redis.
type patience struct {
	start time.Duration // for its first answer
	retry time.Duration // for an outage in between
	grace time.Duration // for what is in flight when a signal comes
}

type commandLine struct {
	config.ClientSettings

	Order orderCommand `cmd:"" help:"Enqueue orders by number."`
	File  fileCommand  `cmd:"" help:"Enqueue the orders in a CSV or JSONL file, or from a pipe."`

	Withdraw   withdrawCommand   `cmd:"" help:"Stop collecting orders: billing has been paid elsewhere, or waives them."`
	CollectNow collectNowCommand `cmd:"" help:"Bring the next attempt of open orders forward to now."`
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	// The first signal shuts down gracefully; the second one kills the process.
	context.AfterFunc(ctx, stop)
	status := run(ctx, process{
		Process:        config.OSProcess("enqueue"),
		Stdin:          os.Stdin,
		StdoutTerminal: isatty.IsTerminal(os.Stdout.Fd()),
		StderrTerminal: isatty.IsTerminal(os.Stderr.Fd()),
		RedisLog:       redisconn.RedirectLog,
		patience:       patience{start: 8 * time.Second, retry: 30 * time.Second, grace: 10 * time.Second},
	})
	stop()
	os.Exit(status)
}

// loader returns the settings, or all that is wrong with them.
type loader func(needRedis bool) (config.Client, error)

// run does what the command line asks for and returns the exit status.
func run(ctx context.Context, p process) int {
	var cli commandLine
	parsed, status, ok := config.Parse(p.Process, description, &cli)
	if !ok {
		return status
	}
	for _, warning := range parsed.Warnings() {
		p.Say(warning)
	}
	load := func(needRedis bool) (config.Client, error) { return cli.Load(parsed.Collector, needRedis) }
	command := map[string]func(context.Context, process, loader) (int, error){
		"order": cli.Order.run, "file": cli.File.run, "withdraw": cli.Withdraw.run, "collect-now": cli.CollectNow.run,
	}[parsed.Selected().Name]
	flush, err := export.Start(ctx, "payscore-enqueue", zerolog.New(p.Stderr).Level(zerolog.WarnLevel))
	if err != nil {
		p.Complain(fmt.Errorf("OTEL_*: spans cannot be sent: %w", err))
		return config.ExitUsage
	}
	defer flush()
	status, err = command(ctx, p, load)
	if err != nil {
		p.Complain(err)
	}
	return status
}

// commonFlags are those of the commands that enqueue orders.
type commonFlags struct {
	MchID     string `name:"mchid" placeholder:"NUMBER" help:"Merchant number of orders that name none (default $WECHATPAY_MCHID)."`
	AppID     string `name:"appid" placeholder:"ID" help:"appid of orders that name none (default $PAYSCORE_APPID)."`
	ServiceID string `name:"service-id" placeholder:"ID" help:"service_id of orders that name none (default $PAYSCORE_SERVICE_ID)."`
	Reopen    bool   `help:"Open an order again that has ended, in any way but paid."`
	Reason    string `placeholder:"TEXT" help:"With --reopen: why, in your own words, for those who ask later; at most 200 characters."`
	JSON      bool   `name:"json" help:"One JSON object a line on standard output."`
}

// reopening puts what an order needs to be reopened into it.
func (f commonFlags) reopening(o *tasks.Order) {
	if f.Reopen {
		o.Reopen, o.Reason, o.By = true, f.Reason, config.By()
	}
}

// judgeReason returns what is wrong with --reason.
func (f commonFlags) judgeReason() error {
	switch {
	case f.Reason == "":
		return nil
	case !f.Reopen:
		return errors.New("--reason says why an order is reopened: add --reopen, or leave it out")
	}
	return flagError(tasks.ValidateReason(f.Reason))
}

// sample is an order with nothing wrong. With the flags' values put in, what Validate
// says is about them.
func sample(mchid, appid, serviceID string) tasks.Payload {
	return tasks.Payload{MchID: cmp.Or(mchid, "1"), OutOrderNo: "1", AppID: cmp.Or(appid, "a"), ServiceID: cmp.Or(serviceID, "s")}
}

// flagError words the error of a field as one of its flag.
func flagError(err error) error {
	if field, ok := errors.AsType[*tasks.FieldError](err); ok {
		return fmt.Errorf("--%s %s", strings.ReplaceAll(field.Field, "_", "-"), field.Problem)
	}
	return err
}

// owner returns whose the orders are that do not say so: the flags have precedence
// over the environment.
func (f commonFlags) owner(env config.Order) (tasks.Owner, error) {
	o := tasks.Owner{
		MchID:     cmp.Or(f.MchID, env.MchID),
		AppID:     cmp.Or(f.AppID, env.AppID),
		ServiceID: cmp.Or(f.ServiceID, env.ServiceID),
	}
	return o, cmp.Or(f.judgeReason(), flagError(sample(f.MchID, f.AppID, f.ServiceID).Validate()))
}

// missing returns an error that names what the orders lack, and the flags and variables
// that give it. What has reports, the orders bring along.
func missing(o tasks.Owner, has func(name string) bool) error {
	names := intake.Missing(o, has)
	for i, name := range names {
		variable := map[string]string{"mchid": "WECHATPAY_MCHID", "appid": "PAYSCORE_APPID", "service_id": "PAYSCORE_SERVICE_ID"}[name]
		names[i] = fmt.Sprintf("%s (--%s or %s)", name, strings.ReplaceAll(name, "_", "-"), variable)
	}
	if len(names) == 0 {
		return nil
	}
	return fmt.Errorf("missing: %s", strings.Join(names, ", "))
}

// connect returns a client of a Redis that has answered. Close it.
func connect(ctx context.Context, p process, cfg config.Client) (redis.UniversalClient, error) {
	if p.RedisLog != nil {
		log, err := logging.New(cfg.Log.Level, cfg.Log.Format, p.Stderr)
		if err != nil {
			return nil, err
		}
		p.RedisLog(log)
	}
	client := cfg.Redis.Open(redisconn.Pool{Name: "payscore-enqueue"})
	asking, cancel := context.WithTimeout(ctx, p.patience.start)
	defer cancel()
	if err := client.Ping(asking).Err(); err != nil {
		if errors.Is(err, context.Canceled) {
			err = errors.New("interrupted")
		} else {
			err = cfg.Redis.Explain(ctx, err)
		}
		return nil, errors.Join(fmt.Errorf("cannot use Redis at %s: %w", cfg.Redis, err), client.Close())
	}
	return client, nil
}

// submitter returns an intake.Submitter on a client; without one, it only checks.
func (p process) submitter(client redis.UniversalClient, schedules config.Schedules, say func(string, ...any)) intake.Submitter {
	s := intake.Submitter{Schedule: schedules.Check, Retry: p.patience.retry, Grace: p.patience.grace, Say: say}
	if client != nil {
		s.Producer = tasks.NewProducer(client)
	}
	return s
}
