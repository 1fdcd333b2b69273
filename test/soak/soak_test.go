package soak

import (
	"bytes"
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
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"payscore-collector/internal/audit"
	"payscore-collector/internal/ledger"
	"payscore-collector/internal/simulator"
	"payscore-collector/internal/testkit"
	"payscore-collector/internal/testkit/pgtest"
	"payscore-collector/internal/testkit/redistest"
	"payscore-collector/tasks"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }

const (
	orders  = 5000
	workers = 3
	sinks   = 2
)

// TestBooksEqualThePlatformsTruth: notifications come twice, late, out of order
// and with wrong signatures; workers and sinks are killed with -9; billing
// withdraws some orders midway. At the end PostgreSQL has what the platform has,
// every event of every order once, and none is missing.
func TestBooksEqualThePlatformsTruth(t *testing.T) {
	rdb, pg := redistest.StartReal(t), pgtest.Start(t)
	w := newWorld(t, rdb, pg)
	for i := range workers {
		w.keep("worker", i, "PUBLIC_ADDR="+w.public[i])
	}
	for i := range sinks {
		w.keep("sink", i)
	}
	w.enqueue(t)

	stop := w.nemesis()
	w.until(t, 4*time.Minute, "every order to end", func() bool {
		s, err := w.ledger.Stats(context.Background())
		return err == nil && s.Orders[tasks.Queued]+s.Orders[tasks.Awaiting] == 0
	})
	w.until(t, time.Minute, "the platform's last notification", func() bool { return w.sim.Report().Notifications.Pending == 0 })
	stop()
	w.until(t, time.Minute, "the books to be written", func() bool {
		readers, err := w.ledger.Trim(context.Background(), 0)
		return err == nil && len(readers) == 1 && readers[0].Behind == 0
	})
	w.judge(t)
}

// world is everything that runs.
type world struct {
	sim       *simulator.Simulator
	rdb       *redistest.Server
	pg        *pgtest.Server
	ledger    *ledger.Ledger
	producer  *tasks.Producer
	dir       string
	env       []string
	public    []string // each worker's PUBLIC_ADDR
	kills     atomic.Int64
	passed    atomic.Int64
	withdrawn sync.Map

	mu    sync.Mutex
	procs map[string]*exec.Cmd
	ended bool
	logs  bytes.Buffer
}

func newWorld(t *testing.T, rdb *redistest.Server, pg *pgtest.Server) *world {
	t.Helper()
	sim, err := simulator.New(simulator.Options{KeyBits: 1024})
	if err != nil {
		t.Fatal(err)
	}
	platform := httptest.NewServer(sim.Handler())
	w := &world{
		sim: sim, rdb: rdb, pg: pg, dir: testkit.Build(t, nil, "cmd/worker", "cmd/outcomes"), procs: map[string]*exec.Cmd{},
		ledger: ledger.New(rdb.Client, sim.Merchant().MchID), producer: tasks.NewProducer(rdb.Client),
	}
	t.Cleanup(func() {
		w.killAll()
		sim.Close()
		platform.Close()
		if t.Failed() {
			t.Logf("the last of the logs:\n%s", w.tail())
		}
	})
	if err := sim.WriteMerchantDir(filepath.Join(w.dir, "merchant"), platform.URL); err != nil {
		t.Fatal(err)
	}
	merchant, err := os.ReadFile(filepath.Join(w.dir, "merchant", "merchant.env"))
	if err != nil {
		t.Fatal(err)
	}
	w.env = append(strings.Fields(string(merchant)),
		"PATH="+os.Getenv("PATH"), "REDIS_URL="+rdb.URL, "DATABASE_URL="+pg.URL, "ADMIN_ADDR=", "COLLECT_WINDOW=always",
		"COLLECT_RATE=350", "CALL_TIMEOUT=2s", "MIN_GAP=1100ms", "COLLECT_SCHEDULE=1500ms", "CONFIRM_SCHEDULE=2s,3s,5s",
		"SWEEP_EVERY=1s", "GIVE_UP_AFTER=10m", "LOG_LEVEL=warn")
	for range workers {
		w.public = append(w.public, testkit.FreeAddr(t))
	}
	// The system that notify_url points at passes what it gets on to one worker
	// after the other, as it came.
	var turn atomic.Int64
	passOn := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		to := w.public[int(turn.Add(1))%workers]
		out, err := http.NewRequestWithContext(r.Context(), r.Method, "http://"+to+"/notify/"+sim.Merchant().MchID, r.Body)
		if err != nil {
			http.Error(rw, err.Error(), http.StatusInternalServerError)
			return
		}
		out.Header, out.ContentLength = r.Header.Clone(), r.ContentLength
		resp, err := http.DefaultTransport.RoundTrip(out)
		if err != nil {
			http.Error(rw, "that worker is away", http.StatusBadGateway)
			return
		}
		defer resp.Body.Close()
		rw.WriteHeader(resp.StatusCode)
		_, _ = io.Copy(rw, resp.Body)
		w.passed.Add(1)
	}))
	t.Cleanup(passOn.Close)
	if err := sim.SetNotifications(simulator.Notifications{
		URL: passOn.URL, DelayJitter: simulator.Duration(300 * time.Millisecond), Duplicate: 0.3, Late: 0.1,
		LateBy: simulator.Duration(3 * time.Second), Lose: 0.05, SignTest: 0.05, OtherEvents: 0.05,
		Retry: []simulator.Duration{simulator.Duration(200 * time.Millisecond), simulator.Duration(time.Second), simulator.Duration(2 * time.Second)},
	}); err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *world) enqueue(t *testing.T) {
	t.Helper()
	m := w.sim.Merchant()
	var added []simulator.Order
	var open []tasks.Order
	fates := []simulator.Fate{"pays", "pays", "pays", "pays", "declines:1", "partial:40", "userpaying:500ms", "user_pays:5s", "revoked", "not_completed",
		"pays", "parts:3", "mixed:PMP", "mixed:PM", "lower:50"}
	for i := range orders {
		no := fmt.Sprintf("SOAK-%05d", i)
		added = append(added, simulator.Order{OutOrderNo: no, TotalAmount: int64(100 + i), Fate: fates[i%len(fates)]})
		open = append(open, tasks.Order{Payload: tasks.Payload{MchID: m.MchID, OutOrderNo: no, AppID: m.AppID, ServiceID: m.ServiceID}})
	}
	if err := w.sim.AddOrders(added...); err != nil {
		t.Fatal(err)
	}
	for o, res := range w.producer.EnqueueAll(t.Context(), slices.Values(open)) {
		if res.Status != tasks.Accepted {
			t.Fatalf("%s: %+v", o.OutOrderNo, res)
		}
	}
}

