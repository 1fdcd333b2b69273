package notify_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"payscore-collector/internal/notify"
	"payscore-collector/internal/payscore"
	"payscore-collector/internal/simulator"
	"payscore-collector/internal/testkit"
	"payscore-collector/tasks"
)

// connections is how many the listener takes.
const connections = 512

// dial opens connections to the receiver from an address of this machine, and
// sends the same on each.
func (b *fixture) dial(from string, n int, send []byte) []net.Conn {
	b.Helper()
	u, err := url.Parse(b.url)
	if err != nil {
		b.Fatal(err)
	}
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
	held := make([]net.Conn, n)
	for i := range held {
		c, err := d.DialContext(b.Context(), "tcp", u.Host)
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { _ = c.Close() })
		if _, err := c.Write(send); err != nil {
			b.Fatal(err)
		}
		held[i] = c
	}
	return held
}

// head is the beginning of a request with a body of so many bytes.
func (b *fixture) head(length int) []byte {
	return fmt.Appendf(nil, "POST /notify/%s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n", b.mchid, length)
}

// isOpen reports whether the receiver has left a connection open.
func isOpen(t *testing.T, c net.Conn) bool {
	t.Helper()
	if err := c.SetReadDeadline(time.Now().Add(50 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	_, err := io.Copy(io.Discard, c)
	timeout, ok := err.(net.Error)
	return ok && timeout.Timeout()
}

// Strangers take every connection that there is; a notification comes through all
// the same, at once.
func TestStrangersDoNotKeepNotificationsWaiting(t *testing.T) {
	t.Parallel()
	for name, send := range map[string]func(*fixture) []byte{
		"who send nothing":                  func(*fixture) []byte { return nil },
		"who send half a header":            func(b *fixture) []byte { return b.head(2)[:40] },
		"who were refused, and stay":        func(b *fixture) []byte { return append(b.head(2), "{}"...) },
		"who send half a body":              func(b *fixture) []byte { return append(b.head(1000), "{"...) },
		"who send half a body of full size": func(b *fixture) []byte { return append(b.head(256<<10), make([]byte, 20<<10)...) },
		"who ask for another path":          func(*fixture) []byte { return []byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			// Were the strangers waited for, it would take longer than the test.
			b := newFixture(t, func(s *http.Server) { s.ReadHeaderTimeout, s.ReadTimeout = time.Hour, time.Hour })
			b.add(simulator.Order{OutOrderNo: "A", TotalAmount: 1250})
			b.dial("127.0.0.1", connections, send(b))
			for range 20 {
				b.takes(b.raw("A", options{Entity: paid}))
			}
			if o := b.get("A"); o.State != tasks.Paid {
				t.Errorf("%+v", o)
			}
		})
	}
	t.Run("the place is taken from the address that has most", func(t *testing.T) {
		t.Parallel()
		b := newFixture(t, func(s *http.Server) { s.ReadHeaderTimeout, s.ReadTimeout = time.Hour, time.Hour })
		few := b.dial("127.0.0.2", 12, nil)
		many := b.dial("127.0.0.3", connections-12, nil)
		b.dial("127.0.0.1", 50, nil)
		for _, c := range few {
			if !isOpen(t, c) {
				t.Fatal("the address that has few lost one")
			}
		}
		if isOpen(t, many[0]) || !isOpen(t, many[len(many)-1]) {
			t.Error("not the oldest of the address that has most was closed")
		}
	})
	t.Run("a notification that is worked on keeps its connection", func(t *testing.T) {
		t.Parallel()
		entered, release := make(chan struct{}), make(chan struct{})
		r := notify.New([]string{"1"}, notify.NewMetrics(prometheus.NewRegistry()), zerolog.Nop())
		err := r.Open(map[string]notify.Merchant{"1": {Opener: opener(func() (payscore.Notification, error) {
			close(entered)
			<-release
			return payscore.Notification{}, payscore.BadSignature
		})}})
		if err != nil {
			t.Fatal(err)
		}
		_, url := serve(t, r)
		b := &fixture{T: t, mchid: "1", url: url + "/notify/1"}
		c := b.dial("127.0.0.1", 1, append(b.head(2), "{}"...))[0]
		<-entered
		b.dial("127.0.0.1", 2*connections, nil)
		close(release)
		_ = c.SetReadDeadline(time.Now().Add(20 * time.Second))
		if line, err := bufio.NewReader(c).ReadString('\n'); !strings.HasPrefix(line, "HTTP/1.1 ") {
			t.Errorf("%q %v", line, err)
		}
	})
}

// Strangers who hold back the end of large bodies cost little memory.
func TestHalfSentBodiesCostLittleMemory(t *testing.T) {
	b := newFixture(t)
	body := bytes.Repeat([]byte("x"), 256<<10-10)
	used := func() int64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc + m.StackInuse)
	}
	before := used()
	conns := b.dial("127.0.0.1", connections, b.head(256<<10))
	var senders sync.WaitGroup
	for _, c := range conns {
		senders.Go(func() {
			_ = c.SetWriteDeadline(time.Now().Add(2 * time.Second))
			_, _ = c.Write(body) // what is refused is not read to its end
		})
	}
	senders.Wait()
	grown := used() - before
	t.Logf("%d half-sent bodies take %d KiB", connections, grown>>10)
	if grown > 48<<20 {
		t.Errorf("%d half-sent bodies take %d MiB", connections, grown>>20)
	}
}

