package connlimit_test

import (
	"bufio"
	"errors"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"payscore-collector/internal/connlimit"
)

// A heldListener accepts connections whose first write waits.
type heldListener struct {
	net.Listener
	writing chan struct{} // a write has begun
	release chan struct{} // closed: writes go through
}

func (l *heldListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &heldConn{c, l}, nil
}

type heldConn struct {
	net.Conn
	l *heldListener
}

func (c *heldConn) Write(p []byte) (int, error) {
	c.l.writing <- struct{}{}
	<-c.l.release
	return c.Conn.Write(p)
}

// The server writes a reply after its handler has returned. A connection is not
// closed for a new one between the two, and is closed for one afterwards.
func TestAReplyThatIsNotYetWrittenKeepsItsConnection(t *testing.T) {
	const most = 4
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	held := &heldListener{Listener: tcp, writing: make(chan struct{}, 100), release: make(chan struct{})}
	server := &http.Server{
		ReadHeaderTimeout: time.Hour,
		ConnContext:       connlimit.Context,
		Handler: http.HandlerFunc(func(_ http.ResponseWriter, req *http.Request) {
			connlimit.AtWork(req.Context())()
		}),
	}
	go func() { _ = server.Serve(connlimit.Limit(held, most)) }()
	t.Cleanup(func() { _ = server.Close() })

	dial := func() net.Conn {
		c, err := net.Dial("tcp", tcp.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		return c
	}
	asks := dial()
	if _, err := asks.Write([]byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n")); err != nil {
		t.Fatal(err)
	}
	<-held.writing
	// One connection more than there is room for: the oldest but the one that waits
	// for its reply is closed.
	first := dial()
	for range most - 1 {
		dial()
	}
	_ = first.SetReadDeadline(time.Now().Add(20 * time.Second))
	if _, err := first.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("the oldest idle connection is still open: %v", err)
	}
	close(held.release)
	_ = asks.SetReadDeadline(time.Now().Add(20 * time.Second))
	answer := bufio.NewReader(asks)
	if line, err := answer.ReadString('\n'); !strings.HasPrefix(line, "HTTP/1.1 200") {
		t.Fatalf("the reply is %q, %v", line, err)
	}
	for {
		line, err := answer.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		if line == "\r\n" {
			break
		}
	}
	// Its reply is written, so it is as good as any other. The server may take a
	// moment to learn that it is written.
	for deadline := time.Now().Add(20 * time.Second); ; {
		dial()
		_ = asks.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
		if _, err := asks.Read(make([]byte, 1)); err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("a connection that has its reply is kept for good")
		}
	}
}
