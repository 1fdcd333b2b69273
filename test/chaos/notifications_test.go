package chaos

import (
	"bytes"
	"context"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"payscore-collector/internal/simulator"
	"payscore-collector/internal/testkit"
)

// post stands between WeChat Pay and the workers, as a load balancer does: it
// hands each notification to one of them, to the next where that one does not
// answer, and now and then to two at once.
type notificationProxy struct {
	client  *http.Client
	server  *httptest.Server
	workers []string // their PUBLIC_ADDRs, by number

	mu     sync.Mutex
	random *rand.Rand
}

// answersWithin is longer than a worker that lives needs for its answer.
const answersWithin = 1200 * time.Millisecond

func newNotificationProxy(t *testing.T, f profile, r *rand.Rand) *notificationProxy {
	p := &notificationProxy{client: &http.Client{Timeout: answersWithin}, random: r}
	for range f.workers {
		p.workers = append(p.workers, testkit.FreeAddr(t))
	}
	p.server = httptest.NewServer(p)
	t.Cleanup(p.server.Close)
	return p
}

// ServeHTTP passes a notification on, headers and body untouched.
func (p *notificationProxy) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	p.mu.Lock()
	order := p.random.Perm(len(p.workers))
	twice := len(order) > 1 && p.random.IntN(10) == 0
	p.mu.Unlock()
	var other sync.WaitGroup
	if twice {
		other.Go(func() { p.deliver(order[1], r.URL.Path, r.Header, body) })
	}
	status := 0
	for _, worker := range order {
		if status = p.deliver(worker, r.URL.Path, r.Header, body); status != 0 {
			break
		}
	}
	other.Wait()
	if status == 0 {
		status = http.StatusBadGateway
	}
	rw.WriteHeader(status)
}

// deliver sends a notification to one worker, and returns its answer's status,
// 0 where none came.
func (p *notificationProxy) deliver(worker int, path string, header http.Header, body []byte) int {
	// The sender may hang up, as WeChat Pay does after a while: the worker
	// is not told.
	r, err := http.NewRequestWithContext(context.Background(), http.MethodPost, "http://"+p.workers[worker]+path, bytes.NewReader(body))
	if err != nil {
		return 0
	}
	r.Header = header.Clone()
	resp, err := p.client.Do(r)
	if err != nil {
		return 0
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode
}

// notifications are how badly WeChat Pay tells of payments. Some are lost and
// many late: else hardly an end would be found by a query.
func (f profile) notifications(p *notificationProxy, mchid string) simulator.Notifications {
	long := func(d time.Duration) simulator.Duration { return simulator.Duration(d) }
	return simulator.Notifications{
		URL:   p.server.URL + "/notify/" + mchid,
		Delay: long(20 * time.Millisecond), DelayJitter: long(2 * f.minGap),
		Lose: 0.3, Duplicate: 0.3, Late: 0.15, LateBy: long(f.giveUp / 2), SignTest: 0.2, OtherEvents: 0.2,
		Timeout: long(4 * time.Second), Retry: []simulator.Duration{long(300 * time.Millisecond), long(time.Second), long(3 * time.Second)},
	}
}

// awaitNotifications waits until the platform has nothing more to tell.
func (e *env) awaitNotifications() {
	for deadline := time.Now().Add(e.profile.giveUp + 30*time.Second); ; <-time.After(time.Second) {
		n := e.sim.Report().Notifications
		if n.Pending == 0 {
			return
		}
		if time.Now().After(deadline) {
			e.journal.fail("%d notifications are still on their way", n.Pending)
			return
		}
	}
}

// judgeNotifications holds what the workers have taken against what they were
// told: nothing without a good signature; and what they have taken they know,
// as the order's end or beside another one.
func (res *result) judgeNotifications() {
	e := res.e
	res.told = e.sim.Report().Notifications
	if n := res.told.SignTestsTaken; n > 0 {
		res.breach(rowUnsigned, "%d notifications with a SIGNTEST signature were taken", n)
	}
	for _, taken := range e.billing.forgeriesTaken {
		res.breach(rowUnsigned, "a forged notification was taken: %s", taken)
	}
	if res.told.Taken == 0 || res.told.SignTests == 0 || e.billing.forgeriesRefused == 0 {
		res.breach(rowFaults, "hardly any notifications: %+v, %d forgeries refused", res.told, e.billing.forgeriesRefused)
	}
	for no, o := range res.orders {
		p := res.truth[no]
		// Not those paid in parts: one part may have been told, and another lost.
		whole := p.State == simulator.StateDone && p.MoneyMoved == p.TotalAmount && len(p.Payments) == 1
		if whole && p.Notified > 0 && !knowsPayment(o) {
			res.breach(rowWrong, "%s is %s, and %d notifications of its payment were answered as known", no, o.State, p.Notified)
		}
	}
}
