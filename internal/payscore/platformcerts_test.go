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

// certPlatform is a simulator whose downloads of certificates are counted, and can be
// delayed and spoilt.
type certPlatform struct {
	*simulator.Simulator
	url       string
	downloads atomic.Int64
	answer    atomic.Pointer[certAnswer] // instead of the certificates; nil for none
	entered   chan struct{}              // receives each download while hold is set
	hold      chan struct{}              // closed to let downloads continue; nil for no delay
}

type certAnswer struct {
	status int
	body   string
}

var (
	denied = &certAnswer{http.StatusServiceUnavailable, ""}
	none   = &certAnswer{http.StatusNotFound, `{"code":"RESOURCE_NOT_EXISTS","message":"无可用的平台证书"}`}
)

func listed(body string) *certAnswer { return &certAnswer{http.StatusOK, body} }

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
			if p.hold != nil {
				p.entered <- struct{}{}
				<-p.hold
			}
			if a := p.answer.Load(); a != nil {
				w.WriteHeader(a.status)
				_, _ = w.Write([]byte(a.body))
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

// client verifies with platform certificates, and under the public key as well if
// publicKey is set.
func (p *certPlatform) client(t *testing.T, publicKey bool, change ...func(*Config)) *Client {
	t.Helper()
	m := p.Merchant()
	cfg := Config{
		MchID: m.MchID, SerialNo: m.SerialNo, Signer: m.PrivateKey, APIV3Key: m.APIv3Key,
		BaseURL: p.url, Timeout: 20 * time.Second, Connections: 8,
	}
	if publicKey {
		cfg.PublicKeyID, cfg.PublicKey = m.PublicKeyID, m.PublicKey
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
	return Request{Owner: owner.Owner{MchID: m.MchID, AppID: m.AppID, ServiceID: m.ServiceID}, OutOrderNo: "ORDER"}
}

// wantDownloads checks how many downloads there were so far.
func (p *certPlatform) wantDownloads(t *testing.T, want int64) {
	t.Helper()
	if n := p.downloads.Load(); n != want {
		t.Errorf("%d downloads, want %d", n, want)
	}
}

// wantQuery checks the verdict of a query.
func (p *certPlatform) wantQuery(t *testing.T, c *Client, want Verdict) {
	t.Helper()
	if r := c.Query(t.Context(), p.request()); r.Verdict != want || r.Verified == (want == Unknown) || (r.Order != nil) != r.Verified {
		t.Errorf("the query came to %s (verified: %t), want %s: %s", r.Verdict, r.Verified, want, r.Message)
	}
}

// age makes the last download, and the last attempt at one, so much older.
func age(c *Client, d time.Duration) {
	c.certs.mu.Lock()
	defer c.certs.mu.Unlock()
	for _, at := range []*time.Time{&c.certs.fetched, &c.certs.tried} {
		if !at.IsZero() {
			*at = at.Add(-d)
		}
	}
}

func TestPlatformCertificates(t *testing.T) {
	t.Parallel()
	p := newCertPlatform(t)
	client := p.client(t, false)
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() { p.wantQuery(t, client, Owed) })
	}
	all.Wait()
	for _, f := range []simulator.Faults{{WrongSignature: 1}, {MissingSignature: 1}} {
		if err := p.SetFaults(f); err != nil {
			t.Fatal(err)
		}
		p.wantQuery(t, client, Unknown)
	}
	if err := p.SetFaults(simulator.Faults{}); err != nil {
		t.Fatal(err)
	}
	if r := client.Collect(t.Context(), p.request()); r.Verdict != Accepted || !r.Verified {
		t.Errorf("the collect came to %s (verified: %t), want accepted, verified", r.Verdict, r.Verified)
	}
	p.wantQuery(t, client, Paid)
	p.wantDownloads(t, 1)
}

