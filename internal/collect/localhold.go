package collect

import (
	"context"
	"sync"
	"time"
)

// localHold is what this process remembers of a merchant's hold, so that workers
// wait where they are and leave the rest of the queue alone. The hold itself is the
// ledger's, and shared by all workers.
type localHold struct {
	mu       sync.Mutex
	until    time.Time
	services map[string]time.Time // by an owner's Scope, until when its calls are held
	released time.Time            // when it was last released
	changed  chan struct{}        // closed at a release
}

// recheckEvery bounds how long a worker waits before it asks the ledger again:
// the probe that ends the hold may be another process's.
const recheckEvery = 5 * time.Second

func newLocalHold() *localHold {
	return &localHold{changed: make(chan struct{}), services: map[string]time.Time{}}
}

// holdService stops the calls of one service that wait for their slots. No worker
// waits for its release: the ledger postpones such orders.
func (h *localHold) holdService(service string, d time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.services[service] = time.Now().Add(d)
}

// hold makes workers wait for d, or until release is called. asked is when the
// ledger's answer that calls for it was asked for: one that is older than a release
// is out of date.
func (h *localHold) hold(d time.Duration, asked time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !asked.Before(h.released) {
		h.until = time.Now().Add(min(d, recheckEvery))
	}
}

// release lets all calls continue.
func (h *localHold) release() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.until, h.released = time.Time{}, time.Now()
	clear(h.services)
	close(h.changed)
	h.changed = make(chan struct{})
}

// holds reports whether the calls of a service are held now.
func (h *localHold) holds(service string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := time.Now()
	return now.Before(h.until) || now.Before(h.services[service])
}

// wait returns when the merchant's hold ends, or when ctx or stop does.
func (h *localHold) wait(ctx context.Context, stop <-chan struct{}) {
	for {
		h.mu.Lock()
		d, changed := time.Until(h.until), h.changed
		h.mu.Unlock()
		if d <= 0 {
			return
		}
		select {
		case <-time.After(d):
		case <-changed:
		case <-ctx.Done():
			return
		case <-stop:
			return
		}
	}
}

// pause waits for d. It returns false where ctx or stop ended first.
func pause(ctx context.Context, stop <-chan struct{}, d time.Duration) bool {
	if d <= 0 {
		return true
	}
	select {
	case <-time.After(d):
		return true
	case <-ctx.Done():
		return false
	case <-stop:
		return false
	}
}