// No more large bodies are read at once than there is memory for.
func TestManyLargeBodiesAtOnceAreRefused(t *testing.T) {
	t.Parallel()
	b := newFixture(t, func(s *http.Server) { s.ReadTimeout = time.Hour })
	b.add(simulator.Order{OutOrderNo: "A", TotalAmount: 1250})
	conns := b.dial("127.0.0.1", 40, append(b.head(256<<10), make([]byte, 20<<10)...))
	testkit.Eventually(t, "24 of 40 to be refused", func() bool { return b.count(notify.Busy) == 24 })
	// Their places are free again when they have gone.
	for _, c := range conns {
		_ = c.Close()
	}
	testkit.Eventually(t, "16 to be incomplete", func() bool { return b.count(notify.Incomplete) == 16 })
	large := options{Entity: paid, Tamper: func(body []byte) []byte { return append(body, bytes.Repeat([]byte(" "), 100<<10)...) }}
	b.wantRefusal(b.post(b.url, b.raw("A", large)), 401)
}

// Refusals end the connection, and what was taken does not.
func TestRefusalsCloseTheConnection(t *testing.T) {
	t.Parallel()
	b := newFixture(t)
	b.add(simulator.Order{OutOrderNo: "A", TotalAmount: 1250})
	for name, tt := range map[string]struct {
		n      simulator.RawNotification
		path   string
		status string
		closed bool
	}{
		"taken":           {b.raw("A", options{Entity: paid}), "", "200", false},
		"wrong signature": {b.raw("A", options{WrongSignature: true}), "", "401", true},
		"another path":    {b.raw("A", options{Entity: paid}), "/more", "404", true},
	} {
		var request bytes.Buffer
		req, err := tt.n.Request(t.Context(), b.url+tt.path)
		if err != nil {
			t.Fatal(err)
		}
		if err := req.Write(&request); err != nil {
			t.Fatal(err)
		}
		c := b.dial("127.0.0.1", 1, request.Bytes())[0]
		_ = c.SetReadDeadline(time.Now().Add(testkit.Patience))
		resp, err := http.ReadResponse(bufio.NewReader(c), req)
		if err != nil {
			t.Fatal(name, err)
		}
		if !strings.HasPrefix(resp.Status, tt.status) || resp.Close != tt.closed || isOpen(t, c) == tt.closed {
			t.Errorf("%s: %s, Connection: close %t, open %t", name, resp.Status, resp.Close, isOpen(t, c))
		}
	}
}

// A service mesh speaks HTTP/2 without TLS.
func TestHTTP2WithoutTLS(t *testing.T) {
	t.Parallel()
	b := newFixture(t)
	b.add(simulator.Order{OutOrderNo: "A", TotalAmount: 1250})
	h2c := &http.Transport{Protocols: new(http.Protocols)}
	h2c.Protocols.SetUnencryptedHTTP2(true)
	defer h2c.CloseIdleConnections()
	for _, tt := range []struct {
		opts   options
		status int
	}{{options{Entity: paid}, 200}, {options{WrongSignature: true}, 401}, {options{Entity: paid}, 200}} {
		req, err := b.raw("A", tt.opts).Request(t.Context(), b.url)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := h2c.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != tt.status || resp.ProtoMajor != 2 {
			t.Errorf("%s %s", resp.Proto, resp.Status)
		}
	}
	if o := b.get("A"); o.State != tasks.Paid {
		t.Errorf("%+v", o)
	}
}

