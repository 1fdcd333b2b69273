package payscore_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"payscore-collector/internal/owner"
	"payscore-collector/internal/payscore"
	"payscore-collector/internal/simulator"
)

// platformKey signs what the simulator would not say.
var platformKey = sync.OnceValue(func() *rsa.PrivateKey {
	k, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return k
})

const platformKeyID = "PUB_KEY_ID_TEST"

// sign puts WeChat Pay's headers on a reply.
func sign(h http.Header, body []byte) {
	timestamp := strconv.FormatInt(time.Now().Unix(), 10)
	digest := sha256.Sum256([]byte(timestamp + "\nnonce\n" + string(body) + "\n"))
	sig, err := rsa.SignPKCS1v15(rand.Reader, platformKey(), crypto.SHA256, digest[:])
	if err != nil {
		panic(err)
	}
	h.Set("Wechatpay-Timestamp", timestamp)
	h.Set("Wechatpay-Nonce", "nonce")
	h.Set("Wechatpay-Serial", platformKeyID)
	h.Set("Wechatpay-Signature", base64.StdEncoding.EncodeToString(sig))
	h.Set("Request-ID", "08ABC-0")
}

// own is a configuration for a platform of the test's own.
func own(url string) payscore.Config {
	return payscore.Config{
		MchID: "1900000109", SerialNo: "SERIAL", Signer: platformKey(),
		PublicKeyID: platformKeyID, PublicKey: &platformKey().PublicKey,
		BaseURL: url, Timeout: 20 * time.Second, Connections: 4,
	}
}

var anOrder = payscore.Request{Owner: owner.Owner{AppID: "wx1", ServiceID: "500"}, OutOrderNo: "ORDER"}

// connState hears of each connection that is opened.
func connState(opened func()) func(net.Conn, http.ConnState) {
	return func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			opened()
		}
	}
}

// | and * are legal in an order's number and in neither a path nor a query;
// the signature covers the target as it is sent.
func TestOrderNumbersAreEscaped(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	client := p.client(t)
	const no = "A|b*C_-9"
	p.add(t, simulator.Order{OutOrderNo: no})
	if r := client.Collect(t.Context(), p.request(no)); r.Verdict != payscore.Accepted {
		t.Errorf("collect: %+v", r)
	}
	if r := client.Query(t.Context(), p.request(no)); r.Verdict != payscore.Paid || r.Order.OutOrderNo != no {
		t.Errorf("query: %+v", r)
	}
	if n := p.Report().RejectedSignatures; n != 0 {
		t.Errorf("%d signatures were not over what was sent", n)
	}
	for _, path := range p.paths {
		if strings.ContainsAny(path, "|*") || !strings.Contains(path, "A%7Cb%2AC_-9") {
			t.Errorf("sent as %q", path)
		}
	}
}

func TestOneConnectionForEachCallInFlight(t *testing.T) {
	t.Parallel()
	const calls, rounds = 16, 5
	var mu sync.Mutex
	conns := 0
	var all *sync.WaitGroup // in flight at the same time, each round
	url := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		meet := all
		mu.Unlock()
		meet.Done()
		meet.Wait()
		sign(w.Header(), []byte("{}"))
		_, _ = io.WriteString(w, "{}")
	}), func() {
		mu.Lock()
		defer mu.Unlock()
		conns++
	})
	cfg := own(url)
	cfg.Connections = calls
	client := newClient(t, cfg)
	for range rounds {
		mu.Lock()
		all = new(sync.WaitGroup)
		all.Add(calls)
		mu.Unlock()
		var round sync.WaitGroup
		for range calls {
			round.Go(func() {
				if r := client.Collect(t.Context(), anOrder); r.Verdict != payscore.Accepted {
					t.Errorf("%+v", r)
				}
			})
		}
		round.Wait()
	}
	mu.Lock()
	defer mu.Unlock()
	if conns != calls {
		t.Errorf("%d connections for %d rounds of %d calls at once", conns, rounds, calls)
	}
}

