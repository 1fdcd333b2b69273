package chaos

import (
	"io"
	"net"
	"sync"
	"testing"
	"time"
)

// proxy stands between one worker and Redis, and can cut its connections or
// swallow what goes through them.
type proxy struct {
	l  net.Listener
	to string

	mu     sync.Mutex
	conns  map[net.Conn]struct{}
	refuse bool
	open   chan struct{} // closed while bytes may pass
}

func newProxy(t *testing.T, to string) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{l: l, to: to, conns: map[net.Conn]struct{}{}, open: make(chan struct{})}
	close(p.open)
	go p.serve()
	t.Cleanup(func() {
		_ = l.Close()
		p.unplug(false)
		p.cut()
	})
	return p
}

func (p *proxy) addr() string { return p.l.Addr().String() }

func (p *proxy) serve() {
	for {
		c, err := p.l.Accept()
		if err != nil {
			return
		}
		go p.carry(c)
	}
}

func (p *proxy) carry(from net.Conn) {
	p.mu.Lock()
	refuse := p.refuse
	p.mu.Unlock()
	if refuse {
		_ = from.Close()
		return
	}
	to, err := net.DialTimeout("tcp", p.to, 5*time.Second)
	if err != nil {
		_ = from.Close() // Redis is away: the worker sees a connection that breaks
		return
	}
	p.mu.Lock()
	p.conns[from], p.conns[to] = struct{}{}, struct{}{}
	p.mu.Unlock()
	var both sync.WaitGroup
	both.Go(func() { p.copy(to, from) })
	both.Go(func() { p.copy(from, to) })
	both.Wait()
	p.mu.Lock()
	delete(p.conns, from)
	delete(p.conns, to)
	p.mu.Unlock()
}

// copy carries bytes one way, and closes both ends when one has closed.
func (p *proxy) copy(dst, src net.Conn) {
	defer dst.Close()
	defer src.Close()
	buf := make([]byte, 32<<10)
	for {
		n, err := src.Read(buf)
		if n > 0 {
			p.mu.Lock()
			open := p.open
			p.mu.Unlock()
			<-open
			if _, err := dst.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil {
			if err != io.EOF {
				reset(dst)
			}
			return
		}
	}
}

// reset makes the other side see a reset, and not an orderly end.
func reset(c net.Conn) {
	if tcp, ok := c.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
}

// cut resets all connections there are.
func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		reset(c)
		_ = c.Close()
	}
}

// refuseAll closes new connections at once, until it is called with false.
func (p *proxy) refuseAll(refuse bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refuse = refuse
}

// unplug holds back every byte, both ways, until it is called with false: the
// connections stay, and nothing comes through.
func (p *proxy) unplug(unplugged bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.open:
		if unplugged {
			p.open = make(chan struct{})
		}
	default:
		if !unplugged {
			close(p.open)
		}
	}
}
