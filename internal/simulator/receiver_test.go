package simulator

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/wechatpay-apiv3/wechatpay-go/core/notify"
)

// receiver is a merchant's notify_url. The official SDK verifies and decrypts
// what arrives, as it came over the wire.
type receiver struct {
	url string

	mu     sync.Mutex
	got    []received
	now    int // requests that have no answer yet
	most   int // the most of them
	answer http.HandlerFunc
}

// received is one request that arrived.
type received struct {
	at     time.Time
	header http.Header
	event  notify.Request
	entity Entity
	err    error // the SDK's; event and entity are good where there is none
}

// receive starts a receiver that answers 204, or as answer does.
func receive(t *testing.T, m Merchant, answer http.HandlerFunc) *receiver {
	t.Helper()
	if answer == nil {
		answer = func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }
	}
	r := &receiver{answer: answer}
	handlers := map[string]*notify.Handler{m.PublicKeyID: publicKeyHandler(t, m), m.CertificateSerialNo: certificateHandler(t, m)}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		r.begin()
		defer r.end()
		got := received{at: time.Now(), header: req.Header}
		event, err := handlers[req.Header.Get("Wechatpay-Serial")].ParseNotifyRequest(req.Context(), req, &got.entity)
		if got.err = err; err == nil {
			got.event = *event
		}
		r.note(got)
		r.answer(w, req)
	}))
	t.Cleanup(server.Close)
	r.url = server.URL + "/notify/" + m.MchID
	return r
}

// answerInTurn answers with these statuses, and with the last one from then on.
func answerInTurn(statuses ...int) http.HandlerFunc {
	var mu sync.Mutex
	return func(w http.ResponseWriter, _ *http.Request) {
		mu.Lock()
		status := statuses[0]
		if len(statuses) > 1 {
			statuses = statuses[1:]
		}
		mu.Unlock()
		w.WriteHeader(status)
	}
}

func (r *receiver) begin() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.now++
	r.most = max(r.most, r.now)
}

func (r *receiver) end() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.now--
}

func (r *receiver) note(got received) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.got = append(r.got, got)
}

func (r *receiver) all() []received {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.got)
}

// notify sets the notifications.
func (b *bench) notify(n Notifications) {
	b.t.Helper()
	if err := b.sim.SetNotifications(n); err != nil {
		b.t.Fatal(err)
	}
}

// settled waits until that many payments were to be notified and all are done
// with, and returns what the report says of them. It looks at no order: what
// is due must come about without that.
func (b *bench) settled(events int64) NotificationReport {
	b.t.Helper()
	var r NotificationReport
	b.until("the notifications", func() bool {
		r = b.sim.notifierReport()
		return r.Events == events && r.Pending == 0
	})
	return r
}

// notifierReport is the report of the notifications alone.
func (s *Simulator) notifierReport() NotificationReport {
	s.mu.RLock()
	n := s.notifier
	s.mu.RUnlock()
	var r Report
	n.reportTo(&r, nil)
	return r.Notifications
}

func isSignTest(r received) bool {
	return strings.HasPrefix(r.header.Get("Wechatpay-Signature"), "WECHATPAY/SIGNTEST/")
}