// Following a redirect would send the Authorization header to the host that it names.
func TestRedirectIsNotFollowed(t *testing.T) {
	t.Parallel()
	for _, status := range []int{301, 302, 303, 307, 308} {
		t.Run(strconv.Itoa(status), func(t *testing.T) {
			t.Parallel()
			elsewhere := make(chan http.Header, 10)
			other := serve(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { elsewhere <- r.Header }), nil)
			client := newClient(t, own(serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				http.Redirect(w, r, other+"/login?token=hidden", status)
			}), nil)))
			for _, call := range []payscore.Call{payscore.CallCollect, payscore.CallQuery} {
				r := do(t, client, call, anOrder)
				if r.Verdict != payscore.Unavailable || r.HTTPStatus != status {
					t.Errorf("%s: %+v", call, r)
				}
				if strings.Contains(fmt.Sprintf("%+v", r), "hidden") {
					t.Errorf("%s: the reply has the address: %+v", call, r)
				}
			}
			if len(elsewhere) > 0 {
				t.Errorf("the other host was called, with %v", <-elsewhere)
			}
		})
	}
}

// The bound on a reply's size holds only where nothing is unpacked.
func TestCompressionIsNotAskedFor(t *testing.T) {
	t.Parallel()
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	_, _ = io.WriteString(z, `{"out_order_no":"ORDER"}`)
	_ = z.Close()
	asked := make(chan string, 1)
	client := newClient(t, own(serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked <- r.Header.Get("Accept-Encoding")
		w.Header().Set("Content-Encoding", "gzip")
		sign(w.Header(), packed.Bytes())
		_, _ = w.Write(packed.Bytes())
	}), nil)))
	r := client.Collect(t.Context(), anOrder)
	if a := <-asked; a != "" {
		t.Errorf("asked for %q", a)
	}
	if r.Verdict != payscore.Unknown || r.Reason != "unreadable" {
		t.Errorf("a body that was packed unasked: %+v", r)
	}
}

// A signed reply is good for five minutes: an old one proves nothing, and so
// does one that another key signed or that was changed on the way.
func TestReplySignature(t *testing.T) {
	t.Parallel()
	const good = `{"out_order_no":"ORDER"}`
	for _, tt := range []struct {
		name   string
		change func(http.Header)
		body   string
		want   payscore.Verdict
	}{
		{"as signed", func(http.Header) {}, good, payscore.Accepted},
		{"another body", func(http.Header) {}, `{"out_order_no":"ORDER" }`, payscore.Unknown},
		{"another nonce", func(h http.Header) { h.Set("Wechatpay-Nonce", "other") }, good, payscore.Unknown},
		{"another time", func(h http.Header) {
			h.Set("Wechatpay-Timestamp", strconv.FormatInt(time.Now().Unix()-7, 10))
		}, good, payscore.Unknown},
		{"no time", func(h http.Header) { h.Del("Wechatpay-Timestamp") }, good, payscore.Unknown},
		{"another key's name", func(h http.Header) { h.Set("Wechatpay-Serial", "PUB_KEY_ID_OTHER") }, good, payscore.Unknown},
		{"no key's name", func(h http.Header) { h.Del("Wechatpay-Serial") }, good, payscore.Unknown},
		{"no signature", func(h http.Header) { h.Del("Wechatpay-Signature") }, good, payscore.Unknown},
		{"a test of whether we verify", func(h http.Header) {
			h.Set("Wechatpay-Signature", "WECHATPAY/SIGNTEST/"+h.Get("Wechatpay-Signature"))
		}, good, payscore.Unknown},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			client := newClient(t, own(serve(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				sign(w.Header(), []byte(good))
				tt.change(w.Header())
				_, _ = io.WriteString(w, tt.body)
			}), nil)))
			r := client.Collect(t.Context(), anOrder)
			if r.Verdict != tt.want || r.Verified != (tt.want == payscore.Accepted) {
				t.Errorf("%+v", r)
			}
		})
	}
}