// Without certificates the reply could not be verified, so no call is made.
func TestWithoutPlatformCertificates(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name    string
		answer  *certAnswer
		faults  simulator.Faults
		key     string // "" for the merchant's
		want    Verdict
		scope   Scope
		status  int
		code    string
		message string
	}{
		{name: "another APIv3 key", key: strings.Repeat("0", 32), want: MerchantFault, scope: ScopeMerchant, message: "WECHATPAY_API_V3_KEY"},
		{name: "a short APIv3 key", key: "too short", want: MerchantFault, scope: ScopeMerchant, message: "WECHATPAY_API_V3_KEY"},
		{name: "our signature is refused", faults: simulator.Faults{SignError: true}, want: MerchantFault, scope: ScopeMerchant, status: 401, code: "SIGN_ERROR"},
		{name: "a 503", answer: denied, want: Unavailable, status: 503},
		{name: "a proxy's page", faults: simulator.Faults{Down: true}, want: Unavailable, status: 502},
		{name: "not JSON", answer: listed("OK"), want: Unavailable},
		{name: "an empty list", answer: listed(`{"data":[]}`), want: Unavailable},
		{name: "a list of nothing", answer: listed(`{"data":[{}]}`), want: Unavailable},
		{name: "a list of null", answer: listed(`{"data":[null]}`), want: Unavailable},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p := newCertPlatform(t)
			p.answer.Store(tt.answer)
			if err := p.SetFaults(tt.faults); err != nil {
				t.Fatal(err)
			}
			client := p.client(t, false, func(c *Config) {
				if tt.key != "" {
					c.APIV3Key = tt.key
				}
			})
			r := client.Collect(t.Context(), p.request())
			if r.Call != CallCollect || r.Verdict != tt.want || r.Scope != tt.scope || r.HTTPStatus != tt.status || r.Code != tt.code {
				t.Errorf("got %s %s %q %d %q, want collect %s %q %d %q", r.Call, r.Verdict, r.Scope, r.HTTPStatus, r.Code, tt.want, tt.scope, tt.status, tt.code)
			}
			if r.Sent || r.Verified || r.Message == "" || !strings.Contains(r.Message, tt.message) || tt.key != "" && strings.Contains(r.Message, tt.key) {
				t.Errorf("sent %t, verified %t, message %q", r.Sent, r.Verified, r.Message)
			}
			if n := p.Report().CollectCalls; n != 0 {
				t.Error("the call was made")
			}
			if tt.key != "" {
				return
			}
			p.answer.Store(nil)
			if err := p.SetFaults(simulator.Faults{}); err != nil {
				t.Fatal(err)
			}
			if r := client.Collect(t.Context(), p.request()); r.Verdict != Accepted {
				t.Errorf("afterwards: %s, want accepted", r.Verdict)
			}
		})
	}
}

func TestOldPlatformCertificates(t *testing.T) {
	t.Parallel()
	start := func(t *testing.T) (*certPlatform, *Client) {
		t.Parallel()
		p := newCertPlatform(t)
		client := p.client(t, false)
		p.wantQuery(t, client, Owed)
		return p, client
	}
	t.Run("are used while no new ones can be downloaded, which is tried once a minute", func(t *testing.T) {
		p, client := start(t)
		age(client, certsFresh+time.Minute)
		p.answer.Store(denied)
		for range 5 {
			p.wantQuery(t, client, Owed)
		}
		p.wantDownloads(t, 2)
	})
	t.Run("are used by other calls during a download", func(t *testing.T) {
		p, client := start(t)
		p.hold = make(chan struct{})
		age(client, certsFresh+time.Minute)
		var slow sync.WaitGroup
		slow.Go(func() { p.wantQuery(t, client, Owed) })
		<-p.entered
		p.wantQuery(t, client, Owed)
		close(p.hold)
		slow.Wait()
	})
	t.Run("are downloaded again after a reply under an unknown serial, once a minute", func(t *testing.T) {
		p, client := start(t)
		if err := client.certs.Verify(t.Context(), "ROTATED", "message", "c2ln"); err == nil {
			t.Fatal("an unknown certificate verifies")
		}
		p.wantQuery(t, client, Owed)
		p.wantDownloads(t, 1)
		age(client, certsAtLeast)
		p.wantQuery(t, client, Owed)
		p.wantQuery(t, client, Owed)
		p.wantDownloads(t, 2)
	})
}

// A call that waits for another's first download does not wait past its own deadline.
func TestFirstPlatformCertificatesAreWaitedFor(t *testing.T) {
	t.Parallel()
	certs := newPlatformCerts(nil, nil, "")
	certs.turn <- struct{}{} // another call downloads, and hangs
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if r := certs.prepare(ctx); r == nil || r.Verdict != Unavailable || r.Reason != ReasonGivenUp {
		t.Errorf("given up: %+v, want unavailable, given up", r)
	}
	ctx, cancel = context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if r := certs.prepare(ctx); r == nil || r.Verdict != Unavailable || r.Reason != "" {
		t.Errorf("out of time: %+v, want unavailable", r)
	}
}

