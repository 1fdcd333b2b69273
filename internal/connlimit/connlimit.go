// Package connlimit bounds the connections of a listener so that idle and slow clients do
// not keep others out.
package connlimit

import (
	"context"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// Limit bounds the connections that l accepts to most. Without a bound, a flood could use
// up the process's file descriptors, which the calls to WeChat Pay and Redis need as well.
// When all are taken, a new connection replaces one without a request under way: of the
// address with most connections, the one that has been open for longest.
func Limit(l net.Listener, most int) net.Listener {
	return &limiter{Listener: l, most: most, open: map[*conn]struct{}{}}
}

type limiter struct {
	net.Listener
	most int

	mu   sync.Mutex
	open map[*conn]struct{}
}

type conn struct {
	net.Conn
	limiter *limiter
	host    string
	since   time.Time
	working atomic.Int32 // calls of AtWork that are not done
	unsent  atomic.Bool  // a request is done, and its reply is not written yet
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
		full := len(l.open) >= l.most
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

// victim returns the connection to close for a new one, or nil if all have a request under
// way. The caller holds the lock.
func (l *limiter) victim() *conn {
	byHost := map[string]int{}
	for c := range l.open {
		byHost[c.host]++
	}
	var v *conn
	for c := range l.open {
		switch {
		case c.working.Load() > 0 || c.unsent.Load():
		case v == nil, byHost[c.host] > byHost[v.host], byHost[c.host] == byHost[v.host] && c.since.Before(v.since):
			v = c
		}
	}
	return v
}

// Write implements net.Conn.
func (c *conn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	if c.working.Load() == 0 {
		c.unsent.Store(false)
	}
	return n, err
}

// Close implements net.Conn.
func (c *conn) Close() error {
	c.limiter.mu.Lock()
	delete(c.limiter.open, c)
	c.limiter.mu.Unlock()
	return c.Conn.Close()
}

type connKey struct{}

// Context is a server's ConnContext, which AtWork needs.
func Context(ctx context.Context, c net.Conn) context.Context {
	return context.WithValue(ctx, connKey{}, c)
}

// AtWork keeps the connection of a request with the given context from being closed
// for a new one, until done is called and the server has written the reply. The
// server writes the end of every reply after the handler has returned.
func AtWork(ctx context.Context) (done func()) {
	c, ok := ctx.Value(connKey{}).(*conn)
	if !ok {
		return func() {}
	}
	c.working.Add(1)
	return func() {
		c.unsent.Store(true)
		c.working.Add(-1)
	}
}
