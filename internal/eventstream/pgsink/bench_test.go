package pgsink_test

import (
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/prometheus/procfs"
	"github.com/redis/go-redis/v9"
	"github.com/rs/zerolog"

	"payscore-collector/internal/eventstream"
	"payscore-collector/internal/eventstream/pgsink"
	"payscore-collector/internal/ledger"
	"payscore-collector/internal/testkit/pgtest"
	"payscore-collector/internal/testkit/redistest"
	"payscore-collector/tasks"
)

// BenchmarkSink writes a stream of orders' lives into PostgreSQL, on the whole way from
// Redis to the commit, beside PostgreSQL's own COPY of the same rows into a table with the
// same indexes. Its figures of events a second mean
// something beside each other; on a busy machine compare the processor time.
//
//	go test ./internal/eventstream/pgsink -run '^$' -bench Sink -benchtime 1x
func BenchmarkSink(b *testing.B) {
	const orders = 20_000
	rds := redistest.StartReal(b)
	events := fillStream(b, rds.Client, orders)
	pg := pgtest.Shared(b)
	for i := range b.N {
		url := pg.Database(b, fmt.Sprintf("bench%d_%d", orders, i))
		db, err := pgsink.Parse(url)
		if err != nil {
			b.Fatal(err)
		}
		sink, err := pgsink.New(b.Context(), db, zerolog.Nop())
		if err != nil {
			b.Fatal(err)
		}
		sink.Once = true
		if _, err := sink.Prepare(b.Context()); err != nil {
			b.Fatal(err)
		}
		reader := eventstream.NewReader(rds.Client, pgsink.Reading(eventstream.Options{Group: fmt.Sprintf("g%d", i), Consumer: "c", MchID: mchA, Once: true}), zerolog.Nop())
		began := time.Now()
		if err := reader.Run(b.Context(), sink.Write); err != nil {
			b.Fatal(err)
		}
		took := time.Since(began)
		if n := sink.Totals().Events; n != int64(events) {
			b.Fatalf("%d events were written, want %d", n, events)
		}
		spent := backends(b, url)
		sink.Close()
		copyTook, copySpent := copyAgain(b, url, events)
		b.ReportMetric(float64(events)/took.Seconds(), "events/s")
		b.ReportMetric(float64(events)/copyTook.Seconds(), "copied/s")
		b.ReportMetric(took.Seconds()/copyTook.Seconds(), "x-COPY")
		b.ReportMetric(spent.Seconds()/copySpent.Seconds(), "x-COPY-CPU")
	}
}

// transaction is the number of the model's payment. Other orders have other last digits.
const transaction = "4200000000202511240000000001"

