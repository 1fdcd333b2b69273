package collect

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/redis/go-redis/v9"
	"github.com/rs/zerolog"

	"payscore-collector/internal/asynqx"
	"payscore-collector/internal/config"
	"payscore-collector/internal/ledger"
	"payscore-collector/internal/payscore"
	"payscore-collector/internal/queue"
	"payscore-collector/internal/testkit"
	"payscore-collector/internal/testkit/redistest"
	"payscore-collector/tasks"
)

// platform is a Caller: what a call comes to is the test's to say.
type platform struct {
	collect, query, sync func(context.Context) payscore.Reply

	mu               sync.Mutex
	calls            []payscore.Call
	requests         []payscore.Request
	inFlight, atOnce int
}

func (p *platform) Collect(ctx context.Context, r payscore.Request) payscore.Reply {
	return p.call(ctx, payscore.CallCollect, r, p.collect)
}

func (p *platform) Query(ctx context.Context, r payscore.Request) payscore.Reply {
	return p.call(ctx, payscore.CallQuery, r, p.query)
}

func (p *platform) Sync(ctx context.Context, r payscore.Request, _ string) payscore.Reply {
	return p.call(ctx, payscore.CallSync, r, p.sync)
}

func (p *platform) call(ctx context.Context, c payscore.Call, r payscore.Request, f func(context.Context) payscore.Reply) payscore.Reply {
	p.mu.Lock()
	p.calls, p.requests = append(p.calls, c), append(p.requests, r)
	p.inFlight++
	p.atOnce = max(p.atOnce, p.inFlight)
	p.mu.Unlock()
	defer func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.inFlight--
	}()
	reply := f(ctx)
	reply.Call = c
	return reply
}

// made returns the calls so far, as in "query collect", and forgets them.
func (p *platform) made() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var words []string
	for _, c := range p.calls {
		words = append(words, string(c))
	}
	p.calls = nil
	return strings.Join(words, " ")
}

func says(r payscore.Reply) func(context.Context) payscore.Reply {
	return func(context.Context) payscore.Reply { return r }
}

func TestMain(m *testing.M) {
	testkit.Parallel(4)
	os.Exit(m.Run())
}

// fixture is one merchant's collector on a real ledger.
type fixture struct {
	*Collector
	t        *testing.T
	rdb      *redis.Client
	platform *platform
	faults   *redistest.Faults
	keys     ledger.Keys
	logs     *testkit.LogBuffer
}

var lastMchID atomic.Int64

// newFixture returns a collector for a merchant of its own in srv. Its platform
// accepts every collect and sync, and shows every order as owed.
func newFixture(t *testing.T, srv *redistest.Server, change ...func(*Settings)) *fixture {
	t.Helper()
	opt, err := redis.ParseURL(srv.URL)
	if err != nil {
		t.Fatal(err)
	}
	b := &fixture{t: t, rdb: redis.NewClient(opt), faults: &redistest.Faults{Name: scriptName}, logs: &testkit.LogBuffer{}}
	t.Cleanup(func() { _ = b.rdb.Close() })
	b.loadScripts()
	b.rdb.AddHook(b.faults)
	b.platform = &platform{collect: says(collectReply(payscore.Accepted)), query: says(queryReply(payscore.Owed)), sync: says(collectReply(payscore.Accepted))}
	mchid := fmt.Sprintf("19%08d", lastMchID.Add(1))
	b.keys = ledger.KeysOf(mchid)
	s := Settings{
		AppID: "wxdefault", ServiceID: "500default", Policy: testPolicy(),
		Work: config.Work{Rate: 1000, CallTimeout: 15 * second, SweepEvery: second, Concurrency: 4},
	}
	for _, f := range change {
		f(&s)
	}
	b.Collector = New(s, ledger.New(b.rdb, mchid), b.platform, tasks.NewProducer(b.rdb),
		zerolog.New(b.logs), NewMetrics(prometheus.NewRegistry()))
	return b
}

// parallel is newFixture for a test that runs beside others.
func parallel(t *testing.T, srv *redistest.Server, change ...func(*Settings)) *fixture {
	t.Helper()
	t.Parallel()
	return newFixture(t, srv, change...)
}

// parallelWithA is parallel with the order A open in the ledger.
func parallelWithA(t *testing.T, srv *redistest.Server) *fixture {
	t.Helper()
	b := parallel(t, srv)
	b.open("A")
	return b
}

func (b *fixture) payload(no string) tasks.Payload {
	return tasks.Payload{MchID: b.mchid, OutOrderNo: no, AppID: "wx1", ServiceID: "500"}
}

// push enqueues the task of one round of an order.
func (b *fixture) push(p tasks.Payload, round int64) error {
	return queue.New(b.rdb).Push(b.t.Context(), queue.Task{Type: queue.TypeCollect, MchID: p.MchID, OutOrderNo: p.OutOrderNo, Round: round, Payload: p})
}

