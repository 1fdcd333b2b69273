package pgsink_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"payscore-collector/internal/eventstream/pgsink"
	"payscore-collector/internal/ledger"
	"payscore-collector/internal/testkit"
	"payscore-collector/internal/testkit/pgtest"
	"payscore-collector/tasks"
)

// payments returns the table as lines: key, order, amount, type and time, with a tilde
// before derived ones.
func payments(t testing.TB, url string) []string {
	t.Helper()
	conn := pgtest.Connect(t, url)
	defer conn.Close(t.Context())
	results, err := conn.PgConn().Exec(t.Context(), `select concat_ws(' ', case when derived then '~' else '' end || payment_key, out_order_no, amount, paid_type,
		to_char(paid_at at time zone 'UTC', 'DD HH24:MI:SS')) from payments order by mchid, payment_key collate "C"`).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, row := range results[0].Rows {
		lines = append(lines, string(row[0]))
	}
	return lines
}

// with returns the event with payments, and their sum.
func with(e ledger.Event, list ...ledger.Payment) ledger.Event {
	var sum int64
	for _, p := range list {
		sum += p.Amount
	}
	e.Payments, e.PaidAmount = list, &sum
	last := list[len(list)-1]
	e.PaidType, e.TransactionID = last.PaidType, last.TransactionID
	return e
}

var noon = time.Date(2025, 11, 24, 4, 0, 0, 0, time.UTC)

func newton(seq int64, id string, fen int64) ledger.Payment {
	return ledger.Payment{Seq: seq, TransactionID: id, Amount: fen, PaidType: "NEWTON", PaidAt: noon}
}

func elsewhere(seq, fen int64) ledger.Payment {
	return ledger.Payment{Seq: seq, Amount: fen, PaidType: "MCH", PaidAt: noon}
}

// old returns the event as of a release that listed no payments.
func old(e ledger.Event, paid int64, kind, id string) ledger.Event {
	e.PaidAmount, e.PaidType, e.TransactionID = &paid, kind, id
	return e
}

// Each case writes the events, each twice, in random orders and batches.
func TestSinkPayments(t *testing.T) {
	server := pgtest.Shared(t)
	url := server.Database(t, "payments")
	const ms = 1763967600000
	var log testkit.LogBuffer
	s := prepared(t, url, &log)
	at := func(no string, i int64, state tasks.State) ledger.Event {
		return event(no, ms+i, int64(len(no))<<8+int64(no[0]), i+1, state)
	}
	for name, tt := range map[string]struct {
		events []ledger.Event
		want   []string
	}{
		"in two parts, of which the last alone is the order's transaction_id": {
			[]ledger.Event{with(at("A", 0, tasks.Awaiting), newton(1, "101", 400)), with(at("A", 1, tasks.Paid), newton(1, "101", 400), newton(2, "102", 600))},
			[]string{"101 A 400 NEWTON 24 04:00:00", "102 A 600 NEWTON 24 04:00:00"},
		},
		"elsewhere in part, twice alike": {
			[]ledger.Event{with(at("A", 0, tasks.Paid), newton(1, "101", 400), elsewhere(2, 300), elsewhere(3, 300))},
			[]string{"101 A 400 NEWTON 24 04:00:00", "A#2 A 300 MCH 24 04:00:00", "A#3 A 300 MCH 24 04:00:00"},
		},
		"of two orders": {
			[]ledger.Event{with(at("A", 0, tasks.Paid), elsewhere(1, 300)), with(at("A|1", 0, tasks.Paid), elsewhere(1, 300)), with(at("B", 0, tasks.Paid), elsewhere(1, 300))},
			[]string{"A#1 A 300 MCH 24 04:00:00", "A|1#1 A|1 300 MCH 24 04:00:00", "B#1 B 300 MCH 24 04:00:00"},
		},
		"a part that gets its transaction_id later": {
			[]ledger.Event{
				with(at("A", 0, tasks.Awaiting), newton(1, "", 400)), with(at("A", 1, tasks.Awaiting), newton(1, "101", 400)),
				with(at("A", 2, tasks.Paid), newton(1, "101", 400), newton(2, "102", 600)),
			},
			[]string{"101 A 400 NEWTON 24 04:00:00", "102 A 600 NEWTON 24 04:00:00"},
		},
		"of an order that was enqueued again": {
			[]ledger.Event{with(at("A", 0, tasks.Paid), newton(1, "101", 400)), event("A", ms+9, 0, 1, tasks.Queued)},
			[]string{"101 A 400 NEWTON 24 04:00:00"},
		},
		"events that list none": {
			[]ledger.Event{
				old(at("A", 0, tasks.Awaiting), 400, "NEWTON", "101"), old(at("A", 1, tasks.Awaiting), 400, "NEWTON", "101"),
				old(at("A", 2, tasks.Paid), 1000, "NEWTON", "102"), old(at("B", 0, tasks.Paid), 70, "MCH", ""), old(at("C", 0, tasks.Awaiting), 1, "NEWTON", "103"),
				old(at("C", 1, tasks.Paid), 5, "MCH", "103"),
			},
			[]string{"~101 A 400 NEWTON 24 07:00:00", "~102 A 600 NEWTON 24 07:00:00", "~103 C 1 NEWTON 24 07:00:00", "~B#1 B 70 MCH 24 07:00:00", "~C#2 C 4 MCH 24 07:00:00"},
		},
		"events that list none first, then the list": {
			[]ledger.Event{
				old(at("A", 0, tasks.Awaiting), 1000, "NEWTON", "102"), old(at("A", 1, tasks.Awaiting), 1100, "MCH", "102"),
				with(at("A", 2, tasks.Paid), newton(1, "101", 400), newton(2, "102", 600), elsewhere(3, 100)),
			},
			[]string{"101 A 400 NEWTON 24 04:00:00", "102 A 600 NEWTON 24 04:00:00", "A#3 A 100 MCH 24 04:00:00"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			for range testkit.Form(10, 30) {
				server.Exec(t, url, "truncate events, orders, payments")
				events := slices.Concat(tt.events, tt.events)
				rand.Shuffle(len(events), func(i, j int) { events[i], events[j] = events[j], events[i] })
				for rest := events; len(rest) > 0; {
					n := 1 + rand.IntN(len(rest))
					if err := s.Write(t.Context(), rest[:n]); err != nil {
						t.Fatal(err)
					}
					rest = rest[n:]
				}
				if diff := gocmp.Diff(tt.want, payments(t, url)); diff != "" {
					t.Fatalf("(-want +got)\n%s\nthe events came as %v", diff, events)
				}
			}
		})
	}
}

