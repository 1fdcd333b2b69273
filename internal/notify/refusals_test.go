package notify_test

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"payscore-collector/internal/notify"
	"payscore-collector/internal/payscore"
	"payscore-collector/internal/simulator"
)

// Whatever is not WeChat Pay's word to this merchant: 4xx, one log line, no state
// touched.
func TestRefusals(t *testing.T) {
	t.Parallel()
	b := newFixture(t, func(s *http.Server) { s.ReadTimeout = 500 * time.Millisecond })
	b.add(simulator.Order{OutOrderNo: "A", TotalAmount: 1250})
	stranger, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	random := make([]byte, 4000)
	_, _ = rand.Read(random)
	at := func(path string) string { return strings.Replace(b.url, "/notify/"+b.mchid, path, 1) }

	for _, tt := range []struct {
		name    string
		opts    options
		url     string // where not the merchant's
		method  string // where not POST
		status  int
		outcome notify.Result
	}{
		{name: "SIGNTEST", opts: options{WrongSignature: true}, status: 401, outcome: notify.Result(payscore.BadSignature)},
		{name: "a stranger's signature", opts: options{SigningKey: stranger}, status: 401, outcome: notify.Result(payscore.BadSignature)},
		{name: "an old timestamp", opts: options{Age: 5*time.Minute + time.Second}, status: 401, outcome: notify.Result(payscore.OldTimestamp)},
		{name: "a timestamp to come", opts: options{Age: -6 * time.Minute}, status: 401, outcome: notify.Result(payscore.OldTimestamp)},
		{name: "another merchant's notification", opts: options{Entity: func(e *simulator.Entity) { paid(e); e.MchID = "1900000108" }}, status: 400, outcome: notify.Result(payscore.OtherMerchant)},
		{name: "encrypted with a wrong key", opts: options{APIv3Key: strings.Repeat("k", 32)}, status: 400, outcome: notify.Result(payscore.Undecryptable)},
		{name: "truncated on the way", opts: options{Tamper: func(b []byte) []byte { return b[:len(b)-1] }}, status: 401, outcome: notify.Result(payscore.BadSignature)},
		{name: "truncated before it was signed", opts: options{Body: func(b []byte) []byte { return b[:len(b)-1] }}, status: 400, outcome: notify.Result(payscore.Unreadable)},
		{name: "random bytes", opts: options{Tamper: func([]byte) []byte { return random }}, status: 401, outcome: notify.Result(payscore.BadSignature)},
		{name: "random bytes, signed", opts: options{Body: func([]byte) []byte { return random }}, status: 400, outcome: notify.Result(payscore.Unreadable)},
		{name: "no bytes", opts: options{Tamper: func([]byte) []byte { return nil }}, status: 401, outcome: notify.Result(payscore.BadSignature)},
		{name: "an order number that cannot be one", opts: options{Entity: func(e *simulator.Entity) { paid(e); e.OutOrderNo = "../../x\n" }}, status: 400, outcome: notify.Result(payscore.Unreadable)},
		{name: "a body of 300 KiB", opts: options{Tamper: func([]byte) []byte { return make([]byte, 300<<10) }}, status: 413, outcome: notify.TooLarge},
		{name: "GET", method: "GET", status: 405, outcome: notify.WrongMethod},
		{name: "PUT", method: "PUT", status: 405, outcome: notify.WrongMethod},
		{name: "another path", url: at("/"), status: 404, outcome: notify.NotFound},
		{name: "a path with more behind it", url: b.url + "/x", status: 404, outcome: notify.NotFound},
		{name: "a path that leads back", url: at("/notify/x/../" + b.mchid), status: 404, outcome: notify.NotFound},
		{name: "a merchant who is not here", url: at("/notify/1900000108"), status: 404, outcome: notify.NotFound},
		{name: "no merchant", url: at("/notify/"), status: 404, outcome: notify.NotFound},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := *b
			b.T = t
			if tt.opts.Entity == nil {
				tt.opts.Entity = paid
			}
			n := b.raw("A", tt.opts)
			to := tt.url
			if to == "" {
				to = b.url
			}
			req, err := n.Request(t.Context(), to)
			if err != nil {
				t.Fatal(err)
			}
			if tt.method != "" {
				req.Method = tt.method
			}
			counted := b.metrics.Notifications.WithLabelValues(b.mchid, string(tt.outcome))
			if tt.outcome == notify.NotFound {
				counted = b.metrics.Notifications.WithLabelValues("unknown", string(tt.outcome))
			}
			before := counter(t, counted)
			var r reply
			b.untouched(func() { r = b.do(req) })
			b.wantRefusal(r, tt.status)
			if tt.status == 405 && r.header.Get("Allow") != "POST" {
				t.Errorf("Allow: %q", r.header.Get("Allow"))
			}
			lines := take(b.logs)
			if len(lines) != 1 || !strings.Contains(lines[0], `"level":"warn"`) || !strings.Contains(lines[0], `"call":"notification"`) || !strings.Contains(lines[0], fmt.Sprintf(`"outcome":%q`, tt.outcome)) {
				t.Errorf("the log: %s", lines)
			}
			if tt.outcome != notify.NotFound && !strings.Contains(lines[0], `"mchid":"`+b.mchid+`"`) {
				t.Errorf("the log does not say whose: %s", lines)
			}
			if n := counter(t, counted) - before; n != 1 {
				t.Errorf("counted %d", n)
			}
			b.tellsNoSecret(strings.Join(lines, "")+r.body, n)
		})
	}

	// What a client library cannot do.
	raw := func(t *testing.T, head string, body func(net.Conn)) string {
		t.Helper()
		u, err := url.Parse(b.url)
		if err != nil {
			t.Fatal(err)
		}
		c, err := net.Dial("tcp", u.Host)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(20 * time.Second))
		fmt.Fprintf(c, head, u.Path)
		body(c)
		answer, err := io.ReadAll(c)
		if err != nil && len(answer) == 0 {
			t.Fatalf("no answer: %v", err)
		}
		return string(answer)
	}
	for _, tt := range []struct {
		name    string
		head    string
		body    func(net.Conn)
		status  int
		outcome notify.Result
	}{
		{"a body that comes too slowly", "POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n", func(c net.Conn) { _, _ = c.Write([]byte(`{"id"`)) }, 408, notify.Incomplete},
		{"a body that breaks off", "POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n", func(c net.Conn) {
			_, _ = c.Write([]byte(`{"id"`))
			_ = c.(*net.TCPConn).CloseWrite()
		}, 408, notify.Incomplete},
		{"a body without an end, in pieces", "POST %s HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n", func(c net.Conn) {
			piece := append([]byte("10000\r\n"), bytes.Repeat([]byte("x"), 1<<16)...)
			for range 5 {
				_, _ = c.Write(append(piece, '\r', '\n'))
			}
		}, 413, notify.TooLarge},
		{"a body larger than it says that it is", "POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999\r\n\r\n", func(net.Conn) {}, 413, notify.TooLarge},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := *b
			b.T = t
			before := b.count(tt.outcome)
			var answer string
			b.untouched(func() { answer = raw(t, tt.head, tt.body) })
			resp, err := http.ReadResponse(bufio.NewReader(strings.NewReader(answer)), nil)
			if err != nil {
				t.Fatalf("%q: %v", answer, err)
			}
			body, _ := io.ReadAll(resp.Body)
			b.wantRefusal(reply{status: resp.StatusCode, body: string(body)}, tt.status)
			if lines := take(b.logs); len(lines) != 1 || b.count(tt.outcome)-before != 1 {
				t.Errorf("counted %d, and the log: %s", b.count(tt.outcome)-before, lines)
			}
		})
	}
	t.Run("none of them kept the true one from being taken", func(t *testing.T) {
		b := *b
		b.T = t
		b.takes(b.raw("A", options{Entity: paid}))
		if o := b.get("A"); o.State != "paid" {
			t.Errorf("%+v", o)
		}
	})
}

