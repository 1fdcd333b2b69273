// Package eventstream reads the streams of outcomes as a member of a consumer group:
// what Redis has once given to the group is given to somebody until it was
// handled, through restarts of the reader, of Redis, and of whoever handles it.
package eventstream

import (
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/rs/zerolog"
	"golang.org/x/sync/errgroup"

	"payscore-collector/internal/ledger"
	"payscore-collector/internal/logging"
	"payscore-collector/internal/redisconn"
	"payscore-collector/tasks"
)

// Options say who reads what. Group and Consumer are needed; the rest has
// defaults.
type Options struct {
	// Group is the consumer group: each event is given to one of its members.
	// It is made where it does not exist, at the beginning of the stream.
	Group string
	// Consumer is this member. What it was given under this name before, and
	// has not done with, comes first.
	Consumer string
	// MchID keeps to one merchant. Empty: every merchant that has a ledger,
	// also those that get one later.
	MchID string
	// Once ends Run when everything that is there was handled, by this member or
	// by others of the group, and at the first failure of Redis, instead of
	// waiting for more.
	Once bool

	Batch int64 // events that are handled together at most; default 500
	// Idle is for how long another member may hold an event before it counts
	// as dead and the event is taken over; default 30 s.
	Idle   time.Duration
	Block  time.Duration // how long Redis is asked to wait for an event, and so how late an end of ctx may be noticed; default 1 s
	Lookup time.Duration // how often new merchants are looked for; default 2 s
	Pause  time.Duration // before asking again after a failure; default 500 ms
}

func (o Options) withDefaults() Options {
	fill := func(d *time.Duration, def time.Duration) {
		if *d == 0 {
			*d = def
		}
	}
	if o.Batch == 0 {
		o.Batch = 500
	}
	fill(&o.Idle, 30*time.Second)
	fill(&o.Block, time.Second)
	fill(&o.Lookup, 2*time.Second)
	fill(&o.Pause, 500*time.Millisecond)
	return o
}

// Connections is a pool size for the client of a Reader: it holds one connection
// for each merchant, since each has a stream of its own, in a slot of its own.
const Connections = 1000

// sayEvery is how often an outage of Redis is spoken of while it lasts.
const sayEvery = 30 * time.Second

// Handler does with a merchant's events what is to be done with them, oldest
// first. Where it returns nil they are acknowledged, and do not come again. An
// error ends Run, and they come again. It is called for several merchants at
// once, for each by one goroutine; where ctx has ended it has a few seconds left.
type Handler func(ctx context.Context, events []ledger.Event) error

// Reader reads for one member of a group. One Run at a time.
type Reader struct {
	rdb    redis.UniversalClient
	opt    Options
	log    zerolog.Logger
	outage *logging.Outage
}

// NewReader returns a reader. It does not own rdb, but adds a hook to it: from
// then on no XREADGROUP of rdb is sent twice (see once.go).
func NewReader(rdb redis.UniversalClient, opt Options, log zerolog.Logger) *Reader {
	rdb.AddHook(neverTwice{})
	log = log.With().Str(logging.FieldGroup, opt.Group).Logger()
	return &Reader{rdb: rdb, opt: opt.withDefaults(), log: log, outage: logging.NewOutage(log, "Redis", sayEvery)}
}

// UniqueConsumer returns a name that no other process has or has had.
func UniqueConsumer() string {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	return fmt.Sprintf("%s-%d-%s", host, os.Getpid(), strings.ToLower(rand.Text()[:8]))
}

// Run hands events to handle until ctx ends, or handle returns an error, which it
// then returns. Every event is handled at least once. One member alone gets a
// merchant's events in their order, also over restarts under the same name;
// several share them, and what a dead one held comes late.
func (r *Reader) Run(ctx context.Context, handle Handler) error {
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		return r.find(gctx, func(mchid string) {
			s := &stream{Reader: r, mchid: mchid, key: ledger.KeysOf(mchid).Outcomes(), handle: handle}
			g.Go(func() error { return s.run(gctx) })
		})
	})
	return g.Wait()
}

// HasRead reports whether the group has been given any event before.
func (r *Reader) HasRead(ctx context.Context) (bool, error) {
	ids := []string{r.opt.MchID}
	if r.opt.MchID == "" {
		var err error
		if ids, err = ledger.Merchants(ctx, r.rdb); err != nil {
			return false, err
		}
	}
	for _, id := range ids {
		groups, err := r.rdb.XInfoGroups(ctx, ledger.KeysOf(id).Outcomes()).Result()
		if err != nil && !strings.Contains(err.Error(), "no such key") {
			return false, err
		}
		for _, g := range groups {
			if g.Name == r.opt.Group && g.LastDeliveredID != "0-0" {
				return true, nil
			}
		}
	}
	return false, nil
}

// find calls start for every merchant, once.
func (r *Reader) find(ctx context.Context, start func(mchid string)) error {
	if r.opt.MchID != "" {
		start(r.opt.MchID)
		return nil
	}
	known := map[string]bool{}
	for {
		ids, err := ledger.Merchants(ctx, r.rdb)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil && r.opt.Once:
			return fmt.Errorf("ask Redis which merchants there are: %w", err)
		case err != nil:
			r.outage.Failed(redisconn.Explain(err))
		}
		for _, id := range ids {
			if known[id] {
				continue
			}
			known[id] = true
			if err := tasks.ValidateMchID(id); err != nil {
				r.log.Warn().Err(err).Msg(ledger.MerchantsKey + " names a merchant that cannot be one")
				continue
			}
			start(id)
		}
		if r.opt.Once {
			return nil
		}
		Pause(ctx, r.opt.Lookup)
	}
}

// Pause waits, or until ctx ends.
func Pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

// Grace returns a context that ends so much later than ctx: what was begun may be
// brought to its end.
func Grace(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	late, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		Pause(late, d)
		cancel()
	})
	return late, func() {
		stop()
		cancel()
	}
}
