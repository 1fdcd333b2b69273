package simulator

import (
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"
)

// Many clients at once, each with orders of its own, while another client reads the
// report and changes the faults: nothing is lost, and no user is billed twice.
func TestConcurrentUse(t *testing.T) {
	const clients, each = 16, 10
	no := func(c, i int) string { return fmt.Sprintf("C%d-%d", c, i) }
	var orders []Order
	for c := range clients {
		for i := range each {
			orders = append(orders, Order{OutOrderNo: no(c, i), TotalAmount: 100})
		}
	}
	b := setup(t, orders...)
	b.http = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: clients}}
	defer b.http.CloseIdleConnections()

	stop := make(chan struct{})
	var onlookers, callers sync.WaitGroup
	for i, look := range []func(n int){
		func(int) { b.sim.Report() },
		func(n int) {
			if err := b.sim.SetFaults(Faults{PayDelay: Duration(n % 2)}); err != nil {
				t.Error(err)
			}
		},
		func(n int) {
			if err := b.sim.AddOrders(Order{OutOrderNo: fmt.Sprint("LATER", n), Fate: FateUnknown}); err != nil {
				t.Error(err)
			}
		},
	} {
		onlookers.Go(func() {
			for n := i; ; n++ {
				select {
				case <-stop:
					return
				case <-time.After(time.Millisecond):
					look(n)
				}
			}
		})
	}
	for c := range clients {
		callers.Go(func() {
			for i := range each {
				if a := b.collect(no(c, i)); a.status != http.StatusOK || a.signature != "good" {
					t.Errorf("collect %s: %v, signature %s, %v", no(c, i), a, a.signature, a.err)
				}
				if a := b.query(no(c, i)); a.status != http.StatusOK || a.signature != "good" {
					t.Errorf("query %s: %v, signature %s, %v", no(c, i), a, a.signature, a.err)
				}
			}
		})
	}
	callers.Wait()
	close(stop)
	onlookers.Wait()

	b.clock.pass(1) // the longest pay_delay of above
	r := b.sim.Report()
	if want := int64(clients * each); r.Calls != 2*want || r.CollectCalls != want || r.QueryCalls != want || r.SignedReplies != 2*want {
		t.Errorf("calls %d, collects %d, queries %d, signed replies %d; want twice %d, %[5]d, %[5]d and twice as many", r.Calls, r.CollectCalls, r.QueryCalls, r.SignedReplies, want)
	}
	for _, o := range r.Orders[:clients*each] {
		if o.CollectCalls != 1 || o.QueryCalls != 1 || o.MostAtOnce != 1 || o.CallsAfterEnd != 0 || o.MoneyMoved != 100 {
			t.Errorf("%+v", o)
		}
	}
}