// WeChat Pay gives each payment a transaction_id of its own. Where two orders list
// the same one all the same, the payment is in the table once, the sink writes
// everything else, and says so.
func TestSinkPayments_OfTwoOrders(t *testing.T) {
	server := pgtest.Shared(t)
	url := server.Database(t, "two_orders")
	var log testkit.LogBuffer
	s := prepared(t, url, &log)
	at := func(no string, i int64) ledger.Event { return event(no, 1763967600000+i, i, 1, tasks.Paid) }
	a, b, c := with(at("A", 0), newton(1, "101", 400)), with(at("B", 1), newton(1, "101", 400)), with(at("C", 2), newton(1, "102", 600))
	want := []string{"101 A 400 NEWTON 24 04:00:00", "102 C 600 NEWTON 24 04:00:00"}
	for name, batches := range map[string][][]ledger.Event{
		"in one batch":        {{a, b, c}},
		"in batches":          {{a}, {b}, {c}},
		"in one batch, twice": {{c, a, b}, {a, b, c}},
	} {
		t.Run(name, func(t *testing.T) {
			server.Exec(t, url, "truncate events, orders, payments")
			before := strings.Count(log.String(), "payment_of_two_orders")
			for _, batch := range batches {
				if err := s.Write(t.Context(), batch); err != nil {
					t.Fatal(err)
				}
			}
			if diff := gocmp.Diff(want, payments(t, url)); diff != "" {
				t.Errorf("payments (-want +got)\n%s", diff)
			}
			if strings.Count(log.String(), "payment_of_two_orders") == before {
				t.Errorf("the log does not tell of it:\n%s", log.String())
			}
		})
	}
}

