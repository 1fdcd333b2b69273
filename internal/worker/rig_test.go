package worker_test

import (
	"bytes"
	"context"
	"fmt"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"payscore-collector/internal/config"
	"payscore-collector/internal/ledger"
	"payscore-collector/internal/redisconn"
	"payscore-collector/internal/redistest"
	"payscore-collector/internal/simulator"
	"payscore-collector/internal/worker"
	"payscore-collector/tasks"
)

// rig is a platform, a Redis, and as many workers as a test starts.
type rig struct {
	t        *testing.T
	redis    *redistest.Server
	sim      *simulator.Simulator
	platform *httptest.Server
	producer *tasks.Producer
	ledger   *ledger.Ledger
	cfg      config.Worker
	logs     *logBuffer
}

// logBuffer takes the log lines of all workers of a test.
type logBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// newRig starts a platform and a Redis. Everything a day takes is compressed
// to seconds; adjust changes the worker's configuration.
func newRig(t *testing.T, adjust ...func(*config.Worker)) *rig {
	t.Helper()
	sim, err := simulator.New(simulator.Options{})
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{t: t, redis: redistest.Start(t), sim: sim, logs: &logBuffer{}}
	r.platform = httptest.NewServer(sim.Handler())
	t.Cleanup(r.platform.Close)
	m := sim.Merchant()
	opts, err := redisconn.Parse(r.redis.URL)
	if err != nil {
		t.Fatal(err)
	}
	r.cfg = config.Worker{
		Redis: opts,
		Merchants: []config.Merchant{{
			MchID: m.MchID, SerialNo: m.SerialNo, PrivateKey: m.PrivateKey,
			PublicKeyID: m.PublicKeyID, PublicKey: m.PublicKey,
			APIV3Key: config.NewSecret(m.APIv3Key),
			AppID:    m.AppID, ServiceID: m.ServiceID, BaseURL: r.platform.URL,
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
		f(&r.cfg)
	}
	r.producer = tasks.NewProducer(r.redis.Client)
	r.ledger = ledger.New(r.redis.Client, m.MchID)
	return r
}

// work starts a worker, which ends with the test or when stop is called.
func (r *rig) work() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	log := zerolog.New(r.logs).Level(zerolog.DebugLevel).With().Timestamp().Logger()
	go func() { done <- worker.Run(ctx, r.cfg, log) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			r.t.Errorf("the worker ended with: %v", err)
		}
	})
	r.t.Cleanup(stop)
	return stop
}

func (r *rig) add(orders ...simulator.Order) {
	r.t.Helper()
	if err := r.sim.AddOrders(orders...); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) order(no string) tasks.Order {
	m := r.sim.Merchant()
	return tasks.Order{Payload: tasks.Payload{MchID: m.MchID, OutOrderNo: no, AppID: m.AppID, ServiceID: m.ServiceID}}
}

func (r *rig) enqueue(nos ...string) {
	r.t.Helper()
	orders := make([]tasks.Order, len(nos))
	for i, no := range nos {
		orders[i] = r.order(no)
	}
	for o, res := range r.producer.EnqueueAll(r.t.Context(), slices.Values(orders)) {
		if res.Status != tasks.Accepted && res.Status != tasks.Duplicate {
			r.t.Fatalf("%s: %s %v", o.OutOrderNo, res.Status, res.Err)
		}
	}
}

func (r *rig) get(no string) ledger.Order {
	r.t.Helper()
	o, err := r.ledger.Get(r.t.Context(), no)
	if err != nil {
		r.t.Fatalf("%s: %v", no, err)
	}
	return o
}

// until waits for a condition; what says what was waited for.
func (r *rig) until(within time.Duration, what string, ok func() bool) {
	r.t.Helper()
	for deadline := time.Now().Add(within); ; {
		if ok() {
			return
		}
		if time.Now().After(deadline) {
			r.dump()
			r.t.Fatalf("waited %s in vain for: %s", within, what)
		}
		<-time.After(10 * time.Millisecond)
	}
}

// dump shows what is known when a test fails.
func (r *rig) dump() {
	if s := r.logs.String(); len(s) > 6000 {
		r.t.Logf("log: …%s", s[len(s)-6000:])
	} else {
		r.t.Logf("log: %s", s)
	}
	stats, err := r.ledger.Stats(context.Background())
	r.t.Logf("stats: %v %v", stats, err)
	gate, err := r.ledger.Gate(context.Background())
	r.t.Logf("gate: %+v %v", gate, err)
}

// allEnded waits until no order is open.
func (r *rig) allEnded(within time.Duration) {
	r.t.Helper()
	r.until(within, "every order to end", func() bool {
		s, err := r.ledger.Stats(context.Background())
		return err == nil && s.Orders[tasks.Queued] == 0 && s.Orders[tasks.Awaiting] == 0
	})
}

func (r *rig) report(no string) simulator.OrderReport {
	r.t.Helper()
	o, ok := r.sim.Order(no)
	if !ok {
		r.t.Fatalf("the simulator does not know %s", no)
	}
	return o.Audit
}

// audit holds every order of the ledger against what the platform knows, and
// the platform's record of how it was treated against the promises.
func (r *rig) audit() {
	r.t.Helper()
	for _, o := range r.sim.Report().Orders {
		rec, err := r.ledger.Get(context.Background(), o.OutOrderNo)
		if err != nil {
			r.t.Errorf("%s: %v", o.OutOrderNo, err)
			continue
		}
		if want := expected(o); rec.State != want {
			r.t.Errorf("%s (%s): ledger says %s %s, platform says %s %s %s", o.OutOrderNo, o.Fate, rec.State, rec.Reason, o.State, o.StateDescription, o.CollectionState)
		}
		if rec.State == tasks.Paid && (rec.PaidAmount == nil || *rec.PaidAmount != o.MoneyMoved) {
			r.t.Errorf("%s: ledger says %v fen were paid, platform moved %d", o.OutOrderNo, rec.PaidAmount, o.MoneyMoved)
		}
		if o.MostAtOnce > 1 {
			r.t.Errorf("%s: %d calls at once", o.OutOrderNo, o.MostAtOnce)
		}
		if o.CallsAfterEnd > 0 {
			r.t.Errorf("%s: %d calls after its end", o.OutOrderNo, o.CallsAfterEnd)
		}
		if gap := r.cfg.MinGap.Milliseconds(); o.LeastGapMS != nil && *o.LeastGapMS < gap {
			r.t.Errorf("%s: %d ms between two collects, %d at least", o.OutOrderNo, *o.LeastGapMS, gap)
		}
	}
	if most := r.sim.Report().MostCallsInASecond; float64(most) > r.cfg.Rate {
		r.t.Errorf("%d calls in one second, %v at most", most, r.cfg.Rate)
	}
}

// expected is the end that the platform's truth asks for.
func expected(o simulator.OrderReport) tasks.State {
	switch {
	case o.State == "DONE" && o.CollectionState == "USER_PAID":
		return tasks.Paid
	case o.State == "REVOKED" || o.State == "EXPIRED":
		return tasks.Closed
	case o.State == "DOING" && o.CollectionState == "USER_PAYING":
		return tasks.Exhausted
	}
	return tasks.Rejected
}

func numbers(prefix string, n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = fmt.Sprintf("%s-%04d", prefix, i)
	}
	return out
}