// Headers that never end hold a connection for a bounded time, and those that are too
// large are refused.
func TestHeadersAreBounded(t *testing.T) {
	t.Parallel()
	dial := func(b *fixture) (net.Conn, *url.URL) {
		u, _ := url.Parse(b.url)
		c, err := net.Dial("tcp", u.Host)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		_ = c.SetDeadline(time.Now().Add(time.Minute))
		return c, u
	}
	c, u := dial(newFixture(t, func(s *http.Server) { s.ReadHeaderTimeout = 200 * time.Millisecond }))
	fmt.Fprintf(c, "POST %s HTTP/1.1\r\nHost: x\r\nX-Slow: ", u.Path)
	if _, err := io.ReadAll(c); err != nil {
		t.Errorf("the connection was not closed: %v", err)
	}
	c, u = dial(newFixture(t, func(s *http.Server) { s.ReadHeaderTimeout = time.Minute }))
	go fmt.Fprintf(c, "POST %s HTTP/1.1\r\nHost: x\r\nX-Large: %s\r\n\r\n", u.Path, strings.Repeat("x", 64<<10))
	if line, err := bufio.NewReader(c).ReadString('\n'); err != nil || !strings.Contains(line, " 431 ") {
		t.Errorf("64 KiB of headers: %q %v", line, err)
	}
}

// A flood of refusals must not fill a disk, and is counted.
func TestAFloodOfRefusalsIsLoggedInPart(t *testing.T) {
	t.Parallel()
	b := newFixture(t)
	b.add(simulator.Order{OutOrderNo: "A"})
	n := b.raw("A", options{WrongSignature: true})
	began := time.Now()
	for range 150 {
		b.wantRefusal(b.post(b.url, n), 401)
	}
	if lines, periods := take(b.logs), 1+int(time.Since(began)/(10*time.Second)); len(lines) < 100 || len(lines) > 100*periods {
		t.Errorf("%d lines in %d periods of ten seconds", len(lines), periods)
	}
	if n := b.count(notify.Result(payscore.BadSignature)); n != 150 {
		t.Errorf("counted %d", n)
	}
	// What is taken is still logged.
	b.takes(b.raw("A", options{Entity: paid}))
	if log := b.logs.String(); !strings.Contains(log, `"event":"order_ended"`) {
		t.Errorf("%s", log)
	}
}
