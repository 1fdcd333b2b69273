package notify_test

import (
	"net"
	"net/url"
	"sync"
	"testing"
)

// link is a TCP connection to Redis that can be made to hang: what is sent
// through it then waits, and so do new connections.
type link struct {
	url string

	gate   sync.RWMutex // held for writing while it hangs
	mu     sync.Mutex
	target string
	conns  []net.Conn
}

func newLink(t *testing.T, redisURL string) *link {
	t.Helper()
	u, err := url.Parse(redisURL)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	k := &link{target: u.Host}
	u.Host = l.Addr().String()
	k.url = u.String()
	var running sync.WaitGroup
	running.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			running.Go(func() { k.carry(c) })
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		k.cut()
		running.Wait()
	})
	return k
}

func (k *link) carry(c net.Conn) {
	k.keep(c)
	k.gate.RLock()
	k.mu.Lock()
	target := k.target
	k.mu.Unlock()
	far, err := net.Dial("tcp", target)
	k.gate.RUnlock()
	if err != nil {
		_ = c.Close()
		return
	}
	k.keep(far)
	var both sync.WaitGroup
	both.Go(func() { k.forward(far, c) })
	both.Go(func() { k.forward(c, far) })
	both.Wait()
}

func (k *link) forward(to, from net.Conn) {
	defer to.Close()
	defer from.Close()
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		if err != nil {
			return
		}
		k.gate.RLock()
		_, err = to.Write(buf[:n])
		k.gate.RUnlock()
		if err != nil {
			return
		}
	}
}

func (k *link) keep(c net.Conn) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.conns = append(k.conns, c)
}

// cut closes all connections there are.
func (k *link) cut() {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, c := range k.conns {
		_ = c.Close()
	}
	k.conns = nil
}

// retarget lets new connections go elsewhere.
func (k *link) retarget(addr string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.target = addr
}

// hang makes the link hang until the returned function is called.
func (k *link) hang() (release func()) {
	k.gate.Lock()
	return k.gate.Unlock
}
