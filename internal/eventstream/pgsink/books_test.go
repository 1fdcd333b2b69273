package pgsink_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"payscore-collector/internal/books"
	"payscore-collector/internal/eventstream/pgsink"
	"payscore-collector/internal/explain"
	"payscore-collector/internal/ledger"
	"payscore-collector/internal/testkit"
	"payscore-collector/internal/testkit/pgtest"
	"payscore-collector/internal/testkit/redistest"
)

// closedBooks is what came of a day, with a refund and so many other exceptions.
func closedBooks(exceptions int) books.Result {
	r := books.Result{MchID: mchA, Date: "2026-11-26", Exceptions: []books.Exception{}}
	r.Bill.Rows, r.Bill.PayScoreRows, r.Bill.Amount, r.Bill.SHA1 = 9, 5, 1750, "5891b5b522d5df086d0ff0b110fbd9d21bb4fc71"
	r.Ledger, r.Matched, r.Waiting = books.Tally{Orders: 4, Amount: 1700}, books.Tally{Orders: 3, Amount: 1600}, &books.Tally{Orders: 1, Amount: 100}
	for i := range exceptions {
		r.Exceptions = append(r.Exceptions, books.Exception{
			Kind: explain.PaidTwice, OutOrderNo: fmt.Sprintf("A%d", i), OrderID: "1", TransactionID: "T2", BillAmount: 50, LedgerAmount: 60, State: ledger.Paid,
			Detail: "twice\x00", Others: []string{"T1"},
			Refund: &books.Refund{TransactionID: "T2", OutRefundNo: "twice-T2", Reason: "paid twice", Amount: books.RefundAmount{Refund: 50, Total: 50, Currency: "CNY"}},
		})
	}
	r.Exceptions = append(r.Exceptions, books.Exception{Kind: explain.Refunded, OutOrderNo: "B", BillAmount: 7, Detail: "refunded"})
	return r
}

func closedEvent(t *testing.T, r books.Result, ms int64) ledger.Event {
	t.Helper()
	text, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	return ledger.Event{ID: fmt.Sprintf("%s-%d-0", mchA, ms), Type: ledger.BooksClosed, At: time.UnixMilli(ms).UTC(), MchID: mchA, Books: text}
}