// Several instances write all events at once, each in an order of its own; some events
// list no payments. Every payment is in the table once.
func TestSinkPayments_SeveralInstances(t *testing.T) {
	server := pgtest.Shared(t)
	url := server.Database(t, "instances")
	var log testkit.LogBuffer
	var events []ledger.Event
	var want []string
	for i := range 25 {
		no := fmt.Sprintf("ORDER-%02d", i)
		var list []ledger.Payment
		for seq := range int64(5) {
			id := fmt.Sprintf("%02d%d", i, seq)
			e := event(no, 1763967600000+seq, int64(i), seq+1, tasks.Awaiting)
			list = append(list, newton(seq+1, id, 100+seq))
			full := with(e, slices.Clone(list)...)
			if i%5 == 0 { // never listed
				full.Payments = nil
				want = append(want, fmt.Sprintf("~%s %s %d NEWTON 24 07:00:00", id, no, 100+seq))
			} else {
				want = append(want, fmt.Sprintf("%s %s %d NEWTON 24 04:00:00", id, no, 100+seq))
				if seq < 2 {
					full.Payments = nil
				}
			}
			events = append(events, full)
		}
	}
	var wg sync.WaitGroup
	for range 4 {
		s := prepared(t, url, &log)
		wg.Go(func() {
			mine := slices.Clone(events)
			rand.Shuffle(len(mine), func(i, j int) { mine[i], mine[j] = mine[j], mine[i] })
			for batch := range slices.Chunk(mine, 10) {
				if err := s.Write(t.Context(), batch); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if diff := gocmp.Diff(want, payments(t, url)); diff != "" {
		t.Errorf("(-want +got)\n%s\n%s", diff, &log)
	}
}

// A database of an earlier release, whose stored events list no payments, gets them
// by the migration.
func TestPrepare_FromVersion1(t *testing.T) {
	server := pgtest.Shared(t)
	url := server.Database(t, "version1")
	var log testkit.LogBuffer
	ofRelease(t, server, url, 1)
	server.Exec(t, url, `insert into events (id, type, at, n, mchid, out_order_no, state, attempts, paid_type, paid_amount, transaction_id) values
			('1-1-0', 'order.opened',    'epoch', 0, '1', 'A', 'queued',   0, null,     null, null),
			('1-2-0', 'order.attempted', 'epoch', 1, '1', 'A', 'awaiting', 1, 'NEWTON', 400,  '101'),
			('1-3-0', 'order.attempted', 'epoch', 2, '1', 'A', 'awaiting', 2, 'NEWTON', 400,  '101'),
			('1-4-0', 'order.paid',      'epoch', 3, '1', 'A', 'paid',     3, 'NEWTON', 1000, '102'),
			('1-5-0', 'order.paid',      'epoch', 4, '1', 'B', 'paid',     1, 'MCH',    70,   null),
			('2-5-0', 'order.paid',      'epoch', 0, '2', 'A', 'paid',     1, 'NEWTON', 5,    '101'),
			('1-6-0', 'order.attempted', 'epoch', 5, '1', 'C', 'awaiting', 1, 'NEWTON', 1,    '103'),
			('1-7-0', 'order.paid',      'epoch', 6, '1', 'C', 'paid',     1, 'MCH',    5,    '103');
		insert into orders (mchid, out_order_no, state, attempts, last_event_id, updated_at, updated_n) values ('1', 'A', 'paid', 3, '1-4-0', 'epoch', 3)`)
	s := open(t, url, &log)
	if fresh, err := s.Prepare(t.Context()); fresh || err != nil {
		t.Fatalf("fresh %t, %v", fresh, err)
	}
	want := []string{
		"~101 A 400 NEWTON 01 00:00:00", "~102 A 600 NEWTON 01 00:00:00", "~103 C 1 NEWTON 01 00:00:00", "~B#1 B 70 MCH 01 00:00:00", "~C#2 C 4 MCH 01 00:00:00",
		"~101 A 5 NEWTON 01 00:00:00", // of the other merchant
	}
	if diff := gocmp.Diff(want, payments(t, url)); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

// A later event can have an earlier time, after a failover of Redis to a node whose
// clock is behind. It wins nevertheless, and paid wins over everything.
func TestSinkWrite_ClockBehind(t *testing.T) {
	server := pgtest.Shared(t)
	url := server.Database(t, "clock")
	var log testkit.LogBuffer
	s := prepared(t, url, &log)
	const ms = 1763967600000
	seen, later := event("A", ms, 0, 5, tasks.Awaiting), event("A", ms-60_000, 0, 6, tasks.Exhausted)
	paid, seenB := event("B", ms-60_000, 0, 5, tasks.Paid), event("B", ms, 0, 5, tasks.Awaiting)
	for _, e := range []ledger.Event{seen, later, seen, seenB, paid, seenB} {
		if err := s.Write(t.Context(), []ledger.Event{e}); err != nil {
			t.Fatal(err)
		}
	}
	got := rows[order](t, pgtest.Connect(t, url), allOrders)
	if diff := gocmp.Diff([]order{orderOf(later), orderOf(paid)}, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	server.Exec(t, url, "truncate orders")
	if err := s.Write(t.Context(), []ledger.Event{later, seenB, seen, paid}); err != nil { // in one batch
		t.Fatal(err)
	}
	got = rows[order](t, pgtest.Connect(t, url), allOrders)
	if diff := gocmp.Diff([]order{orderOf(later), orderOf(paid)}, got); diff != "" {
		t.Errorf("in one batch (-want +got)\n%s", diff)
	}
}

// Waiting does not bring back a missing table or column: the sink ends, and names it.
func TestSinkWrite_MissingColumn(t *testing.T) {
	server := pgtest.Shared(t)
	for name, sql := range map[string]string{
		"owed_since": "alter table orders drop column owed_since",
		"derived":    "alter table payments drop column derived",
		"sync":       "alter table events rename column sync to synced",
		"payments":   "drop table payments",
	} {
		url := server.Database(t, "without_"+name)
		var log testkit.LogBuffer
		s := prepared(t, url, &log)
		server.Exec(t, url, sql)
		err := s.Write(t.Context(), []ledger.Event{with(event("A", 1, 0, 1, tasks.Paid), newton(1, "101", 400))})
		var no *pgsink.Refused
		if !errors.As(err, &no) || !strings.Contains(err.Error(), `"`+name+`"`) && !strings.Contains(err.Error(), "."+name+" ") {
			t.Errorf("%s: %v", sql, err)
		}
	}
}
