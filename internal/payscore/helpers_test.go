package payscore_test

import (
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"payscore-collector/internal/owner"
	"payscore-collector/internal/payscore"
	"payscore-collector/internal/simulator"
)

// platform is a simulator behind a server that writes down what crosses the
// wire, so that a test can tell what must not show up in a Reply.
type platform struct {
	*simulator.Simulator
	url string

	mu      sync.Mutex
	secrets []string // signatures and nonces, theirs and ours
	paths   []string // request targets as sent
	conns   int      // connections accepted
}

var authorizationValues = regexp.MustCompile(`(?:signature|nonce_str)="([^"]+)"`)

func newPlatform(t *testing.T) *platform {
	t.Helper()
	sim, err := simulator.New(simulator.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(sim.Close)
	p := &platform{Simulator: sim}
	inner := sim.Handler()
	p.url = serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.note(func() {
			p.paths = append(p.paths, r.RequestURI)
			for _, m := range authorizationValues.FindAllStringSubmatch(r.Header.Get("Authorization"), -1) {
				p.secrets = append(p.secrets, m[1])
			}
		})
		defer p.note(func() {
			if s := w.Header().Get("Wechatpay-Signature"); s != "" {
				p.secrets = append(p.secrets, s)
			}
		})
		inner.ServeHTTP(w, r)
	}), func() { p.note(func() { p.conns++ }) })
	return p
}

func (p *platform) note(f func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f()
}

// serve starts a server that ends with the test and logs nothing. opened, if not
// nil, is called for each new connection.
func serve(t *testing.T, h http.Handler, opened func()) (url string) {
	t.Helper()
	s := httptest.NewUnstartedServer(h)
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	if opened != nil {
		s.Config.ConnState = connState(opened)
	}
	s.Start()
	t.Cleanup(s.Close)
	return s.URL
}

func (p *platform) add(t *testing.T, orders ...simulator.Order) {
	t.Helper()
	if err := p.AddOrders(orders...); err != nil {
		t.Fatal(err)
	}
}

// config is the merchant's, with the WeChat Pay public key.
func (p *platform) config() payscore.Config {
	m := p.Merchant()
	return payscore.Config{
		MchID: m.MchID, SerialNo: m.SerialNo, Signer: m.PrivateKey,
		PublicKeyID: m.PublicKeyID, PublicKey: m.PublicKey,
		BaseURL: p.url, Timeout: 20 * time.Second, Connections: 4,
	}
}

func (p *platform) client(t *testing.T, change ...func(*payscore.Config)) *payscore.Client {
	t.Helper()
	cfg := p.config()
	for _, f := range change {
		f(&cfg)
	}
	return newClient(t, cfg)
}

func newClient(t *testing.T, cfg payscore.Config) *payscore.Client {
	t.Helper()
	c, err := payscore.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func (p *platform) request(no string) payscore.Request {
	m := p.Merchant()
	return payscore.Request{Owner: owner.Owner{AppID: m.AppID, ServiceID: m.ServiceID}, OutOrderNo: no}
}

func do(t *testing.T, c *payscore.Client, call payscore.Call, r payscore.Request) payscore.Reply {
	t.Helper()
	switch call {
	case payscore.CallCollect:
		return c.Collect(t.Context(), r)
	case payscore.CallQuery:
		return c.Query(t.Context(), r)
	}
	t.Fatalf("call %q is not one", call)
	return payscore.Reply{}
}

// tellsNoSecret fails the test where anything of a Reply could not go into a
// log: signatures, nonces, keys, the openid, pieces of a body.
func (p *platform) tellsNoSecret(t *testing.T, r payscore.Reply) {
	t.Helper()
	asJSON, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	text := fmt.Sprintf("%+v %s", r, asJSON)
	key, err := p.Merchant().PrivateKeyPEM()
	if err != nil {
		t.Fatal(err)
	}
	forbidden := []string{
		"oUpF8uMuAJO", "openid", // of the order's user
		"共享充电宝", "simulated", "x_undocumented", "merchant.example", // of bodies
		"<html", "nginx", // of a proxy's page
		"Authorization:", "WECHATPAY2-SHA256-RSA2048", "SIGNTEST", "BEGIN ",
		p.Merchant().APIv3Key,
	}
	for _, line := range strings.Split(key, "\n") {
		if len(line) > 20 {
			forbidden = append(forbidden, line)
		}
	}
	p.note(func() { forbidden = append(forbidden, p.secrets...) })
	for _, s := range forbidden {
		if strings.Contains(text, s) {
			t.Errorf("the reply gives %.24q away: %s", s, text)
		}
	}
}
