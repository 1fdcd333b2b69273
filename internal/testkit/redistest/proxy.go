package redistest

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/alicebob/miniredis/v2/proto"
)

// Proxy stands in front of a Redis and answers some commands itself, as the
// proxies and guards of managed services do. It ends with its test.
type Proxy struct {
	// Addr is host:port.
	Addr string

	target string
	answer atomic.Pointer[func(args []string) string]

	mu     sync.Mutex
	counts map[string]int // by command in lower case
	open   chan struct{}  // closed while the answers to scripts may pass
}

// StartProxy returns a proxy before target, host:port. It passes on every command
// for which answer, where it is not nil, returns "", and gives the rest what
// answer returns as an error.
func StartProxy(t testing.TB, target string, answer func(args []string) string) *Proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &Proxy{Addr: l.Addr().String(), target: target, counts: map[string]int{}, open: make(chan struct{})}
	close(p.open)
	p.Answer(answer)
	var serving sync.WaitGroup
	var mu sync.Mutex
	var open []net.Conn
	closed := false
	serving.Go(func() {
		for {
			near, err := l.Accept()
			if err != nil {
				return
			}
			far, err := net.Dial("tcp", target)
			if err != nil {
				_ = near.Close()
				continue
			}
			mu.Lock()
			if closed {
				_, _ = near.Close(), far.Close()
			}
			open = append(open, near, far)
			mu.Unlock()
			serving.Go(func() {
				p.serve(near, far)
				_, _ = near.Close(), far.Close()
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		p.Withhold(false)
		mu.Lock()
		closed = true
		for _, c := range open {
			_ = c.Close()
		}
		mu.Unlock()
		serving.Wait()
	})
	return p
}

// Refuse is an answer that gives the commands of that name, in lower case, the
// same error.
func Refuse(words string, commands ...string) func([]string) string {
	return func(args []string) string {
		for _, c := range commands {
			if strings.EqualFold(args[0], c) {
				return words
			}
		}
		return ""
	}
}

// Answer replaces what the proxy answers; nil: nothing.
func (p *Proxy) Answer(answer func(args []string) string) {
	if answer == nil {
		answer = func([]string) string { return "" }
	}
	p.answer.Store(&answer)
}

// Withhold keeps back Redis's answers to scripts, which take effect, until it is called
// with false.
func (p *Proxy) Withhold(withhold bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.open:
		if withhold {
			p.open = make(chan struct{})
		}
	default:
		if !withhold {
			close(p.open)
		}
	}
}

func (p *Proxy) mayPass() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.open
}

// Count returns how often a command has arrived, answered or not; "" counts all.
func (p *Proxy) Count(command string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if command != "" {
		return p.counts[command]
	}
	n := 0
	for _, c := range p.counts {
		n += c
	}
	return n
}

// serve passes commands on one by one: a pipeline's answers stay in order.
func (p *Proxy) serve(near, far net.Conn) {
	requests, replies := bufio.NewReader(near), bufio.NewReader(far)
	for {
		command, err := proto.Read(requests)
		if err != nil {
			return
		}
		args, err := proto.ReadStrings(command)
		if err != nil || len(args) == 0 {
			return
		}
		p.mu.Lock()
		p.counts[strings.ToLower(args[0])]++
		p.mu.Unlock()
		if words := (*p.answer.Load())(args); words != "" {
			if _, err := fmt.Fprintf(near, "-%s\r\n", words); err != nil {
				return
			}
			continue
		}
		if _, err := io.WriteString(far, command); err != nil {
			return
		}
		if strings.EqualFold(args[0], "subscribe") { // from here on both sides speak when they like
			go func() { _, _ = io.Copy(far, requests) }()
			_, _ = io.Copy(near, replies)
			return
		}
		reply, err := proto.Read(replies)
		if err != nil {
			return
		}
		if strings.EqualFold(args[0], "evalsha") {
			<-p.mayPass()
		}
		if _, err := io.WriteString(near, reply); err != nil {
			return
		}
	}
}
