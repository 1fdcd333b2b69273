package webhook

import (
	"context"
	"encoding/json"
	"fmt"
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

// bench is one merchant's sender, or several, on a real ledger.
type bench struct {
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

// newBench returns a sender for a merchant of its own in srv, with a receiver.
// What takes minutes is compressed to milliseconds.
func newBench(t *testing.T, srv *redistest.Server, change ...func(*Settings)) *bench {
	t.Helper()
	mchid := fmt.Sprintf("18%08d", lastMchID.Add(1))
	b := &bench{t: t, url: srv.URL, receiver: hooktest.New(t), faults: &redistest.Faults{Name: ledger.ScriptName}, logs: &testkit.LogBuffer{}, keys: ledger.KeysOf(mchid)}
	b.rdb = b.connect()
	b.loadScripts()
	b.rdb.AddHook(b.faults)
	b.producer = tasks.NewProducer(b.rdb)
	b.Sender = b.sender(b.rdb, mchid, change...)
	return b
}

func (b *bench) connect() *redis.Client {
	b.t.Helper()
	opt, err := redis.ParseURL(b.url)
	if err != nil {
		b.t.Fatal(err)
	}
	rdb := redis.NewClient(opt)
	b.t.Cleanup(func() { _ = rdb.Close() })
	return rdb
}

func (b *bench) sender(rdb *redis.Client, mchid string, change ...func(*Settings)) *Sender {
	b.t.Helper()
	set := Settings{
		URL: b.receiver.Server.URL + "/hooks", Secret: hooktest.Secret,
		Every: 10 * time.Millisecond, Grace: time.Second, Timeout: 20 * time.Second,
		Backoff: []time.Duration{20 * time.Millisecond, 40 * time.Millisecond},
	}
	for _, f := range change {
		f(&set)
	}
	s, err := New(set, ledger.New(rdb, mchid), rdb, zerolog.New(b.logs), NewMetrics(prometheus.NewRegistry()))
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(s.Close)
	return s
}

// work runs the bench's sender, and an asynq server for it, until stop is called
// or the test ends.
func (b *bench) work() (stop func()) { return b.run(b.Sender, b.rdb) }

// another runs a second worker of the same merchant, on a connection of its own.
func (b *bench) another(change ...func(*Settings)) (stop func()) {
	rdb := b.connect()
	return b.run(b.sender(rdb, b.ledger.MchID(), change...), rdb)
}

func (b *bench) run(s *Sender, rdb *redis.Client) (stop func()) {
	b.t.Helper()
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
		b.t.Fatal(err)
	}
	stop = sync.OnceFunc(func() {
		cancel()
		relaying.Wait()
		s.Stop()
		server.Shutdown()
	})
	b.t.Cleanup(stop)
	return stop
}

// task is the task that a round of an order would come in.
func (b *bench) task(no string, round int64) *asynq.Task {
	b.t.Helper()
	body, err := json.Marshal(job{b.ledger.MchID(), no, round})
	if err != nil {
		b.t.Fatal(err)
	}
	return asynq.NewTask(queue.TypeWebhook, body)
}

// relay takes what is new from the stream, without a queue.
func (b *bench) relay() []ledger.DueHook {
	b.t.Helper()
	r, err := b.ledger.RelayHooks(b.t.Context(), ledger.HookRelayArgs{Scan: 1000, Take: 1000, Most: 1000, Grace: b.Grace})
	if err != nil {
		b.t.Fatal(err)
	}
	return r.Orders
}

// deliver relays, and works on the order's task at once.
func (b *bench) deliver(no string) {
	b.t.Helper()
	b.until(20*time.Second, no+" to be due", func() bool {
		for _, o := range b.relay() {
			if o.OutOrderNo == no {
				if err := b.Process(b.t.Context(), b.task(no, o.Round)); err != nil {
					b.t.Fatal(err)
				}
				return true
			}
		}
		return false
	})
}

// end makes orders, and an end of each.
func (b *bench) end(nos ...string) {
	b.t.Helper()
	for _, no := range nos {
		p := tasks.Payload{MchID: b.ledger.MchID(), OutOrderNo: no, AppID: "wx1", ServiceID: "500"}
		if _, err := b.ledger.Open(b.t.Context(), ledger.Opening{Owner: p.Owner(), OutOrderNo: no, Reopen: true}); err != nil {
			b.t.Fatal(err)
		}
		res, err := b.producer.Withdraw(b.t.Context(), tasks.Withdrawal{MchID: p.MchID, OutOrderNo: no, Reason: "waived"})
		// A duplicate is our own, whose answer came too late.
		if err != nil || res.Status != tasks.Accepted && res.Status != tasks.Duplicate {
			b.t.Fatalf("%+v %v", res, err)
		}
	}
}

// pay lets a payment of an ended order come in: an end after the end.
func (b *bench) pay(no string) {
	b.t.Helper()
	amount := int64(1250)
	code, _, err := b.ledger.Notice(b.t.Context(), ledger.Notice{
		OutOrderNo: no, Paid: true, Facts: ledger.Facts{TransactionID: "42", Total: &amount, Paid: &amount},
		Entry: ledger.Entry{Call: "notification", Verdict: "paid"},
	})
	if err != nil || code != ledger.NoticeEnded && code != ledger.NoticePaid {
		b.t.Fatalf("%s: %s %v", no, code, err)
	}
}

// ends are the ends in the merchant's stream, in their order.
func (b *bench) ends() []ledger.Event {
	b.t.Helper()
	entries, err := b.rdb.XRange(b.t.Context(), b.keys.Outcomes(), "-", "+").Result()
	if err != nil {
		b.t.Fatal(err)
	}
	var ends []ledger.Event
	for _, entry := range entries {
		e, err := ledger.DecodeEvent(b.ledger.MchID(), entry.ID, entry.Values)
		if err != nil {
			b.t.Fatal(err)
		}
		if e.End() {
			ends = append(ends, e)
		}
	}
	return ends
}

// waiting is how many orders have ends that billing has not taken.
func (b *bench) waiting() int64 {
	n, _, err := b.ledger.HooksWaiting(context.Background())
	if err != nil {
		return -1
	}
	return n
}

// allDelivered waits until billing has taken n ends, and nothing is left.
func (b *bench) allDelivered(n int) {
	b.t.Helper()
	b.until(time.Minute, fmt.Sprintf("%d ends to be delivered", n), func() bool {
		return len(b.receiver.Taken()) >= n && b.waiting() == 0
	})
}

func (b *bench) until(within time.Duration, what string, ok func() bool) {
	b.t.Helper()
	for deadline := time.Now().Add(within); !ok(); {
		if time.Now().After(deadline) {
			b.t.Fatalf("waited %s in vain for %s; the log:\n%s", within, what, b.logs)
		}
		<-time.After(5 * time.Millisecond)
	}
}

func (b *bench) counted(outcome string) float64 {
	b.t.Helper()
	var m dto.Metric
	if err := b.metrics.Total.WithLabelValues(b.ledger.MchID(), outcome).Write(&m); err != nil {
		b.t.Fatal(err)
	}
	return m.GetCounter().GetValue()
}

// clean checks that the webhooks have nothing left in Redis but how far they are.
func (b *bench) clean() {
	b.t.Helper()
	k := b.keys
	for _, key := range b.rdb.Keys(b.t.Context(), k.Hook("*")).Val() {
		b.t.Errorf("%s is left", key)
	}
	if n := b.rdb.Exists(b.t.Context(), k.HookDue(), k.HookWaiting()).Val(); n != 0 {
		b.t.Error("an index is left")
	}
	if n := b.rdb.HLen(b.t.Context(), k.Hooks()).Val(); n > 2 {
		b.t.Errorf("%v are left", b.rdb.HGetAll(b.t.Context(), k.Hooks()).Val())
	}
}

// loadScripts makes Redis know the scripts, so that each call of one is one
// command.
func (b *bench) loadScripts() {
	b.t.Helper()
	if err := ledger.LoadScripts(b.t.Context(), b.rdb); err != nil {
		b.t.Fatal(err)
	}
}
