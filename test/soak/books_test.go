package soak

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/rs/zerolog"

	"payscore-collector/internal/audit"
	"payscore-collector/internal/ledger"
	"payscore-collector/internal/redisconn"
	"payscore-collector/internal/simulator"
	"payscore-collector/internal/testkit"
	"payscore-collector/internal/testkit/pgtest"
	"payscore-collector/internal/testkit/redistest"
	"payscore-collector/tasks"
)

func TestMain(m *testing.M) {
	redisconn.RedirectLog(zerolog.Nop())
	status := pgtest.Main(m)
	_ = os.RemoveAll(built.dir)
	os.Exit(status)
}

var built struct {
	once sync.Once
	dir  string
}

// programs builds the programs once for all tests, and returns their directory.
func programs(t *testing.T) string {
	t.Helper()
	built.once.Do(func() {
		dir, err := os.MkdirTemp("", "soak-")
		if err != nil {
			t.Fatal(err)
		}
		built.dir = dir
		from := testkit.Build(t, nil, "cmd/worker", "cmd/outcomes")
		for _, program := range []string{"worker", "outcomes"} {
			if err := os.Rename(filepath.Join(from, program), filepath.Join(dir, program)); err != nil {
				t.Fatal(err)
			}
		}
	})
	return built.dir
}

const (
	workers    = 3
	sinks      = 2
	leastKills = 5
)

// TestBooksEqualThePlatformsTruth: notifications come twice, late, out of order
// and with wrong signatures; workers and sinks are killed with -9; billing
// withdraws some orders midway. At the end PostgreSQL has what the platform has,
// every event of every order once, and none is missing.
func TestBooksEqualThePlatformsTruth(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	for i := range workers {
		e.run(fmt.Sprint("worker-", i), "worker", nil, "PUBLIC_ADDR="+e.public[i])
	}
	for i := range sinks {
		e.run(fmt.Sprint("sink-", i), "outcomes", []string{"sink", "postgres"})
	}
	e.enqueue()
	stop := e.attack()
	e.within(4*time.Minute, "every order to end", func() bool {
		s, err := e.ledger.Stats(context.Background())
		return err == nil && s.Orders[tasks.Queued]+s.Orders[tasks.Awaiting] == 0
	})
	e.within(time.Minute, "the platform's last notification", func() bool { return e.sim.Report().Notifications.Pending == 0 })
	stop()
	e.within(time.Minute, "the books to be written", func() bool {
		readers, err := e.ledger.Trim(context.Background(), 0)
		return err == nil && len(readers) == 1 && readers[0].Behind == 0
	})
	e.judge()
}

// env is everything that runs.
type env struct {
	t         *testing.T
	orders    int
	sim       *simulator.Simulator
	rdb       *redistest.Server
	pg        *pgtest.Server
	ledger    *ledger.Ledger
	producer  *tasks.Producer
	bin       string   // directory of the programs
	settings  []string // their environment
	public    []string // each worker's PUBLIC_ADDR
	log       testkit.LogBuffer
	kills     atomic.Int64
	withdrawn sync.Map

	mu    sync.Mutex
	procs map[string]*exec.Cmd
	ended bool
}

