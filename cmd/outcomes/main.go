// Command outcomes says what became of orders.
//
//	outcomes get NO                    one order and its story
//	outcomes list --state S            the orders in a state
//	outcomes stats                     how many are in each, and what was paid
//	outcomes books                     a day held against WeChat Pay's own bill
//	outcomes audit                     who has changed what, and why
//	outcomes follow                    what happens to them, event by event
//	outcomes sink postgres             the same events, into PostgreSQL
//	outcomes webhooks                  what billing's receiver has not accepted; retry, replay
//	outcomes bulk ACTION               withdraw, reopen or collect many orders; show ID
//	outcomes readers                   who reads the events, and how far; destroy GROUP
//
// Without --mchid (WECHATPAY_MCHID) it reads the ledger of every merchant in this Redis.
// Only bulk changes orders; follow and sink keep their place in the stream in Redis. Exit
// status: 0 done, or told to stop; 1 failed; 2 wrong usage or configuration; 3 some orders
// of a bulk action were refused; 4 no such order; 5 the books have exceptions.
package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/rs/zerolog"

	"payscore-collector/internal/config"
	"payscore-collector/internal/eventstream"
	"payscore-collector/internal/explain"
	"payscore-collector/internal/ledger"
	"payscore-collector/internal/logging"
	"payscore-collector/internal/redisconn"
	"payscore-collector/internal/status"
)

// Exit statuses beside config's.
const (
	exitFailed  = 1
	exitNoOrder = 4
)

const (
	// patience is how long Redis may take to answer first: a person is waiting.
	patience = 8 * time.Second
	// sayEvery is how often the commands that wait for Redis say so.
	sayEvery = 30 * time.Second
)

type commandLine struct {
	config.RedisFlags
	MchID string `name:"wechatpay-mchid" aliases:"mchid" env:"WECHATPAY_MCHID" is:"mchid" group:"Merchant" placeholder:"NUMBER" help:"Only this merchant, also written --mchid. Without it, every merchant that has a ledger in this Redis"`
	config.Log
	Lang explain.Language `name:"lang" enum:"en,zh" default:"en" help:"The language of what people read: en or zh. JSON, CSV and errors stay as they are, but for the detail of books --csv --excel."`

	Get    getCommand    `cmd:"" help:"One order and its story. Exit status 4 where there is no such order."`
	List   listCommand   `cmd:"" help:"The orders in one state: ended ones newest first, open ones by when they are due."`
	Stats  statsCommand  `cmd:"" help:"How many orders are in each state, and what the paid ones among them have paid."`
	Books  booksCommand  `cmd:"" help:"A day's payments held against WeChat Pay's own trade bill. Exit status 5 where there are exceptions, 1 where there is no bill yet."`
	Audit  auditCommand  `cmd:"" help:"Who has withdrawn, reopened, paused or changed anything else, when and why, newest first."`
	Follow followCommand `cmd:"" help:"What happens to orders, one JSON object a line, from where it stopped last time. Ctrl-C ends it."`
	Sink   struct {
		Postgres postgresCommand `cmd:"" help:"The same events into PostgreSQL: tables events, orders, payments and actions, which it makes itself. SIGTERM ends it."`
	} `cmd:"" help:"What happens to orders, into a database."`
	Webhooks struct {
		List   webhooksListCommand   `cmd:"" default:"withargs" help:"The orders whose webhooks billing's receiver has not accepted, the one that has waited longest first."`
		Retry  webhooksRetryCommand  `cmd:"" help:"Deliver now what waits for a later try."`
		Replay webhooksReplayCommand `cmd:"" help:"Deliver the final states since a time once more."`
	} `cmd:"" help:"What billing's receiver has not accepted."`
	Bulk struct {
		Withdraw   bulkWithdrawCommand   `cmd:"" help:"Stop collecting them."`
		Reopen     bulkReopenCommand     `cmd:"" help:"Collect again those that have ended in any state but paid."`
		CollectNow bulkCollectNowCommand `cmd:"" help:"Bring the next attempt of the open ones forward, as far as MIN_GAP, the window and the rate allow."`
		Show       bulkShowCommand       `cmd:"" help:"How far a bulk action is. Exit status 4 where there is no such one."`
	} `cmd:"" help:"The same done to every order that matches: --dry-run counts them first."`
	Readers struct {
		List    readersListCommand    `cmd:"" default:"withargs" help:"The readers of the events, and how far each one is."`
		Destroy readersDestroyCommand `cmd:"" help:"Forget the place of a reader that is no longer used."`
	} `cmd:"" help:"Who reads the events, and how far."`
}

// command is one of the subcommands.
type command interface {
	// judge reports what is wrong with the command's own arguments.
	judge(*config.Collector)
	run(context.Context, *session) error
}

// reading is a command that reads the stream of outcomes until it is stopped.
type reading interface {
	command
	// waits reports whether it waits for a Redis that is away.
	waits() bool
}

func main() {
	p := program{Process: config.OSProcess("outcomes"), now: time.Now, zone: time.Local, patience: patience}
	os.Exit(p.run(context.Background()))
}

// program is the command and what it depends on.
type program struct {
	config.Process
	now      func() time.Time
	zone     *time.Location // of times for people, unless a merchant's is known
	patience time.Duration
}

