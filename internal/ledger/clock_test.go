package ledger_test

import (
	"testing"
	"time"

	"payscore-collector/internal/ledger"
	"payscore-collector/tasks"
)

// The gap between two collect calls holds, and no longer than it is.
func TestAJumpBackLeavesTheGapAsItIs(t *testing.T) {
	s := newTimed(t)
	s.open("A")
	c := s.granted("A")
	set := back(c, ledger.Recheck)
	set.Collected = c.Now
	s.settle(c, set)
	s.pass(-8 * time.Hour)
	s.redis.Client.HSet(t.Context(), ledger.KeysOf(mchid).Order("A"), "due", s.now.UnixMilli())
	look := s.granted("A")
	lim := limits()
	lim.MinGap = 5 * time.Minute
	for _, want := range []time.Duration{5 * time.Minute, 4 * time.Minute} {
		if p, err := s.ledger.Permit(t.Context(), look, lim); err != nil || p.Code != ledger.Postponed || p.Wait != want {
			t.Errorf("%+v (%v), want postponed for %s", p, err, want)
		}
		s.pass(time.Minute)
	}
}

// An order that was opened while Redis's clock was ahead is given up no later than
// one that is opened when the clock is right again.
func TestAgeCountsByTheClockThatIsRight(t *testing.T) {
	s := newTimed(t)
	s.pass(8 * time.Hour)
	s.open("A")
	s.pass(-8 * time.Hour)
	s.redis.Client.HSet(t.Context(), ledger.KeysOf(mchid).Order("A"), "due", s.now.UnixMilli())
	c := s.granted("A")
	if !c.Order.Since.Equal(s.now) {
		t.Errorf("its age counts from %s, want %s", c.Order.Since, s.now)
	}
	if opened := s.get("A").OpenedAt; !opened.Equal(s.now) {
		t.Errorf("it was opened at %s, want %s", opened, s.now)
	}
	since := s.now
	s.settle(c, back(c, ledger.Recheck))
	s.pass(time.Minute)
	if again := s.granted("A"); !again.Order.Since.Equal(since) {
		t.Errorf("its age counts from %s, want %s still", again.Order.Since, since)
	}
}

// The same holds for an order that was reopened, or withdrawn with a time of payment,
// while Redis's clock was ahead. A time that billing asked for stays.
func TestAgeOfAReopenedOrderCountsByTheClockThatIsRight(t *testing.T) {
	withdraw := func(s *timed, paidAt time.Time) {
		s.Helper()
		if _, err := s.producer.Withdraw(s.Context(), tasks.Withdrawal{MchID: mchid, OutOrderNo: "A", Reason: "paid in cash", PaidAt: paidAt}); err != nil {
			s.Fatal(err)
		}
	}
	reopen := func(s *timed, at time.Time) {
		s.Helper()
		if err := openOrder(s.Context(), s.ledger, tasks.Order{Payload: payload("A"), Reopen: true, At: at}); err != nil {
			s.Fatal(err)
		}
	}
	for name, tt := range map[string]struct {
		ahead func(*timed)
		since time.Duration // of its age, from the time that is right
	}{
		"reopened":                     {func(s *timed) { withdraw(s, time.Time{}); reopen(s, time.Time{}) }, 0},
		"reopened for later":           {func(s *timed) { withdraw(s, time.Time{}); reopen(s, s.now.Add(time.Hour)) }, 9 * time.Hour},
		"withdrawn, and a sync is due": {func(s *timed) { withdraw(s, time.UnixMilli(1_700_000_000_000)) }, 0},
	} {
		t.Run(name, func(t *testing.T) {
			s := newTimed(t)
			s.open("A")
			s.pass(8 * time.Hour)
			tt.ahead(s)
			s.pass(-8 * time.Hour)
			order := ledger.KeysOf(mchid).Order("A")
			for range 2 { // whatever it is corrected to, the next jump back is corrected too
				s.redis.Client.HSet(t.Context(), order, "due", s.now.UnixMilli())
				want := s.now.Add(tt.since)
				c := s.granted("A")
				if !c.Order.Since.Equal(want) {
					t.Fatalf("its age counts from %s, want %s", c.Order.Since, want)
				}
				s.redis.Client.HDel(t.Context(), order, "token", "lease")
				s.pass(-time.Hour)
				if tt.since > 0 {
					tt.since += time.Hour
				}
			}
		})
	}
}

// The policy counts the gap from the last collect call. One that seems to be far
// ahead counts as made now, whatever the next plan is.
func TestALastCollectFromAClockThatWasAheadCountsAsNow(t *testing.T) {
	s := newTimed(t)
	s.open("A")
	c := s.granted("A")
	set := back(c, ledger.Resolve)
	set.Collected = c.Now
	s.settle(c, set)
	s.pass(-8 * time.Hour)
	s.redis.Client.HSet(t.Context(), ledger.KeysOf(mchid).Order("A"), "due", s.now.UnixMilli())
	if c := s.granted("A"); !c.Order.Collected.Equal(s.now) {
		t.Errorf("it was collected at %s, want %s", c.Order.Collected, s.now)
	}
}