func newEnv(t *testing.T) *env {
	t.Helper()
	sim, err := simulator.New(simulator.Options{KeyBits: 1024})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(sim.Close)
	platform := httptest.NewServer(sim.Handler())
	t.Cleanup(platform.Close)
	rdb := redistest.StartReal(t)
	orders := 1000
	if *truth == "long" {
		orders = 5000
	}
	e := &env{
		t: t, orders: orders, sim: sim, rdb: rdb, pg: pgtest.Start(t), procs: map[string]*exec.Cmd{},
		ledger: ledger.New(rdb.Client, sim.Merchant().MchID), producer: tasks.NewProducer(rdb.Client),
		bin: programs(t),
	}
	t.Cleanup(e.killAll)
	dir := t.TempDir()
	if err := sim.WriteMerchantDir(dir, platform.URL); err != nil {
		t.Fatal(err)
	}
	merchant, err := os.ReadFile(filepath.Join(dir, simulator.FileEnvironment))
	if err != nil {
		t.Fatal(err)
	}
	e.settings = append(strings.Fields(string(merchant)),
		"PATH="+os.Getenv("PATH"), "REDIS_URL="+rdb.URL, "DATABASE_URL="+e.pg.URL, "ADMIN_ADDR=", "COLLECT_WINDOW=always",
		"COLLECT_RATE=350", "CALL_TIMEOUT=2s", "MIN_GAP=1100ms", "COLLECT_SCHEDULE=1500ms", "CONFIRM_SCHEDULE=2s,3s,5s",
		"SWEEP_EVERY=1s", "GIVE_UP_AFTER=10m", "LOG_LEVEL=warn")
	for range workers {
		e.public = append(e.public, testkit.FreeAddr(t))
	}
	balancer := httptest.NewServer(e.balance())
	t.Cleanup(balancer.Close)
	ms := func(n int) simulator.Duration { return simulator.Duration(time.Duration(n) * time.Millisecond) }
	if err := sim.SetNotifications(simulator.Notifications{
		URL: balancer.URL, DelayJitter: ms(300), Duplicate: 0.3, Late: 0.1, LateBy: ms(3000),
		Lose: 0.05, SignTest: 0.05, OtherEvents: 0.05, Retry: []simulator.Duration{ms(200), ms(1000), ms(2000)},
	}); err != nil {
		t.Fatal(err)
	}
	return e
}

// balance passes the notifications of notify_url unchanged to one worker after the
// other.
func (e *env) balance() http.HandlerFunc {
	var turn atomic.Int64
	return func(rw http.ResponseWriter, r *http.Request) {
		to := e.public[int(turn.Add(1))%workers]
		out, err := http.NewRequestWithContext(r.Context(), r.Method, "http://"+to+"/notify/"+e.sim.Merchant().MchID, r.Body)
		if err != nil {
			http.Error(rw, err.Error(), http.StatusInternalServerError)
			return
		}
		out.Header, out.ContentLength = r.Header.Clone(), r.ContentLength
		resp, err := http.DefaultTransport.RoundTrip(out)
		if err != nil {
			http.Error(rw, "that worker is down", http.StatusBadGateway)
			return
		}
		defer resp.Body.Close()
		rw.WriteHeader(resp.StatusCode)
		_, _ = io.Copy(rw, resp.Body)
	}
}

func (e *env) enqueue() {
	e.t.Helper()
	m := e.sim.Merchant()
	fates := []simulator.Fate{"pays", "pays", "pays", "pays", "declines:1", "partial:40", "userpaying:500ms", "user_pays:5s", "revoked", "not_completed",
		"pays", "parts:3", "mixed:PMP", "mixed:PM", "lower:50"}
	var orders []tasks.Order
	for i := range e.orders {
		no := number(i)
		if err := e.sim.AddOrders(simulator.Order{OutOrderNo: no, TotalAmount: int64(100 + i), Fate: fates[i%len(fates)]}); err != nil {
			e.t.Fatal(err)
		}
		orders = append(orders, tasks.Order{Payload: tasks.Payload{MchID: m.MchID, OutOrderNo: no, AppID: m.AppID, ServiceID: m.ServiceID}})
	}
	for o, res := range e.producer.EnqueueAll(e.t.Context(), slices.Values(orders)) {
		if res.Status != tasks.Accepted {
			e.t.Fatalf("%s: %+v", o.OutOrderNo, res)
		}
	}
}

func number(i int) string { return fmt.Sprintf("SOAK-%05d", i) }

// run keeps a program running: it starts it again after each kill.
func (e *env) run(name, program string, args []string, settings ...string) {
	start := func() *exec.Cmd {
		e.mu.Lock()
		defer e.mu.Unlock()
		if e.ended {
			return nil
		}
		cmd := exec.Command(filepath.Join(e.bin, program), args...)
		cmd.Env = slices.Concat(e.settings, settings)
		cmd.Stdout, cmd.Stderr = &e.log, &e.log
		if err := testkit.Start(cmd); err != nil {
			fmt.Fprintf(&e.log, "%s: %v\n", name, err)
			return nil
		}
		e.procs[name] = cmd
		return cmd
	}
	go func() {
		for cmd := start(); cmd != nil; cmd = start() {
			_ = cmd.Wait()
		}
	}()
}

