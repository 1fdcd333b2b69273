package notify_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/redis/go-redis/v9"
	"github.com/rs/zerolog"

	"payscore-collector/internal/collect"
	"payscore-collector/internal/ledger"
	"payscore-collector/internal/notify"
	"payscore-collector/internal/payscore"
	"payscore-collector/internal/redisconn"
	"payscore-collector/internal/simulator"
	"payscore-collector/internal/testkit"
	"payscore-collector/internal/testkit/redistest"
	"payscore-collector/tasks"
)

type options = simulator.NotificationOptions

func TestMain(m *testing.M) {
	redisconn.RedirectLog(zerolog.Nop())
	testkit.Parallel(12)
	os.Exit(m.Run())
}

// fixture is a receiver with everything behind it: the keys of a simulated platform, the
// client, the ledger in a Redis, the collector. None of them is a fake.
type fixture struct {
	*testing.T
	sim      *simulator.Simulator
	mchid    string
	redis    *redistest.Server
	link     *link // between the receiver and Redis
	ledger   *ledger.Ledger
	through  *forgetful // what the receiver writes to
	producer *tasks.Producer
	receiver *notify.Receiver
	server   *http.Server
	url      string // of the merchant's notifications
	metrics  *notify.Metrics
	counted  *collect.Metrics
	logs     *testkit.LogBuffer
}

// newFixture starts a receiver; change has the last word on its server.
func newFixture(t *testing.T, change ...func(*http.Server)) *fixture {
	t.Helper()
	sim, err := simulator.New(simulator.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(sim.Close)
	b := &fixture{T: t, sim: sim, mchid: sim.Merchant().MchID, redis: redistest.Start(t), logs: &testkit.LogBuffer{}}
	b.link = newLink(t, b.redis.URL)
	// See wantTrouble.
	rdb, err := redisconn.Open(b.link.url+"?read_timeout=10m&write_timeout=10m&dial_timeout=10m&pool_timeout=10m", redisconn.Pool{Size: 200})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = rdb.Close() })

	platform := httptest.NewServer(sim.Handler())
	t.Cleanup(platform.Close)
	m := sim.Merchant()
	client, err := payscore.New(payscore.Config{
		MchID: m.MchID, SerialNo: m.SerialNo, Signer: m.PrivateKey, PublicKeyID: m.PublicKeyID, PublicKey: m.PublicKey,
		APIV3Key: m.APIv3Key, BaseURL: platform.URL, Timeout: 10 * time.Second, Connections: 4,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)

	log := zerolog.New(b.logs).Level(zerolog.DebugLevel)
	b.metrics, b.counted = notify.NewMetrics(prometheus.NewRegistry()), collect.NewMetrics(prometheus.NewRegistry())
	l := &forgetful{Ledger: ledger.New(rdb, m.MchID)}
	b.through = l
	b.producer = tasks.NewProducer(b.redis.Client)
	b.ledger = ledger.New(b.redis.Client, m.MchID) // past the link
	b.receiver = notify.New([]string{m.MchID}, b.metrics, log)
	if got := b.receiver.SetAnswerWithin(ample); got != notify.AnswerWithin {
		b.Fatalf("it answers within %s, want %s", got, notify.AnswerWithin)
	}
	err = b.receiver.Open(map[string]notify.Merchant{m.MchID: {
		Opener: client, Ledger: l, Teller: collect.New(collect.Settings{}, l.Ledger, client, b.producer, log, b.counted),
	}})
	if err != nil {
		t.Fatal(err)
	}
	b.server, b.url = serve(t, b.receiver, change...)
	b.url += "/notify/" + m.MchID
	return b
}

// forgetful is a ledger some of whose answers are lost, though it has written.
type forgetful struct {
	*ledger.Ledger
	lose atomic.Int64 // so many
}

func (f *forgetful) Notice(ctx context.Context, n ledger.Notice) (ledger.NoticeCode, []ledger.News, error) {
	code, news, err := f.Ledger.Notice(ctx, n)
	if f.lose.Add(-1) >= 0 {
		return "", nil, errors.New("the answer was lost")
	}
	return code, news, err
}

func serve(t *testing.T, r *notify.Receiver, change ...func(*http.Server)) (s *http.Server, url string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s = notify.NewServer(r)
	for _, f := range change {
		f(s)
	}
	done := make(chan struct{})
	go func() { defer close(done); _ = s.Serve(notify.Limit(l)) }()
	t.Cleanup(func() { _ = s.Close(); <-done })
	return s, "http://" + l.Addr().String()
}

