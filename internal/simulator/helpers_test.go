package simulator

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"
)

// clock is a clock that only tests move.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func newClock() *clock {
	return &clock{now: time.Date(2026, 11, 23, 4, 0, 0, 0, time.UTC)}
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// bench is a simulator behind a real server, and a client of its merchant
// that shares no code with it beyond the standard library.
type bench struct {
	t     *testing.T
	sim   *Simulator
	clock *clock
	url   string
	http  *http.Client
}

// setup starts a simulator with these orders. Its clock stands still until
// the test moves it.
func setup(t *testing.T, orders ...Order) *bench {
	t.Helper()
	clock := newClock()
	b := setupWith(t, Options{Clock: clock.Now}, orders...)
	b.clock = clock
	return b
}

// setupWith starts a simulator with options of the test's own.
func setupWith(t *testing.T, opts Options, orders ...Order) *bench {
	t.Helper()
	b := &bench{t: t}
	var err error
	if b.sim, err = New(opts); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.sim.Close)
	if err := b.sim.AddOrders(orders...); err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(b.sim.Handler())
	t.Cleanup(server.Close)
	b.url = server.URL
	// Without keep-alive Go's transport never sends a GET again by itself, so
	// that one call of a test is one call at the simulator.
	b.http = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	return b
}

// fail sets the faults.
func (b *bench) fail(f Faults) {
	b.t.Helper()
	if err := b.sim.SetFaults(f); err != nil {
		b.t.Fatal(err)
	}
}

// truth is the platform's truth about an order.
func (b *bench) truth(no string) OrderTruth {
	b.t.Helper()
	truth, ok := b.sim.Order(no)
	if !ok {
		b.t.Fatalf("order %q was never added", no)
	}
	return truth
}

// until polls for a condition that another goroutine brings about.
func (b *bench) until(what string, ok func() bool) {
	b.t.Helper()
	for deadline := time.Now().Add(time.Minute); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			b.t.Fatalf("still waiting for: %s", what)
		}
	}
}

// answer is a reply as the client sees it.
type answer struct {
	err       error // no reply, or not a whole one
	status    int
	header    http.Header
	body      string
	signature string // good, wrong or missing
}

// code is the error's word, and fine what stands behind Request-ID's last dash.
func (a answer) code() string {
	var e struct{ Code string }
	_ = json.Unmarshal([]byte(a.body), &e) // a body that is no JSON has no code
	return e.Code
}

func (a answer) fine() string {
	id := a.header.Get("Request-ID")
	return id[strings.LastIndex(id, "-")+1:]
}

// String sums up what most tests compare.
func (a answer) String() string {
	if a.err != nil {
		return "no reply"
	}
	return strings.TrimSpace(fmt.Sprintf("%d %s", a.status, a.code()))
}

func (b *bench) collect(no string) answer { return b.collectContext(b.t.Context(), no) }

func (b *bench) collectContext(ctx context.Context, no string) answer {
	return b.call(ctx, http.MethodPost, "/v3/payscore/serviceorder/"+url.PathEscape(no)+"/pay", b.service())
}

// sync says that the user paid elsewhere, at noon on 1 November 2026 in China.
func (b *bench) sync(no string) answer {
	m := b.sim.Merchant()
	return b.call(b.t.Context(), http.MethodPost, "/v3/payscore/serviceorder/"+url.PathEscape(no)+"/sync", fmt.Sprintf(
		`{"appid":%q,"service_id":%q,"type":"Order_Paid","detail":{"paid_time":"20261101120000"}}`, m.AppID, m.ServiceID))
}

func (b *bench) query(no string) answer { return b.queryContext(b.t.Context(), no) }

func (b *bench) queryContext(ctx context.Context, no string) answer {
	return b.call(ctx, http.MethodGet, b.queryTarget(no), "")
}

func (b *bench) queryTarget(no string) string {
	m := b.sim.Merchant()
	return "/v3/payscore/serviceorder?" + url.Values{"out_order_no": {no}, "appid": {m.AppID}, "service_id": {m.ServiceID}}.Encode()
}

// entity queries an order and decodes the reply, which must be good.
func (b *bench) entity(no string) Entity {
	b.t.Helper()
	a := b.query(no)
	if a.status != http.StatusOK || a.signature != "good" {
		b.t.Fatalf("query %s: %v, signature %s, %v", no, a, a.signature, a.err)
	}
	var e Entity
	if err := json.Unmarshal([]byte(a.body), &e); err != nil {
		b.t.Fatal(err)
	}
	return e
}

// service is the body of a collect.
func (b *bench) service() string {
	m := b.sim.Merchant()
	return fmt.Sprintf(`{"appid":%q,"service_id":%q}`, m.AppID, m.ServiceID)
}

// call makes one rightly signed call.
func (b *bench) call(ctx context.Context, method, target, body string) answer {
	return b.send(b.request(ctx, method, target, body, signingOf(b.sim.Merchant())))
}

// signatureParts is what a request's signature is made of and says.
type signatureParts struct {
	mchID, nonce, timestamp, serialNo string
	key                               *rsa.PrivateKey
}

func signingOf(m Merchant) signatureParts {
	return signatureParts{mchID: m.MchID, nonce: rand.Text(), timestamp: fmt.Sprint(time.Now().Unix()), serialNo: m.SerialNo, key: m.PrivateKey}
}

func (p signatureParts) sign(t *testing.T, method, target, body string) string {
	t.Helper()
	digest := sha256.Sum256([]byte(method + "\n" + target + "\n" + p.timestamp + "\n" + p.nonce + "\n" + body + "\n"))
	sig, err := rsa.SignPKCS1v15(nil, p.key, crypto.SHA256, digest[:])
	if err != nil {
		t.Fatal(err)
	}
	return base64.StdEncoding.EncodeToString(sig)
}

func (b *bench) request(ctx context.Context, method, target, body string, p signatureParts) *http.Request {
	b.t.Helper()
	r, err := http.NewRequestWithContext(ctx, method, b.url+target, bytes.NewReader([]byte(body)))
	if err != nil {
		b.t.Fatal(err)
	}
	r.Header.Set("Authorization", fmt.Sprintf(
		`WECHATPAY2-SHA256-RSA2048 mchid="%s",nonce_str="%s",signature="%s",timestamp="%s",serial_no="%s"`,
		p.mchID, p.nonce, p.sign(b.t, method, target, body), p.timestamp, p.serialNo))
	return r
}

func (b *bench) send(r *http.Request) answer {
	resp, err := b.http.Do(r)
	if err != nil {
		return answer{err: err}
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	return answer{err: err, status: resp.StatusCode, header: resp.Header, body: string(body), signature: b.judge(resp.Header, body)}
}

// judge verifies a reply's signature.
func (b *bench) judge(h http.Header, body []byte) string {
	if h.Get("Wechatpay-Signature") == "" {
		return "missing"
	}
	m := b.sim.Merchant()
	if serial := h.Get("Wechatpay-Serial"); serial != m.PublicKeyID && serial != m.CertificateSerialNo {
		return "wrong"
	}
	sig, err := base64.StdEncoding.DecodeString(h.Get("Wechatpay-Signature"))
	if err != nil {
		return "wrong"
	}
	digest := sha256.Sum256([]byte(h.Get("Wechatpay-Timestamp") + "\n" + h.Get("Wechatpay-Nonce") + "\n" + string(body) + "\n"))
	if rsa.VerifyPKCS1v15(m.PublicKey, crypto.SHA256, digest[:], sig) != nil {
		return "wrong"
	}
	return "good"
}
