package soak

import (
	"context"
	"errors"
	"flag"
	"fmt"
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

	"payscore-collector/internal/books"
	"payscore-collector/internal/explain"
	"payscore-collector/internal/ledger"
	"payscore-collector/internal/payscore"
	"payscore-collector/internal/simulator"
	"payscore-collector/internal/testkit"
	"payscore-collector/internal/testkit/redistest"
	"payscore-collector/tasks"
)

var truth = flag.String("truth", "short", "TestBillAgreesUnderKilledWorkers and TestBooksEqualThePlatformsTruth: short, or long for 5,000 orders")

// Orders are paid at once, in parts, by the user, partly or wholly elsewhere, around a
// midnight of the platform, while workers are killed with -9 and go on where they were. The
// platform's bills of both days then agree with the ledger to the fen; and each lie that the
// bill can tell is found, and is the only thing that is found.
func TestBillAgreesUnderKilledWorkers(t *testing.T) {
	t.Parallel() // it mostly waits for the leases of the killed
	orders, batches := 120, 3
	if *truth == "long" {
		orders, batches = 5000, 20
	}
	// The platform's clock jumps to shortly before midnight, and to midnight when half of the
	// orders are enqueued. Both days are over by now.
	midnight := books.Day(time.Now()).AddDate(0, 0, -1)
	var ahead atomic.Int64
	ahead.Store(int64(time.Until(midnight.Add(-5 * time.Minute))))
	sim, err := simulator.New(simulator.Options{KeyBits: 1024, Clock: func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(sim.Close)
	platform := httptest.NewServer(sim.Handler())
	t.Cleanup(platform.Close)
	rdb := redistest.StartReal(t)
	dir, bin := t.TempDir(), programs(t)
	if err := sim.WriteMerchantDir(dir, platform.URL); err != nil {
		t.Fatal(err)
	}
	merchant, err := os.ReadFile(filepath.Join(dir, simulator.FileEnvironment))
	if err != nil {
		t.Fatal(err)
	}
	run := &crew{bin: filepath.Join(bin, "worker"), env: append(strings.Fields(string(merchant)),
		"PATH="+os.Getenv("PATH"), "REDIS_URL="+rdb.URL, "ADMIN_ADDR=", "COLLECT_WINDOW=always", "BOOKS_AT=off",
		"COLLECT_RATE=350", "CALL_TIMEOUT=1s", "MIN_GAP=300ms", "COLLECT_SCHEDULE=400ms", "CONFIRM_SCHEDULE=200ms,1s",
		"SWEEP_EVERY=1s", "GIVE_UP_AFTER=1h", "LOG_LEVEL=warn")}
	t.Cleanup(run.end)
	for range 2 {
		run.start()
	}

	m := sim.Merchant()
	l, producer := ledger.New(rdb.Client, m.MchID), tasks.NewProducer(rdb.Client)
	fates := []simulator.Fate{"pays", "parts:3", "mixed:PMP", "userpaying:300ms", "declines:1", "user_pays:1s", "parts:2", simulator.FateNever, "pays", "partial:40"}
	calls := func() int64 { return sim.Report().Calls }
	never := map[string]bool{}
	var elsewhere []string // billing withdraws these, paid elsewhere, once they were tried
	for b := range batches {
		if b == batches/2 {
			ahead.Store(int64(time.Until(midnight)))
		}
		for i := b * orders / batches; i < (b+1)*orders/batches; i++ {
			o := simulator.Order{OutOrderNo: fmt.Sprintf("TRUTH-%05d", i), TotalAmount: int64(100 + i), Fate: fates[i%len(fates)]}
			if err := sim.AddOrders(o); err != nil {
				t.Fatal(err)
			}
			if o.Fate == simulator.FateNever || o.Fate == "partial:40" {
				elsewhere = append(elsewhere, o.OutOrderNo)
				never[o.OutOrderNo] = o.Fate == simulator.FateNever
			}
			res, err := producer.Enqueue(t.Context(), tasks.Order{Payload: tasks.Payload{MchID: m.MchID, OutOrderNo: o.OutOrderNo, AppID: m.AppID, ServiceID: m.ServiceID}})
			if err != nil || res.Status != tasks.Accepted {
				t.Fatalf("%s: %+v, %v", o.OutOrderNo, res, err)
			}
		}
		// A worker is killed amid each batch: when some of its calls have been made.
		before := calls()
		testkit.Within(t, 2*time.Minute, "calls of the batch", func() bool { return calls() >= before+int64(orders/batches/2) }, run)
		run.kill()
	}
	get := func(no string) ledger.Order {
		o, err := l.Get(context.Background(), no)
		if err != nil {
			t.Fatal(err)
		}
		return o
	}
	synced := 0
	for _, no := range elsewhere {
		testkit.Within(t, 4*time.Minute, no+" is tried", func() bool {
			o := get(no)
			return o.CollectCalls > 0 && (never[no] || o.PaidAmount != nil && *o.PaidAmount > 0)
		}, run)
		res, err := producer.Withdraw(t.Context(), tasks.Withdrawal{MchID: m.MchID, OutOrderNo: no, Reason: "paid at the counter", PaidAt: time.Now().Add(time.Duration(ahead.Load()))})
		switch {
		case err == nil && res.Status == tasks.Accepted:
			synced++
		case err != nil || res.Status != tasks.Ended || res.State != tasks.Paid || never[no]: // the rest of a partial one came in
			t.Fatalf("withdraw %s: %+v, %v", no, res, err)
		}
	}
	testkit.Within(t, 6*time.Minute, "every order to end", func() bool {
		s, err := l.Stats(context.Background())
		return err == nil && s.Orders[tasks.Queued]+s.Orders[tasks.Awaiting] == 0
	}, run)
	for _, no := range elsewhere {
		// Not needed: the rest of a partial one came in through PayScore after all.
		testkit.Within(t, 2*time.Minute, no+" is synced", func() bool {
			o := get(no)
			return o.State == tasks.Paid || o.Sync != nil && (o.Sync.State == ledger.SyncDone || !never[no] && o.Sync.State == ledger.SyncNoNeed)
		}, run)
	}
	run.end()

	client, err := payscore.New(payscore.Config{
		MchID: m.MchID, SerialNo: m.SerialNo, Signer: m.PrivateKey, PublicKeyID: m.PublicKeyID, PublicKey: m.PublicKey,
		BaseURL: platform.URL, Timeout: time.Minute, Connections: 1,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	compare := func(day time.Time, bill simulator.Bill) (books.Result, error) {
		t.Helper()
		if err := sim.SetBill(bill); err != nil {
			t.Fatal(err)
		}
		return books.Compare(t.Context(), l, day, books.Fetch(client, day, time.Now()))
	}
	var matched, through int64
	parts := 0
	for _, o := range sim.Report().Orders {
		n := 0
		for _, p := range o.Payments {
			if p.PaidType == simulator.PaidTypeNewton {
				through += p.Amount
				n++
			}
		}
		if n > 1 {
			parts++
		}
	}
	for _, day := range []time.Time{midnight.AddDate(0, 0, -1), midnight} {
		r, err := compare(day, simulator.Bill{Refunds: 5})
		if err != nil {
			t.Fatal(err)
		}
		if !r.Agrees() || r.Waiting != nil || r.Counts()[explain.Refunded] != 5 || r.Matched != r.Ledger || r.Matched.Amount == 0 {
			t.Errorf("%s: matched %+v of %+v, waiting %+v, exceptions %+v", r.Date, r.Matched, r.Ledger, r.Waiting, r.Exceptions)
		}
		matched += r.Matched.Amount
		t.Logf("%s: %d rows, matched %d orders, %d fen; %d exceptions, 5 refunds", r.Date, r.Bill.Rows, r.Matched.Orders, r.Matched.Amount, int64(len(r.Exceptions))-r.Counts()[explain.Refunded])
	}
	if matched != through || parts == 0 || synced == 0 {
		t.Errorf("the bills of both days agree on %d fen, and %d came in; %d orders were paid in parts, %d synced", matched, through, parts, synced)
	}

	for kind, bill := range map[explain.BookKind]simulator.Bill{
		explain.PaidInLedgerOnly: {MissingRows: 1}, explain.AmountDiffers: {AmountsOff: 1}, explain.PaidTwice: {PaidTwice: 1},
		explain.Refunded: {Refunds: 1}, explain.UnknownOrder: {UnknownOrders: 1},
	} {
		r, err := compare(midnight, bill)
		if err != nil || len(r.Exceptions) != 1 || r.Exceptions[0].Kind != kind || r.Exceptions[0].Detail == "" || r.Agrees() != kind.Alone() {
			t.Errorf("%+v: %+v, %v; want one %s", bill, r.Exceptions, err, kind)
		}
	}
	if r, err := compare(midnight, simulator.Bill{OldLayout: true}); err != nil || !r.Agrees() {
		t.Errorf("an older layout: %+v, %v", r.Exceptions, err)
	}
	if r, err := compare(midnight, simulator.Bill{NoStatement: true}); err != nil || r.Agrees() || r.Counts()[explain.PaidInLedgerOnly] < r.Ledger.Orders {
		t.Errorf("a day without transactions, signed: %+v, %v", r.Counts(), err)
	}
	for _, bill := range []simulator.Bill{{WrongSummary: true}, {WrongHash: true}} {
		var bad *books.Error
		if _, err := compare(midnight, bill); !errors.As(err, &bad) {
			t.Errorf("%+v: %v", bill, err)
		}
	}
	var refused *payscore.BillError
	if _, err := compare(midnight, simulator.Bill{Creating: true}); !errors.As(err, &refused) || refused.State != payscore.NotReady {
		t.Errorf("a bill that is not ready: %v", err)
	}
	if slices.ContainsFunc(sim.Report().Orders, func(o simulator.OrderReport) bool { return o.MostAtOnce > 1 }) {
		t.Error("two calls of one order at once")
	}
	t.Logf("%d orders, %d of them in parts, %d elsewhere; %d kills; %d fen on both sides", orders, parts, synced, run.kills, matched)
}

// crew are worker processes; one that was killed is followed by another.
type crew struct {
	bin string
	env []string
	log testkit.LogBuffer

	mu    sync.Mutex
	procs []*exec.Cmd
	kills int
}

func (c *crew) start() {
	cmd := exec.Command(c.bin)
	cmd.Env, cmd.Stdout, cmd.Stderr = c.env, &c.log, &c.log
	if err := testkit.Start(cmd); err != nil {
		fmt.Fprintln(&c.log, err)
		return
	}
	c.mu.Lock()
	c.procs = append(c.procs, cmd)
	c.mu.Unlock()
}

// kill kills the oldest worker, and starts another one.
func (c *crew) kill() {
	c.mu.Lock()
	cmd := c.procs[0]
	c.procs = c.procs[1:]
	c.kills++
	c.mu.Unlock()
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	c.start()
}

// end kills all of them.
func (c *crew) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, cmd := range c.procs {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
	c.procs = nil
}

// String is what a failed test shows.
func (c *crew) String() string {
	lines := c.log.Lines()
	return strings.Join(lines[max(0, len(lines)-30):], "\n")
}