// An order is given up only where it was collected since it was opened. One that
// was stays one that was, wherever a jump finds its times.
func TestCollectedSinceItWasOpenedOutlivesJumps(t *testing.T) {
	still := func(t *testing.T, s *timed) {
		t.Helper()
		s.redis.Client.HSet(t.Context(), ledger.KeysOf(mchid).Order("A"), "due", s.now.UnixMilli())
		if o := s.granted("A").Order; o.Collected.Before(o.Since) {
			t.Errorf("it was collected at %s, and seems to be opened after that, at %s", o.Collected, o.Since)
		}
	}
	// collected opens an order and collects it.
	collected := func(t *testing.T) *timed {
		s := newTimed(t)
		s.open("A")
		c := s.granted("A")
		set := back(c, ledger.Recheck)
		set.Collected = c.Now
		s.settle(c, set)
		s.redis.Client.HSet(t.Context(), ledger.KeysOf(mchid).Order("A"), "due", s.now.UnixMilli())
		return s
	}
	t.Run("in a query's claim", func(t *testing.T) {
		s := collected(t)
		s.pass(-9 * time.Minute)
		still(t, s)
		s.pass(10 * time.Minute)
		still(t, s)
	})
	t.Run("where its worker died", func(t *testing.T) {
		s := collected(t)
		s.granted("A")
		sweep := ledger.SweepArgs{Interval: time.Second, Limit: 10, Grace: time.Minute}
		if _, err := s.ledger.Sweep(t.Context(), sweep); err != nil {
			t.Fatal(err)
		}
		s.pass(-9 * time.Minute)
		if _, err := s.ledger.Sweep(t.Context(), sweep); err != nil {
			t.Fatal(err)
		}
		if moved, err := s.ledger.Mend(t.Context(), time.Time{}); err != nil || moved != 1 {
			t.Fatal(moved, err)
		}
		s.pass(20 * time.Minute)
		still(t, s)
	})
	t.Run("where it is settled by a clock that is back", func(t *testing.T) {
		s := newTimed(t)
		s.open("A")
		c := s.granted("A")
		s.pass(-9 * time.Minute)
		set := back(c, ledger.Recheck)
		set.At, set.Collected = c.Now, c.Now
		s.settle(c, set)
		s.pass(10 * time.Minute)
		still(t, s)
	})
}

func TestJumpsAreWrittenDownOnce(t *testing.T) {
	s := newTimed(t)
	sweep := func(e ledger.Expected) time.Duration {
		t.Helper()
		swept, err := s.ledger.Sweep(t.Context(), ledger.SweepArgs{Interval: time.Second, Expected: e})
		if err != nil {
			t.Fatal(err)
		}
		return swept.WentBack
	}
	last := func(want time.Duration) {
		t.Helper()
		h, err := s.ledger.Holds(t.Context())
		if err != nil || h.Jump.By != want {
			t.Errorf("the last jump is %+v (%v), want %s", h.Jump, err, want)
		}
	}
	sweep(ledger.Expected{})
	last(0)
	before := s.now
	s.pass(time.Hour)
	if err := s.ledger.Jumped(t.Context(), time.Hour, ledger.Expected{Now: before, Age: time.Second}); err != nil {
		t.Fatal(err)
	}
	last(time.Hour)
	ahead := s.now
	s.pass(-time.Hour)
	// One worker's sweep finds it, and another worker reports it.
	if by := sweep(ledger.Expected{}); by != time.Hour {
		t.Errorf("the sweep has found %s", by)
	}
	last(-time.Hour)
	s.pass(20 * time.Second)
	if _, err := s.ledger.Mend(t.Context(), time.Time{}); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := s.ledger.Jumped(t.Context(), -time.Hour, ledger.Expected{Now: ahead.Add(20 * time.Second), Age: 30 * time.Second}); err != nil {
			t.Fatal(err)
		}
	}
	if s.redis.Client.HExists(t.Context(), ledger.KeysOf(mchid).Sweep(), "mend").Val() {
		t.Error("due times would be mended once more, for the jump that was mended")
	}
	// A jump that only the worker can know: none has swept meanwhile.
	s.pass(time.Hour)
	seen := s.now
	s.pass(-2 * time.Hour)
	if err := s.ledger.Jumped(t.Context(), -2*time.Hour, ledger.Expected{Now: seen, Age: time.Second}); err != nil {
		t.Fatal(err)
	}
	last(-2 * time.Hour)
}

func TestThrottlingIsOverThoughTheClockWentBack(t *testing.T) {
	s := newTimed(t)
	s.open("A")
	c := s.granted("A")
	s.settle(c, fault(c, ledger.GateThrottled))
	s.pass(-8 * time.Hour)
	s.open("B")
	s.granted("B")
	s.pass(31 * time.Second)
	if h, err := s.ledger.Holds(t.Context()); err != nil || h.Share != 1 {
		t.Errorf("%v of the rate is left half a minute later (%v)", h.Share, err)
	}
	// And another throttling is not taken for the first one.
	s.pass(-time.Hour)
	s.open("C")
	c = s.granted("C")
	if _, change := s.settle(c, fault(c, ledger.GateThrottled)); change != ledger.GateSlowed {
		t.Errorf("change %q", change)
	}
}