// add gives the platform orders, and enqueues them.
func (b *fixture) add(orders ...simulator.Order) {
	b.Helper()
	if err := b.sim.AddOrders(orders...); err != nil {
		b.Fatal(err)
	}
	m := b.sim.Merchant()
	for _, o := range orders {
		res, err := b.producer.Enqueue(b.Context(), tasks.Order{Payload: tasks.Payload{
			MchID: m.MchID, OutOrderNo: o.OutOrderNo, AppID: m.AppID, ServiceID: m.ServiceID,
		}})
		if err != nil || res.Status != tasks.Accepted {
			b.Fatalf("%+v %v", res, err)
		}
	}
}

func (b *fixture) withdraw(no string) {
	b.Helper()
	res, err := b.producer.Withdraw(b.Context(), tasks.Withdrawal{MchID: b.mchid, OutOrderNo: no, Reason: "waived"})
	if err != nil || res.Status != tasks.Accepted {
		b.Fatalf("withdrawn: %+v %v, want %s", res, err, tasks.Accepted)
	}
}

// paid shows an order as the platform does once all of it is paid.
func paid(e *simulator.Entity) { paidOf(e.TotalAmount)(e) }

// paidOf is paid in parts, which are the whole total.
func paidOf(parts ...int64) func(*simulator.Entity) {
	return func(e *simulator.Entity) {
		details, total := payments(parts)
		e.State, e.StateDescription, e.TotalAmount, e.NeedCollection = "DONE", "", total, true
		e.Collection = &simulator.Collection{State: "USER_PAID", TotalAmount: total, PaidAmount: total, Details: details}
	}
}

// partly is an order of which some parts have come in.
func partly(parts ...int64) func(*simulator.Entity) {
	return func(e *simulator.Entity) {
		details, paid := payments(parts)
		e.Collection = &simulator.Collection{State: "USER_PAYING", TotalAmount: e.TotalAmount, PaidAmount: paid, PayingAmount: e.TotalAmount - paid, Details: details}
	}
}

func payments(parts []int64) (details []simulator.PaymentDetail, paid int64) {
	for i, part := range parts {
		details = append(details, simulator.PaymentDetail{
			Seq: i + 1, Amount: part, PaidType: "NEWTON", PaidTime: fmt.Sprintf("202611231%d0000", i), TransactionID: fmt.Sprintf("420000%d", i+1),
		})
		paid += part
	}
	return details, paid
}

func (b *fixture) raw(no string, opts options) simulator.RawNotification {
	b.Helper()
	n, err := b.sim.Notification(no, opts)
	if err != nil {
		b.Fatal(err)
	}
	return n
}

// reply is an answer of the receiver.
type reply struct {
	status int
	body   string
	header http.Header
}

func (b *fixture) post(url string, n simulator.RawNotification) reply {
	b.Helper()
	req, err := n.Request(context.Background(), url)
	if err != nil {
		b.Fatal(err)
	}
	return b.do(req)
}

// once is a client without anything that it keeps.
var once = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: testkit.Patience}

func (b *fixture) do(req *http.Request) reply {
	b.Helper()
	resp, err := once.Do(req)
	if err != nil {
		b.Errorf("no answer: %v", err)
		return reply{}
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		b.Errorf("half an answer: %v", err)
	}
	return reply{resp.StatusCode, string(body), resp.Header}
}

// takes posts a notification that must be answered 200 with an empty body.
func (b *fixture) takes(n simulator.RawNotification) {
	b.Helper()
	if r := b.post(b.url, n); r.status != 200 || r.body != "" {
		b.Errorf("answered %d %q, want 200 and no body", r.status, r.body)
	}
}

// ample is the time for an answer of the fixture's receiver: a busy machine may miss
// notify.AnswerWithin.
const ample = testkit.Patience / 2

// troubled makes the receiver answer in time, as in production, until it is called again.
func (b *fixture) troubled() (mended func()) {
	b.receiver.SetAnswerWithin(notify.AnswerWithin)
	return func() { b.receiver.SetAnswerWithin(ample) }
}

// wantRefusal fails the test unless r is a refusal in WeChat Pay's form.
func (b *fixture) wantRefusal(r reply, status int) {
	b.Helper()
	var said struct{ Code, Message string }
	if err := json.Unmarshal([]byte(r.body), &said); err != nil || said.Code != "FAIL" || said.Message == "" {
		b.Errorf("the answer is %q", r.body)
	}
	if r.status != status {
		b.Errorf("answered %d, want %d: %s", r.status, status, r.body)
	}
}

