package notify_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"payscore-collector/internal/ledger"
	"payscore-collector/internal/notify"
	"payscore-collector/internal/payscore"
	"payscore-collector/internal/simulator"
	"payscore-collector/internal/testkit"
	"payscore-collector/tasks"
)

// wantTrouble fails the test unless every answer is a 503. That an answer came shows that
// the receiver's own deadline has ended the wait: the fixture's client of Redis would wait
// for longer than the test.
func (b *fixture) wantTrouble(replies []reply) {
	b.Helper()
	for _, r := range replies {
		b.wantRefusal(r, 503)
	}
}

// WeChat Pay waits five seconds for an answer, and a system that passes notifications on
// needs some of that for itself.
func TestAnswerWithinASecond(t *testing.T) {
	if notify.AnswerWithin > time.Second {
		t.Errorf("a notification is answered within %s, want a second", notify.AnswerWithin)
	}
}

func TestRedisHangs(t *testing.T) {
	t.Parallel()
	for name, used := range map[string]bool{"on a connection that is there": true, "before any connection was made": false} {
		t.Run(name+": 503 in time, and afterwards the same notification takes", func(t *testing.T) {
			t.Parallel()
			b := newFixture(t)
			b.add(simulator.Order{OutOrderNo: "A", TotalAmount: 1250}, simulator.Order{OutOrderNo: "B", TotalAmount: 1})
			if used {
				b.takes(b.raw("B", options{Entity: paid}))
				take(b.logs)
			}
			n := b.raw("A", options{Entity: paid})
			mended, release := b.troubled(), b.link.hang()
			var replies []reply
			for range 3 {
				replies = append(replies, b.post(b.url, n))
			}
			release()
			mended()
			b.wantTrouble(replies)
			if lines := take(b.logs); len(lines) != 3 || !strings.Contains(lines[0], `"level":"error"`) || !strings.Contains(lines[0], `"outcome":"failed"`) {
				t.Errorf("the log: %s", lines)
			}
			if c := b.count(notify.Failed); c != 3 {
				t.Errorf("counted %d failed, want 3", c)
			}
			b.takes(n)
			if o := b.get("A"); o.State != tasks.Paid || *o.PaidAmount != 1250 {
				t.Errorf("%+v", o)
			}
			if e := b.events("A"); e != "opened queued, paid paid" {
				t.Errorf("events: %s", e)
			}
		})
	}
	t.Run("with many at once, a bounded number is processed and all are answered", func(t *testing.T) {
		b := newFixture(t)
		b.add(simulator.Order{OutOrderNo: "A", TotalAmount: 1250})
		n := b.raw("A", options{Entity: paid})
		mended, release := b.troubled(), b.link.hang()
		replies := make([]reply, 300)
		var all sync.WaitGroup
		for i := range replies {
			all.Go(func() { replies[i] = b.post(b.url, n) })
		}
		all.Wait()
		release()
		mended()
		for _, r := range replies {
			b.wantRefusal(r, 503)
		}
		failed, busy := b.count(notify.Failed), b.count(notify.Busy)
		if failed == 0 || busy == 0 || failed+busy != len(replies) {
			t.Errorf("%d failed, %d found it busy, of %d", failed, busy, len(replies))
		}
		b.takes(n)
		if e := b.events("A"); e != "opened queued, paid paid" {
			t.Errorf("events: %s", e)
		}
	})
}

// The notice was written and its answer was lost: WeChat Pay was answered 503 and
// sends the notification again. The alarm is given then, once.
func TestLostAnswerOfTheLedger(t *testing.T) {
	t.Parallel()
	for name, withdrawn := range map[string]bool{"a payment after another end": true, "an end": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newFixture(t)
			b.add(simulator.Order{OutOrderNo: "A", TotalAmount: 1250})
			if withdrawn {
				b.withdraw("A")
			}
			n := b.raw("A", options{Entity: paid})
			b.through.lose.Store(2)
			for range 2 {
				b.wantRefusal(b.post(b.url, n), 503)
			}
			if log := b.logs.String(); strings.Contains(log, "paid_after_its_end") || strings.Contains(log, `"event":"order_ended"`) {
				t.Fatalf("told though no answer came: %s", log)
			}
			told := func() (late, ended int) {
				return counter(t, b.counted.News.WithLabelValues(b.mchid, "late")), counter(t, b.counted.Ended.WithLabelValues(b.mchid, "paid"))
			}
			wantLate, wantEnded := 0, 1
			if withdrawn {
				wantLate, wantEnded = 1, 0
			}
			b.untold("A") // WeChat Pay sends it again after 15 s
			b.takes(n)
			testkit.Eventually(t, "the answer to be forgotten once it was told", func() bool { return !b.remembers("A") })
			b.takes(n)
			if late, ended := told(); late != wantLate || ended != wantEnded {
				t.Errorf("told %v late payments and %v ends, want %v and %v", late, ended, wantLate, wantEnded)
			}
		})
	}
}

