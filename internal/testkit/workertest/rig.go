// Package workertest is a platform, a Redis and as many workers as a test
// starts, with everything that takes a day compressed to seconds.
package workertest

import (
	"context"
	"fmt"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/rs/zerolog"

	"payscore-collector/internal/asynqx"
	"payscore-collector/internal/audit"
	"payscore-collector/internal/books"
	"payscore-collector/internal/config"
	"payscore-collector/internal/ledger"
	"payscore-collector/internal/redisconn"
	"payscore-collector/internal/simulator"
	"payscore-collector/internal/testkit"
	"payscore-collector/internal/testkit/redistest"
	"payscore-collector/internal/worker"
	"payscore-collector/tasks"
)

// Rig is one test's world.
type Rig struct {
	t        *testing.T
	Redis    *redistest.Server
	Sim      *simulator.Simulator
	Platform *httptest.Server
	Producer *tasks.Producer
	Ledger   *ledger.Ledger
	Cfg      config.Worker
	Logs     *testkit.LogBuffer
	lateness lateness

	// FaultsExpected: the test itself makes the platform refuse signatures.
	FaultsExpected bool
	// WorkersDie: a worker may die with the news of an end that it has not
	// written down; the order is then asked for once more.
	WorkersDie bool
}

// New starts a platform and a Redis. Everything a day takes is compressed
// to seconds; adjust changes the worker's configuration.
func New(t *testing.T, adjust ...func(*config.Worker)) *Rig {
	t.Helper()
	return NewOn(t, redistest.Start(t), adjust...)
}

// NewOn is New on a Redis that the test has started.
func NewOn(t *testing.T, rds *redistest.Server, adjust ...func(*config.Worker)) *Rig {
	t.Helper()
	return newOn(t, rds, simulator.Options{}, adjust...)
}

// NewYesterday is New on a platform whose orders live a day ago, so that its bills of their
// payments can be had. Shortly before midnight in Shanghai it waits for the new day.
func NewYesterday(t *testing.T, adjust ...func(*config.Worker)) *Rig {
	t.Helper()
	now := time.Now()
	if left := books.Day(now).AddDate(0, 0, 1).Sub(now); left < testkit.Patience {
		<-time.After(left)
	}
	return newOn(t, redistest.Start(t), simulator.Options{Clock: func() time.Time { return time.Now().Add(-24 * time.Hour) }}, adjust...)
}

func newOn(t *testing.T, rds *redistest.Server, options simulator.Options, adjust ...func(*config.Worker)) *Rig {
	t.Helper()
	sim, err := simulator.New(options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(sim.Close)
	r := &Rig{t: t, Redis: rds, Sim: sim, Logs: &testkit.LogBuffer{}}
	r.Platform = httptest.NewServer(sim.Handler())
	t.Cleanup(r.Platform.Close)
	r.lateness.watch(t, r.Redis.Client)
	m := sim.Merchant()
	opts, err := redisconn.Parse(r.Redis.URL)
	if err != nil {
		t.Fatal(err)
	}
	r.Cfg = config.Worker{
		Redis: opts,
		Merchants: []config.Merchant{{
			MchID: m.MchID, SerialNo: m.SerialNo, PrivateKey: m.PrivateKey,
			PublicKeyID: m.PublicKeyID, PublicKey: m.PublicKey,
			APIV3Key: config.NewSecret(m.APIv3Key),
			AppID:    m.AppID, ServiceID: m.ServiceID, BaseURL: r.Platform.URL,
		}},
		Work: config.Work{
			Concurrency: 32, CallTimeout: 2 * time.Second, Rate: 500,
			CollectSchedule: []time.Duration{1200 * time.Millisecond},
			ConfirmSchedule: []time.Duration{100 * time.Millisecond, 500 * time.Millisecond, time.Second},
			Window:          config.Window{Always: true}, Location: time.UTC,
			MinGap: 1100 * time.Millisecond, GiveUpAfter: time.Minute, SweepEvery: 500 * time.Millisecond,
		},
	}
	for _, f := range adjust {
		f(&r.Cfg)
	}
	r.Producer = tasks.NewProducer(r.Redis.Client)
	r.Ledger = ledger.New(r.Redis.Client, m.MchID)
	return r
}

// Work starts a worker, which ends with the test or when stop is called.
func (r *Rig) Work() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	log := zerolog.New(r.Logs).Level(zerolog.DebugLevel).With().Timestamp().Logger()
	go func() { done <- worker.Run(ctx, r.Cfg, log) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			r.t.Errorf("the worker ended with: %v", err)
		}
	})
	r.t.Cleanup(stop)
	return stop
}

