// Package eventstream reads the streams of outcomes as a member of a consumer group.
// An event that Redis has given to the group stays with one of its members until it was
// handled, through restarts of the reader, of Redis, and of the handler's own database.
package eventstream

import (
	"cmp"
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

// Options say who reads what. Group and Consumer are needed; the rest has defaults.
type Options struct {
	// Group is the consumer group: each event is given to one of its members. It is
	// created where it does not exist, at the beginning of the stream.
	Group string
	// Consumer is the name of this member. What was given to that name before, and not
	// acknowledged, is delivered first.
	Consumer string
	// MchID limits the reader to one merchant. Empty: every merchant that has a ledger,
	// also those that get one later.
	MchID string
	// Once ends Run when every event that exists was handled, by this member or by
	// others of the group, and at the first failure of Redis.
	Once bool

	Batch int64 // events that are handled together at most; default 500
	// Lanes is how many handler calls of one merchant may run at once while full batches
	// wait, each with fewer than two batches; the events of an order stay in their order.
	// Default 1.
	Lanes int
	// Idle is for how long another member may hold an event before it counts as dead
	// and the event is taken over; default 30 s.
	Idle   time.Duration
	Block  time.Duration // how long Redis waits for an event, and so how late the end of ctx may be noticed; default 1 s
	Lookup time.Duration // how often to look for new merchants; default 2 s
	Pause  time.Duration // between two tries after a failure; default 500 ms
}

func (o Options) withDefaults() Options {
	o.Batch = cmp.Or(o.Batch, 500)
	o.Idle = cmp.Or(o.Idle, 30*time.Second)
	o.Block = cmp.Or(o.Block, time.Second)
	o.Lookup = cmp.Or(o.Lookup, 2*time.Second)
	o.Pause = cmp.Or(o.Pause, 500*time.Millisecond)
	return o
}

// Connections is a pool size for the client of a Reader: it holds one connection
// for each merchant, since each has a stream of its own, in a slot of its own.
const Connections = 1000

// sayEvery is how often an outage of Redis is logged while it lasts.
const sayEvery = 30 * time.Second

// Handler handles a merchant's events, oldest first. Where it returns nil they are
// acknowledged, and not delivered again. An error ends Run, and they are delivered
// again. Run calls it for several merchants at once, and with Options.Lanes for several
// orders of a merchant; after the end of ctx it has a few seconds left.
type Handler func(ctx context.Context, events []ledger.Event) error

// Reader reads for one member of a group. One Run at a time.
type Reader struct {
	rdb    redis.UniversalClient
	opt    Options
	log    zerolog.Logger
	outage *logging.Outage
	behind chan struct{} // has an element for each merchant that catches up
}

// NewReader returns a reader. It does not own rdb, but adds a hook to it: from then on
// rdb sends no XREADGROUP twice (see once.go).
func NewReader(rdb redis.UniversalClient, opt Options, log zerolog.Logger) *Reader {
	rdb.AddHook(neverTwice{})
	log = log.With().Str(logging.FieldGroup, opt.Group).Logger()
	r := &Reader{rdb: rdb, opt: opt.withDefaults(), log: log, outage: logging.NewOutage(log, "Redis", sayEvery)}
	if opt.Lanes > 1 {
		r.behind = make(chan struct{}, mostBehind)
	}
	return r
}

// UniqueConsumer returns a name that no other process uses or has used.
func UniqueConsumer() string {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	return fmt.Sprintf("%s-%d-%s", host, os.Getpid(), strings.ToLower(rand.Text()[:8]))
}

// Run passes events to handle until ctx ends, or handle returns an error, which Run then
// returns. Every event is handled at least once. A single member gets a merchant's
// events in their order (with Options.Lanes, those of each order), also over restarts under
// the same name; several members share them, and what a dead one held is delivered late.
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
				r.log.Warn().Str(logging.FieldEvent, "merchant_unusable").Err(err).Msg(ledger.MerchantsKey + " has an invalid merchant number; skipped")
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

// Pause waits for d, or until ctx ends.
func Pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

// Grace returns a context that ends d after ctx, so that what was begun can be finished.
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
