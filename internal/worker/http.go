package worker

import (
	"context"
	"errors"
	"net"
	"net/http"
	"syscall"
	"time"
)

// httpServer serves one address. The methods of a nil httpServer do nothing.
type httpServer struct {
	server *http.Server
	addr   string
	grace  time.Duration // for requests under way at the end
	done   chan struct{}
}

// serveHTTP serves l, which has the address addr, and calls failed if that ends
// before close.
func serveHTTP(s *http.Server, l net.Listener, grace time.Duration, failed func(error)) *httpServer {
	h := &httpServer{server: s, addr: l.Addr().String(), grace: grace, done: make(chan struct{})}
	go func() {
		defer close(h.done)
		if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			failed(err)
		}
	}()
	return h
}

func (h *httpServer) address() string {
	if h == nil {
		return "off"
	}
	return h.addr
}

// close stops listening and lets requests under way finish. It may be called again.
func (h *httpServer) close() {
	if h == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), h.grace)
	defer cancel()
	_ = h.server.Shutdown(ctx)
	_ = h.server.Close()
	<-h.done
}

// otherAddr is the remedy for an address that cannot be listened on.
func otherAddr(err error) string {
	if errors.Is(err, syscall.EADDRNOTAVAIL) {
		return "the host is not an address of this machine: write one that is, or :PORT for all of them"
	}
	return "choose another port"
}
