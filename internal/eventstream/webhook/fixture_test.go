package webhook

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/redis/go-redis/v9"
	"github.com/rs/zerolog"

	"payscore-collector/internal/ledger"
	"payscore-collector/internal/queue"
	"payscore-collector/internal/testkit"
	"payscore-collector/internal/testkit/hooktest"
	"payscore-collector/internal/testkit/redistest"
	"payscore-collector/tasks"
)

func TestMain(m *testing.M) {
	testkit.Parallel(6)
	os.Exit(m.Run())
}

// fixture is a merchant's sender, or several, with a real ledger and a receiver.
type fixture struct {
	*Sender
	t        *testing.T
	url      string
	rdb      *redis.Client
	producer *tasks.Producer
	receiver *hooktest.Receiver
	faults   *redistest.Faults
	keys     ledger.Keys
	logs     *testkit.LogBuffer
}

var lastMchID atomic.Int64

// newFixture returns one for a merchant of its own in srv. What takes minutes in
// production takes milliseconds.
func newFixture(t *testing.T, srv *redistest.Server, change ...func(*Settings)) *fixture {
	t.Helper()
	mchid := fmt.Sprintf("18%08d", lastMchID.Add(1))
	f := &fixture{t: t, url: srv.URL, receiver: hooktest.New(t), faults: &redistest.Faults{Name: ledger.ScriptName}, logs: &testkit.LogBuffer{}, keys: ledger.KeysOf(mchid)}
	f.rdb = f.connect()
	if err := ledger.LoadScripts(t.Context(), f.rdb); err != nil { // so that each call of a script is one command
		t.Fatal(err)
	}
	f.rdb.AddHook(f.faults)
	f.producer = tasks.NewProducer(f.rdb)
	f.Sender = f.sender(f.rdb, mchid, change...)
	return f
}

func (f *fixture) connect() *redis.Client {
	f.t.Helper()
	opt, err := redis.ParseURL(f.url)
	if err != nil {
		f.t.Fatal(err)
	}
	rdb := redis.NewClient(opt)
	f.t.Cleanup(func() { _ = rdb.Close() })
	return rdb
}

func (f *fixture) sender(rdb *redis.Client, mchid string, change ...func(*Settings)) *Sender {
	f.t.Helper()
	set := Settings{
		URL: f.receiver.Server.URL + "/hooks", Secret: hooktest.Secret,
		Every: 10 * time.Millisecond, Grace: time.Second, Timeout: 20 * time.Second,
		Backoff: []time.Duration{20 * time.Millisecond, 40 * time.Millisecond},
	}
	for _, f := range change {
		f(&set)
	}
	s, err := New(set, ledger.New(rdb, mchid), rdb, zerolog.New(f.logs), NewMetrics(prometheus.NewRegistry()))
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(s.Close)
	return s
}

// work runs the fixture's sender, and an asynq server for it, until stop is called or
// the test ends.
func (f *fixture) work() (stop func()) { return f.run(f.Sender, f.rdb) }

// another runs a second worker of the same merchant, with a connection of its own.
func (f *fixture) another(change ...func(*Settings)) (stop func()) {
	rdb := f.connect()
	return f.run(f.sender(rdb, f.ledger.MchID(), change...), rdb)
}

func (f *fixture) run(s *Sender, rdb *redis.Client) (stop func()) {
	f.t.Helper()
	server := asynq.NewServerFromRedisClient(rdb, asynq.Config{
		Concurrency: Concurrency, Queues: map[string]int{queue.WebhookName(s.ledger.MchID()): 1},
		TaskCheckInterval: 20 * time.Millisecond, DelayedTaskCheckInterval: time.Second,
		ShutdownTimeout: 20 * time.Second, LogLevel: asynq.FatalLevel,
		RetryDelayFunc: func(int, error, *asynq.Task) time.Duration { return time.Second },
	})
	ctx, cancel := context.WithCancel(context.Background())
	var relaying sync.WaitGroup
	relaying.Go(func() { s.Run(ctx) })
	if err := server.Start(asynq.HandlerFunc(s.Process)); err != nil {
		f.t.Fatal(err)
	}
	stop = sync.OnceFunc(func() {
		cancel()
		relaying.Wait()
		s.Stop()
		server.Shutdown()
	})
	f.t.Cleanup(stop)
	return stop
}

// task is the task of a round of an order.
func (f *fixture) task(no string, round int64) *asynq.Task {
	f.t.Helper()
	body, err := json.Marshal(job{f.ledger.MchID(), no, round})
	if err != nil {
		f.t.Fatal(err)
	}
	return asynq.NewTask(queue.TypeWebhook, body)
}

