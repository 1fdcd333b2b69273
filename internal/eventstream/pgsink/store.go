package pgsink

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"payscore-collector/internal/ledger"
)

// stored is what one transaction changed. shared is how many payments it did not
// write because their transaction_id is that of another order's payment.
type stored struct{ events, orders, shared int64 }

// store writes events in one transaction, and brings their orders up to date.
// Doing it again changes nothing.
func (s *Sink) store(ctx context.Context, events []ledger.Event) (done stored, err error) {
	err = s.inTx(ctx, func(tx pgx.Tx) (err error) {
		done, err = write(ctx, tx, events)
		return err
	})
	return done, err
}

// inTx is READ COMMITTED, whatever the database's default: both statements are
// right under it, and under SERIALIZABLE instances would abort each other.
func (s *Sink) inTx(ctx context.Context, do func(pgx.Tx) error) error {
	return pgx.BeginTxFunc(ctx, s.pool, pgx.TxOptions{IsoLevel: pgx.ReadCommitted, AccessMode: pgx.ReadWrite}, do)
}

func write(ctx context.Context, tx pgx.Tx, events []ledger.Event) (stored, error) {
	rows := make([]row, len(events))
	derive, acted := false, false
	listed := map[[3]string]bool{} // merchant, order and key of each payment
	for i, e := range events {
		_, n := e.Position()
		rows[i] = row{Event: e, N: n, Attempts: e.Attempts}
		for _, p := range e.Payments {
			rows[i].Parts = append(rows[i].Parts, part(p))
			key := p.TransactionID
			if key == "" {
				key = fmt.Sprintf("%s#%d", e.OutOrderNo, p.Seq)
			}
			listed[[3]string{e.MchID, e.OutOrderNo, key}] = true
		}
		acted = acted || e.By != ""
		// An event of a release that listed no payments.
		derive = derive || len(e.Payments) == 0 && e.PaidAmount != nil && *e.PaidAmount > 0
	}
	body, err := json.Marshal(rows)
	if err != nil {
		return stored{}, fmt.Errorf("write the events as JSON: %w", err)
	}
	var done stored
	var payments int64
	// orders.sql locks the orders of the events, so that what comes after it sees
	// all that other instances have written of them.
	for _, statement := range []struct {
		sql    string
		count  *int64
		needed bool
	}{
		{insertEvents, &done.events, true}, {upsertOrders, &done.orders, true},
		{insertActions, new(int64), acted}, {upsertPayments, &payments, len(listed) > 0}, {deleteReplaced, new(int64), len(listed) > 0}, {derivePayments, new(int64), derive},
	} {
		if !statement.needed {
			continue
		}
		tag, err := tx.Exec(ctx, statement.sql, string(body))
		if err != nil {
			return stored{}, err
		}
		*statement.count = tag.RowsAffected()
	}
	done.shared = int64(len(listed)) - payments
	return done, nil
}

// takesOthers reports whether the tables accept a harmless event. Where they do not, the
// refused event was not to blame.
func (s *Sink) takesOthers(ctx context.Context) bool {
	harmless := ledger.Event{ID: "probe", Type: "order.opened", MchID: "0", OutOrderNo: "probe", State: "queued"}
	undo := errors.New("undo")
	ctx, cancel := untilDone(ctx)
	defer cancel()
	err := s.inTx(ctx, func(tx pgx.Tx) error {
		if _, err := write(ctx, tx, []ledger.Event{harmless}); err != nil {
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

	pgUndefinedColumn = "42703"
	pgUndefinedTable  = "42P01"
)

// plain is an error in one line: pgx has a line for each address that it tried.
func plain(err error) error {
	return errors.New(oneLine(err.Error()))
}
