package collect

import (
	"context"
	"sync"
	"time"
)

// valve is what this process remembers of a merchant's gate, so that workers
// wait where they are and leave the rest of the queue in peace. The gate itself
// is the ledger's, and shared by all workers.
type valve struct {
	mu      sync.Mutex
	until   time.Time
	opened  int                  // how often
	pairs   map[string]time.Time // of appid and service_id, until when each is closed
	changed chan struct{}
}

// recheckEvery bounds how long a worker waits before it asks the ledger again:
// the probe that opens the gate may be another process's.
const recheckEvery = 5 * time.Second

func newValve() *valve {
	return &valve{changed: make(chan struct{}), pairs: map[string]time.Time{}}
}

// closeFor stops the calls of one appid and service_id that wait for their
// slots. Nobody waits for it: the ledger puts such orders off.
func (v *valve) closeFor(pair string, d time.Duration) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.pairs[pair] = time.Now().Add(d)
}

// closedFor reports whether calls of an appid and service_id are stopped now.
func (v *valve) closedFor(pair string) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return time.Now().Before(v.pairs[pair])
}

// close keeps workers waiting for d, or until open is called.
func (v *valve) close(d time.Duration) { v.closeUnlessOpened(d, v.openings()) }

// closeUnlessOpened is close on an answer of the ledger's that was asked for
// after so many openings: one that is older than an opening says nothing.
func (v *valve) closeUnlessOpened(d time.Duration, openings int) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.opened == openings {
		v.until = time.Now().Add(min(d, recheckEvery))
	}
}

// openings is how often the valve was opened.
func (v *valve) openings() int {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.opened
}

// open lets everybody go on.
func (v *valve) open() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.until = time.Time{}
	clear(v.pairs)
	v.opened++
	close(v.changed)
	v.changed = make(chan struct{})
}

// closed reports whether the valve is closed now.
func (v *valve) closed() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return time.Now().Before(v.until)
}

// wait returns when the valve is open, or when ctx or stop ends.
func (v *valve) wait(ctx context.Context, stop <-chan struct{}) {
	for {
		v.mu.Lock()
		d, changed := time.Until(v.until), v.changed
		v.mu.Unlock()
		if d <= 0 {
			return
		}
		t := time.NewTimer(d)
		select {
		case <-t.C:
		case <-changed:
		case <-ctx.Done():
			t.Stop()
			return
		case <-stop:
			t.Stop()
			return
		}
		t.Stop()
	}
}

// pause waits for d; it returns false where ctx or stop ended first.
func pause(ctx context.Context, stop <-chan struct{}, d time.Duration) bool {
	if d <= 0 {
		return true
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	case <-stop:
		return false
	}
}
