package simulator

import (
	"context"
	"io"
	"maps"
	"net/http"
	"sync"
	"time"
)

// maxSenders bounds the notifications under way at once, and the goroutines
// with them: what waits for its time is a timer, what waits for a sender is in
// a list.
const maxSenders = 32

// maxNotifyAnswer is how much of an answer is read: so much that a usual one
// leaves the connection free for the next notification.
const maxNotifyAnswer = 64 << 10

// notifier does what the platform does without being called: payments in
// their time, and telling the merchant of each. It lives until the orders are
// forgotten, and so do its figures; then another takes its place.
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
			// Straight to the merchant: a proxy in the environment is not meant
			// for him, who is a test or a neighbour.
			Transport: &http.Transport{
				MaxIdleConnsPerHost: maxSenders, MaxConnsPerHost: maxSenders,
				IdleConnTimeout: 10 * time.Second, MaxResponseHeaderBytes: maxNotifyAnswer, DisableCompression: true,
			},
			// The platform takes a redirect for a refusal.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
	if s.foreignClock {
		n.alarms.most = foreignClockStep
	}
	n.ctx, n.cancel = context.WithCancel(context.Background())
	return n
}

// close ends everything and returns when it has ended. No order's mu may be
// held. Orders can still be paid; nobody hears of it.
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

// paid tells the merchant of the order's newest payment. The caller holds
// o.mu, so this waits for nobody.
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
	case other != nil: // own comes when other has gone out
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

// send delivers what is ready, and ends when there is no more.
func (n *notifier) send() {
	for {
		n.mu.Lock()
		if n.closed || len(n.ready) == 0 {
			n.senders--
			n.mu.Unlock()
			return
		}
		m := n.ready[0]
		n.ready[0] = nil // what is done with must not be held
		n.ready = n.ready[1:]
		n.mu.Unlock()
		n.deliver(m)
	}
}

// deliver makes one delivery, and settles what comes after it.
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
	if n.closed { // which ended the delivery, too
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

// post sends m once and returns the answer's status, 0 where none came in time.
func (n *notifier) post(m *mailing, how signing) int {
	if m.body == nil {
		body, err := n.sim.id.envelope(m.event)
		if err != nil {
			return 0 // only a broken APIv3 key gets here, and New has seen that it is none
		}
		m.body = body
	}
	raw, err := n.sim.id.notification(m.id, m.body, how, n.sim.id.notifySerial(m.settings), time.Now())
	if err != nil {
		return 0 // as above, of the platform's key
	}
	ctx, cancel := context.WithTimeout(n.ctx, time.Duration(m.settings.Timeout))
	defer cancel()
	r, err := raw.Request(ctx, m.url)
	if err != nil {
		return 0 // a URL that was parsed before makes a request
	}
	resp, err := n.client.Do(r)
	if err != nil {
		return 0
	}
	defer func() { _ = resp.Body.Close() }()
	// The status is the answer; what stands behind it is read for the
	// connection's sake only.
	_, _ = io.CopyN(io.Discard, resp.Body, maxNotifyAnswer)
	return resp.StatusCode
}

// NotificationReport is the audit of the notifications. An event counts where
// there was a URL to send it to when it came up.
type NotificationReport struct {
	// Events counts the payments to tell of, lost ones too; OtherEvents what
	// came in between. Pending counts those of both that are not done with.
	Events      int64 `json:"events"`
	OtherEvents int64 `json:"other_events"`
	Pending     int64 `json:"pending"`
	// Deliveries counts the rightly signed requests sent, of all events;
	// Taken those answered 200 or 204 in time, Refused all others.
	Deliveries int64 `json:"deliveries"`
	Taken      int64 `json:"taken"`
	Refused    int64 `json:"refused"`
	// Lost counts the payments that were never told of, GaveUp the events
	// that were refused to the last.
	Lost   int64 `json:"lost"`
	GaveUp int64 `json:"gave_up"`
	// SignTests counts the requests with a wrong signature, which are no
	// deliveries. SignTestsTaken counts those answered 200 or 204: the
	// merchant does not verify.
	SignTests      int64 `json:"sign_tests"`
	SignTestsTaken int64 `json:"sign_tests_taken"`
	// Duplicates counts the deliveries of what had been taken before.
	Duplicates int64 `json:"duplicates"`
	// ByStatus counts the deliveries by their answer; 0 is none in time.
	ByStatus map[int]int64 `json:"by_status"`
}

// reportTo adds the notifications to r, which has a report of each of the
// orders. All of it is of one moment, after the orders were looked at: whoever
// sees them paid and nothing pending knows that nothing more is to come.
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