func (e *env) killAll() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.ended = true
	for _, p := range e.procs {
		_ = p.Process.Kill()
	}
}

// attack kills a program every now and then, and withdraws orders, until stop is
// called.
func (e *env) attack() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	each := func(every time.Duration, do func()) {
		wg.Go(func() {
			for {
				select {
				case <-ctx.Done():
					return
				case <-time.After(every):
					do()
				}
			}
		})
	}
	each(time.Second, func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		for _, p := range e.procs { // a random one
			if p.Process.Kill() == nil {
				e.kills.Add(1)
			}
			return
		}
	})
	each(100*time.Millisecond, func() {
		wd := tasks.Withdrawal{MchID: e.sim.Merchant().MchID, OutOrderNo: number(rand.IntN(e.orders)), Reason: "soaked"}
		if rand.IntN(2) == 0 {
			wd.PaidAt = time.Now()
		}
		if res, err := e.producer.Withdraw(ctx, wd); err == nil && res.Status == tasks.Accepted {
			e.withdrawn.Store(wd.OutOrderNo, true)
		}
	})
	return func() { cancel(); wg.Wait() }
}

func (e *env) within(patience time.Duration, what string, ok func() bool) {
	e.t.Helper()
	testkit.Within(e.t, patience, what, ok, e)
}

// String is what a failed test shows.
func (e *env) String() string {
	s, err := e.ledger.Stats(context.Background())
	readers, _ := e.ledger.Trim(context.Background(), 0)
	lines := e.log.Lines()
	return fmt.Sprintf("the ledger: %+v %v; readers %+v; the end of the logs:\n%s", s, err, readers, strings.Join(lines[max(0, len(lines)-30):], "\n"))
}

// row is an order in PostgreSQL.
type row struct {
	state, transaction, sync string
	paid, total              int64
	late                     bool
	opened                   time.Time
	payments                 []ledger.Payment
}

// readBooks reads the orders and their payments from PostgreSQL.
func readBooks(t *testing.T, db *pgx.Conn) map[string]row {
	t.Helper()
	books := map[string]row{}
	var no string
	var r row
	var p ledger.Payment
	for _, q := range []struct {
		query string
		into  []any
		take  func() error
	}{
		{`SELECT out_order_no, state, coalesce(transaction_id, ''), coalesce(sync, ''), coalesce(paid_amount, 0), coalesce(total_amount, 0), late_payment_at IS NOT NULL, opened_at FROM orders`,
			[]any{&no, &r.state, &r.transaction, &r.sync, &r.paid, &r.total, &r.late, &r.opened},
			func() error { books[no] = r; return nil }},
		{`SELECT out_order_no, seq, coalesce(transaction_id, ''), amount, paid_type, paid_at FROM payments`,
			[]any{&no, &p.Seq, &p.TransactionID, &p.Amount, &p.PaidType, &p.PaidAt},
			func() error {
				b := books[no]
				b.payments = append(b.payments, p)
				books[no] = b
				return nil
			}},
	} {
		rows, err := db.Query(t.Context(), q.query)
		if err == nil {
			_, err = pgx.ForEachRow(rows, q.into, q.take)
		}
		if err != nil {
			t.Fatalf("%s: %v", q.query, err)
		}
	}
	return books
}