// relay takes what is new from the stream, and enqueues nothing.
func (f *fixture) relay() []ledger.DueHook {
	f.t.Helper()
	r, err := f.ledger.RelayHooks(f.t.Context(), ledger.HookRelayArgs{Scan: 1000, Take: 1000, Most: 1000, Grace: f.Grace})
	if err != nil {
		f.t.Fatal(err)
	}
	return r.Orders
}

// deliver relays, and processes the order's task at once.
func (f *fixture) deliver(no string) {
	f.t.Helper()
	f.until(no+" to be due", func() bool {
		for _, o := range f.relay() {
			if o.OutOrderNo == no {
				if err := f.Process(f.t.Context(), f.task(no, o.Round)); err != nil {
					f.t.Fatal(err)
				}
				return true
			}
		}
		return false
	})
}

// end opens orders, and ends each.
func (f *fixture) end(nos ...string) {
	f.t.Helper()
	for _, no := range nos {
		p := tasks.Payload{MchID: f.ledger.MchID(), OutOrderNo: no, AppID: "wx1", ServiceID: "500"}
		if _, err := f.ledger.Open(f.t.Context(), ledger.Opening{Owner: p.Owner(), OutOrderNo: no, Reopen: true}); err != nil {
			f.t.Fatal(err)
		}
		res, err := f.producer.Withdraw(f.t.Context(), tasks.Withdrawal{MchID: p.MchID, OutOrderNo: no, Reason: "waived"})
		// A duplicate is a repetition after a late reply.
		if err != nil || res.Status != tasks.Accepted && res.Status != tasks.Duplicate {
			f.t.Fatalf("%+v %v", res, err)
		}
	}
}

// pay records a payment of an ended order, which is one more event of a final state.
func (f *fixture) pay(no string) {
	f.t.Helper()
	amount := int64(1250)
	code, _, err := f.ledger.Notice(f.t.Context(), ledger.Notice{
		OutOrderNo: no, Paid: true, Facts: ledger.Facts{TransactionID: "42", Total: &amount, Paid: &amount},
		Entry: ledger.Entry{Call: "notification", Verdict: "paid"},
	})
	if err != nil || code != ledger.NoticeEnded && code != ledger.NoticePaid {
		f.t.Fatalf("%s: %s %v", no, code, err)
	}
}

// ends returns the final states in the merchant's stream, in their order.
func (f *fixture) ends() []ledger.Event {
	f.t.Helper()
	entries, err := f.rdb.XRange(f.t.Context(), f.keys.Outcomes(), "-", "+").Result()
	if err != nil {
		f.t.Fatal(err)
	}
	var ends []ledger.Event
	for _, entry := range entries {
		e, err := ledger.DecodeEvent(f.ledger.MchID(), entry.ID, entry.Values)
		if err != nil {
			f.t.Fatal(err)
		}
		if e.End() {
			ends = append(ends, e)
		}
	}
	return ends
}

// waiting returns how many orders have final states that billing has not accepted.
func (f *fixture) waiting() int64 {
	n, _, err := f.ledger.HooksWaiting(context.Background())
	if err != nil {
		return -1
	}
	return n
}

// allDelivered waits until billing has accepted n final states, and nothing is left.
func (f *fixture) allDelivered(n int) {
	f.t.Helper()
	f.until(fmt.Sprintf("%d final states to be delivered", n), func() bool {
		return len(f.receiver.Taken()) >= n && f.waiting() == 0
	})
}

func (f *fixture) until(what string, ok func() bool) {
	f.t.Helper()
	testkit.Eventually(f.t, what, ok, f.logs)
}

func (f *fixture) counted(outcome string) float64 {
	f.t.Helper()
	var m dto.Metric
	if err := f.metrics.Total.WithLabelValues(f.ledger.MchID(), outcome).Write(&m); err != nil {
		f.t.Fatal(err)
	}
	return m.GetCounter().GetValue()
}

// clean checks that the webhooks leave nothing in Redis but their place in the stream.
func (f *fixture) clean() {
	f.t.Helper()
	k := f.keys
	for _, key := range f.rdb.Keys(f.t.Context(), k.Hook("*")).Val() {
		f.t.Errorf("%s is left", key)
	}
	if n := f.rdb.Exists(f.t.Context(), k.HookDue(), k.HookWaiting()).Val(); n != 0 {
		f.t.Error("an index is left")
	}
	if n := f.rdb.HLen(f.t.Context(), k.Hooks()).Val(); n > 2 {
		f.t.Errorf("%v are left", f.rdb.HGetAll(f.t.Context(), k.Hooks()).Val())
	}
}
