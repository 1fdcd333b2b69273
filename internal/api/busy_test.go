package api_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"payscore-collector/internal/api"
	"payscore-collector/internal/ledger"
	"payscore-collector/internal/testkit"
	"payscore-collector/internal/testkit/redistest"
	"payscore-collector/tasks"
)

// begin sends the beginning of a request, and leaves the connection open.
func (f *fixture) begin(text string) net.Conn {
	f.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(f.url, "http://"))
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { _ = conn.Close() })
	if _, err := fmt.Fprint(conn, text); err != nil {
		f.Fatal(err)
	}
	return conn
}

// Requests beyond those that a worker takes at once are refused, and those of the other kind
// are not; when the callers leave, there is room again.
func TestBusy(t *testing.T) {
	t.Parallel()
	const stalled = "Host: localhost\r\nContent-Type: %s\r\nTransfer-Encoding: chunked\r\n\r\n"
	for name, c := range map[string]struct{ head, refused, served string }{
		"streams":  {"POST /v1/orders/import HTTP/1.1\r\n" + fmt.Sprintf(stalled, "application/x-ndjson"), "/v1/events?mchid=" + mchA, "/v1/stats"},
		"requests": {"POST /v1/webhooks/retry HTTP/1.1\r\n" + fmt.Sprintf(stalled, "application/json"), "/v1/stats", "/v1/events?mchid=" + mchA},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t, func(o *api.Options) { o.BodyTime = time.Minute })
			f.open(mchA, "A")
			var conns []net.Conn
			for range 64 {
				conns = append(conns, f.begin(c.head))
			}
			var a answer
			testkit.Eventually(t, "the worker to be busy", func() bool {
				a = f.get(c.refused)
				// While it ran, it took the place of one of the others, which was refused.
				conns = append(conns, f.begin(c.head))
				return a.Status == http.StatusServiceUnavailable
			})
			a.wants(t, http.StatusServiceUnavailable, "too many requests", "try again")
			if a.Header.Get("Retry-After") == "" {
				t.Error("no Retry-After")
			}
			if a := f.get(c.served); a.Status != http.StatusOK {
				t.Errorf("%s: %d %s", c.served, a.Status, a.Body)
			}
			for _, conn := range conns {
				_ = conn.Close()
			}
			testkit.Eventually(t, "room again", func() bool { return f.get(c.refused).Status == http.StatusOK })
		})
	}
}

// A read has no body to wait for: while Redis hangs, it takes the place of others for ten
// seconds and no longer.
func TestTimeOfARead(t *testing.T) {
	t.Parallel()
	f := newFixture(t, func(o *api.Options) { o.BodyTime = time.Hour })
	f.api.ServeDeadline("/v1/deadline")
	var seconds float64
	if f.get("/v1/deadline").into(t, &seconds); seconds <= 0 || seconds > 10 {
		t.Errorf("%f seconds", seconds)
	}
}

// A reader that leaves its events unread is cut off.
func TestEvents_ReaderThatDoesNotRead(t *testing.T) {
	t.Parallel()
	f := newFixture(t, func(o *api.Options) { o.WriteTime = 100 * time.Millisecond })
	orders := func(yield func(tasks.Order) bool) {
		for i := range 3000 { // more than the buffers between the two hold
			if !yield(tasks.Order{Payload: tasks.Payload{MchID: mchA, OutOrderNo: fmt.Sprintf("E-%d", i), AppID: "wx1", ServiceID: "s1"}}) {
				return
			}
		}
	}
	for _, res := range tasks.NewProducer(f.redis.Client).EnqueueAll(t.Context(), orders) {
		if res.Status != tasks.Accepted {
			t.Fatal(res)
		}
	}
	ended := make(chan struct{})
	mux := http.NewServeMux()
	f.api.Register(mux)
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer close(ended)
		mux.ServeHTTP(w, r)
	}))
	s.Config.ConnContext = func(ctx context.Context, c net.Conn) context.Context {
		_ = c.(*net.TCPConn).SetWriteBuffer(4096)
		return ctx
	}
	s.Start()
	defer s.Close()
	f.url = s.URL
	conn, err := net.Dial("tcp", strings.TrimPrefix(s.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.(*net.TCPConn).SetReadBuffer(4096)
	if _, err := fmt.Fprintf(conn, "GET /v1/events?mchid=%s&limit=1000 HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n", mchA); err != nil {
		t.Fatal(err)
	}
	select {
	case <-ended:
	case <-time.After(testkit.Patience):
		t.Fatal("the reader keeps its place")
	}
}

// What is begun is finished, whether or not the caller waits for it: a reopening takes
// several commands, and the caller leaves during the first.
func TestCallerLeaves(t *testing.T) {
	t.Parallel()
	redistest.NeedReal(t)
	f := newFixture(t)
	f.settle(mchA, "A", rejected("ORDER_NOT_EXIST"))
	rdb := f.redis.Client
	if err := rdb.Do(t.Context(), "CLIENT", "PAUSE", "1000", "ALL").Err(); err != nil {
		t.Fatal(err)
	}
	const body = `{"reason":"a mistake"}`
	conn := f.begin(fmt.Sprintf("POST /v1/orders/%s/A/reopen HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", mchA, len(body), body))
	<-time.After(200 * time.Millisecond) // for the request to reach Redis; if it does not, the test proves less, and does not fail
	_ = conn.Close()
	testkit.Eventually(t, "the order to be open", func() bool {
		o, err := ledger.New(rdb, mchA).Get(t.Context(), "A")
		return err == nil && o.State == tasks.Queued
	})
}