// Add gives the platform orders.
func (r *Rig) Add(orders ...simulator.Order) {
	r.t.Helper()
	if err := r.Sim.AddOrders(orders...); err != nil {
		r.t.Fatal(err)
	}
}

// Order returns what enqueues an order of the rig's merchant.
func (r *Rig) Order(no string) tasks.Order {
	m := r.Sim.Merchant()
	return tasks.Order{Payload: tasks.Payload{MchID: m.MchID, OutOrderNo: no, AppID: m.AppID, ServiceID: m.ServiceID}}
}

// Enqueue enqueues orders.
func (r *Rig) Enqueue(nos ...string) {
	r.t.Helper()
	orders := make([]tasks.Order, len(nos))
	for i, no := range nos {
		orders[i] = r.Order(no)
	}
	for o, res := range r.Producer.EnqueueAll(r.t.Context(), slices.Values(orders)) {
		if res.Status != tasks.Accepted && res.Status != tasks.Duplicate {
			r.t.Fatalf("%s: %s %v", o.OutOrderNo, res.Status, res.Err)
		}
	}
}

// Reopen enqueues an order that has ended once more.
func (r *Rig) Reopen(no string) {
	r.t.Helper()
	o := r.Order(no)
	o.Reopen = true
	if res, err := r.Producer.Enqueue(r.t.Context(), o); err != nil || res.Status != tasks.Accepted {
		r.t.Fatalf("%s reopened: %+v %v, want %s", no, res, err, tasks.Accepted)
	}
}

// Withdraw withdraws an order that the user has paid elsewhere at paidAt, or waives it
// where that is zero.
func (r *Rig) Withdraw(no string, paidAt time.Time) tasks.Result {
	r.t.Helper()
	res, err := r.Producer.Withdraw(r.t.Context(), tasks.Withdrawal{
		MchID: r.Sim.Merchant().MchID, OutOrderNo: no, Reason: "paid at the counter", PaidAt: paidAt,
	})
	if err != nil {
		r.t.Fatalf("%s withdrawn: %v", no, err)
	}
	return res
}

// Events returns the stream of outcomes.
func (r *Rig) Events() []ledger.Event {
	r.t.Helper()
	mchid := r.Sim.Merchant().MchID
	entries, err := r.Redis.Client.XRange(r.t.Context(), ledger.KeysOf(mchid).Outcomes(), "-", "+").Result()
	if err != nil {
		r.t.Fatal(err)
	}
	events := make([]ledger.Event, len(entries))
	for i, x := range entries {
		if events[i], err = ledger.DecodeEvent(mchid, x.ID, x.Values); err != nil {
			r.t.Fatal(err)
		}
	}
	return events
}

// Get reads an order from the ledger.
func (r *Rig) Get(no string) ledger.Order {
	r.t.Helper()
	o, err := r.Ledger.Get(r.t.Context(), no)
	if err != nil {
		r.t.Fatalf("%s: %v", no, err)
	}
	return o
}

// Eventually waits for a condition that will be met, however busy the machine is; what says
// what was waited for.
func (r *Rig) Eventually(what string, ok func() bool) {
	r.t.Helper()
	r.Until(testkit.Patience, what, ok)
}

