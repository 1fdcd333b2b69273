package main

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/rs/zerolog"

	"payscore-collector/internal/collect"
	"payscore-collector/internal/eventstream/pgsink"
	"payscore-collector/internal/explain"
	"payscore-collector/internal/ledger"
	"payscore-collector/internal/payscore"
	"payscore-collector/internal/testkit/pgtest"
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

// pay gives an event payments and a total: PayScore's of so many fen each, and, where
// below 0, one elsewhere. Those through PayScore get transaction_ids of the order.
func pay(total int64, day time.Time, amounts ...int64) func(*ledger.Event) {
	return func(e *ledger.Event) {
		var paid int64
		e.TotalAmount = &total
		for i, fen := range amounts {
			p := ledger.Payment{Seq: int64(i) + 1, Amount: fen, PaidType: "NEWTON", PaidAt: day, TransactionID: fmt.Sprintf("%s-%d", e.OutOrderNo, i+1)}
			if fen < 0 {
				p.Amount, p.PaidType, p.TransactionID = -fen, "MCH", ""
			}
			paid += p.Amount
			e.Payments = append(e.Payments, p)
			e.PaidAmount, e.PaidType, e.TransactionID = &paid, p.PaidType, p.TransactionID
		}
	}
}

// The queries of docs/queries, with answers computed by hand.
func TestQueries(t *testing.T) {
	const hour, day = time.Hour, 24 * time.Hour
	// Noon in Shanghai, so that an hour earlier is the same day.
	now := time.Now().In(tasks.China)
	h := &history{now: time.Date(now.Year(), now.Month(), now.Day(), 12, 0, 0, 0, tasks.China)}
	if h.now.After(now) {
		h.now = h.now.Add(-day)
	}
	today, yesterday := h.now.Format(time.DateOnly), h.now.Add(-day).Format(time.DateOnly)
	all := func(sets ...func(*ledger.Event)) func(*ledger.Event) {
		return func(e *ledger.Event) {
			for _, set := range sets {
				set(e)
			}
		}
	}
	total := func(fen int64) func(*ledger.Event) { return pay(fen, time.Time{}) }
	said := func(verdict, code, detail string) func(*ledger.Event) {
		return func(e *ledger.Event) { e.Verdict, e.Code, e.DetailCode = verdict, code, detail }
	}
	why := func(reason string) func(*ledger.Event) { return func(e *ledger.Event) { e.Reason = reason } }
	billing := func(fen int64, ago time.Duration) func(*ledger.Event) {
		return func(e *ledger.Event) { e.BillingAmount, e.OwedSince = &fen, h.now.Add(-ago) }
	}
	late := func(e *ledger.Event) { e.Type, e.EndedAt, e.LatePaymentAt = "order.paid", e.At.Add(-3*day), e.At }

	h.add(0, "NEW", tasks.Queued, nil)
	h.add(0, "NEW-SAID", tasks.Queued, billing(7700, 10*day)) // by billing alone, and old
	h.add(2*day, "DECLINED", tasks.Awaiting, all(total(1250), billing(9999, 3*day), said("declined", "TRADE_ERROR", "271316574")))
	h.add(2*day, "PART", tasks.Awaiting, all(pay(1000, h.now.Add(-day), 400), said("owed", "", "")))
	h.add(2*day, "LOWERED", tasks.Awaiting, all(pay(500, h.now.Add(-day), 500), said("owed", "", ""))) // nothing is left
	h.add(40*day, "GIVEN-UP", tasks.Awaiting, all(total(99), said("declined", "TRADE_ERROR", "271316574")))
	h.add(40*day-hour, "GIVEN-UP", tasks.Exhausted, all(total(99), said("owed", "", ""), why("gave_up")))
	// A fen that came after the end hides nothing of the other 99.99 yuan, and the
	// whole of it does.
	h.add(40*day, "LATE-FEN", tasks.Exhausted, all(pay(10000, h.now, 1), why("gave_up"), late))
	h.add(40*day, "LATE-ALL", tasks.Exhausted, all(pay(600, h.now, 600), why("gave_up"), late))
	h.add(hour, "NO-SUCH", tasks.Rejected, all(why("ORDER_NOT_EXIST"), said("not_found", "ORDER_NOT_EXIST", "271317510")))
	h.add(hour, "REVOKED-1", tasks.Closed, all(total(500), why("REVOKED")))
	h.add(hour, "REVOKED-2", tasks.Closed, all(total(700), why("REVOKED")))
	h.add(0, "PAID-1", tasks.Paid, pay(1230, h.now, 1230))
	h.add(hour, "PAID-2", tasks.Paid, pay(5, h.now, 3, 2)) // in two parts
	h.add(day, "PAID-3", tasks.Paid, pay(10000, h.now.Add(-day), 10000))
	h.add(0, "MIXED", tasks.Paid, pay(1000, h.now.Add(-day), 400, -600)) // learnt today, paid yesterday
	h.add(day, "CASH", tasks.Paid, pay(300, h.now.Add(-day), -300))
	h.add(0, "WAIVED", tasks.Withdrawn, all(pay(900, h.now, 100), why("goodwill")))
	h.add(0, "WAIVED-2", tasks.Withdrawn, all(billing(50, day), why("goodwill")))
	h.add(0, "WAIVED-3", tasks.Withdrawn, why("goodwill")) // of unknown amount
	h.add(day, "COUNTER", tasks.Withdrawn, all(pay(800, h.now.Add(-day), 300, -500), why("paid at the counter"), func(e *ledger.Event) { e.Sync = ledger.SyncDone }))
	h.add(day, "COUNTER-2", tasks.Withdrawn, all(total(450), why("paid at the counter"), func(e *ledger.Event) { e.Sync = ledger.SyncPending }))
	h.add(0, "LATE", tasks.Withdrawn, all(pay(800, h.now, 800), why("goodwill"), late))

	closed := func(ago int, exceptions string) {
		day := h.now.AddDate(0, 0, -ago).Format(time.DateOnly)
		at := h.now.Add(time.Duration(-ago) * 24 * time.Hour)
		h.events = append(h.events, ledger.Event{ID: fmt.Sprintf("%s-%d-0", mchA, at.UnixMilli()), Type: ledger.BooksClosed, At: at, MchID: mchA,
			Books: json.RawMessage(`{"date":"` + day + `","exceptions":` + exceptions + `}`)})
	}
	const twice = `{"kind":"paid_twice","out_order_no":"TWICE","transaction_id":"T2","bill_amount":1250,"ledger_amount":1250,"detail":"twice"}`
	closed(2, `[`+twice+`,{"kind":"refunded","bill_amount":1,"detail":"refunded"}]`)
	closed(3, `[]`)
	closed(40, `[`+twice+`]`) // long ago

	conn := filled(t, h.events)
	for name, want := range map[string][]string{
		"owed-by-age.sql": {
			mchA + " | up to 1 day | 1 | 0 | 0 | 1",
			mchA + " | 1 to 7 days | 2 | 18.50 | 0 | 0",
			mchA + " | 7 to 30 days | 1 | 0 | 77.00 | 0",
			mchA + " | over 30 days | 2 | 100.98 | 0 | 0",
		},
		"collected-by-day.sql": {
			mchA + " | " + today + " | 6 | 7 | 27.36 | 0 | 9.00",
			mchA + " | " + yesterday + " | 6 | 8 | 116.00 | 14.00 | 8.00",
		},
		"books-exceptions.sql": {
			mchA + " | " + h.now.AddDate(0, 0, -2).Format(time.DateOnly) + " | paid_twice | TWICE | T2 | 12.50 | 12.50 | twice",
		},
		"waived-by-day.sql": {
			mchA + " | " + today + " | goodwill | 3 | 8.50 | 0 | 1",
			mchA + " | " + yesterday + " | paid at the counter | 1 | 0 | 4.50 | 0",
		},
		"failures-by-reason.sql": {
			mchA + " | closed | REVOKED | - | - | the merchant cancelled it | 2 | 12.00",
			mchA + " | awaiting | - | TRADE_ERROR | 271316574 | the deduction failed: balance, card or risk control | 1 | 12.50",
			mchA + " | exhausted | gave_up | TRADE_ERROR | 271316574 | GIVE_UP_AFTER has passed; the deduction failed: balance, card or risk control | 1 | 0.99",
			mchA + " | exhausted | gave_up | - | - | GIVE_UP_AFTER has passed | 1 | 99.99",
			mchA + " | rejected | ORDER_NOT_EXIST | ORDER_NOT_EXIST | 271317510 | WeChat Pay knows no such order | 1 | 0",
		},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(want, answer(t, conn, query(t, name))); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

// filled returns a database into which the sink has written the events.
func filled(t *testing.T, events []ledger.Event) *pgx.Conn {
	t.Helper()
	url := pgtest.Shared(t).Database(t, strings.ToLower(t.Name()))
	db, err := pgsink.Parse(url)
	if err != nil {
		t.Fatal(err)
	}
	sink, err := pgsink.New(t.Context(), db, zerolog.New(zerolog.NewTestWriter(t)))
	if err != nil {
		t.Fatal(err)
	}
	defer sink.Close()
	if _, err := sink.Prepare(t.Context()); err != nil {
		t.Fatal(err)
	}
	for batch := range slices.Chunk(events, 100) {
		if err := sink.Write(t.Context(), batch); err != nil {
			t.Fatal(err)
		}
	}
	return pgtest.Connect(t, url)
}

// For random orders, every fen of their totals is in exactly one of the four answers, or
// was lost with a closed order. The events are written in any order, some twice.
func TestQueries_EveryFenIsInOneAnswer(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Log("seed", seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	start := time.Now().Add(-30 * 24 * time.Hour).Truncate(time.Second)
	h := &history{now: start}
	var want struct{ collected, elsewhere, owed, waived, toTell, lost, withdrawn int64 }
	for i := range 500 {
		no := fmt.Sprintf("ORDER-%d", i)
		total := 1 + rng.Int64N(5000)
		var parts []int64
		rest := total
		for rest > 0 && rng.IntN(3) > 0 {
			p := 1 + rng.Int64N(rest)
			if rng.IntN(3) == 0 {
				rest -= p
				parts = append(parts, -p)
			} else {
				rest -= p
				parts = append(parts, p)
			}
		}
		if rng.IntN(4) == 0 { // the merchant lowers it
			total, rest = total-rest, 0
			if total == 0 {
				total, rest = 1, 1
			}
		}
		state := tasks.States[rng.IntN(len(tasks.States))]
		if rest == 0 && state != tasks.Withdrawn && state != tasks.Exhausted {
			state = tasks.Paid
		} else if rest > 0 && state == tasks.Paid {
			state = tasks.Awaiting
		}
		paidAt := start.Add(time.Duration(rng.IntN(30*24)) * time.Hour)
		for seen := range len(parts) + 1 { // messages tell of ever more
			at := time.Duration(-seen-1) * time.Minute
			last := seen == len(parts)
			open := tasks.Awaiting
			if last {
				open = state
			}
			h.add(at, no, open, pay(total, paidAt, parts[:seen]...))
			e := &h.events[len(h.events)-1]
			e.Seq, e.OpenedAt = int64(seen)+1, start
			if state == tasks.Withdrawn && last && i%2 == 0 {
				e.Sync = ledger.SyncPending
			}
			if !open.Open() && open != tasks.Paid && len(parts) > 0 && rng.IntN(2) == 0 {
				e.Type, e.LatePaymentAt = "order.paid", e.At
			}
		}
		for _, p := range parts {
			if p > 0 {
				want.collected += p
			} else {
				want.elsewhere -= p
			}
			if state == tasks.Withdrawn {
				want.withdrawn += max(p, -p)
			}
		}
		switch state {
		case tasks.Queued, tasks.Awaiting:
			want.owed += rest
		case tasks.Exhausted:
			want.owed, want.lost = want.owed+rest, want.lost+rest
		case tasks.Closed, tasks.Rejected:
			want.lost += rest
		case tasks.Withdrawn:
			if i%2 == 0 {
				want.toTell += rest
			} else {
				want.waived += rest
			}
		}
	}
	events := append(h.events, h.events[:len(h.events)/3]...)
	rng.Shuffle(len(events), func(i, j int) { events[i], events[j] = events[j], events[i] })
	conn := filled(t, events)

	sums := func(name, columns string) string {
		return answer(t, conn, "select "+columns+" from ("+strings.TrimSuffix(strings.TrimSpace(query(t, name)), ";")+") q")[0]
	}
	yuan := func(amounts ...int64) string {
		var texts []string
		for _, fen := range amounts {
			texts = append(texts, fmt.Sprintf("%d.%02d", fen/100, fen%100))
		}
		return strings.Join(texts, " | ")
	}
	for _, q := range []struct{ name, columns, want string }{
		{"collected-by-day.sql", "sum(yuan), sum(elsewhere_yuan), sum(of_withdrawn_yuan)", yuan(want.collected, want.elsewhere, want.withdrawn)},
		{"owed-by-age.sql", "sum(owed_yuan)", yuan(want.owed)},
		{"waived-by-day.sql", "sum(waived_yuan), sum(elsewhere_yuan)", yuan(want.waived, want.toTell)},
		{"failures-by-reason.sql", "sum(yuan)", yuan(want.lost)},
	} {
		if got := sums(q.name, q.columns); got != q.want {
			t.Errorf("%s: %s come to %s, want %s", q.name, q.columns, got, q.want)
		}
	}
}

// The words of failures-by-reason.sql are those that the commands show.
func TestQueries_WordsAreThoseOfTheCommands(t *testing.T) {
	tell := explain.Teller{}
	words := map[string]string{}
	for _, m := range regexp.MustCompile(`(?m)^    \('([^']+)', '((?:[^']|'')+)'\)`).FindAllStringSubmatch(query(t, "failures-by-reason.sql"), -1) {
		words[m[1]] = strings.ReplaceAll(m[2], "''", "'")
	}
	for code, said := range words {
		if want := tell.Reason(tasks.Exhausted, code); strings.HasPrefix(want, code+": ") && want == code+": "+said {
			continue
		}
		want := tell.ErrorCause(ledger.LastError{Code: code, DetailCode: code})
		if said != want {
			t.Errorf("%s: %q, want %q", code, said, want)
		}
	}
	codes, details := payscore.Codes()
	wanted := slices.Concat(codes, details, []string{
		payscore.ReasonRevoked, payscore.ReasonExpired, payscore.ReasonNotConfirmed, payscore.ReasonNotCompleted, payscore.ReasonNothingOwed, payscore.ReasonWrongService, collect.ReasonGaveUp,
	})
	// Codes of trouble and of a deduction that is running are never the last word
	// against an order.
	others := strings.Fields("FREQUENCY_LIMITED NO_AUTH RATELIMIT_EXCEEDED SIGN_ERROR SYSTEM_ERROR 268435472 268503786 270924332 271302144 271302149 271316754")
	for _, code := range wanted {
		if slices.Contains(others, code) {
			continue
		}
		if words[code] == "" {
			t.Errorf("%s has no words", code)
		}
	}
}

// answer returns a query's rows as psql shows them.
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

// docs/events.md links every query.
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
