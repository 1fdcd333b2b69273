package notify

import (
	"context"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// maxConnections is how many may be open. Without a bound a flood could use up the
// process's files, and so the calls to WeChat Pay and to Redis as well.
const maxConnections = 512

// Limit bounds the connections that l accepts. When all are taken, a new one takes
// the place of one on which no whole notification has come: of the address that
// has most, the one that has been open for longest. So no number of idle or slow
// strangers keeps a notification waiting.
func Limit(l net.Listener) net.Listener {
	return &limiter{Listener: l, open: map[*conn]struct{}{}}
}

type limiter struct {
	net.Listener
	mu   sync.Mutex
	open map[*conn]struct{}
}

type conn struct {
	net.Conn
	limiter *limiter
	host    string
	since   time.Time
	working atomic.Int32 // notifications that have come whole and have no answer yet
}

// Accept implements net.Listener.
func (l *limiter) Accept() (net.Conn, error) {
	for {
		accepted, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		host, _, err := net.SplitHostPort(accepted.RemoteAddr().String())
		if err != nil {
			host = accepted.RemoteAddr().String()
		}
		c := &conn{Conn: accepted, limiter: l, host: host, since: time.Now()}
		l.mu.Lock()
		full := len(l.open) >= maxConnections
		victim := c
		if full {
			if v := l.victim(); v != nil {
				victim = v
			}
		}
		if !full || victim != c {
			l.open[c] = struct{}{}
		}
		l.mu.Unlock()
		if full {
			_ = victim.Close()
		}
		if victim != c || !full {
			return c, nil
		}
	}
}

// victim returns the connection to close for a new one, or nil where all are at
// work. The caller holds the lock.
func (l *limiter) victim() *conn {
	byHost := map[string]int{}
	for c := range l.open {
		byHost[c.host]++
	}
	var v *conn
	for c := range l.open {
		switch {
		case c.working.Load() > 0:
		case v == nil, byHost[c.host] > byHost[v.host], byHost[c.host] == byHost[v.host] && c.since.Before(v.since):
			v = c
		}
	}
	return v
}

// Close implements net.Conn.
func (c *conn) Close() error {
	c.limiter.mu.Lock()
	delete(c.limiter.open, c)
	c.limiter.mu.Unlock()
	return c.Conn.Close()
}

type connKey struct{}

func withConn(ctx context.Context, c net.Conn) context.Context {
	return context.WithValue(ctx, connKey{}, c)
}

// atWork keeps a request's connection from being closed for a new one, until done
// is called.
func atWork(ctx context.Context) (done func()) {
	c, ok := ctx.Value(connKey{}).(*conn)
	if !ok {
		return func() {}
	}
	c.working.Add(1)
	return func() { c.working.Add(-1) }
}