// keep runs a program, and starts it again whenever it is killed.
func (w *world) keep(what string, i int, env ...string) {
	name := fmt.Sprintf("%s-%d", what, i)
	command, args := filepath.Join(w.dir, "worker"), []string(nil)
	if what == "sink" {
		command, args = filepath.Join(w.dir, "outcomes"), []string{"sink", "postgres"}
	}
	start := func() *exec.Cmd {
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.ended {
			return nil
		}
		cmd := exec.Command(command, args...)
		cmd.Env = append(slices.Clone(w.env), env...)
		cmd.Stdout, cmd.Stderr = w, w
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		if err := cmd.Start(); err != nil {
			_, _ = w.logs.WriteString(name + ": " + err.Error() + "\n")
			return nil
		}
		w.procs[name] = cmd
		return cmd
	}
	go func() {
		for cmd := start(); cmd != nil; cmd = start() {
			_ = cmd.Wait()
		}
	}()
}

// Write takes the programs' logs.
func (w *world) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.logs.Write(p)
}

func (w *world) tail() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := w.logs.String()
	return s[max(0, len(s)-4000):]
}

func (w *world) killAll() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ended = true
	for _, p := range w.procs {
		_ = p.Process.Kill()
	}
}

// nemesis kills a program every now and then, and withdraws orders, until it is
// told to stop.
func (w *world) nemesis() (stop func()) {
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
	each(2*time.Second, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		names := make([]string, 0, len(w.procs))
		for name := range w.procs {
			names = append(names, name)
		}
		slices.Sort(names)
		if w.procs[names[rand.IntN(len(names))]].Process.Kill() == nil {
			w.kills.Add(1)
		}
	})
	each(50*time.Millisecond, func() {
		no := fmt.Sprintf("SOAK-%05d", rand.IntN(orders))
		wd := tasks.Withdrawal{MchID: w.sim.Merchant().MchID, OutOrderNo: no, Reason: "soaked"}
		if rand.IntN(2) == 0 {
			wd.PaidAt = time.Now()
		}
		if res, err := w.producer.Withdraw(ctx, wd); err == nil && res.Status == tasks.Accepted {
			w.withdrawn.Store(no, true)
		}
	})
	return func() { cancel(); wg.Wait() }
}

