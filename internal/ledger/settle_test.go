package ledger_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"payscore-collector/internal/ledger"
	"payscore-collector/tasks"
)

func TestSettle(t *testing.T) {
	t.Run("writes only with the token of the last claim", func(t *testing.T) {
		s := newSetup(t)
		s.open("A")
		lim := limits()
		lim.Lease = time.Millisecond
		dead := s.claim("A", lim)
		var alive ledger.Claim
		s.until(func() bool { alive = s.claim("A", limits()); return alive.Code == ledger.Granted })
		if code, _ := s.settle(dead, ledger.Settlement{State: tasks.Rejected, Reason: "stale", Log: []ledger.Entry{entry("collect", "bad_request")}}); code != ledger.Lost {
			t.Errorf("the worker without the lease settled: %s", code)
		}
		if o := s.get("A"); o.State != tasks.Queued || len(o.Log) != 0 {
			t.Errorf("%+v", o)
		}
		if code, _ := s.settle(alive, back(alive, ledger.Recheck)); code != ledger.Settled {
			t.Errorf("the worker with the lease: %s", code)
		}
	})
	t.Run("repeated changes nothing", func(t *testing.T) {
		s := newSetup(t)
		s.open("A")
		c := s.granted("A")
		set := back(c, ledger.Recheck)
		set.AddAttempts, set.NewRound = 1, true
		s.settle(c, set)
		once := s.get("A")
		if code, _ := s.settle(c, set); code != ledger.Repeat {
			t.Errorf("%s", code)
		}
		if diff := cmp.Diff(once, s.get("A")); diff != "" {
			t.Error(diff)
		}
		if n := s.redis.Client.XLen(t.Context(), ledger.KeysOf(mchid).Outcomes()).Val(); n != 2 {
			t.Errorf("%d events", n)
		}
	})
	t.Run("with a new round makes the old task stale", func(t *testing.T) {
		s := newSetup(t)
		s.open("A")
		c := s.granted("A")
		set := back(c, ledger.Recheck)
		set.NewRound = true
		s.settle(c, set)
		old, err := s.ledger.Claim(t.Context(), "A", ledger.NewToken(), 1, limits())
		if err != nil || old.Code != ledger.Stale {
			t.Errorf("%+v %v", old, err)
		}
		now, err := s.ledger.Claim(t.Context(), "A", ledger.NewToken(), 2, limits())
		if err != nil || now.Code != ledger.Granted {
			t.Errorf("%+v %v", now, err)
		}
	})
	t.Run("ends an order for good, and all its traces agree", func(t *testing.T) {
		s := newSetup(t)
		s.open("A")
		c := s.granted("A")
		paid := int64(1234)
		s.settle(c, ledger.Settlement{
			State: tasks.Paid, AddAttempts: 1, Collected: c.Now, Log: []ledger.Entry{entry("query", "paid")},
			Facts: ledger.Facts{OrderID: "1", TransactionID: "42", PaidType: "NEWTON", Total: &paid, Paid: &paid},
		})
		k := ledger.KeysOf(mchid)
		ctx := t.Context()
		if n := s.redis.Client.ZCard(ctx, k.Due()).Val(); n != 0 {
			t.Errorf("%d in the due index", n)
		}
		if n := s.redis.Client.ZCard(ctx, k.Ended(tasks.Paid)).Val(); n != 1 {
			t.Errorf("%d in the index of paid orders", n)
		}
		if diff := cmp.Diff(map[tasks.State]int64{tasks.Paid: 1}, s.stats()); diff != "" {
			t.Error(diff)
		}
		events := s.redis.Client.XRange(ctx, k.Outcomes(), "-", "+").Val()
		if len(events) != 2 || events[0].Values["type"] != "order.opened" || events[1].Values["type"] != "order.paid" || events[1].Values["paid"] != "1234" {
			t.Errorf("%+v", events)
		}
		if c := s.claim("A", limits()); c.Code != ledger.HasEnded {
			t.Errorf("claimed after its end: %s", c.Code)
		}
		if swept, _ := s.ledger.Sweep(ctx, ledger.SweepArgs{Limit: 10}); len(swept.Orders) != 0 {
			t.Errorf("swept after its end: %+v", swept)
		}
	})
	t.Run("of a call that was not made takes the counting back", func(t *testing.T) {
		s := newSetup(t)
		s.open("A")
		c := s.granted("A")
		s.settle(c, ledger.Settlement{State: tasks.Queued, Next: ledger.Collect, Due: c.Now, NotMade: ledger.CollectCall})
		lim := limits()
		lim.MinGap = time.Hour
		if o := s.get("A"); o.CollectCalls != 0 || !o.LastAttemptAt.IsZero() {
			t.Errorf("%+v", o)
		}
		if c := s.claim("A", lim); c.Code != ledger.Granted || c.Plan != ledger.Collect {
			t.Errorf("%+v", c)
		}
	})
}