// run does what the command line asks for and returns the exit status.
func (p program) run(ctx context.Context) int {
	var cli commandLine
	kctx, status, ok := config.Parse(p.Process, "Says what became of orders. Only bulk changes any.", &cli)
	if !ok {
		return status
	}
	for _, warning := range kctx.Warnings() {
		p.Say(warning)
	}
	cmd := kctx.Selected().Target.Addr().Interface().(command)

	c := kctx.Collector
	options := cli.RedisFlags.Resolve(c)
	if b, ok := cmd.(*booksCommand); ok {
		b.prepare(cli.MchID, p.now())
	}
	cmd.judge(c)
	err := c.Err()
	var log zerolog.Logger
	if err == nil {
		log, err = logging.New(cli.Level, cli.Format, p.Stderr)
	}
	if err != nil {
		p.Complain(err)
		return config.ExitUsage
	}
	redisconn.RedirectLog(log)
	rdb := options.Open(redisconn.Pool{Size: eventstream.Connections, Name: "payscore-outcomes"})
	defer rdb.Close()
	reach := func() error { return p.reach(ctx, rdb, options) }
	if r, ok := cmd.(reading); ok {
		var stop context.CancelFunc
		ctx, stop = signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
		defer stop()
		context.AfterFunc(ctx, stop) // a second Ctrl-C kills the process
		if r.waits() {
			reach = func() error { return options.WaitUp(ctx, rdb, log, sayEvery) }
		}
	}
	if err := reach(); err != nil {
		if errors.Is(err, context.Canceled) {
			return config.ExitOK
		}
		return p.fail(err)
	}

	out := bufio.NewWriter(p.Stdout)
	err = cmd.run(ctx, &session{
		rdb: rdb, mchid: cli.MchID, out: out, stdout: p.Stdout, errOut: p.Stderr, log: log,
		people: explain.Teller{Now: p.now(), Zone: p.zone, Lang: cli.Lang},
	})
	if flushed := out.Flush(); err == nil && flushed != nil {
		err = fmt.Errorf("write the output: %w", flushed)
	}
	if err != nil {
		return p.fail(err)
	}
	return config.ExitOK
}

// fail prints an error and returns its exit status.
func (p program) fail(err error) int {
	coded, ok := errors.AsType[*statusError](err)
	if ok && coded.text == "" { // the output says it
		return coded.status
	}
	// A script's own errors, which are of Kind Refused, need another remedy.
	if r := redisconn.Explain(err); r.Kind.Answers() && r.Kind != redisconn.Refused && !errors.Is(err, r) {
		err = fmt.Errorf("%w: %s", err, r.Advice())
	}
	p.Complain(err)
	if ok {
		return coded.status
	}
	return exitFailed
}

// statusError is an error with an exit status other than exitFailed.
type statusError struct {
	status int
	text   string
}

func (e *statusError) Error() string { return e.text }

func (p program) reach(ctx context.Context, rdb redis.UniversalClient, options redisconn.Options) error {
	asking, cancel := context.WithTimeout(ctx, p.patience)
	defer cancel()
	if err := rdb.Ping(asking).Err(); err != nil {
		return fmt.Errorf("cannot use Redis at %s: %w", options, options.Explain(ctx, err))
	}
	return nil
}

// session is what a command works with.
type session struct {
	rdb    redis.UniversalClient
	mchid  string        // empty: every merchant
	out    *bufio.Writer // flushed when the command ends
	stdout io.Writer     // the same without a buffer
	errOut io.Writer
	log    zerolog.Logger // to errOut
	people explain.Teller
}

// ledgers returns that of the merchant asked for, or all, by number.
func (s *session) ledgers(ctx context.Context) ([]*ledger.Ledger, error) {
	ids := []string{s.mchid}
	if s.mchid == "" {
		var err error
		if ids, err = ledger.Merchants(ctx, s.rdb); err != nil {
			return nil, fmt.Errorf("ask Redis which merchants there are: %w", err)
		}
	}
	ledgers := make([]*ledger.Ledger, len(ids))
	for i, id := range ids {
		ledgers[i] = ledger.New(s.rdb, id)
	}
	return ledgers, nil
}

// situations returns those of the ledgers' merchants, in the same order.
func (s *session) situations(ctx context.Context, ledgers ...*ledger.Ledger) ([]explain.Situation, error) {
	full := status.FullMemory(ctx, s.rdb)
	list := make([]explain.Situation, len(ledgers))
	for i, l := range ledgers {
		var err error
		if list[i], err = status.Read(ctx, s.rdb, l, full); err != nil {
			return nil, err
		}
	}
	return list, nil
}

// answer writes what a command has come to: as one JSON object, or in words.
func (s *session) answer(asJSON bool, v any, words string) error {
	if asJSON {
		return writeJSON(s.out, v)
	}
	_, err := fmt.Fprintln(s.out, words)
	return err
}

// teller returns a Teller for the present time, by the time zone of the merchants' collection windows;
// where that is not known, or they differ, by this machine's.
func (s *session) teller(of []explain.Situation) explain.Teller {
	t := s.people
	for i, situation := range of {
		zone := situation.Window.Location
		if zone == nil || i > 0 && zone.String() != t.Zone.String() {
			return s.people
		}
		t.Zone = zone
	}
	return t
}

// byTheirZone makes s.people tell times by the zone of the ledgers' merchants, see teller.
func (s *session) byTheirZone(ctx context.Context, ledgers ...*ledger.Ledger) error {
	situations, err := s.situations(ctx, ledgers...)
	if err != nil {
		return err
	}
	s.people = s.teller(situations)
	return nil
}

// why writes a line for each cause for which a merchant's orders are not collected, and
// for what else an operator must know.
func why(w io.Writer, t explain.Teller, situations []explain.Situation) {
	for _, s := range situations {
		for _, c := range t.Why(s) {
			fmt.Fprintf(w, "\n%s: %s\n", s.MchID, t.Nothing(c))
		}
	}
}