// Until waits for a condition that must be met within a time. It asks less often than
// testkit.Within: many conditions read the whole log.
func (r *Rig) Until(within time.Duration, what string, ok func() bool) {
	r.t.Helper()
	for deadline := time.Now().Add(within); !ok(); <-time.After(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			r.t.Fatalf("waited %s in vain for: %s\n%s", within, what, r)
		}
	}
}

// String is what is known when a test fails.
func (r *Rig) String() string {
	var lines []string
	for line := range strings.Lines(r.Logs.String()) {
		if !strings.Contains(line, "All queues are empty") {
			lines = append(lines, line)
		}
	}
	stats, err := r.Ledger.Stats(context.Background())
	holds, err2 := r.Ledger.Holds(context.Background())
	return fmt.Sprintf("the log's last lines:\n%sstats: %v %v\nholds: %+v %v",
		strings.Join(lines[max(0, len(lines)-30):], ""), stats, err, holds, err2)
}

// AllEnded waits until no order is open.
func (r *Rig) AllEnded() {
	r.t.Helper()
	r.Eventually("every order to end", func() bool {
		s, err := r.Ledger.Stats(context.Background())
		return err == nil && s.Orders[tasks.Queued] == 0 && s.Orders[tasks.Awaiting] == 0
	})
}

// Report is what the platform has seen of one order.
func (r *Rig) Report(no string) simulator.OrderReport {
	r.t.Helper()
	o, ok := r.Sim.Order(no)
	if !ok {
		r.t.Fatalf("the simulator does not know %s", no)
	}
	return o.Audit
}

// Audit compares every order of the ledger with what the platform knows, and the calls
// that the platform has seen with the promises.
func (r *Rig) Audit() {
	r.t.Helper()
	for _, o := range r.Sim.Report().Orders {
		rec, err := r.Ledger.Get(context.Background(), o.OutOrderNo)
		if err != nil {
			r.t.Errorf("%s: %v", o.OutOrderNo, err)
			continue
		}
		for _, d := range audit.Order(rec, o, r.Cfg.MinGap) {
			// A worker that dies takes with it what it has not recorded yet.
			if r.WorkersDie && (d.Kind == audit.AfterEnd || d.Kind == audit.Uncounted) {
				continue
			}
			r.t.Errorf("%s (%s) %s (reason %q)", o.OutOrderNo, o.Fate, d.Text, rec.Reason)
		}
	}
	if n := r.Sim.Report().RejectedSignatures; n > 0 && !r.FaultsExpected {
		r.t.Errorf("the platform refused %d signatures", n)
	}
	// A call that leaves late for its slot may fall among the calls of a second that is
	// as much longer.
	late := r.Late()
	if most := r.Sim.Report().MostCallsInASecond; float64(most) > r.Cfg.Rate*(1+late.Seconds()) {
		r.t.Errorf("%d calls in one second, %v at most (timers of this process were up to %s late)", most, r.Cfg.Rate, late)
	}
}

// Late is how late timers of this process and Redis have been at most.
func (r *Rig) Late() time.Duration { return r.lateness.most() }

// Numbers returns n order numbers.
func Numbers(prefix string, n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = fmt.Sprintf("%s-%04d", prefix, i)
	}
	return out
}

// Queued is how many tasks the merchant's queue holds in all.
func (r *Rig) Queued() int64 {
	var n int64
	sizes, err := asynqx.Sizes(context.Background(), r.Redis.Client, tasks.QueueName(r.Sim.Merchant().MchID))
	if err != nil {
		r.t.Fatal(err)
	}
	for state, size := range sizes {
		if state != "active_unleased" { // they are among the active ones
			n += size
		}
	}
	return n
}

// Queue is an asynq client that knows nothing of the ledger.
func (r *Rig) Queue() *asynq.Client { return asynq.NewClientFromRedisClient(r.Redis.Client) }

// RawTask is a collection task of the rig's merchant with any payload.
func (r *Rig) RawTask(payload []byte) *asynq.Task {
	return asynq.NewTask(tasks.TypeCollect, payload, asynq.Queue(tasks.QueueName(r.Sim.Merchant().MchID)))
}
