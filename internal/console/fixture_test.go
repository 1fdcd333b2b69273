package console

import (
	"crypto/sha256"
	"encoding/hex"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"payscore-collector/internal/api"
	"payscore-collector/internal/collect"
	"payscore-collector/internal/config"
	"payscore-collector/internal/ledger"
	"payscore-collector/internal/payscore"
	"payscore-collector/internal/testkit"
	"payscore-collector/internal/testkit/redistest"
	"payscore-collector/tasks"
)

const (
	mchA = "1900000001"
	mchB = "1900000002"
)

func TestMain(m *testing.M) {
	testkit.Parallel(4)
	os.Exit(m.Run())
}

// fixture is a console on a Redis of its own, and a browser without scripts.
type fixture struct {
	*testing.T
	redis   *redistest.Server
	console *Console
	url     string
	logs    *testkit.LogBuffer
	client  *http.Client
}

// newFixture serves a console to local callers without a token.
func newFixture(t *testing.T, adjust ...func(*api.Options)) *fixture {
	t.Helper()
	return serve(t, redistest.Start(t), adjust...)
}

// serve serves a console, as a worker does, on a Redis that may have others.
func serve(t *testing.T, server *redistest.Server, adjust ...func(*api.Options)) *fixture {
	t.Helper()
	f := &fixture{T: t, redis: server, logs: &testkit.LogBuffer{}}
	o := api.Options{
		Redis: server.Client, Loopback: true, Log: zerolog.New(f.logs),
		Merchants: func() []config.Order { return []config.Order{{MchID: mchA}} },
	}
	for _, change := range adjust {
		change(&o)
	}
	a := api.New(o)
	c := New(a)
	f.console = c
	mux := http.NewServeMux()
	a.Register(mux)
	c.Register(mux)
	s := httptest.NewUnstartedServer(mux)
	s.Config.ReadTimeout, s.Config.WriteTimeout = 10*time.Second, 30*time.Second // as the worker's
	s.Start()
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(f.logs)
		}
		c.Stop()
		a.Stop()
		s.Close()
	})
	f.url = s.URL
	f.client = browserOf(t)
	return f
}

func browserOf(t *testing.T) *http.Client {
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &http.Client{Jar: jar}
}

// withTokens sets a token for each role, which is the role's name, and one for B alone.
func withTokens(t *testing.T) func(*api.Options) {
	item := func(name string, role config.Role, more string) string {
		sum := sha256.Sum256([]byte(name))
		return "- {name: " + name + ", role: " + string(role) + ", token_sha256: \"" + hex.EncodeToString(sum[:]) + "\"" + more + "}\n"
	}
	text := item("only-b", config.Operator, `, mchids: ["`+mchB+`"]`)
	for _, role := range config.Roles {
		text += item(string(role), role, "")
	}
	file := testkit.WriteFile(t, "tokens.yaml", text)
	return func(o *api.Options) { o.TokensFile = file }
}

// page is an answer.
type page struct {
	Status int
	Header http.Header
	Body   string
	Path   string // after redirects
}

func (f *fixture) send(req *http.Request, headers ...string) page {
	f.Helper()
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		if req.Header.Set(name, value); name == "Host" {
			req.Host = value
		}
	}
	resp, err := f.client.Do(req)
	if err != nil {
		f.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		f.Fatal(err)
	}
	return page{resp.StatusCode, resp.Header, string(text), resp.Request.URL.RequestURI()}
}

func (f *fixture) get(path string, headers ...string) page {
	f.Helper()
	req, err := http.NewRequestWithContext(f.Context(), http.MethodGet, f.url+path, nil)
	if err != nil {
		f.Fatal(err)
	}
	return f.send(req, headers...)
}

