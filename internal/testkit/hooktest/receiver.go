// Package hooktest is billing's receiver of webhooks, for tests. It verifies requests with
// a published library, as billing would.
package hooktest

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"payscore-collector/internal/ledger"
)

// Secret is the secret of every Receiver.
const Secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwAAECAwQFBgc="

// Receiver accepts webhooks until its test ends. A request that does not verify, or
// whose body is not the event that its webhook-id names, fails the test.
type Receiver struct {
	Server *httptest.Server
	// Answer may answer a verified request, in its own time; without it, or if it writes
	// nothing, the answer is 204. It is called concurrently; set it before requests
	// arrive.
	Answer func(http.ResponseWriter, *http.Request, ledger.Event)
	// WrongClocks: the clock of a sender may be ahead. What it sends is refused with
	// 401, as any receiver does, and does not fail the test.
	WrongClocks bool

	t      testing.TB
	verify *standardwebhooks.Webhook

	mu         sync.Mutex
	got, taken []ledger.Event
}

// New starts a Receiver.
func New(t testing.TB) *Receiver {
	t.Helper()
	verify, err := standardwebhooks.NewWebhook(Secret)
	if err != nil {
		t.Fatal(err)
	}
	r := &Receiver{t: t, verify: verify}
	r.Server = httptest.NewServer(r)
	t.Cleanup(r.Server.Close)
	return r
}

// Got returns the events of all requests so far, as they arrived.
func (r *Receiver) Got() []ledger.Event {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.got)
}

// Taken returns the events that were answered with 2xx, as they were answered.
func (r *Receiver) Taken() []ledger.Event {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.taken)
}

// ServeHTTP implements http.Handler.
func (r *Receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return // the sender died
	}
	if err := r.verify.Verify(body, req.Header); err != nil {
		if !r.WrongClocks || !errors.Is(err, standardwebhooks.ErrMessageTooNew) {
			r.t.Errorf("a webhook does not verify: %v", err)
		}
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	var e ledger.Event
	if err := json.Unmarshal(body, &e); err != nil || e.ID != req.Header.Get(standardwebhooks.HeaderWebhookID) ||
		req.Header.Get("Content-Type") != "application/json" {
		r.t.Errorf("the body is not the event %s: %s", req.Header.Get(standardwebhooks.HeaderWebhookID), body)
	}
	r.mu.Lock()
	r.got = append(r.got, e)
	r.mu.Unlock()
	answer := &answer{ResponseWriter: w, status: http.StatusNoContent}
	if r.Answer != nil {
		r.Answer(answer, req, e)
	}
	if answer.status >= 200 && answer.status <= 299 {
		// Before the sender gets the answer, so that a test that waits for the sender
		// finds the event here.
		r.mu.Lock()
		r.taken = append(r.taken, e)
		r.mu.Unlock()
	}
	w.WriteHeader(answer.status)
	_, _ = w.Write(answer.body)
}

// answer holds the answer back until taken has the event.
type answer struct {
	http.ResponseWriter
	status int
	body   []byte
}

func (a *answer) WriteHeader(status int) { a.status = status }

func (a *answer) Write(p []byte) (int, error) {
	if a.status == http.StatusNoContent {
		a.status = http.StatusOK
	}
	a.body = append(a.body, p...)
	return len(p), nil
}
