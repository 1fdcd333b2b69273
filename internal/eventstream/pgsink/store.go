package pgsink

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"

	"payscore-collector/internal/books"
	"payscore-collector/internal/ledger"
)

// stored is what one transaction changed. shared is how many payments it did not
// write because their transaction_id is that of another order's payment.
type stored struct{ events, orders, shared int64 }

// store writes events in one transaction, and brings their orders up to date.
// Doing it again changes nothing.
func (s *Sink) store(ctx context.Context, events []ledger.Event, closed map[string]books.Result) (done stored, err error) {
	store := func(known bool) error {
		return s.inTx(ctx, func(tx pgx.Tx) (err error) {
			orders := slices.DeleteFunc(slices.Clone(events), func(e ledger.Event) bool { return e.Type == ledger.BooksClosed })
			if done, err = write(ctx, tx, orders, known); err != nil || len(orders) == len(events) {
				return err
			}
			days, err := writeBooks(ctx, tx, events, closed)
			done.events += days
			return err
		})
	}
	// Where some events of a batch were in the tables, those of the next one may be, too.
	known := s.anyKnown.Load()
	err = store(known)
	if !known && isDuplicate(err) {
		err = store(true)
	}
	if err == nil {
		s.anyKnown.Store(done.events < int64(len(events)))
	}
	return done, err
}

// isDuplicate reports whether an event was in the tables already.
func isDuplicate(err error) bool {
	var pg *pgconn.PgError
	return errors.As(err, &pg) && pg.Code == pgDuplicate && pg.TableName == eventsTable
}

// inTx is READ COMMITTED, whatever the database's default: both statements are
// right under it, and under SERIALIZABLE instances would abort each other.
func (s *Sink) inTx(ctx context.Context, do func(pgx.Tx) error) error {
	return pgx.BeginTxFunc(ctx, s.pool, pgx.TxOptions{IsoLevel: pgx.ReadCommitted, AccessMode: pgx.ReadWrite}, do)
}

// listed are payments that events list, as the arrays of payments.sql.
type listed struct {
	mchid, no []string
	at        []time.Time
	id        []pgtype.Text
	seq       []int64
	amount    []int64
	kind      []string
	paidAt    []pgtype.Timestamptz
	keys      map[[3]string]bool // merchant, order and key of each payment
}

func (l *listed) add(e ledger.Event) {
	for _, p := range e.Payments {
		l.mchid, l.no, l.at = append(l.mchid, e.MchID), append(l.no, e.OutOrderNo), append(l.at, e.At)
		l.id, l.seq = append(l.id, pgtype.Text{String: p.TransactionID, Valid: p.TransactionID != ""}), append(l.seq, p.Seq)
		l.amount, l.kind = append(l.amount, p.Amount), append(l.kind, p.PaidType)
		l.paidAt = append(l.paidAt, pgtype.Timestamptz{Time: p.PaidAt, Valid: !p.PaidAt.IsZero()})
		key := p.TransactionID
		if key == "" {
			key = fmt.Sprintf("%s#%d", e.OutOrderNo, p.Seq)
		}
		l.keys[[3]string{e.MchID, e.OutOrderNo, key}] = true
	}
}