// wantBooks compares both tables, each row in a line.
func wantBooks(t *testing.T, conn *pgx.Conn, want ...string) {
	t.Helper()
	rows, err := conn.Query(t.Context(), `select concat_ws(' ', mchid, date, extract(epoch from closed_at)::bigint, bill_rows, bill_payscore_rows, bill_amount, left(bill_sha1, 4),
			ledger_orders, ledger_amount, matched_orders, matched_amount, waiting_orders, waiting_amount, exceptions, refunds, exceptions_left_out) from books
		union all (select concat_ws(' ', n, kind, coalesce(out_order_no, '-'), bill_amount, coalesce(ledger_amount, 0), coalesce(state, '-'), detail, other_transaction_ids, refund ->> 'out_refund_no')
			from book_exceptions order by n)`)
	if err != nil {
		t.Fatal(err)
	}
	got, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

// Closed books are in their tables once, by the newest comparison, whatever the order and
// number of deliveries, and in no table of orders.
func TestBooks(t *testing.T) {
	server := pgtest.Shared(t)
	url := server.Database(t, "books")
	var log testkit.LogBuffer
	s := prepared(t, url, &log)
	conn := pgtest.Connect(t, url)
	opened := event("A", 5000, 0, 1, "queued")
	first, later := closedEvent(t, closedBooks(2), 4_000_000), closedEvent(t, closedBooks(1), 5_000_000)
	wide := "9 5 1750 5891 4 1700 3 1600 1 100"
	firstRows := []string{
		mchA + " 2026-11-26 4000 " + wide + " 2 1 0",
		"1 paid_twice A0 50 60 paid twice\ufffd {T1} twice-T2", "2 paid_twice A1 50 60 paid twice\ufffd {T1} twice-T2", "3 refunded B 7 0 - refunded {}",
	}
	laterRows := []string{
		mchA + " 2026-11-26 5000 " + wide + " 1 1 0", "1 paid_twice A0 50 60 paid twice\ufffd {T1} twice-T2", "2 refunded B 7 0 - refunded {}",
	}
	for _, step := range []struct {
		what   string
		events []ledger.Event
		want   []string
	}{
		{"the first time, among orders' events", []ledger.Event{opened, first}, firstRows},
		{"delivered again", []ledger.Event{first, opened}, firstRows},
		{"compared again", []ledger.Event{later}, laterRows},
		{"an older event is late", []ledger.Event{first, later}, laterRows},
	} {
		if err := s.Write(t.Context(), step.events); err != nil {
			t.Fatalf("%s: %v", step.what, err)
		}
		wantBooks(t, conn, step.want...)
	}
	wantTables(t, url, []ledger.Event{opened})
	if n := s.Totals(); n.Events != 3 || n.Known != 4 || n.LeftOut != 0 {
		t.Errorf("%+v", n)
	}

	t.Run("an event that names no day is left out, and the others go in", func(t *testing.T) {
		bad := closedEvent(t, books.Result{Date: "secret"}, 6_000_000)
		next := event("A", 7000, 0, 2, "awaiting")
		if err := s.Write(t.Context(), []ledger.Event{bad, next}); err != nil {
			t.Fatal(err)
		}
		wantBooks(t, conn, laterRows...)
		wantTables(t, url, []ledger.Event{opened, next})
		if n := s.Totals(); n.LeftOut != 1 || !log.HasEvent("event_left_out", "event_id", bad.ID) {
			t.Errorf("%+v\n%s", n, &log)
		}
	})
	t.Run("the exceptions that an event leaves out are the ledger's", func(t *testing.T) {
		rds := redistest.Start(t)
		l := ledger.New(rds.Client, mchA)
		s := prepared(t, url, &log)
		s.Books = pgsink.BooksIn(rds.Client)
		const many = ledger.BooksListed + 20
		text, err := json.Marshal(closedBooks(many))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := l.CloseBook(t.Context(), "2026-11-26", text, []byte(`{"date":"2026-11-26"}`), nil, nil, ledger.BookPlan{}); err != nil {
			t.Fatal(err)
		}
		short := closedEvent(t, books.Result{Date: "2026-11-26"}, time.Now().UnixMilli())
		if err := s.Write(t.Context(), []ledger.Event{short}); err != nil {
			t.Fatal(err)
		}
		var n, exceptions int64
		if err := conn.QueryRow(t.Context(), `select count(*), max(exceptions) from book_exceptions join books using (mchid, date)`).Scan(&n, &exceptions); err != nil || n != many+1 || exceptions != many {
			t.Errorf("%d rows, %d exceptions, %v", n, exceptions, err)
		}
		// Redis has lost the day: the event must do.
		short = closedEvent(t, closedBooks(0), time.Now().Add(time.Hour).UnixMilli())
		if err := rds.Client.FlushDB(t.Context()).Err(); err != nil {
			t.Fatal(err)
		}
		if err := s.Write(t.Context(), []ledger.Event{short}); err != nil {
			t.Fatal(err)
		}
		if err := conn.QueryRow(t.Context(), `select count(*) from book_exceptions`).Scan(&n); err != nil || n != 1 {
			t.Errorf("%d rows, %v", n, err)
		}
	})
	t.Run("Redis's clock has gone back between two comparisons", func(t *testing.T) {
		s := prepared(t, url, &log)
		s.Books = func(context.Context, string, ledger.BookDate) (books.Result, error) {
			r := closedBooks(2)
			r.ClosedAt = time.UnixMilli(3_000_000)
			return r, nil
		}
		next := time.Now().Add(2 * time.Hour).UnixMilli()
		for _, e := range []ledger.Event{closedEvent(t, closedBooks(2), next), {ID: fmt.Sprintf("%s-%d-10", mchA, next), Type: ledger.BooksClosed, MchID: mchA}, {ID: fmt.Sprintf("%s-%d-9", mchA, next), Type: ledger.BooksClosed, MchID: mchA}} {
			if err := s.Write(t.Context(), []ledger.Event{e}); err != nil {
				t.Fatal(err)
			}
		}
		var id, at string
		if err := conn.QueryRow(t.Context(), `select event_id, extract(epoch from closed_at)::bigint::text from books`).Scan(&id, &at); err != nil || id != fmt.Sprintf("%s-%d-10", mchA, next) || at != "3000" {
			t.Errorf("the row is of %s, closed at %s; %v", id, at, err)
		}
	})
	t.Run("books in Redis that cannot be read", func(t *testing.T) {
		rds := redistest.Start(t)
		var log testkit.LogBuffer
		s := prepared(t, url, &log)
		s.Books = pgsink.BooksIn(rds.Client)
		if _, err := ledger.New(rds.Client, mchA).CloseBook(t.Context(), "2026-11-26", []byte(`{"date":`), []byte(`{}`), nil, nil, ledger.BookPlan{}); err != nil {
			t.Fatal(err)
		}
		e := closedEvent(t, closedBooks(3), time.Now().Add(3*time.Hour).UnixMilli())
		if err := s.Write(t.Context(), []ledger.Event{e}); err != nil {
			t.Fatal(err)
		}
		var n int64
		if err := conn.QueryRow(t.Context(), `select count(*) from book_exceptions join books using (mchid, date) where event_id = $1`, e.ID).Scan(&n); err != nil || n != 4 {
			t.Errorf("%d rows, %v", n, err)
		}
		if n := strings.Count(log.String(), `"books_unreadable"`); n != 1 {
			t.Errorf("it is logged %d times:\n%s", n, &log)
		}
	})
	t.Run("an outage of Redis is waited for", func(t *testing.T) {
		// Redis has answered, also where it does not have the day or nothing that can be read.
		for _, answer := range []error{nil, ledger.ErrNotFound, books.ErrUnreadable} {
			var log testkit.LogBuffer
			s := prepared(t, url, &log)
			tries := 0
			s.Books = func(context.Context, string, ledger.BookDate) (books.Result, error) {
				if tries++; tries == 1 {
					return books.Result{}, errors.New("away")
				}
				return closedBooks(2), answer
			}
			if err := s.Write(t.Context(), []ledger.Event{first}); err != nil || tries != 2 {
				t.Errorf("%v after %d tries", err, tries)
			}
			if n := len(log.Events("outage_ended")); n != 1 {
				t.Errorf("after the answer %v, the log ends the outage %d times:\n%s", answer, n, &log)
			}
			s.Once, tries = true, 0
			if err := s.Write(t.Context(), []ledger.Event{first}); err == nil {
				t.Error("Once waits")
			}
		}
	})
}

// A database of an earlier release gets the tables.
func TestBooksAreAddedToAnExistingDatabase(t *testing.T) {
	server := pgtest.Shared(t)
	url := server.Database(t, "beforebooks")
	ofRelease(t, server, url, 4)
	var log testkit.LogBuffer
	s := open(t, url, &log)
	if fresh, err := s.Prepare(t.Context()); err != nil || fresh {
		t.Fatal(fresh, err)
	}
	opened := event("A", 5000, 0, 1, "queued")
	if err := s.Write(t.Context(), []ledger.Event{opened, closedEvent(t, closedBooks(0), 4_000_000)}); err != nil {
		t.Fatal(err)
	}
	wantTables(t, url, []ledger.Event{opened})
	if names := columns(t, pgtest.Connect(t, url), "books"); !slices.ContainsFunc(names, func(c column) bool { return c.Name == "closed_at" }) {
		t.Errorf("%v", names)
	}
}
