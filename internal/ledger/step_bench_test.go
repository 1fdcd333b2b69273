package ledger_test

import (
	"fmt"
	"strconv"
	"testing"
	"time"

	"payscore-collector/internal/ledger"
	"payscore-collector/internal/testkit/redistest"
	"payscore-collector/tasks"
)

// BenchmarkStep takes orders through the two steps that most of them have, a
// collect and the query that finds it paid. Beside the time it reports the
// processor time of Redis for one step, the append-only file and the network
// included, in µs.
func BenchmarkStep(b *testing.B) {
	srv := redistest.StartReal(b, "--appendfsync", "everysec")
	l := ledger.New(srv.Client, mchid)
	orders := make([]tasks.Order, b.N)
	for i := range orders {
		orders[i] = tasks.Order{Payload: payload(fmt.Sprintf("BENCH20261124%013d", i))}
	}
	for _, o := range orders {
		if err := openOrder(b.Context(), l, o); err != nil {
			b.Fatal(err)
		}
	}
	total := int64(1500)
	step := func(no string, set ledger.Settlement, entry ledger.Entry) {
		lim := limits()
		lim.Windows = []time.Time{time.UnixMilli(0), time.UnixMilli(1 << 42)}
		c, err := l.Claim(b.Context(), no, ledger.NewToken(), ledger.NoRound, lim)
		if err != nil || c.Code != ledger.Granted {
			b.Fatal(c.Code, err)
		}
		set.CalledAt, set.Gate = time.Now(), ledger.GateOK
		set.First, set.Most, set.Failures = 5*time.Second, time.Minute, 5
		set.Call, set.Verdict = entry.Call, entry.Verdict
		set.Log = []ledger.Entry{entry}
		res, err := l.Settle(b.Context(), c, set)
		if err != nil || res.Code != ledger.Settled {
			b.Fatal(res.Code, err)
		}
	}
	entry := ledger.Entry{Call: "collect", Verdict: "accepted", HTTPStatus: 200, RequestID: "08F78BB0AF0610D302189F8FA6692084C3A21228C4DB05-0", ElapsedMS: 120}
	before, calls := spent(b, srv)
	b.ResetTimer()
	for _, o := range orders {
		entry.Call, entry.Verdict = "collect", "accepted"
		step(o.OutOrderNo, ledger.Settlement{
			State: tasks.Awaiting, Next: ledger.Confirm, Due: time.Now().Add(-time.Second), Collected: time.Now(), AddAttempts: 1, Confirms: 1,
		}, entry)
		entry.Call, entry.Verdict = "query", "paid"
		step(o.OutOrderNo, ledger.Settlement{
			State: tasks.Paid, VerifiedPaid: true,
			Facts: ledger.Facts{OrderID: "15646546545165651651", TransactionID: "1009660380201506130728806387", PaidType: "NEWTON", Total: &total, Paid: &total,
				Payments: []ledger.Payment{{Seq: 1, TransactionID: "1009660380201506130728806387", Amount: total, PaidType: "NEWTON", PaidAt: time.Unix(1_790_000_000, 0)}}},
		}, entry)
	}
	b.StopTimer()
	cpu, scripts := spent(b, srv)
	b.ReportMetric((cpu-before)/float64(2*b.N), "redis-µs/step")
	b.ReportMetric((scripts-calls)/float64(2*b.N), "scripts-µs/step")
}

// spent is the processor time of Redis, and that of its scripts, in µs.
func spent(b *testing.B, srv *redistest.Server) (cpu, scripts float64) {
	info, err := srv.Client.InfoMap(b.Context(), "cpu", "commandstats").Result()
	if err != nil {
		b.Fatal(err)
	}
	for _, name := range []string{"used_cpu_user", "used_cpu_sys"} {
		s, err := strconv.ParseFloat(info["CPU"][name], 64)
		if err != nil {
			b.Fatal(err)
		}
		cpu += s * 1e6
	}
	_, _ = fmt.Sscanf(info["Commandstats"]["cmdstat_evalsha"], "calls=%f,usec=%f", new(float64), &scripts)
	return cpu, scripts
}
