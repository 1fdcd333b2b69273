package payscore_test

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"strconv"
	"sync"
	"testing"
	"time"

	"payscore-collector/internal/payscore"
)

// raw is a server that does by hand what net/http would not do, and counts the
// requests that arrive, by their nonces.
type raw struct {
	addr string

	mu     sync.Mutex
	nonces map[string]int
	total  int
}

var nonceOf = regexp.MustCompile(`nonce_str="([^"]+)"`)

// newRaw calls f with each connection, its number from 1 on, and a function
// that reads one request off it. The connection is closed when f returns.
func newRaw(t *testing.T, f func(conn *net.TCPConn, n int, read func() bool)) *raw {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &raw{addr: "http://" + l.Addr().String(), nonces: map[string]int{}}
	var done sync.WaitGroup
	done.Go(func() {
		for n := 1; ; n++ {
			c, err := l.Accept()
			if err != nil {
				return
			}
			done.Go(func() {
				defer c.Close()
				_ = c.SetDeadline(time.Now().Add(20 * time.Second))
				f(c.(*net.TCPConn), n, func() bool { return s.read(c) })
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		done.Wait()
	})
	return s
}

// read reads one whole request off a connection.
func (s *raw) read(c net.Conn) bool {
	var head []byte
	one := make([]byte, 1)
	for !bytes.HasSuffix(head, []byte("\r\n\r\n")) {
		if _, err := c.Read(one); err != nil {
			return false
		}
		head = append(head, one[0])
	}
	if m := regexp.MustCompile(`(?i)\r\nContent-Length: (\d+)`).FindSubmatch(head); m != nil {
		n, _ := strconv.Atoi(string(m[1]))
		if _, err := io.ReadFull(c, make([]byte, n)); err != nil {
			return false
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.total++
	if m := nonceOf.FindSubmatch(head); m != nil {
		s.nonces[string(m[1])]++
	}
	return true
}

func (s *raw) seen() (requests, mostOfOneNonce int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, n := range s.nonces {
		mostOfOneNonce = max(mostOfOneNonce, n)
	}
	return s.total, mostOfOneNonce
}

// answer writes a signed 200.
func answer(c net.Conn, body string) {
	h := http.Header{}
	sign(h, []byte(body))
	var b bytes.Buffer
	fmt.Fprintf(&b, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n", len(body))
	_ = h.Write(&b)
	b.WriteString("\r\n" + body)
	_, _ = c.Write(b.Bytes())
}

func reset(c *net.TCPConn) { _ = c.SetLinger(0) } // the close that follows is a reset

// net/http sends a GET again by itself when a kept connection dies under it.
// The repeat would carry a nonce that is used up, and be refused as SIGN_ERROR.
func TestDyingConnectionDoesNotRepeatARequest(t *testing.T) {
	t.Parallel()
	for _, call := range []payscore.Call{payscore.CallCollect, payscore.CallQuery} {
		for _, way := range []string{"reset", "closed"} {
			t.Run(string(call)+"/"+way, func(t *testing.T) {
				t.Parallel()
				s := newRaw(t, func(c *net.TCPConn, n int, read func() bool) {
					if !read() {
						return
					}
					answer(c, order("REVOKED", "", `"x":1`))
					if !read() { // the second request, on the kept connection
						return
					}
					if n > 1 {
						answer(c, "{}")
					}
					if way == "reset" {
						reset(c)
					}
				})
				client := newClient(t, own(s.addr))
				if r := client.Query(t.Context(), anOrder); r.Verdict != payscore.Closed {
					t.Fatalf("the first call: %+v", r)
				}
				r := do(t, client, call, anOrder)
				if r.Verdict != payscore.Unknown || !r.Sent {
					t.Errorf("%+v", r)
				}
				if total, most := s.seen(); total != 2 || most != 1 {
					t.Errorf("two calls were %d requests, one nonce was sent %d times", total, most)
				}
			})
		}
	}
}

func TestBrokenReplies(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name    string
		serve   func(c *net.TCPConn, read func() bool)
		message string
		sent    bool
	}{
		{"reset after the request was sent", func(c *net.TCPConn, read func() bool) { read(); reset(c) },
			"the connection was reset", true},
		{"closed after the request was sent", func(_ *net.TCPConn, read func() bool) { read() },
			"the connection was closed before the answer was complete", true},
		{"a body that is shorter than it says", func(c *net.TCPConn, read func() bool) {
			read()
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"state\":")
		}, "the connection was closed before the answer was complete", true},
		{"not HTTP: its text stays out of logs", func(c *net.TCPConn, read func() bool) {
			read()
			_, _ = io.WriteString(c, "{\"openid\":\"oUpF8\\\"uMuAJO\"}\r\n\r\n")
		}, `net/http: HTTP/1.x transport connection broken: malformed HTTP response "…"`, true},
		{"a switch of protocols that was not asked for", func(c *net.TCPConn, read func() bool) {
			read()
			_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n")
			read() // holds the connection open: nothing more will come
		}, "the other side switched protocols unasked", true},
		{"an endless body", func(c *net.TCPConn, read func() bool) {
			read()
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\n\r\n")
			for chunk := bytes.Repeat([]byte("x"), 64<<10); ; {
				if _, err := c.Write(chunk); err != nil {
					return
				}
			}
		}, "the reply's body is larger than 1048576 bytes", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := newRaw(t, func(c *net.TCPConn, _ int, read func() bool) { tt.serve(c, read) })
			r := newClient(t, own(s.addr)).Collect(t.Context(), anOrder)
			if r.Verdict != payscore.Unknown || r.Message != tt.message || r.Sent != tt.sent {
				t.Errorf("%+v, want unknown: %s", r, tt.message)
			}
			if total, _ := s.seen(); total != 1 {
				t.Errorf("%d requests for one call", total)
			}
		})
	}
}
