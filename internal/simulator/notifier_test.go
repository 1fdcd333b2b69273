package simulator

import (
	"fmt"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"
)

// Five thousand users pay at the same moment: each payment arrives once, and
// no more are under way than there are senders.
func TestNotifier_FiveThousandAtOnce(t *testing.T) {
	const n = 5000
	var orders []Order
	for i := range n {
		orders = append(orders, Order{OutOrderNo: fmt.Sprint("A", i), Fate: FateUserPays(time.Hour)})
	}
	clock := newClock()
	b := setupWith(t, Options{Clock: clock.Now, KeyBits: 1024}) // a small key: the time is the signing's
	r := receive(t, b.sim.Merchant(), nil)
	b.notify(Notifications{URL: r.url})
	if err := b.sim.AddOrders(orders...); err != nil {
		t.Fatal(err)
	}
	clock.pass(time.Hour)
	if report := b.settled(n); report.Taken != n || report.Deliveries != n {
		t.Errorf("the report says %+v", report)
	}
	seen := map[string]int{}
	for _, got := range r.all() {
		if got.err != nil {
			t.Fatal(got.err)
		}
		seen[got.entity.OutOrderNo]++
	}
	if len(seen) != n || len(r.all()) != n {
		t.Errorf("%d notifications of %d orders, want one of each of %d", len(r.all()), len(seen), n)
	}
	if r.most > maxSenders {
		t.Errorf("%d were under way at once, want %d at most", r.most, maxSenders)
	}
	for _, o := range b.sim.Report().Orders {
		if o.Notified != 1 || o.CallsAfterEnd != 0 {
			t.Fatalf("%+v", o)
		}
	}
	if calls := b.sim.Report().Calls; calls != 0 {
		t.Errorf("notifications count as %d calls", calls)
	}
}

// A merchant who is slow to answer, or asks back before he does, holds up
// nothing else.
func TestNotifier_HoldsNoLockWhileSending(t *testing.T) {
	b := setup(t, Order{OutOrderNo: "A1"}, Order{OutOrderNo: "A2"})
	calls := make(chan answer, 1)
	let := make(chan struct{})
	defer close(let)
	r := receive(t, b.sim.Merchant(), func(http.ResponseWriter, *http.Request) {
		calls <- b.query("A1")
		<-let
	})
	b.notify(Notifications{URL: r.url, Timeout: Duration(time.Hour)})
	b.collect("A1")
	if a := <-calls; a.status != http.StatusOK {
		t.Errorf("a query from within the notification: %v", a)
	}
	b.notify(Notifications{})
	if a := b.collect("A2"); a.status != http.StatusOK {
		t.Errorf("a collect meanwhile: %v", a)
	}
	if got := b.sim.Report(); got.Notifications.Pending != 1 || got.Orders[0].State != StateDone || got.Orders[0].CallsAfterEnd != 0 {
		t.Errorf("the report meanwhile: %+v", got)
	}
}

func TestSimulator_Close(t *testing.T) {
	t.Run("ends what is under way and what is to come", func(t *testing.T) {
		b := setup(t, Order{OutOrderNo: "UNDERWAY"}, Order{OutOrderNo: "LATER"}, Order{OutOrderNo: "DUE", Fate: FateUserPays(time.Hour)})
		arrived, left := make(chan struct{}), make(chan struct{})
		r := receive(t, b.sim.Merchant(), func(_ http.ResponseWriter, req *http.Request) {
			close(arrived)
			<-req.Context().Done()
			close(left)
		})
		b.notify(Notifications{URL: r.url, Timeout: Duration(time.Hour), Retry: []Duration{0}})
		b.collect("UNDERWAY")
		<-arrived
		b.notify(Notifications{URL: r.url, Delay: Duration(time.Hour)})
		b.collect("LATER")

		b.sim.Close()
		<-left
		b.sim.Close() // again, and nothing happens
		n := b.sim.notifier
		n.mu.Lock()
		if n.senders != 0 || len(n.pending) != 0 || len(n.ready) != 0 || len(n.alarms.waiting) != 0 {
			t.Errorf("%d senders, %d pending, %d ready and %d alarms are left", n.senders, len(n.pending), len(n.ready), len(n.alarms.waiting))
		}
		n.mu.Unlock()

		b.notify(Notifications{URL: r.url})
		b.clock.pass(time.Hour)
		if e := b.entity("DUE"); e.State != StateDone {
			t.Errorf("what is due must still happen when a client looks: %s", e.State)
		}
		if got := b.sim.notifierReport(); got.Events != 2 || got.Pending != 0 || len(r.all()) != 1 {
			t.Errorf("the report says %+v, and %d came", got, len(r.all()))
		}
	})
	t.Run("after a reset, too", func(t *testing.T) {
		b := setup(t)
		b.sim.Close()
		b.sim.Reset()
		r := receive(t, b.sim.Merchant(), nil)
		b.notify(Notifications{URL: r.url})
		if err := b.sim.AddOrders(Order{OutOrderNo: "A1"}); err != nil {
			t.Fatal(err)
		}
		b.collect("A1")
		if got := b.sim.Report(); got.Notifications.Events != 0 || got.Orders[0].State != StateDone {
			t.Errorf("the report says %+v", got)
		}
	})
}

