package simulator

import (
	"context"
	"io"
	"maps"
	"net/http"
	"sync"
	"time"
)

// maxSenders bounds the concurrent deliveries and their goroutines. A mailing that
// waits for its time is a timer, and one that waits for a sender is in a list.
const maxSenders = 32

// maxNotifyAnswer is how much of an answer is read, so that the connection can be
// used again after a usual one.
const maxNotifyAnswer = 64 << 10

// notifier does what the platform does without being called: payments that come
// due, and their notifications. Reset replaces it, together with the orders and
// its figures.
type notifier struct {
	sim    *Simulator
	alarms alarms
	client *http.Client
	ctx    context.Context // of all deliveries; done when closed
	cancel context.CancelFunc

	mu      sync.Mutex
	closed  bool
	pending map[*mailing]struct{} // those not done with
	ready   []*mailing            // those whose time has come, first come first
	senders int
	running sync.WaitGroup // the senders
	report  NotificationReport
}

func newNotifier(s *Simulator) *notifier {
	n := &notifier{
		sim: s, alarms: alarms{clock: s.clock}, pending: make(map[*mailing]struct{}),
		client: &http.Client{
			// Without a proxy of the environment: the merchant is a test, or runs
			// on the same network.
			Transport: &http.Transport{
				MaxIdleConnsPerHost: maxSenders, MaxConnsPerHost: maxSenders,
				IdleConnTimeout: 10 * time.Second, MaxResponseHeaderBytes: maxNotifyAnswer, DisableCompression: true,
			},
			// The platform treats a redirect as a refusal.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
	if s.foreignClock {
		n.alarms.most = foreignClockStep
	}
	n.ctx, n.cancel = context.WithCancel(context.Background())
	return n
}

// close stops everything, and returns when all has stopped. The caller must hold
// no order's mu. Orders can still be paid, without a notification.
func (n *notifier) close() {
	n.mu.Lock()
	n.closed = true
	for m := range n.pending {
		if m.timer != nil {
			m.timer.Stop()
		}
	}
	clear(n.pending)
	n.ready = nil
	n.mu.Unlock()
	n.cancel()
	n.alarms.close()
	n.running.Wait()
	n.client.CloseIdleConnections()
}

// paid notifies the order's newest payment. The caller holds o.mu, so paid does
// not wait.
func (n *notifier) paid(o *order) {
	own, other, told := n.mailings(o)
	if !told {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return
	}
	n.report.Events++
	if own == nil {
		n.report.Lost++
	} else {
		n.pending[own] = struct{}{}
	}
	switch {
	case other != nil: // own follows when other has been sent
		n.report.OtherEvents++
		n.schedule(other)
	case own != nil:
		n.schedule(own)
	}
}

// schedule has m delivered for the first time. The caller holds n.mu.
func (n *notifier) schedule(m *mailing) { n.deliverAfter(m, m.wait()) }

// deliverAfter has m delivered after the wait. The caller holds n.mu.
func (n *notifier) deliverAfter(m *mailing, wait time.Duration) {
	n.pending[m] = struct{}{}
	m.timer = time.AfterFunc(wait, func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		if n.closed {
			return
		}
		n.ready = append(n.ready, m)
		if n.senders < maxSenders {
			n.senders++
			n.running.Go(n.send)
		}
	})
}

// send delivers what is ready, and returns when nothing is.
func (n *notifier) send() {
	for {
		n.mu.Lock()
		if n.closed || len(n.ready) == 0 {
			n.senders--
			n.mu.Unlock()
			return
		}
		m := n.ready[0]
		n.ready[0] = nil // for the garbage collector
		n.ready = n.ready[1:]
		n.mu.Unlock()
		n.deliver(m)
	}
}

// deliver makes one delivery, and schedules what follows it.
func (n *notifier) deliver(m *mailing) {
	if m.draw("sign_test", m.sent) < m.settings.SignTest {
		status := n.post(m, signWrong)
		n.mu.Lock()
		n.report.SignTests++
		if tookIt(status) {
			n.report.SignTestsTaken++
		}
		n.mu.Unlock()
	}
	status := n.post(m, signGood)
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed { // the delivery was cancelled, too
		return
	}
	n.count(m, status)
	if wait, again := m.delivered(tookIt(status)); again {
		n.deliverAfter(m, wait)
	} else {
		delete(n.pending, m)
	}
	if m.then != nil {
		n.schedule(m.then)
		m.then = nil
	}
}

// count counts a delivery. The caller holds n.mu.
func (n *notifier) count(m *mailing, status int) {
	r := &n.report
	r.Deliveries++
	if r.ByStatus == nil {
		r.ByStatus = make(map[int]int64)
	}
	r.ByStatus[status]++
	if tookIt(status) {
		r.Taken++
		if m.kind == EventUserPaid {
			m.order.told++
		}
	} else {
		r.Refused++
	}
	switch {
	case m.taken:
		r.Duplicates++
	case !tookIt(status) && m.failed == len(m.settings.Retry):
		r.GaveUp++
	}
}

func tookIt(status int) bool { return status == http.StatusOK || status == http.StatusNoContent }

// post sends m once and returns the answer's status, or 0 without an answer in
// time.
func (n *notifier) post(m *mailing, how signing) int {
	if m.body == nil {
		body, err := n.sim.id.envelope(m.event)
		if err != nil {
			return 0 // an invalid APIv3 key, which New does not accept
		}
		m.body = body
	}
	raw, err := n.sim.id.notification(m.id, m.body, how, n.sim.id.notifySerial(m.settings), time.Now())
	if err != nil {
		return 0 // an invalid platform key, likewise
	}
	ctx, cancel := context.WithTimeout(n.ctx, time.Duration(m.settings.Timeout))
	defer cancel()
	r, err := raw.Request(ctx, m.url)
	if err != nil {
		return 0 // cannot happen: the URL was validated
	}
	resp, err := n.client.Do(r)
	if err != nil {
		return 0
	}
	defer func() { _ = resp.Body.Close() }()
	// Only the status matters; the body is read so that the connection can be
	// used again.
	_, _ = io.CopyN(io.Discard, resp.Body, maxNotifyAnswer)
	return resp.StatusCode
}

// NotificationReport is the audit of the notifications. An event counts where it
// had a URL when it was made.
type NotificationReport struct {
	// Events counts the payments to notify, lost ones included; OtherEvents counts
	// the events of other types. Pending counts the unfinished ones of both.
	Events      int64 `json:"events"`
	OtherEvents int64 `json:"other_events"`
	Pending     int64 `json:"pending"`
	// Deliveries counts the correctly signed requests, of all events; Taken those
	// answered 200 or 204 in time, Refused all others.
	Deliveries int64 `json:"deliveries"`
	Taken      int64 `json:"taken"`
	Refused    int64 `json:"refused"`
	// Lost counts the payments that were never notified, GaveUp the events whose
	// last delivery was refused.
	Lost   int64 `json:"lost"`
	GaveUp int64 `json:"gave_up"`
	// SignTests counts the requests with a wrong signature, which do not count as
	// deliveries. SignTestsTaken counts those answered 200 or 204: that merchant
	// does not verify signatures.
	SignTests      int64 `json:"sign_tests"`
	SignTestsTaken int64 `json:"sign_tests_taken"`
	// Duplicates counts the deliveries of events that had been taken before.
	Duplicates int64 `json:"duplicates"`
	// ByStatus counts the deliveries by the status answered; 0 is no answer in time.
	ByStatus map[int]int64 `json:"by_status"`
}

// reportTo adds the notifications to r, which has a report of each of the orders.
// It runs after the orders were read: where they are paid and nothing is pending,
// nothing more will be sent.
func (n *notifier) reportTo(r *Report, orders []*order) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for i, o := range orders {
		r.Orders[i].Notified = o.told
	}
	r.Notifications = n.report
	r.Notifications.Pending = int64(len(n.pending))
	r.Notifications.ByStatus = make(map[int]int64, len(n.report.ByStatus))
	maps.Copy(r.Notifications.ByStatus, n.report.ByStatus)
}

// timesTold is how many notifications of the order's payments were taken. The
// caller may hold o.mu.
func (n *notifier) timesTold(o *order) int64 {
	n.mu.Lock()
	defer n.mu.Unlock()
	return o.told
}