// open puts an order into the ledger, and not into the queue.
func (b *fixture) open(no string) tasks.Payload {
	b.t.Helper()
	p := b.payload(no)
	if _, err := b.ledger.Open(b.t.Context(), ledger.Opening{Owner: p.Owner(), OutOrderNo: no}); err != nil {
		b.t.Fatal(err)
	}
	return p
}

// run works on the order's task of its present round, and returns the handler's
// error.
func (b *fixture) run(no string) error {
	b.t.Helper()
	return b.process(b.t.Context(), asynq.NewTask(tasks.TypeCollect, nil), b.payload(no), b.num(no, "round"))
}

// makeDue lets the time pass that an order is waiting for: its due time, its
// lease, and the gap since its last collect.
func (b *fixture) makeDue(no string) {
	b.t.Helper()
	b.set(no, "due", 1)
	if err := b.rdb.HDel(b.t.Context(), b.keys.Order(no), "lease").Err(); err != nil {
		b.t.Fatal(err)
	}
	if b.num(no, "collected") > 0 {
		b.set(no, "collected", 1)
	}
	if err := b.rdb.ZAdd(b.t.Context(), b.keys.Due(), redis.Z{Score: 1, Member: no}).Err(); err != nil {
		b.t.Fatal(err)
	}
}

func (b *fixture) set(no string, values ...any) {
	b.t.Helper()
	if err := b.rdb.HSet(b.t.Context(), b.keys.Order(no), values...).Err(); err != nil {
		b.t.Fatal(err)
	}
}

func (b *fixture) num(no, field string) int64 {
	b.t.Helper()
	n, err := b.rdb.HGet(b.t.Context(), b.keys.Order(no), field).Int64()
	if err != nil && !errors.Is(err, redis.Nil) {
		b.t.Fatal(err)
	}
	return n
}

func (b *fixture) get(no string) ledger.Order {
	b.t.Helper()
	o, err := b.ledger.Get(b.t.Context(), no)
	if err != nil {
		b.t.Fatal(err)
	}
	return o
}

// wants checks an order's state and plan, and the calls since it was last called.
func (b *fixture) wants(no string, state tasks.State, plan ledger.Plan, calls string) {
	b.t.Helper()
	o := b.get(no)
	if o.State != state || o.Next != plan {
		b.t.Errorf("%s is %s with plan %q, want %s %q", no, o.State, o.Next, state, plan)
	}
	if made := b.platform.made(); made != calls {
		b.t.Errorf("%s: the calls were %q, want %q", no, made, calls)
	}
	if state.Open() {
		if score, err := b.rdb.ZScore(b.t.Context(), b.keys.Due(), no).Result(); err != nil || score <= 0 {
			b.t.Errorf("%s is open and not in the due index: %v", no, err)
		}
	}
}

// events returns the types of an order's events.
func (b *fixture) events(no string) string {
	b.t.Helper()
	all, err := b.rdb.XRange(b.t.Context(), b.keys.Outcomes(), "-", "+").Result()
	if err != nil {
		b.t.Fatal(err)
	}
	var types []string
	for _, m := range all {
		if m.Values["no"] == no {
			types = append(types, strings.TrimPrefix(m.Values["type"].(string), "order."))
		}
	}
	return strings.Join(types, " ")
}

func (b *fixture) count(v *prometheus.CounterVec, labels ...string) float64 {
	b.t.Helper()
	return b.value(v.WithLabelValues(append([]string{b.mchid}, labels...)...))
}

func (b *fixture) value(m prometheus.Metric) float64 {
	b.t.Helper()
	var out dto.Metric
	if err := m.Write(&out); err != nil {
		b.t.Fatal(err)
	}
	return out.GetCounter().GetValue() + out.GetGauge().GetValue()
}

// again returns for how long the handler's error puts the task back, and false
// where it is another error or none.
func again(err error) (time.Duration, bool) {
	var l *asynqx.Later
	if errors.As(err, &l) {
		return l.After, true
	}
	return 0, false
}

// scriptName names a script that is not the ledger's "asynq".
func scriptName(sha string) string { return cmp.Or(ledger.ScriptName(sha), "asynq") }

// loadScripts makes Redis know the scripts, so that each call of one is one
// command.
func (b *fixture) loadScripts() {
	b.t.Helper()
	if err := ledger.LoadScripts(b.t.Context(), b.rdb); err != nil {
		b.t.Fatal(err)
	}
}

// task is asynq's view of a task, or nil where it has none of that round.
func (b *fixture) task(no string, round int64) *asynq.TaskInfo {
	b.t.Helper()
	mchid := b.mchid
	info, err := asynq.NewInspectorFromRedisClient(b.rdb).GetTaskInfo(tasks.QueueName(mchid), queue.TaskID(mchid, no, round))
	if errors.Is(err, asynq.ErrTaskNotFound) || errors.Is(err, asynq.ErrQueueNotFound) {
		return nil
	}
	if err != nil {
		b.t.Fatal(err)
	}
	return info
}
