package ledger_test

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"payscore-collector/internal/ledger"
	"payscore-collector/internal/redistest"
	"payscore-collector/tasks"
)

const mchid = "1900000001"

// setup is a ledger on a Redis of its own.
type setup struct {
	*testing.T
	redis    *redistest.Server
	ledger   *ledger.Ledger
	producer *tasks.Producer
}

func newSetup(t *testing.T) *setup {
	t.Parallel()
	r := redistest.Start(t)
	return &setup{T: t, redis: r, ledger: ledger.New(r.Client, mchid), producer: tasks.NewProducer(r.Client)}
}

func payload(no string) tasks.Payload {
	return tasks.Payload{MchID: mchid, OutOrderNo: no, AppID: "wx1", ServiceID: "s1"}
}

func (s *setup) open(no string) {
	s.Helper()
	if err := s.producer.Open(s.Context(), tasks.Order{Payload: payload(no)}); err != nil {
		s.Fatal(err)
	}
}

// limits are such that nothing keeps a claim back.
func limits() ledger.Limits {
	return ledger.Limits{Lease: 10 * time.Second, Rate: 1e6, Horizon: time.Second, First: 5 * time.Second, Most: 30 * time.Second}
}

func (s *setup) claim(no string, lim ledger.Limits) ledger.Claim {
	s.Helper()
	c, err := s.ledger.Claim(s.Context(), no, ledger.NewToken(), ledger.NoRound, lim)
	if err != nil {
		s.Fatal(err)
	}
	return c
}

func (s *setup) granted(no string) ledger.Claim {
	s.Helper()
	c := s.claim(no, limits())
	if c.Code != ledger.Granted {
		s.Fatalf("claim of %s: %s", no, c.Code)
	}
	return c
}

func (s *setup) settle(c ledger.Claim, set ledger.Settlement) (ledger.Code, ledger.GateChange) {
	s.Helper()
	if set.First == 0 {
		set.First = 5 * time.Second
	}
	if set.Failures == 0 {
		set.Failures = 10
	}
	code, change, err := s.ledger.Settle(s.Context(), c, set)
	if err != nil {
		s.Fatal(err)
	}
	return code, change
}

func (s *setup) get(no string) ledger.Order {
	s.Helper()
	o, err := s.ledger.Get(s.Context(), no)
	if err != nil {
		s.Fatal(err)
	}
	return o
}

func (s *setup) stats() map[tasks.State]int64 {
	s.Helper()
	st, err := s.ledger.Stats(s.Context())
	if err != nil {
		s.Fatal(err)
	}
	for state, n := range st.Orders {
		if n == 0 {
			delete(st.Orders, state)
		}
	}
	return st.Orders
}

func entry(call, verdict string) ledger.Entry { return ledger.Entry{Call: call, Verdict: verdict} }

// back gives an order back, due at once.
func back(c ledger.Claim, next ledger.Plan) ledger.Settlement {
	return ledger.Settlement{State: tasks.Awaiting, Next: next, Due: c.Now, Log: []ledger.Entry{entry("collect", "declined")}}
}