// fault gives an order back that was not collected, for a cause that is not its own.
func fault(c ledger.Claim, sig ledger.GateSignal) ledger.Settlement {
	set := back(c, ledger.Collect)
	set.Gate, set.CalledAt, set.NotMade = sig, c.Now, ledger.CollectCall
	return set
}

func TestGate(t *testing.T) {
	t.Run("a merchant's fault closes it for every order but a probe", func(t *testing.T) {
		s := newSetup(t)
		s.open("A")
		s.open("B")
		c := s.granted("A")
		set := fault(c, ledger.GateFault)
		set.First = 50 * time.Millisecond
		if _, change := s.settle(c, set); change != ledger.GateClosed {
			t.Errorf("change %q", change)
		}
		if c := s.claim("B", limits()); c.Code != ledger.Held || c.Wait > 50*time.Millisecond {
			t.Errorf("%+v", c)
		}
		var probe ledger.Claim
		s.until(func() bool { probe = s.claim("B", limits()); return probe.Code == ledger.Granted })
		if !probe.Probe {
			t.Error("the grant does not say that it is a probe")
		}
		if c := s.claim("A", limits()); c.Code != ledger.Held {
			t.Errorf("a second probe at once: %s", c.Code)
		}
		good := back(probe, ledger.Recheck)
		good.Gate, good.CalledAt = ledger.GateOK, time.Now()
		if _, change := s.settle(probe, good); change != ledger.GateOpened {
			t.Errorf("change %q", change)
		}
		if c := s.claim("A", limits()); c.Code != ledger.Granted {
			t.Errorf("behind an open gate: %s", c.Code)
		}
	})
	// Of each scope: the merchant, and one service.
	for name, signal := range map[string]ledger.GateSignal{"merchant": ledger.GateFault, "service": ledger.GateService} {
		t.Run("how long it is to the next probe: "+name, func(t *testing.T) {
			s := newTimed(t)
			for _, no := range []string{"A", "B", "C", "D"} {
				s.open(no)
			}
			probe := func(no string) ledger.Claim {
				t.Helper()
				c := s.granted(no)
				if !c.Probe {
					t.Fatalf("%s is granted, and no probe", no)
				}
				return c
			}
			// next checks the answer to a claim of the order now.
			next := func(what, no string, want time.Duration) {
				t.Helper()
				if signal == ledger.GateService {
					want += time.Millisecond // a parked order has a slot of its own behind the probe
				}
				if c := s.claim(no, limits()); c.Wait != want || c.Code != ledger.Held && c.Code != ledger.Parked {
					t.Errorf("%s: %s, the next probe in %s, want %s", what, c.Code, c.Wait, want)
				}
			}
			c := s.granted("A")
			s.settle(c, fault(c, signal))
			next("a hold that began", "B", 5*time.Second)
			s.pass(6 * time.Second)
			probe("A") // its worker dies
			next("a probe that died", "C", 10*time.Second)
			s.pass(11 * time.Second)
			c = probe("A")
			s.settle(c, back(c, ledger.Collect)) // it has made no call
			c = probe("A")
			s.pass(3 * time.Second)
			s.settle(c, fault(c, signal)) // refused: the next after twice the time, counted from its call
			next("a probe that was refused", "D", 7*time.Second)
		})
	}
	t.Run("a reply to a call from before the closing does not open it", func(t *testing.T) {
		s := newSetup(t)
		s.open("A")
		s.open("B")
		a, b := s.granted("A"), s.granted("B")
		s.settle(a, fault(a, ledger.GateFault))
		late := back(b, ledger.Recheck)
		late.Gate, late.CalledAt = ledger.GateOK, b.Now
		if _, change := s.settle(b, late); change != "" {
			t.Errorf("change %q", change)
		}
	})
	t.Run("a service's fault parks its own orders only", func(t *testing.T) {
		s := newSetup(t)
		s.open("A")
		s.open("B")
		other := payload("OTHER")
		other.ServiceID = "s2"
		if err := openOrder(t.Context(), s.ledger, tasks.Order{Payload: other}); err != nil {
			t.Fatal(err)
		}
		c := s.granted("A")
		s.settle(c, fault(c, ledger.GateService))
		if c := s.claim("B", limits()); c.Code != ledger.Parked {
			t.Errorf("%s", c.Code)
		}
		if o := s.get("B"); !o.NextDueAt.After(c.Now.Add(4 * time.Second)) {
			t.Errorf("parked until %v", o.NextDueAt)
		}
		if c := s.claim("OTHER", limits()); c.Code != ledger.Granted {
			t.Errorf("the other service: %s", c.Code)
		}
	})
	t.Run("failures in a row close it, and one answer starts the row anew", func(t *testing.T) {
		s := newSetup(t)
		n := 0
		step := func(sig ledger.GateSignal) ledger.GateChange {
			n++
			no := fmt.Sprintf("A-%d", n)
			s.open(no)
			c := s.granted(no)
			set := fault(c, sig)
			set.Failures = 3
			_, change := s.settle(c, set)
			return change
		}
		for i, sig := range []ledger.GateSignal{"down", "down", "ok", "down", "down"} {
			if change := step(sig); change != "" {
				t.Errorf("step %d: %q", i, change)
			}
		}
		if change := step("down"); change != ledger.GateClosed {
			t.Errorf("%q", change)
		}
	})
	t.Run("the first probe comes in time, of an order that met the fault too", func(t *testing.T) {
		for kind, longest := range map[ledger.GateSignal]time.Duration{ledger.GateFault: 5 * time.Second, ledger.GateDown: 5500 * time.Millisecond} {
			s := newSetupSerial(t)
			s.open("A")
			c := s.granted("A")
			set := fault(c, kind)
			set.Failures, set.Fails = 1, 1
			s.settle(c, set)
			if c := s.claim("A", limits()); c.Code != ledger.Held || c.Wait > longest || c.Wait < longest-time.Second {
				t.Errorf("%s: %s, probe in %s", kind, c.Code, c.Wait)
			}
		}
	})
	t.Run("failures of one order alone do not close it", func(t *testing.T) {
		s := newSetup(t)
		s.open("A")
		for range 10 {
			c := s.granted("A")
			set := fault(c, ledger.GateDown)
			set.Failures = 3
			if _, change := s.settle(c, set); change != "" {
				t.Fatalf("%q", change)
			}
		}
	})
	t.Run("any proper answer, a refusal too, ends an outage", func(t *testing.T) {
		s := newSetup(t)
		s.open("A")
		s.open("B")
		c := s.granted("A")
		set := fault(c, ledger.GateDown)
		set.Failures, set.First = 1, time.Millisecond
		if _, change := s.settle(c, set); change != ledger.GateClosed {
			t.Fatalf("%q", change)
		}
		var probe ledger.Claim
		s.until(func() bool { probe = s.claim("B", limits()); return probe.Code == ledger.Granted })
		refused := fault(probe, ledger.GateService)
		refused.CalledAt = time.Now()
		s.settle(probe, refused)
		if h, err := s.ledger.Holds(t.Context()); err != nil || h.Merchant.Kind != ledger.HoldNone || len(h.Services) != 1 {
			t.Errorf("holds %+v, %v; want one of a service", h, err)
		}
	})
	t.Run("throttling of everything closes it", func(t *testing.T) {
		s := newSetup(t)
		for i, no := range []string{"A", "B", "C"} {
			s.open(no)
			c := s.granted(no)
			set := fault(c, ledger.GateThrottled)
			set.Failures = 3
			if _, change := s.settle(c, set); (change == ledger.GateClosed) != (i == 2) {
				t.Errorf("call %d: %q", i+1, change)
			}
		}
	})
	t.Run("what throttling left of the rate comes back from the opening on", func(t *testing.T) {
		s := newSetup(t)
		for _, no := range []string{"A", "B", "C", "D"} {
			s.open(no)
		}
		c := s.granted("A")
		set := fault(c, ledger.GateThrottled)
		set.Failures, set.First = 1, 1200*time.Millisecond
		s.settle(c, set)
		var probe ledger.Claim
		s.until(func() bool { probe = s.claim("B", limits()); return probe.Code == ledger.Granted })
		good := back(probe, ledger.Recheck)
		good.Gate, good.CalledAt = ledger.GateOK, probe.Now
		if _, change := s.settle(probe, good); change != ledger.GateOpened {
			t.Fatalf("%q", change)
		}
		lim := limits()
		lim.Rate = 100
		// An eighth is left: 84 ms. Had some come back behind the closed gate, it
		// would be 72 ms.
		first, second := s.claim("C", lim), s.claim("D", lim)
		if apart := second.Now.Add(second.Wait).Sub(first.Now.Add(first.Wait)); apart < 78*time.Millisecond {
			t.Errorf("slots are %v apart at an eighth of 100 a second", apart)
		}
	})
	t.Run("throttling halves the rate, once a second at most", func(t *testing.T) {
		s := newSetup(t)
		s.open("A")
		c := s.granted("A")
		if _, change := s.settle(c, fault(c, ledger.GateThrottled)); change != ledger.GateSlowed {
			t.Errorf("%q", change)
		}
		c = s.granted("A")
		if _, change := s.settle(c, fault(c, ledger.GateThrottled)); change != "" {
			t.Errorf("a second one at once: %q", change)
		}
		lim := limits()
		lim.Rate = 100
		s.open("B")
		s.open("C")
		b, cc := s.claim("B", lim), s.claim("C", lim)
		if apart := cc.Now.Add(cc.Wait).Sub(b.Now.Add(b.Wait)); apart < 19*time.Millisecond {
			t.Errorf("slots are %v apart at half of 100 a second", apart)
		}
	})
}