// post sends a form: names and values in turn.
func (f *fixture) post(path string, form []string, headers ...string) page {
	f.Helper()
	values := url.Values{}
	for i := 0; i+1 < len(form); i += 2 {
		values.Add(form[i], form[i+1])
	}
	req, err := http.NewRequestWithContext(f.Context(), http.MethodPost, f.url+path, strings.NewReader(values.Encode()))
	if err != nil {
		f.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return f.send(req, headers...)
}

// wants reports what a page lacks.
func (p page) wants(t *testing.T, status int, words ...string) {
	t.Helper()
	if p.Status != status {
		t.Errorf("status %d, want %d:\n%s", p.Status, status, p.Body)
		return
	}
	for _, w := range words {
		if !strings.Contains(p.Body, w) {
			t.Errorf("the page lacks %q:\n%s", w, p.Body)
		}
	}
}

func (f *fixture) ledger(mchid string) *ledger.Ledger { return ledger.New(f.redis.Client, mchid) }

// open enqueues an order.
func (f *fixture) open(mchid, no string) {
	f.Helper()
	res, err := tasks.NewProducer(f.redis.Client).Enqueue(f.Context(), tasks.Order{Payload: tasks.Payload{
		MchID: mchid, OutOrderNo: no, AppID: "wxd678efh567hg6787", ServiceID: "500001",
	}})
	if err != nil || res.Status != tasks.Accepted {
		f.Fatalf("enqueue %s: %+v, %v", no, res, err)
	}
}

// settle opens an order and settles it, as a worker does.
func (f *fixture) settle(mchid, no string, set ledger.Settlement) {
	f.Helper()
	f.open(mchid, no)
	f.step(mchid, no, set)
}

func (f *fixture) step(mchid, no string, set ledger.Settlement) {
	f.Helper()
	l := f.ledger(mchid)
	claim, err := l.Claim(f.Context(), no, ledger.NewToken(), ledger.NoRound, ledger.Limits{Lease: time.Minute, Rate: 1e6, Horizon: time.Minute, Most: time.Second})
	if err != nil || claim.Code != ledger.Granted {
		f.Fatalf("claim %s: %+v, %v", no, claim, err)
	}
	res, err := l.Settle(f.Context(), claim, set)
	if err != nil || res.Code != ledger.Settled {
		f.Fatalf("settle %s: %s, %v", no, res.Code, err)
	}
}

func (f *fixture) withdraw(mchid, no, reason string, paidAt time.Time) {
	f.Helper()
	res, err := tasks.NewProducer(f.redis.Client).Withdraw(f.Context(), tasks.Withdrawal{MchID: mchid, OutOrderNo: no, Reason: reason, PaidAt: paidAt, By: "cli:li"})
	if err != nil || res.Status != tasks.Accepted {
		f.Fatalf("withdraw %s: %+v, %v", no, res, err)
	}
}

func paid(fen int64) ledger.Settlement {
	return ledger.Settlement{
		State: tasks.Paid, AddAttempts: 1, VerifiedPaid: true,
		Facts: ledger.Facts{OrderID: "10000000000000000000000000", TransactionID: "4200002026112700000000001", PaidType: "NEWTON", Total: &fen, Paid: &fen, Done: true, Known: true,
			Payments: []ledger.Payment{{Seq: 1, Amount: fen, PaidType: "NEWTON", TransactionID: "4200002026112700000000001", PaidAt: time.Now().Add(-time.Hour).Truncate(time.Second)}}},
		Log: []ledger.Entry{
			{Call: "collect", Verdict: "accepted", HTTPStatus: 200, RequestID: "08AA01-0", ElapsedMS: 12},
			{Call: "query", Verdict: "paid", HTTPStatus: 200, RequestID: "08AA02-0", ElapsedMS: 9},
		},
	}
}

// ended is a settlement with a final state for a reason.
func ended(state tasks.State, reason string) ledger.Settlement {
	return ledger.Settlement{State: state, Reason: reason, Log: []ledger.Entry{{Call: "query", Verdict: "closed", HTTPStatus: 200, RequestID: "08AA03-0"}}}
}

// failed is a settlement of a call that failed, after which the order waits.
func failed(verdict payscore.Verdict, status int, code, detail, message string) ledger.Settlement {
	total := int64(1250)
	return ledger.Settlement{
		State: tasks.Awaiting, Next: ledger.Recheck, Due: time.Now().Add(time.Hour), AddAttempts: 1, Declines: 1, NewRound: true,
		Facts: ledger.Facts{Total: &total, Known: true},
		Log:   []ledger.Entry{{Call: "collect", Verdict: string(verdict), HTTPStatus: status, Code: code, DetailCode: detail, Message: message, RequestID: "08FF-" + detail, Failed: true}},
	}
}

// world fills two merchants: every state, every cause of a failure that has words, every
// alarm, a hold, a pause, webhooks that wait, a reader and a trail.
func (f *fixture) world() {
	f.Helper()
	f.open(mchA, "BIKE-QUEUED")
	for i, no := range []string{"BIKE-PAID-1", "BIKE-PAID-2", "BIKE|PAID*3"} {
		f.settle(mchA, no, paid(int64(1250*(i+1))))
	}
	f.settle(mchA, "BIKE-CLOSED", ended(tasks.Closed, payscore.EndReasons[0]))
	for _, reason := range payscore.EndReasons[1:] {
		f.settle(mchA, "BIKE-"+reason, ended(tasks.Rejected, reason))
	}
	f.settle(mchA, "BIKE-GAVEUP", ended(tasks.Exhausted, collect.ReasonGaveUp))
	codes, details := payscore.Codes()
	for _, code := range codes {
		f.settle(mchA, "CODE-"+code, failed(payscore.Declined, 403, code, "271316574", "余额不足，请更换支付方式"))
	}
	for _, detail := range details {
		f.settle(mchA, "DETAIL-"+detail, failed(payscore.Declined, 400, "INVALID_REQUEST", detail, ""))
	}

	f.open(mchA, "BIKE-WITHDRAWN")
	f.withdraw(mchA, "BIKE-WITHDRAWN", "paid at the counter", time.Time{})
	f.settle(mchA, "BIKE-SYNC", failed(payscore.Declined, 403, "TRADE_ERROR", "271316574", ""))
	f.withdraw(mchA, "BIKE-SYNC", "用户已在柜台付款", time.Now().Add(-time.Hour))
	f.step(mchA, "BIKE-SYNC", ledger.Settlement{State: tasks.Withdrawn, Sync: ledger.SyncFailed, SyncReason: "PARAM_ERROR", Log: []ledger.Entry{{Call: "sync", Verdict: "bad_request", HTTPStatus: 400, Code: "PARAM_ERROR", Failed: true}}})

	f.settle(mchA, "BIKE-LATE", ended(tasks.Exhausted, collect.ReasonGaveUp))
	late := paid(4700).Facts
	code, _, err := f.ledger(mchA).Notice(f.Context(), ledger.Notice{OutOrderNo: "BIKE-LATE", ID: "n1", Token: ledger.NewToken(), Paid: true, Facts: late, Entry: ledger.Entry{Call: "notification", Verdict: "paid"}})
	if err != nil || code != ledger.NoticeEnded {
		f.Fatalf("late payment: %s, %v", code, err)
	}
	differs := failed(payscore.Declined, 403, "TRADE_ERROR", "271316574", "")
	f.settle(mchA, "BIKE-DIFFERS", differs)
	more, less := int64(9900), int64(100)
	if _, news, err := f.ledger(mchA).Notice(f.Context(), ledger.Notice{OutOrderNo: "BIKE-DIFFERS", ID: "n2", Token: ledger.NewToken(), Facts: ledger.Facts{Total: &more, Paid: &less}, Entry: ledger.Entry{Call: "notification", Verdict: "in_progress"}}); err != nil || len(news) == 0 {
		f.Fatalf("amounts that differ: %v, %v", news, err)
	}

	if _, err := f.ledger(mchA).RelayHooks(f.Context(), ledger.HookRelayArgs{Scan: 1000, Take: 3, Most: 100}); err != nil {
		f.Fatal(err)
	}
	if err := f.redis.Client.XGroupCreate(f.Context(), ledger.KeysOf(mchA).Outcomes(), "billing", "0").Err(); err != nil {
		f.Fatal(err)
	}
	settings := ledger.Settings{Rate: 50, CollectWindow: "always", Timezone: "Asia/Shanghai", CollectSchedule: "10m,1h,6h,24h", ConfirmSchedule: "10s,1m,10m", MinGap: "5m", GiveUpAfter: "720h", SweepEvery: "15s", Webhooks: true}
	if err := f.ledger(mchA).Beat(f.Context(), "worker-a-1", time.Minute, settings, false); err != nil {
		f.Fatal(err)
	}

	closed := `{"mchid":"` + mchA + `","date":"2026-01-01","bill":{"rows":4,"payscore_rows":2,"amount":1760,"sha1":"x"},"ledger":{"orders":2,"amount":1750},"matched":{"orders":1,"amount":500},"exceptions":[` +
		`{"kind":"amount_differs","out_order_no":"BIKE-PAID-1","transaction_id":"4200001","bill_amount":1260,"ledger_amount":1250,"state":"paid","detail":"x"},{"kind":"refunded","out_order_no":"GONE","transaction_id":"4200002","bill_amount":100,"detail":"x"}]}`
	if _, err := f.ledger(mchA).CloseBook(f.Context(), "2026-01-01", []byte(closed), []byte(closed), map[string]int64{"amount_differs": 1, "refunded": 1}, nil, ledger.BookPlan{}); err != nil {
		f.Fatal(err)
	}

	f.settle(mchB, "RAIN-1", ledger.Settlement{
		State: tasks.Queued, Next: ledger.Collect, Due: time.Now().Add(time.Minute), NewRound: true, Gate: ledger.GateFault, CalledAt: time.Now(), First: 5 * time.Second, Most: 30 * time.Second, Failures: 1,
		Log: []ledger.Entry{{Call: "collect", Verdict: "merchant_fault", HTTPStatus: 401, Code: "SIGN_ERROR", Failed: true}},
	})
	if _, err := f.ledger(mchB).Pause(f.Context(), ledger.Deed{By: "cli:wang", Reason: "昨晚的订单金额有误", Token: ledger.NewToken()}, 2*time.Hour); err != nil {
		f.Fatal(err)
	}
}
