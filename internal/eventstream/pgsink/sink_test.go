package pgsink_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"payscore-collector/internal/ledger"
	"payscore-collector/internal/testkit"
	"payscore-collector/internal/testkit/pgtest"
	"payscore-collector/tasks"
)

// story returns the events of many orders, in the order of the stream.
func story(orders, each int) []ledger.Event {
	var all []ledger.Event
	for seq := range each {
		for i := range orders {
			state := tasks.Awaiting
			if seq == each-1 {
				state = []tasks.State{tasks.Paid, tasks.Closed, tasks.Rejected, tasks.Exhausted}[i%4]
			}
			// Several in one millisecond, with places that sort differently as text.
			all = append(all, event(fmt.Sprintf("ORDER-%d", i), 1763967600000+int64(seq), int64(i), int64(seq+1), state))
		}
	}
	return all
}

func TestSinkWrite(t *testing.T) {
	server := pgtest.Shared(t)
	write := func(t *testing.T, s interface {
		Write(context.Context, []ledger.Event) error
	}, events []ledger.Event) {
		t.Helper()
		if err := s.Write(t.Context(), events); err != nil {
			t.Fatal(err)
		}
	}

	t.Run("writes all that an event says", func(t *testing.T) {
		url := server.Database(t, "whole")
		var log testkit.LogBuffer
		s := prepared(t, url, &log)
		paid := int64(9223372036854775807)
		e := event("A|1*_-", 1763967600123, 7, 3, tasks.Withdrawn)
		e.Type, e.PaidAmount, e.LatePaymentAt = "order.paid", &paid, e.At
		e.Reason, e.OrderID, e.TransactionID, e.PaidType = `现金 "paid" \ 'elsewhere'`, "1", "42", "NEWTON"
		e.Payments = []ledger.Payment{{TransactionID: "41", Amount: 5, PaidType: "NEWTON", PaidAt: e.At.Truncate(time.Second)}, {Amount: 7, PaidType: "MCH", Seq: 2}}
		e.BillingAmount, e.OwedSince = &paid, e.At.Add(-time.Hour)
		e.PaidBy = ledger.PaidByUser
		e.Sync, e.Call, e.Verdict, e.Code, e.DetailCode = ledger.SyncFailed, "notification", "paid", "OK", "0"
		e.By = "cli:anna"
		for _, f := range reflect.VisibleFields(reflect.TypeFor[ledger.Event]()) {
			if !f.Anonymous && f.Name != "Books" && reflect.ValueOf(e).FieldByIndex(f.Index).IsZero() {
				t.Errorf("this test's event has no %s: give it one, so that its way into the tables is tested", f.Name)
			}
		}
		bare := ledger.Event{ID: mchA + "-5-0", Type: "order.opened", At: time.UnixMilli(5).UTC(), MchID: mchA, OutOrderNo: "B", State: tasks.Queued}
		write(t, s, []ledger.Event{bare, e})
		wantTables(t, url, []ledger.Event{bare, e})
	})
	t.Run("who has withdrawn and reopened orders, once", func(t *testing.T) {
		url := server.Database(t, "actions")
		var log testkit.LogBuffer
		s := prepared(t, url, &log)
		withdrawn, reopened, earlier := event("A", 1763967600001, 0, 2, tasks.Withdrawn), event("A", 1763967600002, 0, 3, tasks.Queued), event("B", 1763967600003, 0, 2, tasks.Withdrawn)
		withdrawn.By, withdrawn.Reason = "api:billing", "paid in cash"
		reopened.Type, reopened.By, reopened.Reason = "order.reopened", "cli:anna", "a mistake"
		earlier.Reason = "written by an earlier release"
		events := []ledger.Event{withdrawn, reopened, earlier}
		write(t, s, events)
		write(t, s, events)
		wantTables(t, url, events)
		rows, err := pgtest.Connect(t, url).Query(t.Context(), `select concat_ws(' ', event_id, mchid, out_order_no, by, action, reason, at = to_timestamp(split_part(event_id, '-', 2)::bigint / 1000.0)) from actions order by event_id`)
		if err != nil {
			t.Fatal(err)
		}
		lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			t.Fatal(err)
		}
		want := []string{
			mchA + "-1763967600001-0 " + mchA + " A api:billing withdraw paid in cash t",
			mchA + "-1763967600002-0 " + mchA + " A cli:anna reopen a mistake t",
		}
		if !reflect.DeepEqual(lines, want) {
			t.Errorf("got %q, want %q", lines, want)
		}
	})
	t.Run("once, however often and in which batches they come", func(t *testing.T) {
		url := server.Database(t, "again")
		var log testkit.LogBuffer
		s := prepared(t, url, &log)
		events := story(20, 4)
		write(t, s, events[:50])
		write(t, s, events[30:])
		write(t, s, events)
		write(t, s, append(events[:5:5], events[:5]...))
		wantTables(t, url, events)
		if got := s.Totals(); got.Events != 80 || got.Known != 110 || got.LeftOut != 0 {
			t.Errorf("got %+v, want 80 events, 110 known ones, none left out", got)
		}
	})
	t.Run("in any order: the newest event of an order is the order", func(t *testing.T) {
		url := server.Database(t, "shuffled")
		var log testkit.LogBuffer
		s := prepared(t, url, &log)
		events := story(30, 5)
		shuffled := append([]ledger.Event(nil), events...)
		rand.Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
		for i := 0; i < len(shuffled); i += 10 {
			write(t, s, shuffled[i:i+10])
		}
		wantTables(t, url, events)
	})
	t.Run("a reopened order is open again; one that was removed and enqueued again starts over", func(t *testing.T) {
		url := server.Database(t, "reopened")
		var log testkit.LogBuffer
		s := prepared(t, url, &log)
		ended := event("A", 1763967600000, 0, 7, tasks.Exhausted)
		reopened := event("A", 1763967600000, 10, 8, tasks.Queued)
		reopened.Type = "order.reopened"
		write(t, s, []ledger.Event{reopened, ended})
		wantTables(t, url, []ledger.Event{ended, reopened})
		anew := event("A", 1763967600001, 0, 1, tasks.Queued)
		anew.OpenedAt = anew.At
		write(t, s, []ledger.Event{anew})
		write(t, s, []ledger.Event{ended})
		wantTables(t, url, []ledger.Event{ended, reopened, anew})
	})
	t.Run("several sinks write the same events in other orders", func(t *testing.T) {
		url := server.Database(t, "several")
		var log testkit.LogBuffer
		events := story(40, 5)
		var wg sync.WaitGroup
		for range 4 {
			s := prepared(t, url, &log)
			wg.Go(func() {
				mine := append([]ledger.Event(nil), events...)
				rand.Shuffle(len(mine), func(i, j int) { mine[i], mine[j] = mine[j], mine[i] })
				for i := 0; i < len(mine); i += 50 {
					if err := s.Write(t.Context(), mine[i:i+50]); err != nil {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		wantTables(t, url, events)
	})
	t.Run("an event that the tables refuse is left out and logged, and delays nothing", func(t *testing.T) {
		url := server.Database(t, "bad")
		var log testkit.LogBuffer
		s := prepared(t, url, &log)
		server.Exec(t, url, "alter table orders add check (out_order_no <> 'ORDER-3')")
		events := story(25, 2)
		nul := event("NUL", 1763967600009, 0, 1, tasks.Rejected)
		nul.Reason = "a\x00b" // DecodeEvent lets none through
		write(t, s, append(events[:30:30], append([]ledger.Event{nul}, events[30:]...)...))
		var want []ledger.Event
		for _, e := range events {
			if e.OutOrderNo != "ORDER-3" {
				want = append(want, e)
			}
		}
		wantTables(t, url, want)
		if n := s.Totals().LeftOut; n != 3 || strings.Count(log.String(), "EVENT LEFT OUT") != 3 {
			t.Errorf("%d left out\n%s", n, &log)
		}
	})
	t.Run("the sink waits for tables that refuse every event", func(t *testing.T) {
		url := server.Database(t, "changed")
		var log testkit.LogBuffer
		s := prepared(t, url, &log)
		server.Exec(t, url, "alter table events add column clerk text not null")
		done := make(chan error, 1)
		events := story(3, 1)
		go func() { done <- s.Write(t.Context(), events) }()
		testkit.Eventually(t, "the outage in the log", func() bool { return strings.Contains(log.String(), "PostgreSQL does not answer as it should") }, &log)
		server.Exec(t, url, "alter table events alter column clerk drop not null")
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		server.Exec(t, url, "alter table events drop column clerk")
		wantTables(t, url, events)
		if n := s.Totals().LeftOut; n != 0 {
			t.Errorf("%d left out, want 0", n)
		}
	})
	t.Run("a transaction that PostgreSQL aborts for another one is retried", func(t *testing.T) {
		url := server.Database(t, "conflict")
		var log testkit.LogBuffer
		s := prepared(t, url, &log)
		server.Exec(t, url, `create sequence tries;
			create function fail() returns trigger language plpgsql as $$
			declare try bigint := nextval('tries');
			begin
				if try = 1 then raise exception using errcode = '40P01'; end if;
				if try = 2 then raise exception using errcode = '40001'; end if;
				return new;
			end $$;
			create trigger fail before insert on orders for each statement execute function fail()`)
		events := story(2, 2)
		write(t, s, events)
		wantTables(t, url, events)
		if log.String() != "" {
			t.Errorf("the log has %s, want nothing", &log)
		}
	})
	t.Run("through a pooler of connections, which allows no prepared statements", func(t *testing.T) {
		for i, mode := range []string{"exec", "simple_protocol"} {
			url := server.Database(t, fmt.Sprintf("pooled%d", i))
			var log testkit.LogBuffer
			s := prepared(t, url+"&default_query_exec_mode="+mode, &log)
			events := story(3, 2)
			events[0].Reason = `\ ' "`
			write(t, s, events)
			wantTables(t, url, events)
		}
	})
	t.Run("finishes its transaction when it is stopped", func(t *testing.T) {
		url := server.Database(t, "stop")
		var log testkit.LogBuffer
		s := prepared(t, url, &log)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		events := story(3, 1)
		if err := s.Write(ctx, events); err != nil {
			t.Fatal(err)
		}
		wantTables(t, url, events)
	})
}

func TestSinkWithoutPostgreSQL(t *testing.T) {
	server := pgtest.Start(t)
	var log testkit.LogBuffer
	s := open(t, server.URL, &log)
	server.Kill()

	t.Run("waits at the start", func(t *testing.T) {
		done := make(chan error, 1)
		go func() { _, err := s.Prepare(t.Context()); done <- err }()
		testkit.Eventually(t, "the outage in the log", func() bool { return strings.Contains(log.String(), "PostgreSQL does not answer as it should") }, &log)
		server.Run(t)
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(log.String(), "PostgreSQL is up") {
			t.Errorf("the log does not say that PostgreSQL is up: %s", &log)
		}
	})
	t.Run("waits in the middle", func(t *testing.T) {
		events := story(4, 2)
		if err := s.Write(t.Context(), events[:4]); err != nil {
			t.Fatal(err)
		}
		server.Kill()
		done := make(chan error, 1)
		go func() { done <- s.Write(t.Context(), events) }()
		server.Run(t)
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		wantTables(t, server.URL, events)
	})
	t.Run("stops waiting at the end of its context", func(t *testing.T) {
		server.Kill()
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- s.Write(ctx, story(1, 1)) }()
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("it ended with %v, want %v", err, context.Canceled)
		}
		if _, err := s.Prepare(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("it ended with %v, want %v", err, context.Canceled)
		}
	})
	t.Run("does not wait with Once", func(t *testing.T) {
		s := open(t, strings.Replace(server.URL, "postgres@", "postgres:hunter2@", 1), &log)
		s.Once = true
		_, err := s.Prepare(t.Context())
		err2 := s.Write(t.Context(), story(1, 1))
		for _, err := range []error{err, err2} {
			if err == nil || strings.Contains(err.Error(), "hunter2") || strings.Contains(err.Error(), "\n") {
				t.Errorf("%v", err)
			}
		}
	})
	if strings.Contains(log.String(), "hunter2") {
		t.Errorf("the password is in the log: %s", &log)
	}
}