func (b *fixture) get(no string) ledger.Order {
	b.Helper()
	o, err := b.ledger.Get(b.Context(), no)
	if err != nil {
		b.Fatal(err)
	}
	return o
}

// events are an order's, as in "opened queued, paid paid".
func (b *fixture) events(no string) string {
	b.Helper()
	var out []string
	for _, m := range b.redis.Client.XRange(b.Context(), ledger.KeysOf(b.mchid).Outcomes(), "-", "+").Val() {
		e, err := ledger.DecodeEvent(b.mchid, m.ID, m.Values)
		if err != nil {
			b.Fatal(err)
		}
		if e.OutOrderNo == no {
			out = append(out, strings.TrimPrefix(e.Type, "order.")+" "+string(e.State))
		}
	}
	return strings.Join(out, ", ")
}

func (b *fixture) count(outcome notify.Result) int {
	b.Helper()
	return counter(b.T, b.metrics.Notifications.WithLabelValues(b.mchid, string(outcome)))
}

func counter(t *testing.T, m prometheus.Metric) int {
	t.Helper()
	var out dto.Metric
	if err := m.Write(&out); err != nil {
		t.Fatal(err)
	}
	return int(out.GetCounter().GetValue())
}

// state is all that Redis holds, key by key.
func state(t *testing.T, rdb *redis.Client) map[string]string {
	t.Helper()
	ctx, all := context.Background(), map[string]string{}
	keys, err := rdb.Keys(ctx, "*").Result()
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range keys {
		var held any
		switch kind := rdb.Type(ctx, key).Val(); kind {
		case "string":
			held, err = rdb.Get(ctx, key).Result()
		case "hash":
			var h map[string]string
			h, err = rdb.HGetAll(ctx, key).Result()
			var lines []string
			for _, f := range slices.Sorted(maps.Keys(h)) {
				lines = append(lines, f+"="+h[f])
			}
			held = lines
		case "list":
			held, err = rdb.LRange(ctx, key, 0, -1).Result()
		case "set":
			var members []string
			members, err = rdb.SMembers(ctx, key).Result()
			slices.Sort(members)
			held = members
		case "zset":
			held, err = rdb.ZRangeWithScores(ctx, key, 0, -1).Result()
		case "stream":
			held, err = rdb.XRange(ctx, key, "-", "+").Result()
		default:
			t.Fatalf("%s is a %s, which this test cannot compare", key, kind)
		}
		if err != nil {
			t.Fatal(err)
		}
		all[key] = fmt.Sprint(held)
	}
	return all
}

// untouched runs f, and fails the test where that changed anything in Redis.
func (b *fixture) untouched(f func()) {
	b.Helper()
	before := state(b.T, b.redis.Client)
	if len(before) == 0 {
		b.Fatal("Redis is empty: there is nothing to be changed")
	}
	f()
	if diff := cmp.Diff(before, state(b.T, b.redis.Client)); diff != "" {
		b.Errorf("Redis was touched:\n%s", diff)
	}
}

// take returns the log lines since the last call, except those at debug.
func take(l *testkit.LogBuffer) []string {
	return slices.DeleteFunc(slices.Collect(strings.Lines(l.Take())), func(line string) bool {
		return strings.Contains(line, `"level":"debug"`)
	})
}

// tellsNoSecret fails the test where a log or an answer has what must not be in
// it.
func (b *fixture) tellsNoSecret(text string, n ...simulator.RawNotification) {
	b.Helper()
	m := b.sim.Merchant()
	forbidden := map[string]string{
		"the APIv3 key": m.APIv3Key, "an openid": "oUpF8uMuAJO", "the word openid": "openid", "plaintext": `\"collection\"`,
		"an attach": "attach", "ciphertext": "ciphertext", "the summary": "支付成功", "SIGNTEST": "SIGNTEST", "the introduction": "simulated",
	}
	for _, n := range n {
		if s := n.Header.Get("Wechatpay-Signature"); s != "" {
			forbidden["the signature"] = s
		}
		if s := n.Header.Get("Wechatpay-Nonce"); s != "" {
			forbidden["the nonce"] = s
		}
	}
	for what, s := range forbidden {
		if strings.Contains(text, s) {
			b.Errorf("%s is in: %s", what, text)
		}
	}
}

// collectAll is every time series of a collector.
func collectAll(c prometheus.Collector) []*dto.Metric {
	ch := make(chan prometheus.Metric, 1000)
	c.Collect(ch)
	close(ch)
	var all []*dto.Metric
	for m := range ch {
		var out dto.Metric
		if m.Write(&out) == nil {
			all = append(all, &out)
		}
	}
	return all
}