// What certainly never left had no effect.
func TestCallThatWasNotSent(t *testing.T) {
	t.Parallel()
	t.Run("no listener", func(t *testing.T) {
		t.Parallel()
		r := newClient(t, own(deadURL(t))).Collect(t.Context(), anOrder)
		if r.Verdict != payscore.Unavailable || r.Sent || r.Message != "the connection was refused" || r.Reason != "" {
			t.Errorf("%+v", r)
		}
	})
	t.Run("the deadline has passed: a process that was frozen", func(t *testing.T) {
		t.Parallel()
		s := newRaw(t, func(_ *net.TCPConn, _ int, read func() bool) { read() })
		ctx, cancel := context.WithDeadline(t.Context(), time.Now().Add(-time.Second))
		defer cancel()
		r := newClient(t, own(s.addr)).Collect(ctx, anOrder)
		if r.Verdict != payscore.Unavailable || r.Sent || r.Reason != payscore.ReasonGivenUp {
			t.Errorf("%+v", r)
		}
		if total, _ := s.seen(); total != 0 {
			t.Error("it was sent all the same")
		}
	})
	t.Run("given up during the call: unknown, and nothing about the platform", func(t *testing.T) {
		t.Parallel()
		ctx, cancel := context.WithCancel(t.Context())
		s := newRaw(t, func(_ *net.TCPConn, _ int, read func() bool) { read(); cancel(); read() })
		r := newClient(t, own(s.addr)).Collect(ctx, anOrder)
		if r.Verdict != payscore.Unknown || !r.Sent || r.Reason != payscore.ReasonGivenUp || r.Message != "the call was given up" {
			t.Errorf("%+v", r)
		}
	})
}

// deadURL is an address without a listener.
func deadURL(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return "http://" + l.Addr().String()
}

// After three failures on the network in a row calls go to the host in the
// other city. The way back is TestBackToThePrimary's.
func TestFailover(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	p.add(t, simulator.Order{OutOrderNo: "ORDER"})
	client := p.client(t, func(c *payscore.Config) { c.BackupURL, c.BaseURL = c.BaseURL, deadURL(t) })
	for i := range 3 {
		if r := client.Query(t.Context(), p.request("ORDER")); r.Verdict != payscore.Unavailable || r.Sent {
			t.Fatalf("call %d: %+v", i+1, r)
		}
	}
	if r := client.Query(t.Context(), p.request("ORDER")); r.Verdict != payscore.Owed {
		t.Errorf("call 4 did not go to the backup: %+v", r)
	}
}

// A host that answers is not dead, whatever it says.
func TestNoFailoverOnErrorReplies(t *testing.T) {
	t.Parallel()
	p, backup := newPlatform(t), newPlatform(t)
	if err := p.SetFaults(simulator.Faults{Down: true}); err != nil {
		t.Fatal(err)
	}
	client := p.client(t, func(c *payscore.Config) { c.BackupURL = backup.url })
	for range 5 {
		if r := client.Query(t.Context(), p.request("ORDER")); r.HTTPStatus != 502 {
			t.Fatalf("%+v", r)
		}
	}
	if n := backup.Report().Calls; n != 0 {
		t.Errorf("%d calls went to the backup", n)
	}
}

func TestNewRefusesHalfAddresses(t *testing.T) {
	t.Parallel()
	for _, url := range []string{"", "api.mch.weixin.qq.com", "https://", ":%"} {
		cfg := own(url)
		if _, err := payscore.New(cfg); err == nil {
			t.Errorf("base URL %q was taken", url)
		}
		cfg = own("https://example.test")
		cfg.BackupURL = url
		if _, err := payscore.New(cfg); (err == nil) != (url == "") {
			t.Errorf("backup URL %q: %v", url, err)
		}
	}
}