// What a proxy does to a notification is distinguished from a wrong signature.
func TestWhatAProxyDidIsNamed(t *testing.T) {
	t.Parallel()
	b := newFixture(t)
	b.add(simulator.Order{OutOrderNo: "A", TotalAmount: 1250})
	for _, tt := range []struct {
		name    string
		change  func(http.Header)
		outcome payscore.Refusal
		header  string
		says    string
	}{
		{"no headers", func(h http.Header) { clear(h) }, payscore.MissingHeader, "Wechatpay-Timestamp", "a header is missing"},
		{"no signature", func(h http.Header) { h.Del("Wechatpay-Signature") }, payscore.MissingHeader, "Wechatpay-Signature", "a header is missing"},
		{"an empty nonce", func(h http.Header) { h.Set("Wechatpay-Nonce", " ") }, payscore.MissingHeader, "Wechatpay-Nonce", "a header is missing"},
		{"underscores", func(h http.Header) {
			h["Wechatpay_serial"] = h["Wechatpay-Serial"]
			h.Del("Wechatpay-Serial")
		}, payscore.RenamedHeader, "Wechatpay-Serial", "under another name"},
		{"a prefix", func(h http.Header) {
			h.Set("X-Original-Wechatpay-Signature", h.Get("Wechatpay-Signature"))
			h.Del("Wechatpay-Signature")
		}, payscore.RenamedHeader, "Wechatpay-Signature", "under another name"},
		{"doubled", func(h http.Header) { h.Add("Wechatpay-Nonce", h.Get("Wechatpay-Nonce")) }, "", "", ""},
		{"doubled, with a comma", func(h http.Header) {
			h.Set("Wechatpay-Signature", h.Get("Wechatpay-Signature")+", "+h.Get("Wechatpay-Signature"))
		}, payscore.DoubledHeader, "Wechatpay-Signature", "more than once"},
		{"doubled, with another first", func(h http.Header) {
			h["Wechatpay-Nonce"] = append([]string{"x"}, h["Wechatpay-Nonce"]...)
		}, payscore.DoubledHeader, "Wechatpay-Nonce", "more than once"},
		{"marked as compressed, and not", func(h http.Header) { h.Set("Content-Encoding", "gzip") }, "", "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := *b
			b.T = t
			n := b.raw("A", options{Entity: paid})
			tt.change(n.Header)
			take(b.logs)
			r := b.post(b.url, n)
			if tt.outcome == "" {
				if r.status != 200 {
					t.Errorf("answered %d %s", r.status, r.body)
				}
				return
			}
			b.wantNamed(r, tt.outcome, tt.says)
			if log := b.logs.String(); !strings.Contains(log, `"header":"`+tt.header+`"`) {
				t.Errorf("the log: %s", log)
			}
		})
	}
	t.Run("compressed", func(t *testing.T) {
		b := *b
		b.T = t
		for _, encoding := range []string{"gzip", ""} {
			n := b.raw("A", options{Entity: paid, Tamper: func([]byte) []byte { return []byte("\x1f\x8b\x08 …") }})
			n.Header.Set("Content-Encoding", encoding)
			take(b.logs)
			b.wantNamed(b.post(b.url, n), payscore.Compressed, "compressed")
		}
	})
	t.Run("slashes too many", func(t *testing.T) {
		b := *b
		b.T = t
		for _, path := range []string{"/notify/" + b.mchid + "/", "//notify/" + b.mchid, "/notify//" + b.mchid + "//"} {
			url := strings.Replace(b.url, "/notify/"+b.mchid, path, 1)
			if r := b.post(url, b.raw("A", options{Entity: paid})); r.status != 200 {
				t.Errorf("%s: answered %d %s", path, r.status, r.body)
			}
		}
	})
}

// wantNamed fails the test unless r, the log and the metric name the refusal.
func (b *fixture) wantNamed(r reply, why payscore.Refusal, says string) {
	b.Helper()
	b.wantRefusal(r, 401)
	if !strings.Contains(r.body, says) {
		b.Errorf("the answer: %s", r.body)
	}
	if log := b.logs.String(); !strings.Contains(log, `"outcome":"`+string(why)+`"`) || !strings.Contains(log, says) {
		b.Errorf("the log: %s", log)
	}
	if b.count(notify.Result(why)) == 0 {
		b.Error("not counted")
	}
}