func TestClaim(t *testing.T) {
	t.Run("of an order that nobody opened", func(t *testing.T) {
		s := newSetup(t)
		if c := s.claim("NONE", limits()); c.Code != ledger.Absent {
			t.Errorf("%s", c.Code)
		}
	})
	t.Run("grants one lease, and refuses the next", func(t *testing.T) {
		s := newSetup(t)
		s.open("A")
		c := s.granted("A")
		if c.Plan != ledger.Collect || c.Order.AppID != "wx1" || c.Order.ServiceID != "s1" || c.Order.State != tasks.Queued || c.Order.Round != 1 {
			t.Errorf("%+v", c)
		}
		again := s.claim("A", limits())
		if again.Code != ledger.Leased || again.Wait <= 0 || again.Wait > 11*time.Second {
			t.Errorf("%+v", again)
		}
	})
	t.Run("repeated with its token is the same grant", func(t *testing.T) {
		s := newSetup(t)
		s.open("A")
		token := ledger.NewToken()
		for i := range 3 {
			c, err := s.ledger.Claim(t.Context(), "A", token, 1, limits())
			if err != nil || c.Code != ledger.Granted || c.Plan != ledger.Collect {
				t.Errorf("claim %d: %+v %v", i, c, err)
			}
		}
		if o := s.get("A"); o.CollectCalls != 1 {
			t.Errorf("%d collect calls were counted", o.CollectCalls)
		}
	})
	t.Run("before the due time is early", func(t *testing.T) {
		s := newSetup(t)
		if err := s.producer.Open(t.Context(), tasks.Order{Payload: payload("A"), At: time.Now().Add(time.Hour)}); err != nil {
			t.Fatal(err)
		}
		if c := s.claim("A", limits()); c.Code != ledger.Early || c.Wait < 59*time.Minute || c.Wait > time.Hour {
			t.Errorf("%+v", c)
		}
	})
	t.Run("of an order whose worker died grants a look", func(t *testing.T) {
		s := newSetup(t)
		s.open("A")
		lim := limits()
		lim.Lease = time.Millisecond
		s.claim("A", lim) // and never settled
		s.until(func() bool { return s.claim("A", limits()).Code == ledger.Granted })
		c, err := s.ledger.Claim(t.Context(), "A", "x", ledger.NoRound, limits())
		if err != nil || c.Code != ledger.Leased {
			t.Fatalf("%+v %v", c, err)
		}
		if o := s.get("A"); o.Next != ledger.Resolve || o.CollectCalls != 1 || o.QueryCalls != 1 {
			t.Errorf("%+v", o)
		}
	})
	t.Run("keeps the gap between collects", func(t *testing.T) {
		s := newSetup(t)
		s.open("A")
		c := s.granted("A")
		set := back(c, ledger.Collect)
		set.Collected = c.Now
		s.settle(c, set)
		lim := limits()
		lim.MinGap = time.Hour
		if got := s.claim("A", lim); got.Code != ledger.Postponed || got.Wait < 59*time.Minute {
			t.Errorf("%+v", got)
		}
		if o := s.get("A"); o.NextDueAt.Before(c.Now.Add(59 * time.Minute)) {
			t.Errorf("due at %v", o.NextDueAt)
		}
	})
	t.Run("keeps the window", func(t *testing.T) {
		s := newSetup(t)
		s.open("A")
		now := time.Now()
		lim := limits()
		lim.Windows = []time.Time{now.Add(-2 * time.Hour), now.Add(-time.Hour), now.Add(time.Hour), now.Add(2 * time.Hour)}
		if got := s.claim("A", lim); got.Code != ledger.Postponed || got.Wait < 59*time.Minute || got.Wait > time.Hour {
			t.Errorf("%+v", got)
		}
		lim.Windows = []time.Time{now.Add(-time.Hour), now.Add(time.Hour)}
		s.open("B")
		if got := s.claim("B", lim); got.Code != ledger.Granted {
			t.Errorf("%+v", got)
		}
	})
	t.Run("spaces the slots by the rate", func(t *testing.T) {
		s := newSetup(t)
		lim := limits()
		lim.Rate = 10
		var last time.Time
		for i, no := range []string{"A", "B", "C", "D", "E", "F", "G", "H"} {
			s.open(no)
			c := s.claim(no, lim)
			if c.Code != ledger.Granted {
				t.Fatalf("%s: %+v", no, c)
			}
			at := c.Now.Add(c.Wait)
			if i > 0 && at.Sub(last) < 100*time.Millisecond {
				t.Errorf("%s: slot %v after the one before", no, at.Sub(last))
			}
			last = at
		}
		s.open("Z")
		lim.Horizon = 100 * time.Millisecond
		if c := s.claim("Z", lim); c.Code != ledger.Paced || c.Wait <= 0 {
			t.Errorf("beyond the horizon: %+v", c)
		}
	})
}

