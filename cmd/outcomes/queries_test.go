package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/rs/zerolog"

	"payscore-collector/internal/ledger"
	"payscore-collector/internal/pgsink"
	"payscore-collector/internal/pgtest"
	"payscore-collector/tasks"
)

// docs is where the queries are.
const docs = "../../docs/queries"

func query(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(docs, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// history makes events.
type history struct {
	now    time.Time
	events []ledger.Event
}

// add is one event of an order, so long ago.
func (h *history) add(ago time.Duration, no string, state tasks.State, set func(*ledger.Event)) {
	ms := h.now.Add(-ago).UnixMilli()
	e := ledger.Event{
		ID: fmt.Sprintf("%s-%d-%d", mchA, ms, len(h.events)), Type: "order.attempted", At: time.UnixMilli(ms).UTC(),
		MchID: mchA, OutOrderNo: no, State: state, OpenedAt: time.UnixMilli(ms).UTC(),
	}
	if !state.Open() {
		e.EndedAt, e.Type = e.At, "order."+string(state)
	}
	if set != nil {
		set(&e)
	}
	h.events = append(h.events, e)
}

// The three questions that are asked first, as docs/queries has them.
func TestQueries(t *testing.T) {
	const hour, day = time.Hour, 24 * time.Hour
	// Noon in Shanghai, so that an hour earlier is the same day.
	now := time.Now().In(tasks.China)
	h := &history{now: time.Date(now.Year(), now.Month(), now.Day(), 12, 0, 0, 0, tasks.China)}
	if h.now.After(now) {
		h.now = h.now.Add(-day)
	}
	today, yesterday := h.now.Format(time.DateOnly), h.now.Add(-day).Format(time.DateOnly)
	amounts := func(total, paid int64) func(*ledger.Event) {
		return func(e *ledger.Event) {
			e.TotalAmount = &total
			if paid > 0 {
				e.PaidAmount, e.PaidType = &paid, "NEWTON"
			}
		}
	}
	said := func(set func(*ledger.Event), verdict, code, detail string) func(*ledger.Event) {
		return func(e *ledger.Event) {
			set(e)
			e.Verdict, e.Code, e.DetailCode = verdict, code, detail
		}
	}
	h.add(0, "NEW", tasks.Queued, nil)
	h.add(2*day, "DECLINED", tasks.Awaiting, said(amounts(1250, 0), "declined", "TRADE_ERROR", "271316574"))
	h.add(2*day, "PART", tasks.Awaiting, said(amounts(1000, 400), "owed", "", ""))
	h.add(40*day, "GIVEN-UP", tasks.Awaiting, said(amounts(99, 0), "declined", "TRADE_ERROR", "271316574"))
	h.add(40*day-hour, "GIVEN-UP", tasks.Exhausted, said(amounts(99, 0), "owed", "", ""))
	h.events[len(h.events)-1].Reason = "gave_up"
	h.add(hour, "NO-SUCH", tasks.Rejected, func(e *ledger.Event) {
		e.Reason, e.Verdict, e.Code, e.DetailCode = "ORDER_NOT_EXIST", "not_found", "ORDER_NOT_EXIST", "271317510"
	})
	h.add(hour, "REVOKED-1", tasks.Closed, amounts(500, 0))
	h.add(hour, "REVOKED-2", tasks.Closed, amounts(700, 0))
	for i := range 2 {
		h.events[len(h.events)-1-i].Reason = "REVOKED"
	}
	h.add(0, "PAID-1", tasks.Paid, amounts(1230, 1230))
	h.add(hour, "PAID-2", tasks.Paid, amounts(5, 5))
	h.add(day, "PAID-3", tasks.Paid, amounts(10000, 10000))
	h.add(day, "CASH", tasks.Paid, func(e *ledger.Event) { amounts(300, 300)(e); e.PaidType = "MCH" })
	h.add(0, "WAIVED", tasks.Withdrawn, amounts(900, 0))
	h.add(0, "LATE", tasks.Withdrawn, func(e *ledger.Event) {
		amounts(800, 800)(e)
		e.Type, e.EndedAt, e.LatePaymentAt = "order.paid", e.At.Add(-3*day), e.At
	})

	url := pgtest.Start(t).URL
	db, err := pgsink.Parse(url)
	if err != nil {
		t.Fatal(err)
	}
	sink, err := pgsink.New(t.Context(), db, zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	defer sink.Close()
	if _, err := sink.Prepare(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := sink.Write(t.Context(), h.events); err != nil {
		t.Fatal(err)
	}

	conn := pgtest.Connect(t, url)
	for name, want := range map[string][]string{
		"owed-by-age.sql": {
			mchA + " | up to 1 day | 1 | 1 | 0",
			mchA + " | 1 to 7 days | 2 | 0 | 18.50",
			mchA + " | over 30 days | 1 | 0 | 0.99",
		},
		"collected-by-day.sql": {
			mchA + " | " + today + " | 3 | 20.35 | 0",
			mchA + " | " + yesterday + " | 2 | 100.00 | 3.00",
		},
		"failures-by-reason.sql": {
			mchA + " | closed | REVOKED | - | - | 2 | 12.00",
			mchA + " | awaiting | - | TRADE_ERROR | 271316574 | 1 | 12.50",
			mchA + " | exhausted | gave_up | TRADE_ERROR | 271316574 | 1 | 0.99",
			mchA + " | rejected | ORDER_NOT_EXIST | ORDER_NOT_EXIST | 271317510 | 1 | 0",
		},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(want, answer(t, conn, query(t, name))); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

// answer is a query's rows as psql shows them.
func answer(t *testing.T, conn *pgx.Conn, sql string) []string {
	t.Helper()
	results, err := conn.PgConn().Exec(t.Context(), sql).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, row := range results[0].Rows {
		cells := make([]string, len(row))
		for i, cell := range row {
			if cells[i] = string(cell); cell == nil {
				cells[i] = "-"
			}
		}
		lines = append(lines, strings.Join(cells, " | "))
	}
	return lines
}

// A query that no document names is found by no one.
func TestEventsDocumentNamesEveryQuery(t *testing.T) {
	text, err := os.ReadFile("../../docs/events.md")
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(docs, "*.sql"))
	if err != nil || len(files) < 3 {
		t.Fatalf("found %v, %v; want at least three queries", files, err)
	}
	for _, file := range files {
		if name := filepath.Base(file); !strings.Contains(string(text), "(queries/"+name+")") {
			t.Errorf("docs/events.md does not link %s", name)
		}
	}
}