// judge compares the books with the ledger's events and the platform's truth.
func (e *env) judge() {
	t := e.t
	t.Helper()
	db := pgtest.Connect(t, e.pg.URL)
	books := readBooks(t, db)
	report := e.sim.Report()
	var through, elsewhere, unknown int64 // fen
	states, late, wrong := map[string]int{}, 0, 0
	for _, o := range report.Orders {
		b := books[o.OutOrderNo]
		states[b.state]++
		_, withdrawn := e.withdrawn.Load(o.OutOrderNo)
		if withdrawn && b.late {
			late++
		}
		for _, text := range compare(b, o, withdrawn) {
			t.Errorf("%s (%s), %s: %s", o.OutOrderNo, o.Fate, b.state, text)
			if wrong++; wrong > 20 {
				t.Fatal("and so on")
			}
		}
		unknown += o.PaidAmount
		for _, p := range b.payments {
			unknown -= p.Amount
			if p.PaidType == simulator.PaidTypeMch {
				elsewhere += p.Amount
			} else {
				through += p.Amount
			}
		}
	}
	if len(books) != e.orders {
		t.Errorf("%d orders in the books, want %d", len(books), e.orders)
	}
	e.judgeEvents(db, through, elsewhere)
	counters := e.judgeCounters()
	n := report.Notifications
	if n.SignTestsTaken != 0 {
		t.Errorf("%d deliberately wrong signatures were accepted", n.SignTestsTaken)
	}
	if k := e.kills.Load(); k < leastKills {
		t.Errorf("only %d kills, want %d at least: the run shows too little", k, leastKills)
	}
	t.Logf("%d fen through PayScore, %d elsewhere; %d fen came after a withdrawal, and no notification of them was taken", through, elsewhere, unknown)
	t.Logf("%d counters of the recovery equal a recount of the records", counters)
	t.Logf("%d orders %v, of the withdrawn ones %d paid all the same; %d kills; %d WeChat calls (%.2f an order); notifications: %+v",
		len(books), states, late, e.kills.Load(), report.Calls, float64(report.Calls)/float64(e.orders), n)
}

// compare returns what is wrong with the books of one order.
func compare(b row, o simulator.OrderReport, withdrawn bool) (wrong []string) {
	differ := func(format string, args ...any) { wrong = append(wrong, fmt.Sprintf(format, args...)) }
	want := audit.Expected(o)
	if withdrawn {
		want = tasks.Withdrawn
	}
	if b.state != string(want) {
		differ("want %s, the platform says %s", want, audit.Describe(o))
	}
	if b.state == string(tasks.Paid) && (b.paid != o.PaidAmount || b.total != o.TotalAmount || b.transaction == "") {
		differ("the books say %d of %d fen by %q, the platform %d of %d", b.paid, b.total, b.transaction, o.PaidAmount, o.TotalAmount)
	}
	// What the platform did after a withdrawal is known where a notification was
	// taken, or where WeChat Pay was told and queried.
	platform := audit.Platform(o.Payments)
	// A notification that comes before the order was handed over is none of ours. The
	// first call learns of its payment, but a withdrawal leaves no call to make.
	early := slices.ContainsFunc(platform, func(p ledger.Payment) bool { return p.PaidAt.Before(b.opened) })
	mayMiss := withdrawn && b.sync != string(ledger.SyncDone) && (o.Notified == 0 || len(o.Payments) > 1 || early)
	for _, d := range audit.Payments(b.payments, platform) {
		if d.Kind != audit.Missing || !mayMiss {
			differ("%s", d.Text)
		}
	}
	var sum int64
	for _, p := range b.payments {
		sum += p.Amount
	}
	if sum != b.paid {
		differ("payments of %d fen in the books, and paid_amount is %d", sum, b.paid)
	}
	// Money that came after a withdrawal is in the books wherever a notification of
	// it was taken. Of orders that are paid in parts, some may have been known before
	// the withdrawal; judgeEvents covers those.
	kind, _, _ := strings.Cut(string(o.Fate), ":")
	inParts := kind == "partial" || kind == "parts" || kind == "mixed"
	if withdrawn && o.MoneyMoved > 0 && o.Notified > 0 && !inParts && !early && (!b.late || b.paid != o.MoneyMoved) {
		differ("%d fen came in after the withdrawal, of which the books say %d, late: %t", o.MoneyMoved, b.paid, b.late)
	}
	if o.MostAtOnce > 1 {
		differ("%d calls at once", o.MostAtOnce)
	}
	return wrong
}

