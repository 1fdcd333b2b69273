package payscore

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"payscore-collector/internal/owner"
	"payscore-collector/internal/simulator"
)

// certPlatform is a simulator whose certificates can be counted, held up and
// denied.
type certPlatform struct {
	*simulator.Simulator
	url       string
	downloads atomic.Int64
	deny      atomic.Bool   // answer 503
	instead   atomic.Value  // string: answer this, 200
	none      atomic.Bool   // answer that the merchant has none, 404
	entered   chan struct{} // hears of each download while hold is set
	hold      chan struct{} // closed to let downloads go; nil for none
}

func newCertPlatform(t *testing.T) *certPlatform {
	t.Helper()
	sim, err := simulator.New(simulator.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(sim.Close)
	p := &certPlatform{Simulator: sim, entered: make(chan struct{}, 100)}
	inner := sim.Handler()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v3/certificates" {
			p.downloads.Add(1)
			if p.hold != nil && p.downloads.Load() > 1 {
				p.entered <- struct{}{}
				<-p.hold
			}
			if p.deny.Load() {
				w.WriteHeader(http.StatusServiceUnavailable)
				return
			}
			if p.none.Load() {
				w.WriteHeader(http.StatusNotFound)
				_, _ = w.Write([]byte(`{"code":"RESOURCE_NOT_EXISTS","message":"无可用的平台证书"}`))
				return
			}
			if body, ok := p.instead.Load().(string); ok {
				_, _ = w.Write([]byte(body))
				return
			}
		}
		inner.ServeHTTP(w, r)
	}))
	t.Cleanup(s.Close)
	p.url = s.URL
	if err := sim.AddOrders(simulator.Order{OutOrderNo: "ORDER"}); err != nil {
		t.Fatal(err)
	}
	return p
}