func (s *setup) until(ok func() bool) {
	s.Helper()
	for deadline := time.Now().Add(5 * time.Second); !ok(); {
		if time.Now().After(deadline) {
			s.Fatal("waited in vain")
		}
	}
}

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
		if n := s.redis.Client.XLen(t.Context(), tasks.KeysOf(mchid).Outcomes()).Val(); n != 2 {
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
		k := tasks.KeysOf(mchid)
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
		s.settle(c, ledger.Settlement{State: tasks.Queued, Next: ledger.Collect, Due: c.Now, Uncollected: true})
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

func TestGate(t *testing.T) {
	fault := func(c ledger.Claim, sig ledger.GateSignal) ledger.Settlement {
		set := back(c, ledger.Collect)
		set.Gate, set.CalledAt, set.Uncollected = sig, c.Now, true
		return set
	}
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
		if c := s.claim("B", limits()); c.Code != ledger.Closed || c.Wait > 50*time.Millisecond {
			t.Errorf("%+v", c)
		}
		var probe ledger.Claim
		s.until(func() bool { probe = s.claim("B", limits()); return probe.Code == ledger.Granted })
		if !probe.Probe {
			t.Error("the grant does not say that it is a probe")
		}
		if c := s.claim("A", limits()); c.Code != ledger.Closed {
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
		if err := s.producer.Open(t.Context(), tasks.Order{Payload: other}); err != nil {
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
		s.open("A")
		step := func(sig ledger.GateSignal) ledger.GateChange {
			c := s.granted("A")
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

func TestPermit(t *testing.T) {
	look := func(s *setup) ledger.Claim {
		s.open("A")
		c := s.granted("A")
		set := back(c, ledger.Recheck)
		set.Collected = c.Now
		s.settle(c, set)
		return s.granted("A")
	}
	t.Run("grants the collect, once", func(t *testing.T) {
		s := newSetup(t)
		c := look(s)
		for range 2 { // the second time as if the answer had been lost
			p, err := s.ledger.Permit(t.Context(), c, limits())
			if err != nil || p.Code != ledger.Granted {
				t.Fatalf("%+v %v", p, err)
			}
		}
		if o := s.get("A"); o.CollectCalls != 2 || o.QueryCalls != 1 || o.Next != ledger.Resolve {
			t.Errorf("%+v", o)
		}
	})
	t.Run("keeps the gap", func(t *testing.T) {
		s := newSetup(t)
		c := look(s)
		lim := limits()
		lim.MinGap = time.Hour
		if p, err := s.ledger.Permit(t.Context(), c, lim); err != nil || p.Code != ledger.Postponed || p.Wait < 59*time.Minute {
			t.Errorf("%+v %v", p, err)
		}
	})
	t.Run("is lost with the lease", func(t *testing.T) {
		s := newSetup(t)
		c := look(s)
		c.Token = "somebody else's"
		if p, err := s.ledger.Permit(t.Context(), c, limits()); err != nil || p.Code != ledger.Lost {
			t.Errorf("%+v %v", p, err)
		}
	})
	t.Run("yields to a gate that closed meanwhile", func(t *testing.T) {
		s := newSetup(t)
		c := look(s)
		s.open("B")
		b := s.granted("B")
		set := back(b, ledger.Collect)
		set.Gate, set.CalledAt = ledger.GateFault, b.Now
		s.settle(b, set)
		if p, err := s.ledger.Permit(t.Context(), c, limits()); err != nil || p.Code != ledger.Closed {
			t.Errorf("%+v %v", p, err)
		}
		c.Probe = true
		if p, err := s.ledger.Permit(t.Context(), c, limits()); err != nil || p.Code != ledger.Granted {
			t.Errorf("a probe: %+v %v", p, err)
		}
	})
}

func TestSweep(t *testing.T) {
	t.Run("takes what is due, once within the grace, and leaves the rest", func(t *testing.T) {
		s := newSetup(t)
		// Opened for a time that has just come: no task was pushed for them.
		at := time.Now().Add(50 * time.Millisecond)
		for _, no := range []string{"A", "B"} {
			if err := s.producer.Open(t.Context(), tasks.Order{Payload: payload(no), At: at}); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.producer.Open(t.Context(), tasks.Order{Payload: payload("LATER"), At: at.Add(time.Hour)}); err != nil {
			t.Fatal(err)
		}
		args := ledger.SweepArgs{Limit: 10, Grace: time.Hour}
		var got []string
		s.until(func() bool {
			swept, err := s.ledger.Sweep(context.Background(), args)
			if err != nil {
				t.Fatal(err)
			}
			for _, o := range swept.Orders {
				got = append(got, o.OutOrderNo)
				if o.AppID != "wx1" || o.Round != 1 {
					t.Errorf("%+v", o)
				}
			}
			return len(got) >= 2
		})
		if diff := cmp.Diff([]string{"A", "B"}, got); diff != "" {
			t.Error(diff)
		}
		if swept, _ := s.ledger.Sweep(t.Context(), args); len(swept.Orders) != 0 {
			t.Errorf("taken twice: %+v", swept.Orders)
		}
	})
	t.Run("gives an order whose worker died a new round", func(t *testing.T) {
		s := newSetup(t)
		s.open("A")
		lim := limits()
		lim.Lease = time.Millisecond
		dead := s.claim("A", lim)
		var swept ledger.Sweep
		s.until(func() bool {
			var err error
			if swept, err = s.ledger.Sweep(context.Background(), ledger.SweepArgs{Limit: 10, Grace: time.Hour}); err != nil {
				t.Fatal(err)
			}
			return len(swept.Orders) == 1
		})
		if swept.Orders[0].Round != 2 {
			t.Errorf("round %d", swept.Orders[0].Round)
		}
		// It was not dead but slow, and nobody has claimed the order since.
		if code, _ := s.settle(dead, back(dead, ledger.Recheck)); code != ledger.Settled {
			t.Errorf("%s", code)
		}
	})
	t.Run("is let through once an interval", func(t *testing.T) {
		s := newSetup(t)
		args := ledger.SweepArgs{Interval: time.Hour, Limit: 10}
		first, err := s.ledger.Sweep(t.Context(), args)
		if err != nil || !first.Taken {
			t.Fatalf("%+v %v", first, err)
		}
		second, err := s.ledger.Sweep(t.Context(), args)
		if err != nil || second.Taken || second.Wait < 59*time.Minute {
			t.Errorf("%+v %v", second, err)
		}
	})
}

func TestRewind(t *testing.T) {
	s := newSetup(t)
	s.open("A")
	if _, ok, err := s.ledger.Rewind(t.Context(), "A", 7); err != nil || ok {
		t.Errorf("of another round: %v %v", ok, err)
	}
	if next, ok, err := s.ledger.Rewind(t.Context(), "A", 1); err != nil || !ok || next != 2 {
		t.Errorf("%d %v %v", next, ok, err)
	}
	s.granted("A")
	if _, ok, err := s.ledger.Rewind(t.Context(), "A", 2); err != nil || ok {
		t.Errorf("under a lease: %v %v", ok, err)
	}
}

func TestGetAndList(t *testing.T) {
	s := newSetup(t)
	if _, err := s.ledger.Get(t.Context(), "NONE"); !errors.Is(err, ledger.ErrNotFound) {
		t.Errorf("%v", err)
	}
	s.open("A|B*C")
	c := s.granted("A|B*C")
	set := back(c, ledger.Recheck)
	set.AddAttempts = 1
	set.Log = []ledger.Entry{{
		Call: "collect", Verdict: "declined", HTTPStatus: 403, Code: "TRADE_ERROR", DetailCode: "271316574",
		Message: "扣款失败", RequestID: "08F-271316574", ElapsedMS: 12, Failed: true,
	}}
	s.settle(c, set)
	o := s.get("A|B*C")
	want := &ledger.LastError{HTTPStatus: 403, Code: "TRADE_ERROR", DetailCode: "271316574", Message: "扣款失败", RequestID: "08F-271316574"}
	if diff := cmp.Diff(want, o.LastError); diff != "" {
		t.Error(diff)
	}
	body, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	var fields map[string]any
	if err := json.Unmarshal(body, &fields); err != nil {
		t.Fatal(err)
	}
	for _, absent := range []string{"reason", "order_id", "transaction_id", "paid_type", "total_amount", "paid_amount", "ended_at"} {
		if _, there := fields[absent]; there {
			t.Errorf("%s is not known, and is written: %s", absent, body)
		}
	}
	for _, present := range []string{"mchid", "out_order_no", "appid", "service_id", "state", "attempts", "collect_calls", "query_calls", "opened_at", "last_attempt_at", "next_due_at", "last_error", "log"} {
		if _, there := fields[present]; !there {
			t.Errorf("%s is missing: %s", present, body)
		}
	}
	var listed []string
	for o, err := range s.ledger.List(t.Context(), tasks.Awaiting) {
		if err != nil {
			t.Fatal(err)
		}
		if o.Log != nil || o.LastError == nil {
			t.Errorf("%+v", o)
		}
		listed = append(listed, o.OutOrderNo)
	}
	if diff := cmp.Diff([]string{"A|B*C"}, listed); diff != "" {
		t.Error(diff)
	}
	for o := range s.ledger.List(t.Context(), tasks.Queued) {
		t.Errorf("listed as queued: %+v", o)
	}
}

// Redis Cluster runs a script only where all its keys are in one slot.
func TestAllKeysOfAMerchantShareOneHashTag(t *testing.T) {
	k := tasks.KeysOf(mchid)
	for _, key := range []string{k.Order("A"), k.Log("A"), k.Due(), k.Ended(tasks.Paid), k.Outcomes(), k.Stats(), k.Gate()} {
		open, end := strings.IndexByte(key, '{'), strings.IndexByte(key, '}')
		if open < 0 || key[open+1:end] != mchid {
			t.Errorf("%s", key)
		}
	}
}