// A stranger can send notifications that name any certificate.
func TestPlatformCertificatesForNotifications(t *testing.T) {
	t.Parallel()
	const known = "known" // stands for the serial of the platform's certificate
	type act struct {
		age    time.Duration
		answer *certAnswer // of downloads from now on

		notify    simulator.NotificationOptions
		times     int // at once
		want      error
		downloads int64 // so far
	}
	good := simulator.NotificationOptions{Serial: known}
	unknown := simulator.NotificationOptions{Serial: strings.Repeat("A", 40)}
	named := func(serial string) act {
		return act{notify: simulator.NotificationOptions{Serial: serial}, times: 1, want: BadSignature}
	}
	const both = "both" // clients with and without a public key
	for _, tt := range []struct {
		name   string
		client string // "", "public key" or both
		acts   []act
	}{
		{"are downloaded once for all that wait, and kept", "", []act{
			{notify: good, times: 50, downloads: 1},
			{notify: good, times: 50, downloads: 1},
		}},
		{"an unknown name causes a download a minute at most", "", []act{
			{notify: unknown, times: 100, want: BadSignature, downloads: 1},
			{age: 2 * certsAtLeast, notify: unknown, times: 100, want: BadSignature, downloads: 2},
			{notify: good, times: 100, downloads: 2},
		}},
		{"a failed download is ours to mend, and tried once a minute", both, []act{
			{answer: denied, notify: good, times: 10, want: NoCertificates, downloads: 1},
			{answer: denied, notify: unknown, times: 10, want: NoCertificates, downloads: 1},
			{age: 2 * certsAtLeast, notify: good, times: 1, downloads: 2},
		}},
		{"a merchant without certificates has no signature under one, and is not asked again", "public key", []act{
			{answer: none, notify: unknown, times: 1, want: BadSignature, downloads: 1},
			{answer: none, notify: simulator.NotificationOptions{Serial: known, WrongSignature: true}, times: 1, want: BadSignature, downloads: 1},
			{answer: none, notify: good, times: 1, want: BadSignature, downloads: 1},
			{answer: none, notify: simulator.NotificationOptions{}, times: 1, downloads: 1}, // under the public key
		}},
		{"a failed renewal leaves a new name undecided, and known ones good", "", []act{
			{notify: good, times: 1, downloads: 1},
			{age: 2 * certsAtLeast, answer: denied, notify: unknown, times: 1, want: NoCertificates, downloads: 2},
			{answer: denied, notify: good, times: 1, downloads: 2},
		}},
		{"are not downloaded for the name of a public key", both, []act{named("PUB_KEY_ID_0"), named("no-serial"), named("X")}},
	} {
		for _, publicKey := range []bool{false, true} {
			if tt.client != both && publicKey != (tt.client != "") {
				continue
			}
			name := tt.name
			if publicKey {
				name += ", with a public key"
			}
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				p := newCertPlatform(t)
				client := p.client(t, publicKey)
				for i, a := range tt.acts {
					age(client, a.age)
					p.answer.Store(a.answer)
					if a.notify.Serial == known {
						a.notify.Serial = p.Merchant().CertificateSerialNo
					}
					n, err := p.Notification("ORDER", a.notify)
					if err != nil {
						t.Fatal(err)
					}
					var all sync.WaitGroup
					for range a.times {
						all.Go(func() {
							if _, err := client.Notification(t.Context(), n.Header, n.Body); !errors.Is(err, a.want) {
								t.Errorf("notification %d: %v, want %v", i, err, a.want)
							}
						})
					}
					all.Wait()
					p.wantDownloads(t, a.downloads)
				}
			})
		}
	}
	t.Run("that come too late are there for the next delivery", func(t *testing.T) {
		t.Parallel()
		p := newCertPlatform(t)
		client := p.client(t, false)
		p.hold = make(chan struct{})
		ctx, cancel := context.WithCancel(t.Context())
		n, err := p.Notification("ORDER", simulator.NotificationOptions{Serial: p.Merchant().CertificateSerialNo})
		if err != nil {
			t.Fatal(err)
		}
		go func() { <-p.entered; cancel() }()
		if _, err := client.Notification(ctx, n.Header, n.Body); !errors.Is(err, NoCertificates) {
			t.Errorf("%v, want %v", err, NoCertificates)
		}
		close(p.hold)
		if _, err := client.Notification(t.Context(), n.Header, n.Body); err != nil {
			t.Errorf("the next delivery: %v", err)
		}
	})
}