// write writes events into the tables. Without known, it fails with a duplicate if an event
// is there already.
func write(ctx context.Context, tx pgx.Tx, events []ledger.Event, known bool) (done stored, err error) {
	if len(events) == 0 {
		return stored{}, nil
	}
	rows := make([]valued, len(events))
	payments := listed{keys: map[[3]string]bool{}}
	var older listed // orders of events of a release that listed no payments
	var acted []valued
	for i, e := range events {
		_, n := e.Position()
		if rows[i], err = (&row{Event: e, N: n, Attempts: e.Attempts}).valued(); err != nil {
			return stored{}, err
		}
		payments.add(e)
		if e.By != "" {
			acted = append(acted, rows[i])
		}
		if len(e.Payments) == 0 && e.PaidAmount != nil && *e.PaidAmount > 0 {
			older.mchid, older.no = append(older.mchid, e.MchID), append(older.no, e.OutOrderNo)
		}
	}
	var batch pgx.Batch
	var written int64
	run := func(count *int64, sql string, args ...any) {
		batch.Queue(sql, args...).Exec(func(tag pgconn.CommandTag) error {
			*count = tag.RowsAffected()
			return nil
		})
	}
	if known {
		run(&done.events, insertEvents, arrays(rows, ofEvents)...)
	} else if done.events, err = copyEvents(ctx, tx, rows); err != nil {
		return stored{}, err
	}
	// In one round trip. orders.sql locks the orders of the events, so that what comes
	// after it sees all that other instances have written of them.
	run(&done.orders, upsertOrders, arrays(rows, ofNewest, ofOrders)...)
	if len(acted) > 0 {
		run(new(int64), insertActions, arrays(acted, ofActions)...)
	}
	if p := payments; len(p.no) > 0 {
		run(&written, upsertPayments, p.mchid, p.no, p.at, p.id, p.seq, p.amount, p.kind, p.paidAt)
		run(new(int64), deleteReplaced, p.mchid, p.no)
	}
	if len(older.no) > 0 {
		run(new(int64), derivePayments, older.mchid, older.no)
	}
	if err := tx.SendBatch(ctx, &batch).Close(); err != nil {
		return stored{}, err
	}
	done.shared = int64(len(payments.keys)) - written
	return done, nil
}

// eventsTable has the events.
const eventsTable = "events"

// copyEvents writes new events with COPY, which costs PostgreSQL half as much as a
// statement that leaves out those it has. Sorted as in events.sql.
func copyEvents(ctx context.Context, tx pgx.Tx, events []valued) (int64, error) {
	id := slices.IndexFunc(ofEvents, func(c column) bool { return c.name == "id" })
	events = slices.SortedFunc(slices.Values(events), func(a, b valued) int { return strings.Compare(a[id].(string), b[id].(string)) })
	names := make([]string, len(ofEvents))
	for i, c := range ofEvents {
		names[i] = c.name
	}
	return tx.CopyFrom(ctx, pgx.Identifier{eventsTable}, names, pgx.CopyFromSlice(len(events), func(i int) ([]any, error) { return events[i], nil }))
}

// takesOthers reports whether the tables accept a harmless event. Where they do not, the
// refused event was not to blame.
func (s *Sink) takesOthers(ctx context.Context) bool {
	harmless := ledger.Event{ID: "probe", Type: "order.opened", MchID: "0", OutOrderNo: "probe", State: "queued"}
	undo := errors.New("undo")
	ctx, cancel := untilDone(ctx)
	defer cancel()
	err := s.inTx(ctx, func(tx pgx.Tx) error {
		if _, err := write(ctx, tx, []ledger.Event{harmless}, true); err != nil {
			return err
		}
		return undo
	})
	return errors.Is(err, undo)
}

// failure is the kind of an error of store, and says what to do.
type failure int

const (
	outage   failure = iota // wait, and retry
	conflict                // retry at once: another transaction came first
	badEvent                // find the event that the tables refuse
	changed                 // end: a table or column is missing
)

func failureOf(err error) failure {
	var pg *pgconn.PgError
	if !errors.As(err, &pg) || len(pg.Code) < 2 {
		return outage
	}
	switch pg.Code {
	case pgSerialization, pgDeadlock:
		return conflict
	case pgUndefinedColumn, pgUndefinedTable:
		return changed
	}
	switch pg.Code[:2] {
	case "21", // cardinality violation: a statement meets the same row twice
		"22", // data exception
		"23", // integrity constraint violation
		"54": // program limit exceeded: a text too long for an index
		return badEvent
	}
	return outage
}

const (
	pgSerialization = "40001"
	pgDeadlock      = "40P01"
	pgDuplicate     = "23505"

	pgUndefinedColumn = "42703"
	pgUndefinedTable  = "42P01"
)

// plain is an error in one line: pgx has a line for each address that it tried.
func plain(err error) error {
	return errors.New(oneLine(err.Error()))
}
