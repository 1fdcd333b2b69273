package pgsink_test

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/rs/zerolog"

	"payscore-collector/internal/eventstream/pgsink"
	"payscore-collector/internal/ledger"
	"payscore-collector/internal/redisconn"
	"payscore-collector/internal/testkit"
	"payscore-collector/internal/testkit/pgtest"
	"payscore-collector/tasks"
)

const mchA = "1900000001"

func TestMain(m *testing.M) {
	redisconn.RedirectLog(zerolog.Nop())
	os.Exit(pgtest.Main(m))
}

// open returns a sink into a database.
func open(t *testing.T, url string, log *testkit.LogBuffer) *pgsink.Sink {
	t.Helper()
	db, err := pgsink.Parse(url)
	if err != nil {
		t.Fatal(err)
	}
	s, err := pgsink.New(t.Context(), db, zerolog.New(log))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// prepared is open with the tables made.
func prepared(t *testing.T, url string, log *testkit.LogBuffer) *pgsink.Sink {
	t.Helper()
	s := open(t, url, log)
	if _, err := s.Prepare(t.Context()); err != nil {
		t.Fatal(err)
	}
	return s
}

// event is an order's, at a place of the stream.
func event(no string, ms, n, seq int64, state tasks.State) ledger.Event {
	kind := "order.attempted"
	if !state.Open() {
		kind = "order." + string(state)
	}
	total := int64(1250)
	e := ledger.Event{
		ID: fmt.Sprintf("%s-%d-%d", mchA, ms, n), Type: kind, At: time.UnixMilli(ms).UTC(), MchID: mchA, OutOrderNo: no,
		Seq: seq, State: state, AppID: "wx1", ServiceID: "s1", TotalAmount: &total, Attempts: seq,
		OpenedAt: time.UnixMilli(1000).UTC(),
	}
	if !state.Open() {
		e.EndedAt = e.At
	}
	return e
}

// order is a row of the table orders. Its JSON has the names of the columns.
type order struct {
	ledger.Event
	LastEventID string    `json:"last_event_id"`
	UpdatedAt   time.Time `json:"updated_at"`
	UpdatedN    int64     `json:"updated_n"`
}

// orderOf is what the newest event of an order must have made of it.
func orderOf(e ledger.Event) order {
	o := order{Event: e, LastEventID: e.ID, UpdatedAt: e.At}
	_, o.UpdatedN = e.Position()
	o.Payments = nil // a table of their own
	if e.Type == "order.reopened" {
		o.Reason = "" // it says why the order was reopened
	}
	o.By = ""
	o.ID, o.Type, o.At, o.Call, o.Verdict, o.Code, o.DetailCode = "", "", time.Time{}, "", "", "", ""
	return o
}

// rows reads a table, each row by way of JSON.
func rows[T any](t *testing.T, conn *pgx.Conn, sql string) []T {
	t.Helper()
	r, err := conn.Query(t.Context(), "select jsonb_strip_nulls(to_jsonb(r))::text from ("+sql+") r")
	if err != nil {
		t.Fatal(err)
	}
	texts, err := pgx.CollectRows(r, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	all := make([]T, len(texts))
	for i, text := range texts {
		if err := json.Unmarshal([]byte(text), &all[i]); err != nil {
			t.Fatalf("%v in %s", err, text)
		}
	}
	return all
}

const (
	allEvents = "select * from events order by mchid, at, n"
	allOrders = "select * from orders order by mchid, out_order_no"
)

// wantTables fails where the tables are not what these events, in any order, have
// to make of them.
func wantTables(t *testing.T, url string, events []ledger.Event) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.WithoutCancel(t.Context()))
	events = slices.Clone(events)
	slices.SortFunc(events, func(a, b ledger.Event) int {
		ams, an := a.Position()
		bms, bn := b.Position()
		return cmp.Or(cmp.Compare(a.MchID, b.MchID), cmp.Compare(ams, bms), cmp.Compare(an, bn))
	})
	events = slices.CompactFunc(events, func(a, b ledger.Event) bool { return a.ID == b.ID })
	if diff := gocmp.Diff(events, rows[ledger.Event](t, conn, allEvents)); diff != "" {
		t.Errorf("the table events is another (-want +got):\n%s", diff)
	}
	newest := map[string]ledger.Event{}
	for _, e := range events {
		newest[e.MchID+" "+e.OutOrderNo] = e
	}
	var orders []order
	for _, e := range newest {
		orders = append(orders, orderOf(e))
	}
	slices.SortFunc(orders, func(a, b order) int {
		return cmp.Or(cmp.Compare(a.MchID, b.MchID), cmp.Compare(a.OutOrderNo, b.OutOrderNo))
	})
	if diff := gocmp.Diff(orders, rows[order](t, conn, allOrders)); diff != "" {
		t.Errorf("the table orders is another (-want +got):\n%s", diff)
	}
}

// ofRelease gives a database the tables of an earlier release, by its last migration.
func ofRelease(t *testing.T, server *pgtest.Server, url string, version int) {
	t.Helper()
	server.Exec(t, url, "create table payscore_schema (version int not null primary key, applied_at timestamptz not null default now())")
	for v := 1; v <= version; v++ {
		sql, err := os.ReadFile(fmt.Sprintf("migrations/%04d.sql", v))
		if err != nil {
			t.Fatal(err)
		}
		server.Exec(t, url, fmt.Sprintf("%s; insert into payscore_schema values (%d)", sql, v))
	}
}