// client verifies with platform certificates.
func (p *certPlatform) client(t *testing.T, change ...func(*Config)) *Client {
	t.Helper()
	m := p.Merchant()
	cfg := Config{
		MchID: m.MchID, SerialNo: m.SerialNo, PrivateKey: m.PrivateKey, APIV3Key: m.APIv3Key,
		BaseURL: p.url, Timeout: 20 * time.Second, Connections: 8,
	}
	for _, f := range change {
		f(&cfg)
	}
	c, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func (p *certPlatform) request() Request {
	m := p.Merchant()
	return Request{Owner: owner.Owner{AppID: m.AppID, ServiceID: m.ServiceID}, OutOrderNo: "ORDER"}
}

// collects is how many collect calls arrived.
func (p *certPlatform) collects() int64 { return p.Report().CollectCalls }

func TestPlatformCertificates(t *testing.T) {
	t.Parallel()
	t.Run("are downloaded once, and calls are verified with them", func(t *testing.T) {
		t.Parallel()
		p := newCertPlatform(t)
		client := p.client(t)
		var all sync.WaitGroup
		for range 20 {
			all.Go(func() {
				if r := client.Query(t.Context(), p.request()); r.Verdict != Owed || !r.Verified {
					t.Errorf("query: %+v", r)
				}
			})
		}
		all.Wait()
		if r := client.Collect(t.Context(), p.request()); r.Verdict != Accepted || !r.Verified {
			t.Errorf("collect: %+v", r)
		}
		if r := client.Query(t.Context(), p.request()); r.Verdict != Paid {
			t.Errorf("query: %+v", r)
		}
		if n := p.downloads.Load(); n != 1 {
			t.Errorf("%d downloads", n)
		}
	})
	t.Run("do not let a forgery through", func(t *testing.T) {
		t.Parallel()
		p := newCertPlatform(t)
		client := p.client(t)
		for _, f := range []simulator.Faults{{WrongSignature: 1}, {MissingSignature: 1}} {
			if err := p.SetFaults(f); err != nil {
				t.Fatal(err)
			}
			if r := client.Query(t.Context(), p.request()); r.Verdict != Unknown || r.Reason != "unverified" || r.Order != nil {
				t.Errorf("%+v", r)
			}
		}
	})
	t.Run("a wrong APIv3 key is the merchant's fault, and says so", func(t *testing.T) {
		t.Parallel()
		p := newCertPlatform(t)
		for _, key := range []string{strings.Repeat("0", 32), "too short"} {
			r := p.client(t, func(c *Config) { c.APIV3Key = key }).Collect(t.Context(), p.request())
			if r.Verdict != MerchantFault || r.Scope != ScopeMerchant || !strings.Contains(r.Message, "WECHATPAY_API_V3_KEY") || r.Call != CallCollect {
				t.Errorf("%+v", r)
			}
			if strings.Contains(r.Message, key) {
				t.Errorf("the message has the key: %s", r.Message)
			}
		}
		if p.collects() != 0 {
			t.Error("the call was made, though its reply could not be verified")
		}
	})
	t.Run("a signature that is refused is the merchant's fault", func(t *testing.T) {
		t.Parallel()
		p := newCertPlatform(t)
		if err := p.SetFaults(simulator.Faults{SignError: true}); err != nil {
			t.Fatal(err)
		}
		r := p.client(t).Collect(t.Context(), p.request())
		if r.Verdict != MerchantFault || r.Scope != ScopeMerchant || r.Code != "SIGN_ERROR" || r.HTTPStatus != 401 || r.DetailCode != "270924332" {
			t.Errorf("%+v", r)
		}
		if p.collects() != 0 {
			t.Error("the call was made")
		}
	})
	for _, tt := range []struct {
		name  string
		spoil func(*certPlatform)
	}{
		{"a 503", func(p *certPlatform) { p.deny.Store(true) }},
		{"a proxy's page", func(p *certPlatform) { _ = p.SetFaults(simulator.Faults{Down: true}) }},
		{"no JSON", func(p *certPlatform) { p.instead.Store("OK") }},
		{"an empty list", func(p *certPlatform) { p.instead.Store(`{"data":[]}`) }},
		{"a list of nothing", func(p *certPlatform) { p.instead.Store(`{"data":[{}]}`) }},
		{"a list of null", func(p *certPlatform) { p.instead.Store(`{"data":[null]}`) }},
	} {
		t.Run("cannot be had, "+tt.name+": unavailable, the call is not made, and later it is", func(t *testing.T) {
			t.Parallel()
			p := newCertPlatform(t)
			tt.spoil(p)
			client := p.client(t)
			r := client.Collect(t.Context(), p.request())
			if r.Verdict != Unavailable || r.Sent || r.Call != CallCollect || r.Message == "" || r.Verified {
				t.Errorf("%+v", r)
			}
			if p.collects() != 0 {
				t.Error("the call was made")
			}
			if tt.name == "a 503" && r.HTTPStatus != 503 {
				t.Errorf("status %d", r.HTTPStatus)
			}
			p.deny.Store(false)
			_ = p.SetFaults(simulator.Faults{})
			if p.instead.Load() != nil {
				return // it cannot be taken back
			}
			if r := client.Collect(t.Context(), p.request()); r.Verdict != Accepted {
				t.Errorf("afterwards: %+v", r)
			}
		})
	}
}

// age makes the client's certificates old, and its last try too.
func age(c *Client) *platformCerts {
	p := c.verifier.(*platformCerts)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fetched = time.Now().Add(-certsFresh - time.Minute)
	p.tried = p.fetched
	return p
}

func TestOldPlatformCertificates(t *testing.T) {
	t.Parallel()
	t.Run("are used while no new ones can be had, which is tried once a minute", func(t *testing.T) {
		t.Parallel()
		p := newCertPlatform(t)
		client := p.client(t)
		client.Query(t.Context(), p.request())
		age(client).stale = true
		p.deny.Store(true)
		for range 5 {
			if r := client.Query(t.Context(), p.request()); r.Verdict != Owed {
				t.Errorf("%+v", r)
			}
		}
		if n := p.downloads.Load(); n != 2 {
			t.Errorf("%d downloads, want the first and one more", n)
		}
	})
	t.Run("are used by other calls while one downloads", func(t *testing.T) {
		t.Parallel()
		p := newCertPlatform(t)
		p.hold = make(chan struct{})
		client := p.client(t)
		client.Query(t.Context(), p.request())
		age(client)
		var slow sync.WaitGroup
		slow.Go(func() {
			if r := client.Query(t.Context(), p.request()); r.Verdict != Owed {
				t.Errorf("the call that downloads: %+v", r)
			}
		})
		<-p.entered
		if r := client.Query(t.Context(), p.request()); r.Verdict != Owed {
			t.Errorf("another call meanwhile: %+v", r)
		}
		close(p.hold)
		slow.Wait()
	})
	t.Run("a reply under an unknown serial makes for a download", func(t *testing.T) {
		t.Parallel()
		p := newCertPlatform(t)
		client := p.client(t)
		client.Query(t.Context(), p.request())
		certs := client.verifier.(*platformCerts)
		if err := certs.Verify(t.Context(), "ROTATED", "message", "c2ln"); err == nil {
			t.Fatal("an unknown certificate verifies")
		}
		client.Query(t.Context(), p.request())
		if n := p.downloads.Load(); n != 1 {
			t.Errorf("%d downloads within a minute", n)
		}
		certs.mu.Lock()
		certs.tried = certs.tried.Add(-certsAtLeast)
		certs.mu.Unlock()
		client.Query(t.Context(), p.request())
		client.Query(t.Context(), p.request())
		if n := p.downloads.Load(); n != 2 {
			t.Errorf("%d downloads after a minute, want a second one", n)
		}
	})
}

// Who waits for another's first download does not wait past his own deadline.
func TestFirstPlatformCertificatesAreWaitedFor(t *testing.T) {
	t.Parallel()
	certs := newPlatformCerts(nil, nil, "")
	certs.turn <- struct{}{} // another call downloads, and hangs
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if r := certs.prepare(ctx); r == nil || r.Verdict != Unavailable || r.Reason != ReasonGivenUp {
		t.Errorf("given up: %+v", r)
	}
	ctx, cancel = context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if r := certs.prepare(ctx); r == nil || r.Verdict != Unavailable || r.Reason != "" {
		t.Errorf("out of time: %+v", r)
	}
}

// Anybody can send notifications that name anything.
func TestPlatformCertificatesForNotifications(t *testing.T) {
	t.Parallel()
	raw := func(t *testing.T, p *certPlatform, opts simulator.NotificationOptions) simulator.RawNotification {
		t.Helper()
		if opts.Serial == "" {
			opts.Serial = p.Merchant().CertificateSerialNo
		}
		n, err := p.Notification("ORDER", opts)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	unknown := simulator.NotificationOptions{Serial: strings.Repeat("A", 40)}
	// ago makes the last download, and the last try, longer ago.
	ago := func(c *Client, d time.Duration) {
		c.certs.mu.Lock()
		defer c.certs.mu.Unlock()
		c.certs.fetched, c.certs.tried = c.certs.fetched.Add(-d), c.certs.tried.Add(-d)
	}
	withPublicKey := func(p *certPlatform) func(*Config) {
		return func(c *Config) { c.PublicKeyID, c.PublicKey = p.Merchant().PublicKeyID, p.Merchant().PublicKey }
	}

	t.Run("are downloaded once for all that wait, and kept", func(t *testing.T) {
		t.Parallel()
		p := newCertPlatform(t)
		client := p.client(t)
		var all sync.WaitGroup
		for range 50 {
			all.Go(func() {
				n := raw(t, p, simulator.NotificationOptions{})
				if _, err := client.Notification(t.Context(), n.Header, n.Body); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		if r := client.Query(t.Context(), p.request()); r.Verdict != Owed {
			t.Errorf("%+v", r)
		}
		if n := p.downloads.Load(); n != 1 {
			t.Errorf("%d downloads", n)
		}
	})
	t.Run("a name that is not known makes for a download a minute at the most", func(t *testing.T) {
		t.Parallel()
		p := newCertPlatform(t)
		client := p.client(t)
		good, bad := raw(t, p, simulator.NotificationOptions{}), raw(t, p, unknown)
		for i := range 100 {
			if _, err := client.Notification(t.Context(), bad.Header, bad.Body); !errors.Is(err, BadSignature) {
				t.Fatalf("%d: %v", i, err)
			}
		}
		if n := p.downloads.Load(); n != 1 {
			t.Errorf("%d downloads", n)
		}
		ago(client, 2*certsAtLeast)
		for range 100 {
			_, _ = client.Notification(t.Context(), bad.Header, bad.Body)
			if _, err := client.Notification(t.Context(), good.Header, good.Body); err != nil {
				t.Fatal(err)
			}
		}
		if n := p.downloads.Load(); n != 2 {
			t.Errorf("%d downloads a minute later", n)
		}
	})
	t.Run("that cannot be had are ours to mend, and asked for once a minute", func(t *testing.T) {
		t.Parallel()
		for name, change := range map[string]func(*certPlatform) func(*Config){
			"only certificates": func(*certPlatform) func(*Config) { return func(*Config) {} },
			"a public key":      withPublicKey,
		} {
			p := newCertPlatform(t)
			p.deny.Store(true)
			client := p.client(t, change(p))
			for _, n := range []simulator.RawNotification{raw(t, p, simulator.NotificationOptions{}), raw(t, p, unknown)} {
				for range 10 {
					if _, err := client.Notification(t.Context(), n.Header, n.Body); !errors.Is(err, NoCertificates) {
						t.Fatalf("%s: %v", name, err)
					}
				}
			}
			if n := p.downloads.Load(); n != 1 {
				t.Errorf("%s: %d downloads", name, n)
			}
			p.deny.Store(false)
			client.certs.mu.Lock()
			client.certs.tried = client.certs.tried.Add(-2 * certsAtLeast)
			client.certs.mu.Unlock()
			n := raw(t, p, simulator.NotificationOptions{})
			if _, err := client.Notification(t.Context(), n.Header, n.Body); err != nil {
				t.Errorf("%s: when they can be had again: %v", name, err)
			}
		}
	})
	t.Run("that the merchant does not have are nobody's signature, and not asked for again", func(t *testing.T) {
		t.Parallel()
		p := newCertPlatform(t)
		p.none.Store(true)
		client := p.client(t, withPublicKey(p))
		for _, opts := range []simulator.NotificationOptions{unknown, {WrongSignature: true}, {}} {
			n := raw(t, p, opts)
			if _, err := client.Notification(t.Context(), n.Header, n.Body); !errors.Is(err, BadSignature) {
				t.Errorf("%+v: %v", opts, err)
			}
		}
		good, err := p.Notification("ORDER", simulator.NotificationOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := client.Notification(t.Context(), good.Header, good.Body); err != nil {
			t.Errorf("under the public key: %v", err)
		}
		if n := p.downloads.Load(); n != 1 {
			t.Errorf("%d downloads", n)
		}
	})
	t.Run("that cannot be renewed leave a new name undecided, and known ones good", func(t *testing.T) {
		t.Parallel()
		p := newCertPlatform(t)
		client := p.client(t)
		good, bad := raw(t, p, simulator.NotificationOptions{}), raw(t, p, unknown)
		if _, err := client.Notification(t.Context(), good.Header, good.Body); err != nil {
			t.Fatal(err)
		}
		ago(client, 2*certsAtLeast)
		p.deny.Store(true)
		if _, err := client.Notification(t.Context(), bad.Header, bad.Body); !errors.Is(err, NoCertificates) {
			t.Errorf("%v", err)
		}
		if _, err := client.Notification(t.Context(), good.Header, good.Body); err != nil {
			t.Error(err)
		}
	})
	t.Run("that come too late are there for the next delivery", func(t *testing.T) {
		t.Parallel()
		p := newCertPlatform(t)
		client := p.client(t)
		p.downloads.Store(1) // so that the first is held up
		p.hold = make(chan struct{})
		ctx, cancel := context.WithCancel(t.Context())
		n := raw(t, p, simulator.NotificationOptions{})
		go func() { <-p.entered; cancel() }()
		if _, err := client.Notification(ctx, n.Header, n.Body); !errors.Is(err, NoCertificates) {
			t.Errorf("%v", err)
		}
		close(p.hold)
		if _, err := client.Notification(t.Context(), n.Header, n.Body); err != nil {
			t.Errorf("the next: %v", err)
		}
	})
	t.Run("are nobody's to ask for who names a public key", func(t *testing.T) {
		t.Parallel()
		p := newCertPlatform(t)
		for _, client := range []*Client{p.client(t), p.client(t, withPublicKey(p))} {
			for _, serial := range []string{"PUB_KEY_ID_0", "no-serial", "X"} {
				n := raw(t, p, simulator.NotificationOptions{Serial: serial})
				if _, err := client.Notification(t.Context(), n.Header, n.Body); !errors.Is(err, BadSignature) {
					t.Errorf("%s: %v", serial, err)
				}
			}
		}
		if n := p.downloads.Load(); n != 0 {
			t.Errorf("%d downloads", n)
		}
	})
}
