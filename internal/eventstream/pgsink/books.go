package pgsink

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/redis/go-redis/v9"

	"payscore-collector/internal/books"
	"payscore-collector/internal/eventstream"
	"payscore-collector/internal/ledger"
	"payscore-collector/internal/logging"
)

//go:embed books.sql
var upsertBook string

//go:embed book_exceptions.sql
var insertExceptions string

// BooksIn returns what reads the books for a Sink.
func BooksIn(rdb redis.UniversalClient) func(context.Context, string, ledger.BookDate) (books.Result, error) {
	return func(ctx context.Context, mchid string, date ledger.BookDate) (books.Result, error) {
		return books.Load(ctx, ledger.New(rdb, mchid), date)
	}
}

// closed returns what the books say of the events that are BooksClosed, by the events' id:
// what the ledger says now, which has every exception, or, if it has no such day any more
// or none that can be read, what the event says. It waits for a Redis that is down.
func (s *Sink) closed(ctx context.Context, events []ledger.Event) (map[string]books.Result, error) {
	var closed map[string]books.Result
	for _, e := range events {
		if e.Type != ledger.BooksClosed {
			continue
		}
		r, err := s.closedBy(ctx, e)
		if err != nil {
			return nil, err
		}
		if closed == nil {
			closed = map[string]books.Result{}
		}
		closed[e.ID] = r
	}
	return closed, nil
}

func (s *Sink) closedBy(ctx context.Context, e ledger.Event) (books.Result, error) {
	var told books.Result
	// An event that cannot be read has no date, which PostgreSQL refuses: the event is left out.
	_ = json.Unmarshal(e.Books, &told)
	told.MchID, told.ClosedAt = e.MchID, e.At
	if s.Books == nil {
		return told, nil
	}
	for wait := firstPause; ; wait = longer(wait) {
		try, cancel := untilDone(ctx)
		r, err := s.Books(try, e.MchID, ledger.BookDate(told.Date))
		cancel()
		if err == nil || errors.Is(err, ledger.ErrNotFound) { // as books.ErrUnreadable is too
			s.booksOutage.Over()
		}
		switch {
		case err == nil:
			return r, nil
		case errors.Is(err, books.ErrUnreadable):
			s.log.Error().Str(logging.FieldEvent, "books_unreadable").Str(logging.FieldEventID, e.ID).Str(logging.FieldMchID, e.MchID).Str(logging.FieldDate, told.Date).Err(err).
				Msg("the day's books in Redis cannot be read; the tables get what the event lists of them")
			return told, nil
		case errors.Is(err, ledger.ErrNotFound):
			return told, nil
		case ctx.Err() != nil:
			return told, ctx.Err()
		case s.Once:
			return told, err
		}
		s.booksOutage.Failed(err)
		eventstream.Pause(ctx, wait)
	}
}

// writeBooks writes the days that events have closed, each with its exceptions in place of
// those that were there, unless the tables have a later comparison of the day. It returns
// how many days it has written.
func writeBooks(ctx context.Context, tx pgx.Tx, events []ledger.Event, closed map[string]books.Result) (days int64, err error) {
	for _, e := range events {
		if e.Type != ledger.BooksClosed {
			continue
		}
		r := closed[e.ID]
		waiting := books.Tally{}
		if r.Waiting != nil {
			waiting = *r.Waiting
		}
		refunds := int64(0)
		for _, x := range r.Exceptions {
			if x.Kind.Alone() {
				refunds++
			}
		}
		// It locks the day, so that what follows sees all that another instance has written.
		tag, err := tx.Exec(ctx, upsertBook, r.MchID, r.Date, r.ClosedAt, e.ID,
			r.Bill.Rows, r.Bill.PayScoreRows, r.Bill.Amount, r.Bill.SHA1, r.Ledger.Orders, r.Ledger.Amount,
			r.Matched.Orders, r.Matched.Amount, waiting.Orders, waiting.Amount,
			int64(len(r.Exceptions))-refunds+r.LeftOut, refunds, r.LeftOut)
		if err != nil {
			return 0, err
		}
		if tag.RowsAffected() == 0 {
			continue
		}
		days++
		if _, err := tx.Exec(ctx, `delete from book_exceptions where mchid = $1 and date = $2::text::date`, r.MchID, r.Date); err != nil {
			return 0, err
		}
		if len(r.Exceptions) == 0 {
			continue
		}
		list, err := json.Marshal(r.Exceptions)
		if err != nil {
			return 0, err
		}
		// PostgreSQL cannot write NUL, which a bill may have.
		text := strings.ReplaceAll(string(list), `\u0000`, `\ufffd`)
		if _, err := tx.Exec(ctx, insertExceptions, r.MchID, r.Date, text); err != nil {
			return 0, err
		}
	}
	return days, nil
}