// judgeCounters compares the ledger's counters with a recount of its records, and returns
// how many of the recovery there are.
func (e *env) judgeCounters() int {
	t, ctx, mchid := e.t, e.t.Context(), e.sim.Merchant().MchID
	t.Helper()
	e.killAll() // some may still have told WeChat Pay of a withdrawal
	declines := audit.FirstDeclines{}
	stream, err := e.rdb.Client.XRange(ctx, ledger.KeysOf(mchid).Outcomes(), "-", "+").Result()
	for _, x := range stream {
		event, err := ledger.DecodeEvent(mchid, x.ID, x.Values)
		if err != nil {
			t.Fatal(err)
		}
		declines.Take(event)
	}
	if err != nil {
		t.Fatal(err)
	}
	var orders []ledger.Order
	recount := audit.RecoveryCounts{}
	for i := range e.orders {
		o, err := e.ledger.Get(ctx, number(i))
		if err != nil {
			t.Fatal(err)
		}
		orders = append(orders, o)
		recount.Add(o, declines[o.OutOrderNo])
	}
	stats, err := e.ledger.Stats(ctx)
	if err != nil {
		t.Fatal(err)
	}
	recovery, err := e.ledger.Recovery(ctx, "2000-01-01", "2999-01-01")
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range slices.Concat(audit.Stats(stats, orders), recount.Differ(recovery.Counts)) {
		t.Error(d.Text)
	}
	return len(recount)
}

// judgeEvents compares the tables with each other and with the stream.
func (e *env) judgeEvents(db *pgx.Conn, through, elsewhere int64) {
	t := e.t
	t.Helper()
	one := func(query string) (text string) {
		if err := db.QueryRow(t.Context(), "SELECT ("+query+")::text").Scan(&text); err != nil {
			t.Fatalf("%s: %v", query, err)
		}
		return text
	}
	daily, err := os.ReadFile("../../docs/queries/collected-by-day.sql")
	if err != nil {
		t.Fatal(err)
	}
	sums := "SELECT (sum(yuan) * 100)::bigint || ' ' || (sum(elsewhere_yuan) * 100)::bigint FROM (" + strings.TrimSuffix(strings.TrimSpace(string(daily)), ";") + ") AS q"
	if got, want := one(sums), fmt.Sprint(through, " ", elsewhere); got != want {
		t.Errorf("collected-by-day.sql comes to %s fen, want %s as the payments do", got, want)
	}
	stream := e.rdb.Client.XLen(t.Context(), ledger.KeysOf(e.sim.Merchant().MchID).Outcomes()).Val()
	if got, want := one(`SELECT count(*) FROM events`), fmt.Sprint(stream); got != want {
		t.Errorf("%s events in the books, want the %s of the stream", got, want)
	}
	for what, query := range map[string]string{
		"payments were derived":  `SELECT count(*) FROM payments WHERE derived`,
		"events are there twice": `SELECT count(*) - count(DISTINCT (mchid, out_order_no, seq)) FROM events`,
		"orders lack an event": `SELECT count(*) FROM (SELECT 1 FROM events GROUP BY mchid, out_order_no
			HAVING min(seq) <> 1 OR max(seq) <> count(*)) AS broken`,
		"orders are not what their newest event says": `SELECT count(*) FROM orders o JOIN (SELECT DISTINCT ON (mchid, out_order_no) mchid, out_order_no, state, seq FROM events
			ORDER BY mchid, out_order_no, seq DESC) e USING (mchid, out_order_no) WHERE o.state <> e.state OR o.seq <> e.seq`,
		// A payment through PayScore that was not known when billing withdrew is a
		// late one, and nothing else is.
		"withdrawn orders are marked as paid late and were not, or the other way round": `SELECT count(*) FROM orders o WHERE o.state = 'withdrawn' AND (o.late_payment_at IS NOT NULL) <> EXISTS (
			SELECT FROM payments p WHERE p.mchid = o.mchid AND p.out_order_no = o.out_order_no AND p.paid_type = 'NEWTON' AND NOT EXISTS (
				SELECT FROM events e, jsonb_to_recordset(e.payments) AS known (transaction_id text)
				WHERE e.mchid = o.mchid AND e.out_order_no = o.out_order_no AND e.type = 'order.withdrawn' AND known.transaction_id = p.transaction_id))`,
	} {
		if got := one(query); got != "0" {
			t.Errorf("%s %s", got, what)
		}
	}
}