// untold makes the answers that were kept of an order older than a delivery lasts.
func (b *fixture) untold(no string) {
	b.Helper()
	key := ledger.KeysOf(b.mchid).Order(no)
	for field, kept := range b.redis.Client.HGetAll(b.Context(), key).Val() {
		if !strings.HasPrefix(field, "n:") {
			continue
		}
		words := strings.SplitN(kept, " ", 3) // the delivery, when it came, the answer
		if err := b.redis.Client.HSet(b.Context(), key, field, words[0]+" 1 "+words[2]).Err(); err != nil {
			b.Fatal(err)
		}
	}
}

// remembers reports whether the record of an order has an answer to a notification
// that was not told.
func (b *fixture) remembers(no string) bool {
	for field := range b.redis.Client.HGetAll(b.Context(), ledger.KeysOf(b.mchid).Order(no)).Val() {
		if strings.HasPrefix(field, "n:") {
			return true
		}
	}
	return false
}

func TestRedisIsAway(t *testing.T) {
	t.Parallel()
	b := newFixture(t)
	b.add(simulator.Order{OutOrderNo: "A", TotalAmount: 1250})
	n := b.raw("A", options{Entity: paid})
	target := b.link.target
	mended := b.troubled()
	b.link.retarget("127.0.0.1:1") // refuses
	b.link.cut()
	b.wantTrouble([]reply{b.post(b.url, n), b.post(b.url, n), b.post(b.url, n)})
	b.link.retarget(target)
	mended()
	b.takes(n)
	if o := b.get("A"); o.State != tasks.Paid {
		t.Errorf("%+v", o)
	}
}

func TestNotReadyBeforeOpen(t *testing.T) {
	b := newFixture(t)
	b.add(simulator.Order{OutOrderNo: "A"})
	n := b.raw("A", options{Entity: paid})
	logs := &testkit.LogBuffer{}
	metrics := notify.NewMetrics(prometheus.NewRegistry())
	r := notify.New([]string{b.mchid, "2"}, metrics, zerolog.New(logs))
	_, url := serve(t, r)
	b.wantRefusal(b.post(url+"/notify/"+b.mchid, n), 503)
	b.wantRefusal(b.post(url+"/notify/2", n), 503)
	b.wantRefusal(b.post(url+"/notify/3", n), 404)
	if c := counter(t, metrics.Notifications.WithLabelValues(b.mchid, "not_ready")); c != 1 {
		t.Errorf("counted %d", c)
	}
	if err := r.Open(map[string]notify.Merchant{b.mchid: {}}); err == nil || !strings.Contains(err.Error(), "merchant 2") {
		t.Errorf("opened without one: %v", err)
	}
}

// opener stands for a client with a bug, or with trouble of its own.
type opener func() (payscore.Notification, error)

func (o opener) Notification(context.Context, http.Header, []byte) (payscore.Notification, error) {
	return o()
}

func TestTroubleOnOurSide(t *testing.T) {
	for _, tt := range []struct {
		name    string
		opener  opener
		status  int
		outcome any
		says    string
	}{
		{"a panic", func() (payscore.Notification, error) { panic("a bug") }, 500, notify.Panicked, "a bug"},
		{"no APIv3 key", func() (payscore.Notification, error) { return payscore.Notification{}, payscore.NoAPIV3Key }, 503, payscore.NoAPIV3Key, "WECHATPAY_API_V3_KEY"},
		{"no certificates", func() (payscore.Notification, error) { return payscore.Notification{}, payscore.NoCertificates }, 503, payscore.NoCertificates, "certificate"},
		{"any other error", func() (payscore.Notification, error) { return payscore.Notification{}, http.ErrAbortHandler }, 503, notify.Failed, "abort"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			logs := &testkit.LogBuffer{}
			metrics := notify.NewMetrics(prometheus.NewRegistry())
			r := notify.New([]string{"1"}, metrics, zerolog.New(logs))
			if err := r.Open(map[string]notify.Merchant{"1": {Opener: tt.opener}}); err != nil {
				t.Fatal(err)
			}
			w := httptest.NewRecorder()
			r.ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/notify/1", strings.NewReader("{}")))
			b := &fixture{T: t}
			b.wantRefusal(reply{status: w.Code, body: w.Body.String()}, tt.status)
			lines := take(logs)
			level := `"level":"error"`
			if tt.outcome == payscore.NoCertificates {
				level = `"level":"warn"` // any stranger can name one
			}
			if len(lines) != 1 || !strings.Contains(lines[0], level) || !strings.Contains(lines[0], tt.says) {
				t.Errorf("the log: %s", lines)
			}
			if strings.Contains(w.Body.String(), "a bug") {
				t.Errorf("told to a stranger: %s", w.Body.String())
			}
		})
	}
}