// fillStream writes the events of orders that are opened, called and paid.
func fillStream(b *testing.B, rdb *redis.Client, orders int) (events int) {
	b.Helper()
	l := ledger.New(rdb, mchA)
	if _, err := l.Open(b.Context(), ledger.Opening{Owner: tasks.Owner{AppID: "wx0123456789abcdef", ServiceID: "00004000000000160000000000000000"}, OutOrderNo: "MODEL"}); err != nil {
		b.Fatal(err)
	}
	lim := ledger.Limits{Lease: 20 * time.Second, Rate: 1e6, Horizon: time.Minute, Most: time.Second}
	total, paid := int64(1250), int64(1250)
	for _, set := range []ledger.Settlement{
		{State: tasks.Awaiting, Next: ledger.Confirm, AddAttempts: 1, Call: "collect", Verdict: "accepted"},
		{State: tasks.Paid, Call: "query", Verdict: "paid", VerifiedPaid: true, Facts: ledger.Facts{
			OrderID: "15646546545165651651", Total: &total, Paid: &paid,
			Payments: []ledger.Payment{{Seq: 1, TransactionID: transaction, Amount: 1250, PaidType: "NEWTON", PaidAt: time.Now().UTC().Truncate(time.Second)}},
		}},
	} {
		c, err := l.Claim(b.Context(), "MODEL", ledger.NewToken(), ledger.NoRound, lim)
		if err != nil || c.Code != ledger.Granted {
			b.Fatal(c.Code, err)
		}
		set.Due, set.CalledAt, set.Gate, set.First, set.Failures = c.Now, c.Now, ledger.GateOK, time.Second, 10
		set.Log = []ledger.Entry{{Call: set.Call, Verdict: set.Verdict, HTTPStatus: 200}}
		if _, err := l.Settle(b.Context(), c, set); err != nil {
			b.Fatal(err)
		}
	}
	stream := ledger.KeysOf(mchA).Outcomes()
	model, err := rdb.XRange(b.Context(), stream, "-", "+").Result()
	if err != nil || len(model) != 3 {
		b.Fatal(len(model), err)
	}
	const pipelined = 5000 // no two events of an order come soon after each other
	for from := 0; from < orders; from += pipelined {
		pipe := rdb.Pipeline()
		for _, m := range model {
			for i := range pipelined {
				values := maps.Clone(m.Values)
				values["no"] = fmt.Sprintf("ORDER-2025112400-%06d", from+i)
				for _, name := range []string{"transaction_id", "payments"} {
					if text, _ := values[name].(string); text != "" {
						values[name] = strings.Replace(text, transaction, fmt.Sprintf("%.20s%08d", transaction, from+i), 1)
					}
				}
				pipe.XAdd(b.Context(), &redis.XAddArgs{Stream: stream, Values: values})
			}
		}
		if _, err := pipe.Exec(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
	return len(model) * (orders + 1)
}

// backends returns the processor time of PostgreSQL's processes for a database.
func backends(b *testing.B, url string) (spent time.Duration) {
	b.Helper()
	conn := pgtest.Connect(b, url)
	defer conn.Close(b.Context())
	rows, err := conn.Query(b.Context(), "select pid from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()")
	if err != nil {
		b.Fatal(err)
	}
	pids, err := pgx.CollectRows(rows, pgx.RowTo[int32])
	if err != nil {
		b.Fatal(err)
	}
	for _, pid := range pids {
		spent += processorTime(b, int(pid))
	}
	return spent
}

func processorTime(b *testing.B, pid int) time.Duration {
	b.Helper()
	p, err := procfs.NewProc(pid)
	if err != nil {
		b.Fatal(err)
	}
	stat, err := p.Stat()
	if err != nil {
		b.Fatal(err)
	}
	return time.Duration(stat.CPUTime() * float64(time.Second))
}

// copyAgain copies the table events into another one, and returns how long that took, and
// PostgreSQL's processor time for it.
func copyAgain(b *testing.B, url string, events int) (took, spent time.Duration) {
	b.Helper()
	conn := pgtest.Connect(b, url)
	defer conn.Close(b.Context())
	if _, err := conn.Exec(b.Context(), "create table copied (like events including all)"); err != nil {
		b.Fatal(err)
	}
	rows, err := conn.Query(b.Context(), "select * from events order by at, n")
	if err != nil {
		b.Fatal(err)
	}
	var columns []string
	for _, f := range rows.FieldDescriptions() {
		columns = append(columns, f.Name)
	}
	var all [][]any
	for rows.Next() {
		values, err := rows.Values()
		if err != nil {
			b.Fatal(err)
		}
		all = append(all, values)
	}
	if err := rows.Err(); err != nil {
		b.Fatal(err)
	}
	before := processorTime(b, int(conn.PgConn().PID()))
	began := time.Now()
	if n, err := conn.CopyFrom(b.Context(), pgx.Identifier{"copied"}, columns, pgx.CopyFromRows(all)); err != nil || n != int64(events) {
		b.Fatal(n, err)
	}
	return time.Since(began), processorTime(b, int(conn.PgConn().PID())) - before
}
