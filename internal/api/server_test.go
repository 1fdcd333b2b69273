package api_test

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"payscore-collector/internal/api"
	"payscore-collector/internal/config"
	"payscore-collector/internal/ledger"
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

// fixture is an API on a Redis, and a caller.
type fixture struct {
	*testing.T
	redis *redistest.Server
	url   string
	token string // of the requests; empty: none
	logs  *testkit.LogBuffer
	api   *api.API
}

// newFixture serves an API on a Redis of its own, to local callers without a token.
func newFixture(t *testing.T, adjust ...func(*api.Options)) *fixture {
	t.Helper()
	return newFixtureOn(t, redistest.Start(t), adjust...)
}

func newFixtureOn(t *testing.T, server *redistest.Server, adjust ...func(*api.Options)) *fixture {
	t.Helper()
	f := &fixture{T: t, redis: server, logs: &testkit.LogBuffer{}}
	o := api.Options{
		Redis: server.Client, Loopback: true, Order: config.Order{AppID: "wxd678efh567hg6787", ServiceID: "500001"}, Log: zerolog.New(f.logs),
		Merchants: func() []config.Order {
			return []config.Order{{MchID: mchA, AppID: "wxd678efh567hg6787", ServiceID: "500001"}}
		},
	}
	for _, change := range adjust {
		change(&o)
	}
	a := api.New(o)
	f.api = a
	mux := http.NewServeMux()
	a.Register(mux)
	s := httptest.NewUnstartedServer(mux)
	s.Config.ReadTimeout, s.Config.WriteTimeout = 10*time.Second, 30*time.Second // as the worker's
	s.Config.RegisterOnShutdown(a.Stop)
	s.Start()
	t.Cleanup(func() {
		a.Stop()
		s.Close()
	})
	f.url = s.URL
	return f
}

// withTokens sets API_TOKENS_FILE with a token for each role, which is the role's name,
// and one for the merchant B alone.
func withTokens(t *testing.T) func(*api.Options) {
	file := filepath.Join(t.TempDir(), "tokens.yaml")
	var b strings.Builder
	for _, role := range config.Roles {
		b.WriteString(tokenItem(string(role), role, string(role)))
	}
	b.WriteString(strings.TrimSuffix(tokenItem("only-b", config.Operator, "only-b"), "}\n") + `, mchids: ["` + mchB + "\"]}\n")
	write(t, file, b.String())
	return func(o *api.Options) { o.TokensFile = file }
}

func tokenItem(name string, role config.Role, token string) string {
	sum := sha256.Sum256([]byte(token))
	return "- {name: " + name + ", role: " + string(role) + ", token_sha256: \"" + hex.EncodeToString(sum[:]) + "\"}\n"
}

func write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// answer is what a request got.
type answer struct {
	Status int
	Header http.Header
	Body   string
}

// call sends a request. A header is written "Name: value".
func (f *fixture) call(method, path, body string, headers ...string) answer {
	f.Helper()
	var reader io.Reader
	if body != "" {
		reader = strings.NewReader(body)
	}
	req, err := http.NewRequestWithContext(f.Context(), method, f.url+path, reader)
	if err != nil {
		f.Fatal(err)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	if f.token != "" {
		req.Header.Set("Authorization", "Bearer "+f.token)
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		if name == "Host" {
			req.Host = value
		}
		req.Header.Set(name, value)
	}
	return f.send(req)
}

func (f *fixture) send(req *http.Request) answer {
	f.Helper()
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		f.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		f.Fatalf("%s %s: %v after %q", req.Method, req.URL, err, text)
	}
	return answer{resp.StatusCode, resp.Header, string(text)}
}

func (f *fixture) get(path string, headers ...string) answer {
	f.Helper()
	return f.call(http.MethodGet, path, "", headers...)
}

func (f *fixture) post(path, body string, headers ...string) answer {
	f.Helper()
	return f.call(http.MethodPost, path, body, headers...)
}

// as returns the same API for a caller with a token.
func (f *fixture) as(token string) *fixture {
	other := *f
	other.token = token
	return &other
}

// into reads an answer of 200 into v.
func (a answer) into(t *testing.T, v any) {
	t.Helper()
	if a.Status != http.StatusOK {
		t.Fatalf("status %d: %s", a.Status, a.Body)
	}
	if err := json.Unmarshal([]byte(a.Body), v); err != nil {
		t.Fatalf("%v in %s", err, a.Body)
	}
}

// wants reports an answer that is not the problem of a status, or whose detail lacks
// one of the words.
func (a answer) wants(t *testing.T, status int, words ...string) {
	t.Helper()
	if a.Status != status {
		t.Errorf("status %d, want %d: %s", a.Status, status, a.Body)
		return
	}
	var p api.Problem
	if err := json.Unmarshal([]byte(a.Body), &p); err != nil || a.Header.Get("Content-Type") != "application/problem+json" || p.Status != status {
		t.Errorf("not a problem of %d: %s: %v", status, a.Body, err)
	}
	if len(p.Errors) == 1 && !strings.HasPrefix(p.Detail, p.Errors[0].Field+" ") {
		t.Errorf("errors name %q, the detail is %q", p.Errors[0].Field, p.Detail)
	}
	for _, word := range words {
		if !strings.Contains(p.Detail, word) {
			t.Errorf("the detail %q lacks %q", p.Detail, word)
		}
	}
}

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

// step is a worker's step for an open order.
func (f *fixture) step(mchid, no string, set ledger.Settlement) {
	f.Helper()
	l := ledger.New(f.redis.Client, mchid)
	claim, err := l.Claim(f.Context(), no, ledger.NewToken(), ledger.NoRound, ledger.Limits{Lease: time.Minute, Rate: 1e6, Horizon: time.Minute, Most: time.Second})
	if err != nil || claim.Code != ledger.Granted {
		f.Fatalf("claim %s: %+v, %v", no, claim, err)
	}
	res, err := l.Settle(f.Context(), claim, set)
	if err != nil || res.Code != ledger.Settled {
		f.Fatalf("settle %s: %s, %v", no, res.Code, err)
	}
}

func paid(fen int64) ledger.Settlement {
	return ledger.Settlement{
		State: tasks.Paid, AddAttempts: 1,
		Facts: ledger.Facts{OrderID: "1000", TransactionID: "4200001", PaidType: "NEWTON", Total: &fen, Paid: &fen},
		Log:   []ledger.Entry{{Call: "collect", Verdict: "accepted", HTTPStatus: 200, RequestID: "08AA-0", ElapsedMS: 12}},
	}
}

func rejected(reason string) ledger.Settlement {
	return ledger.Settlement{State: tasks.Rejected, Reason: reason, Log: []ledger.Entry{{Call: "query", Verdict: "not_found", HTTPStatus: 404, Code: reason, Failed: true}}}
}