func (w *world) until(t *testing.T, within time.Duration, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(within); !ok(); {
		if time.Now().After(deadline) {
			s, err := w.ledger.Stats(context.Background())
			readers, _ := w.ledger.Trim(context.Background(), 0)
			t.Fatalf("waited %s in vain for %s; the ledger: %+v %v; readers %+v; the last of the logs:\n%s", within, what, s, err, readers, w.tail())
		}
		<-time.After(200 * time.Millisecond)
	}
}

// row is an order in PostgreSQL.
type row struct {
	state, transaction, sync string
	paid, total              int64
	late                     bool
	payments                 []ledger.Payment
}

// readPayments gives the orders in books their rows of the table payments.
func readPayments(t *testing.T, db *pgx.Conn, books map[string]row) {
	t.Helper()
	rows, err := db.Query(t.Context(), `SELECT out_order_no, seq, coalesce(transaction_id, ''), amount, paid_type, paid_at FROM payments WHERE NOT derived`)
	if err != nil {
		t.Fatal(err)
	}
	var no string
	var p ledger.Payment
	if _, err := pgx.ForEachRow(rows, []any{&no, &p.Seq, &p.TransactionID, &p.Amount, &p.PaidType, &p.PaidAt}, func() error {
		b := books[no]
		b.payments = append(b.payments, p)
		books[no] = b
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	var derived int
	if err := db.QueryRow(t.Context(), `SELECT count(*) FROM payments WHERE derived`).Scan(&derived); err != nil || derived > 0 {
		t.Errorf("%d payments were derived, %v", derived, err)
	}
}

// judge compares the books with the ledger's events and the platform's truth.
func (w *world) judge(t *testing.T) {
	t.Helper()
	ctx := t.Context()
	db, err := pgx.Connect(ctx, w.pg.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close(ctx)
	books := map[string]row{}
	var no string
	var r row
	rows, err := db.Query(ctx, `SELECT out_order_no, state, coalesce(transaction_id, ''), coalesce(sync, ''), coalesce(paid_amount, 0), coalesce(total_amount, 0), late_payment_at IS NOT NULL FROM orders`)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := pgx.ForEachRow(rows, []any{&no, &r.state, &r.transaction, &r.sync, &r.paid, &r.total, &r.late}, func() error { books[no] = r; return nil }); err != nil {
		t.Fatal(err)
	}
	readPayments(t, db, books)
	report := w.sim.Report()
	var through, elsewhere, unknown int64 // fen
	states, wrong, lost, late := map[string]int{}, 0, 0, 0
	for _, o := range report.Orders {
		b := books[o.OutOrderNo]
		states[b.state]++
		_, withdrawn := w.withdrawn.Load(o.OutOrderNo)
		want := string(audit.Expected(o))
		if withdrawn {
			want = string(tasks.Withdrawn)
		}
		if b.state != want {
			wrong++
			t.Errorf("%s (%s): the books say %q, the platform says %s %s", o.OutOrderNo, o.Fate, b.state, o.State, o.CollectionState)
		}
		if b.state == "paid" && (b.paid != o.PaidAmount || b.total != o.TotalAmount || b.transaction == "") {
			wrong++
			t.Errorf("%s (%s): the books say %d of %d fen by %q, the platform %d of %d", o.OutOrderNo, o.Fate, b.paid, b.total, b.transaction, o.PaidAmount, o.TotalAmount)
		}
		// What the platform did after a withdrawal is known where a notification
		// was taken, or where WeChat Pay was told and asked.
		mayMiss := withdrawn && b.sync != string(ledger.SyncDone) && (o.Notified == 0 || len(o.Payments) > 1)
		for _, d := range audit.Payments(b.payments, audit.Platform(o.Payments)) {
			if d.Kind != audit.Missing || !mayMiss {
				wrong++
				t.Errorf("%s (%s), %s: %s", o.OutOrderNo, o.Fate, b.state, d.Text)
			}
		}
		var sum int64
		for _, p := range b.payments {
			sum += p.Amount
			if p.PaidType == simulator.PaidTypeMch {
				elsewhere += p.Amount
			} else {
				through += p.Amount
			}
		}
		if sum != b.paid {
			wrong++
			t.Errorf("%s (%s): payments of %d fen in the books, and paid_amount is %d", o.OutOrderNo, o.Fate, sum, b.paid)
		}
		unknown += o.PaidAmount - sum
		// Money that came after a withdrawal is in the books wherever somebody was
		// told: by a notification that was taken, at the least. Of orders that are
		// paid in parts, some may have been known before; see unmarked.
		kind, _, _ := strings.Cut(string(o.Fate), ":")
		part := kind == "partial" || kind == "parts" || kind == "mixed"
		if withdrawn && o.MoneyMoved > 0 && o.Notified > 0 && !part && (!b.late || b.paid != o.MoneyMoved) {
			lost++
			t.Errorf("%s (%s): withdrawn, and %d fen came in, of which the books say %d, late: %t", o.OutOrderNo, o.Fate, o.MoneyMoved, b.paid, b.late)
		}
		if withdrawn && b.late {
			late++
		}
		if o.MostAtOnce > 1 {
			t.Errorf("%s: %d calls at once", o.OutOrderNo, o.MostAtOnce)
		}
		if wrong+lost > 20 {
			t.Fatal("and so on")
		}
	}
	if len(books) != orders {
		t.Errorf("%d orders in the books, %d on the platform", len(books), orders)
	}

	query, err := os.ReadFile("../../docs/queries/collected-by-day.sql")
	if err != nil {
		t.Fatal(err)
	}
	var sums string
	if err := db.QueryRow(ctx, "SELECT (sum(yuan) * 100)::bigint || ' ' || (sum(elsewhere_yuan) * 100)::bigint FROM ("+strings.TrimSuffix(strings.TrimSpace(string(query)), ";")+") AS q").Scan(&sums); err != nil {
		t.Fatal(err)
	}
	if want := fmt.Sprint(through, " ", elsewhere); sums != want {
		t.Errorf("collected-by-day.sql comes to %s fen, and the payments to %s", sums, want)
	}

	// Every event once, none missing: per order seq counts from 1 to the number
	// of its events, which is the ledger's.
	var events, duplicates, gaps int64
	if err := db.QueryRow(ctx, `SELECT count(*), count(*) - count(DISTINCT (mchid, out_order_no, seq)) FROM events`).Scan(&events, &duplicates); err != nil {
		t.Fatal(err)
	}
	if err := db.QueryRow(ctx, `SELECT count(*) FROM (SELECT 1 FROM events GROUP BY mchid, out_order_no
		HAVING min(seq) <> 1 OR max(seq) <> count(*)) AS broken`).Scan(&gaps); err != nil {
		t.Fatal(err)
	}
	inStream := w.rdb.Client.XLen(ctx, ledger.KeysOf(w.sim.Merchant().MchID).Outcomes()).Val()
	if events != inStream || duplicates != 0 || gaps != 0 {
		t.Errorf("%d events in the books, %d in the stream, %d duplicates, %d orders with a gap", events, inStream, duplicates, gaps)
	}
	// A payment through PayScore that was not known when billing withdrew is a late
	// one, and nothing else is.
	var unmarked int64
	if err := db.QueryRow(ctx, `SELECT count(*) FROM orders o WHERE o.state = 'withdrawn' AND (o.late_payment_at IS NOT NULL) <> EXISTS (
		SELECT FROM payments p WHERE p.mchid = o.mchid AND p.out_order_no = o.out_order_no AND p.paid_type = 'NEWTON' AND NOT EXISTS (
			SELECT FROM events e, jsonb_to_recordset(e.payments) AS known (transaction_id text)
			WHERE e.mchid = o.mchid AND e.out_order_no = o.out_order_no AND e.type = 'order.withdrawn' AND known.transaction_id = p.transaction_id))`).Scan(&unmarked); err != nil {
		t.Fatal(err)
	}
	if unmarked != 0 {
		t.Errorf("%d withdrawn orders are marked as paid late and were not, or the other way round", unmarked)
	}
	var stale int64
	if err := db.QueryRow(ctx, `SELECT count(*) FROM orders o JOIN (SELECT DISTINCT ON (mchid, out_order_no) mchid, out_order_no, state, seq FROM events
		ORDER BY mchid, out_order_no, seq DESC) e USING (mchid, out_order_no) WHERE o.state <> e.state OR o.seq <> e.seq`).Scan(&stale); err != nil {
		t.Fatal(err)
	}
	if stale != 0 {
		t.Errorf("%d orders are not what their newest event says", stale)
	}
	if k := w.kills.Load(); k < 5 {
		t.Errorf("only %d kills: the run shows too little", k)
	}
	n := report.Notifications
	t.Logf("%d fen through PayScore, %d elsewhere; %d fen came after a withdrawal, and no notification of them was taken", through, elsewhere, unknown)
	t.Logf("%d orders %v, of the withdrawn ones %d paid all the same; %d events, %d duplicates, %d gaps; %d kills; %d WeChat calls (%.2f an order); notifications: %+v",
		len(books), states, late, events, duplicates, gaps, w.kills.Load(), report.Calls, float64(report.Calls)/orders, n)
	if n.SignTestsTaken != 0 {
		t.Errorf("%d deliberately wrong signatures were taken", n.SignTestsTaken)
	}
}
