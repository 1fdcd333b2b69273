// Package pgsink writes the events of the streams of outcomes into PostgreSQL,
// once each, and keeps a table with the latest state of each order.
package pgsink

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/rs/zerolog"

	"payscore-collector/internal/books"
	"payscore-collector/internal/eventstream"
	"payscore-collector/internal/ledger"
	"payscore-collector/internal/logging"
)

const (
	// tryTimeout is for one transaction. A PostgreSQL that takes longer counts as down.
	tryTimeout = 60 * time.Second
	// tryGrace is how long a transaction may take after the end of ctx.
	tryGrace = 10 * time.Second
	// Between two tries: a conflict ends with the other transaction; for an outage
	// the wait doubles.
	conflictPause = 20 * time.Millisecond
	firstPause    = 200 * time.Millisecond
	longestPause  = 5 * time.Second
	sayEvery      = 30 * time.Second
)

// Reading returns how a sink reads the streams best: a commit costs about the same for
// many events as for few, and a transaction uses one of PostgreSQL's processors.
func Reading(o eventstream.Options) eventstream.Options {
	o.Batch, o.Lanes = 1000, 3
	return o
}

// Sink writes events. It is safe for concurrent use, also by several processes
// on the same tables.
type Sink struct {
	pool   *pgxpool.Pool
	db     Database
	log    zerolog.Logger
	outage *logging.Outage
	// trailOutage is its own: the events may go in while the trail does not.
	trailOutage, booksOutage *logging.Outage

	// Once makes Prepare and Write return the error of an outage instead of waiting
	// for its end.
	Once bool
	// Books returns what came of a day whose books were closed, or ledger.ErrNotFound: an
	// event lists only some of the exceptions. Nil: those of the event must do.
	Books func(ctx context.Context, mchid string, date ledger.BookDate) (books.Result, error)

	events, orders, known, leftOut atomic.Int64
	anyKnown                       atomic.Bool // the last batch had events that were in the tables
}

// Totals are what a Sink has done so far.
type Totals struct {
	Events  int64 // written
	Known   int64 // that were in the tables already
	Orders  int64 // created or updated
	LeftOut int64 // events that the tables refused
}

// New returns a sink. It does not connect yet. Close it when done.
func New(ctx context.Context, db Database, log zerolog.Logger) (*Sink, error) {
	pool, err := pgxpool.NewWithConfig(ctx, db.pool.Copy())
	if err != nil {
		return nil, fmt.Errorf("open the pool of connections to PostgreSQL: %w", plain(err))
	}
	return &Sink{
		pool: pool, db: db, log: log, outage: logging.NewOutage(log, "PostgreSQL", sayEvery),
		trailOutage: logging.NewOutage(log, "PostgreSQL or Redis, for the trail,", sayEvery),
		booksOutage: logging.NewOutage(log, "Redis, for the books,", sayEvery),
	}, nil
}

// Close closes the connections.
func (s *Sink) Close() { s.pool.Close() }

// Totals may be called at any time.
func (s *Sink) Totals() Totals {
	return Totals{Events: s.events.Load(), Known: s.known.Load(), Orders: s.orders.Load(), LeftOut: s.leftOut.Load()}
}

// Prepare creates the tables, or brings them up to date, and waits for a PostgreSQL that
// is down. fresh is true where there were no tables. The error is a *Refused where the
// database cannot be written to, or refuses DATABASE_URL, else ctx's.
func (s *Sink) Prepare(ctx context.Context) (fresh bool, err error) {
	for wait := firstPause; ; wait = longer(wait) {
		try, cancel := context.WithTimeout(ctx, tryTimeout)
		fresh, err := migrate(try, s.pool)
		cancel()
		if err != nil {
			err = s.told(err)
		}
		var no *Refused
		switch {
		case err == nil:
			s.outage.Over()
			return fresh, nil
		case errors.As(err, &no):
			return false, err
		case ctx.Err() != nil:
			return false, ctx.Err()
		case s.Once:
			return false, fmt.Errorf("prepare the tables in PostgreSQL: %w", err)
		}
		s.outage.Failed(err)
		eventstream.Pause(ctx, wait)
	}
}

// Write is an eventstream.Handler. It returns nil when the events are in the tables, or
// the tables can never accept them, which is logged and counted. Until then it retries,
// to the end of ctx and a moment longer. Where a table or a column is missing, it
// returns a *Refused that names it.
func (s *Sink) Write(ctx context.Context, events []ledger.Event) error {
	closed, err := s.closed(ctx, events)
	if err != nil {
		return err
	}
	return s.write(ctx, events, closed)
}

// write writes events, and the books that those of them that are BooksClosed have closed.
func (s *Sink) write(ctx context.Context, events []ledger.Event, closed map[string]books.Result) error {
	conflicts := 0
	for wait := firstPause; ; {
		try, cancel := untilDone(ctx)
		done, err := s.store(try, events, closed)
		cancel()
		if err == nil {
			s.outage.Over()
			s.events.Add(done.events)
			s.known.Add(int64(len(events)) - done.events)
			s.orders.Add(done.orders)
			if done.shared > 0 {
				s.log.Error().Str(logging.FieldEvent, "payment_of_two_orders").Int64("payments", done.shared).
					Str(logging.FieldMchID, events[0].MchID).Str(logging.FieldEventID, events[0].ID).Int(logging.FieldEvents, len(events)).
					Msg("PAYMENT OF TWO ORDERS: the table payments has a transaction_id once, and events list it for two orders; compare these events with WeChat Pay's bill")
			}
			return nil
		}
		kind := failureOf(err)
		if kind == badEvent {
			if half := len(events) / 2; half > 0 {
				if err := s.write(ctx, events[:half], closed); err != nil {
					return err
				}
				return s.write(ctx, events[half:], closed)
			}
			if s.takesOthers(ctx) {
				s.leaveOut(events[0], err)
				return nil
			}
			// The tables refuse every event: they were changed, and can be changed
			// back.
		}
		if pg := (*pgconn.PgError)(nil); kind == changed && errors.As(err, &pg) {
			return refused("PostgreSQL says: %s: the tables have been changed since the start; put back what is missing, then start again, and the events that were not written are written then", oneLine(pg.Message))
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if conflicts++; kind == conflict && conflicts < 20 {
			eventstream.Pause(ctx, conflictPause+rand.N(conflictPause))
			continue
		}
		// Wait also for a *Refused: it worked before, and what was changed can be
		// changed back.
		err = s.told(err)
		if s.Once {
			return fmt.Errorf("write to PostgreSQL: %w", err)
		}
		s.outage.Failed(err)
		eventstream.Pause(ctx, wait)
		wait = longer(wait)
	}
}

// untilDone returns a context for one transaction, which may outlive ctx for a moment.
func untilDone(ctx context.Context) (context.Context, context.CancelFunc) {
	late, cancel := eventstream.Grace(ctx, tryGrace)
	late, cancelTry := context.WithTimeout(late, tryTimeout)
	return late, func() {
		cancelTry()
		cancel()
	}
}

// leaveOut gives up on an event.
func (s *Sink) leaveOut(e ledger.Event, why error) {
	s.leftOut.Add(1)
	s.log.Error().Str(logging.FieldEvent, "event_left_out").Str(logging.FieldEventID, e.ID).Str(logging.FieldMchID, e.MchID).Str(logging.FieldOutOrderNo, e.OutOrderNo).Err(plain(why)).
		Msg("EVENT LEFT OUT: the tables refuse it, and take others; it stays in Redis until RETENTION: fix the tables, and read everything again with another --group")
}

func longer(wait time.Duration) time.Duration { return min(2*wait, longestPause) }
