package ledger_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"payscore-collector/internal/ledger"
	"payscore-collector/tasks"
)

func TestClaim(t *testing.T) {
	t.Run("of an order that was never opened", func(t *testing.T) {
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
	t.Run("by other terms than the order's changes nothing, and says by which", func(t *testing.T) {
		s := newSetup(t)
		if _, err := s.ledger.Open(t.Context(), ledger.Opening{Owner: payload("A").Owner(), OutOrderNo: "A", Schedule: "gentle", Amount: 1250}); err != nil {
			t.Fatal(err)
		}
		before := s.redis.Client.HGetAll(t.Context(), ledger.KeysOf(mchid).Order("A")).Val()
		for _, byAmount := range []bool{false, true} {
			lim := limits()
			lim.Terms, lim.ByAmount = ledger.Unnamed("s1", byAmount), byAmount
			c := s.claim("A", lim)
			if c.Code != ledger.Unlike || c.Order.Schedule != "gentle" || c.Order.Amount() != 1250 || c.Order.ServiceID != "s1" {
				t.Fatalf("%+v", c)
			}
			if want := map[bool]string{false: "gentle s1", true: "gentle s1 1250"}[byAmount]; c.Terms != want {
				t.Errorf("terms %q, want %q", c.Terms, want)
			}
		}
		if diff := cmp.Diff(before, s.redis.Client.HGetAll(t.Context(), ledger.KeysOf(mchid).Order("A")).Val()); diff != "" {
			t.Errorf("the record has changed:\n%s", diff)
		}
		lim := limits()
		lim.Terms, lim.ByAmount = "gentle s1 1250", true
		if c := s.claim("A", lim); c.Code != ledger.Granted || c.Order.Schedule != "gentle" || c.Order.Billing != 1250 {
			t.Errorf("by its own: %+v", c)
		}
	})
	t.Run("of an order that names no schedule is granted by that", func(t *testing.T) {
		for _, byAmount := range []bool{false, true} {
			s := newSetupSerial(t)
			s.open("A")
			lim := limits()
			lim.Terms, lim.ByAmount = ledger.Unnamed("s1", byAmount), byAmount
			if c := s.claim("A", lim); c.Code != ledger.Granted {
				t.Errorf("%+v", c)
			}
		}
	})
	t.Run("of an order that is only queried needs no terms", func(t *testing.T) {
		s := newSetup(t)
		s.open("A")
		c := s.granted("A")
		s.settle(c, ledger.Settlement{State: tasks.Awaiting, Next: ledger.Recheck, Due: c.Now})
		lim := limits()
		lim.Terms = "other s1"
		s.until(func() bool { return s.claim("A", lim).Code == ledger.Granted })
	})
	t.Run("before the due time is early", func(t *testing.T) {
		s := newSetup(t)
		if err := openOrder(t.Context(), s.ledger, tasks.Order{Payload: payload("A"), At: time.Now().Add(time.Hour)}); err != nil {
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
		c.Token = "another worker's"
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
		if p, err := s.ledger.Permit(t.Context(), c, limits()); err != nil || p.Code != ledger.Held {
			t.Errorf("%+v %v", p, err)
		}
		c.Probe = true
		if p, err := s.ledger.Permit(t.Context(), c, limits()); err != nil || p.Code != ledger.Granted {
			t.Errorf("a probe: %+v %v", p, err)
		}
	})
}

// Slow rates are kept, and used: those that wait for a slot come back in time for
// it.
func TestSlowRatesAreUsed(t *testing.T) {
	for _, rate := range []float64{0.1, 1, 50} {
		t.Run(fmt.Sprint(rate), func(t *testing.T) {
			s := newTimed(t)
			lim := limits()
			lim.Rate, lim.Horizon = rate, time.Second
			interval := time.Duration(float64(time.Second) / rate)
			waiting := map[string]time.Duration{} // until when
			for i := range 12 {
				no := fmt.Sprintf("A%d", i)
				s.open(no)
				waiting[no] = 0
			}
			passed := time.Duration(0)
			for len(waiting) > 0 && passed < 40*interval {
				next := time.Duration(1<<62 - 1)
				for no, until := range waiting {
					if until <= passed {
						c := s.claim(no, lim)
						if c.Code == ledger.Granted {
							delete(waiting, no)
							continue
						}
						if c.Code != ledger.Paced || c.Wait <= 0 {
							t.Fatalf("%s: %+v", no, c)
						}
						until = passed + c.Wait
						waiting[no] = until
					}
					next = min(next, until)
				}
				if len(waiting) > 0 {
					s.pass(next - passed)
					passed = next
				}
			}
			// Slots are 5 % further apart than the rate asks for, and some pass unused.
			if longest := interval*12*14/10 + lim.Horizon; len(waiting) > 0 || passed > longest {
				t.Errorf("at %v a second, %d of 12 orders wait after %s; they have slots for %s", rate, len(waiting), passed, longest)
			}
		})
	}
}