// What was forgotten is not notified, and its figures are gone.
func TestSimulator_ResetForgetsNotifications(t *testing.T) {
	b := setup(t, Order{OutOrderNo: "UNDERWAY"}, Order{OutOrderNo: "LATER"}, Order{OutOrderNo: "DUE", Fate: FateUserPays(time.Hour)})
	// The merchant himself has all forgotten, before he answers.
	r := receive(t, b.sim.Merchant(), func(http.ResponseWriter, *http.Request) { b.sim.Reset() })
	b.notify(Notifications{URL: r.url, Retry: []Duration{0}})
	b.collect("UNDERWAY")
	b.until("the reset", func() bool { _, there := b.sim.Order("UNDERWAY"); return !there })
	b.clock.pass(time.Hour)

	heard := receive(t, b.sim.Merchant(), nil)
	b.notify(Notifications{URL: heard.url})
	if err := b.sim.AddOrders(Order{OutOrderNo: "NEW"}); err != nil {
		t.Fatal(err)
	}
	b.collect("NEW")
	if report := b.settled(1); report.Taken != 1 || report.Deliveries != 1 {
		t.Errorf("the report says %+v", report)
	}
	if first, second := r.all(), heard.all(); len(first) != 1 || len(second) != 1 || second[0].entity.OutOrderNo != "NEW" {
		t.Errorf("%d and %d came", len(first), len(second))
	}
}

// Many pay, in parts and in time, while settings change, a client reads the
// report and notifications are refused, twice and tested: whatever the
// interleaving, all are done with in the end and the figures agree.
func TestNotifier_Concurrent(t *testing.T) {
	const clients, each = 8, 20
	no := func(c, i int) string { return fmt.Sprintf("C%d-%d", c, i) }
	var orders []Order
	for c := range clients {
		for i := range each {
			fate := []Fate{FatePays, FatePartial(40), FateUserPays(time.Duration(i) * time.Millisecond), FateUserPaying(time.Millisecond)}[i%4]
			orders = append(orders, Order{OutOrderNo: no(c, i), TotalAmount: 100, Fate: fate})
		}
	}
	b := setupWith(t, Options{})
	r := receive(t, b.sim.Merchant(), answerInTurn(append(slices.Repeat([]int{500, 200}, 20), 204)...))
	zero := Duration(0)
	b.fail(Faults{OrderGap: &zero, PayDelay: Duration(time.Millisecond)})
	settings := Notifications{
		URL: r.url, Retry: make([]Duration, 40), Duplicate: 0.3, SignTest: 0.3, OtherEvents: 0.3, Lose: 0.1,
		Late: 0.2, LateBy: Duration(20 * time.Millisecond), DelayJitter: Duration(10 * time.Millisecond),
	}
	b.notify(settings)
	if err := b.sim.AddOrders(orders...); err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	var onlookers, callers sync.WaitGroup
	onlookers.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				b.sim.Report()
				b.notify(settings)
			}
		}
	})
	for c := range clients {
		callers.Go(func() {
			for i := range each {
				b.collect(no(c, i))
				b.until("the payment", func() bool {
					truth := b.truth(no(c, i))
					if truth.Entity.State == StateDoing && truth.Entity.Collection.PaidAmount > 0 {
						b.collect(no(c, i))
					}
					return truth.Entity.State == StateDone
				})
			}
		})
	}
	callers.Wait()
	close(stop)
	onlookers.Wait()
	const payments = clients * (each + each/4)
	report := b.settled(payments)
	signTests, events := int64(0), map[string]bool{}
	for _, got := range r.all() {
		switch {
		case isSignTest(got):
			signTests++
		case got.err != nil:
			t.Errorf("the SDK refuses one: %v", got.err)
		default:
			events[got.event.ID] = true
		}
	}
	if want := report.Events - report.Lost + report.OtherEvents; int64(len(events)) != want || report.GaveUp != 0 {
		t.Errorf("%d events came, want %d: %+v", len(events), want, report)
	}
	if int64(len(r.all())) != report.Deliveries+report.SignTests || signTests != report.SignTests || report.Deliveries != report.Taken+report.Refused {
		t.Errorf("%d requests came, %d of them sign tests: %+v", len(r.all()), signTests, report)
	}
	told := int64(0)
	for _, o := range b.sim.Report().Orders {
		told += o.Notified
	}
	if told+report.OtherEvents != report.Taken || report.Lost == 0 || report.Duplicates == 0 || report.SignTests == 0 || report.OtherEvents == 0 {
		t.Errorf("orders were told %d times: %+v", told, report)
	}
}
