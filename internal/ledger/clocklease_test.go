package ledger_test

import (
	"testing"
	"time"

	"payscore-collector/internal/ledger"
	"payscore-collector/tasks"
)

// A call of 20 s is under way when Redis's clock jumps ahead.
func TestAJumpAheadEndsNoLease(t *testing.T) {
	s := newTimed(t)
	s.open("A")
	s.granted("A")
	s.pass(2*time.Second + time.Hour)
	lim := limits()
	lim.Sure = s.now.Add(-time.Hour) // as a worker knows whose own clock does not jump
	if c := s.claim("A", lim); c.Code != ledger.Leased || c.Wait != 8*time.Second {
		t.Errorf("%s for %s; the call is under way for 8 s more", c.Code, c.Wait)
	}
	swept, err := s.ledger.Sweep(t.Context(), ledger.SweepArgs{Limit: 10, Grace: time.Minute, Sure: lim.Sure})
	if err != nil || len(swept.Orders) != 0 {
		t.Errorf("a sweep takes %+v (%v)", swept.Orders, err)
	}
	// A lease that was taken after the jump runs by the clock as it is now.
	s.open("B")
	s.granted("B")
	s.pass(11 * time.Second)
	lim.Sure = s.now.Add(-time.Hour)
	for _, no := range []string{"A", "B"} {
		if c := s.claim(no, lim); c.Code != ledger.Granted {
			t.Errorf("%s, whose lease has run out: %s for %s", no, c.Code, c.Wait)
		}
	}
}

// A lease may have been taken by the clock that was ahead, and its call may be
// under way.
func TestAJumpBackLeavesALeaseAsLongAsItCanBe(t *testing.T) {
	s := newTimed(t)
	s.open("A")
	s.granted("A")
	s.pass(-8 * time.Hour)
	if c := s.claim("A", limits()); c.Code != ledger.Leased || c.Wait != 130*time.Second {
		t.Errorf("%s for %s", c.Code, c.Wait)
	}
	s.pass(131 * time.Second)
	if c := s.claim("A", limits()); c.Code != ledger.Early {
		t.Errorf("%s; only its due time holds it back now", c.Code)
	}
}

// The answer to a claim or a permit is lost in a failover, and Redis's clock is
// behind when it is asked for again. No slot is further away than the horizon: a
// call that waited longer would be made when its lease is another's.
func TestARepeatedGrantWaitsNoLongerThoughTheClockWentBack(t *testing.T) {
	s := newTimed(t)
	s.open("A")
	token, lim := ledger.NewToken(), limits()
	claim := func() ledger.Claim {
		t.Helper()
		c, err := s.ledger.Claim(t.Context(), "A", token, ledger.NoRound, lim)
		if err != nil || c.Code != ledger.Granted {
			t.Fatalf("%s (%v)", c.Code, err)
		}
		return c
	}
	claim()
	s.pass(-5 * time.Minute)
	if c := claim(); c.Wait > lim.Horizon {
		t.Errorf("the claim's slot is in %s", c.Wait)
	}
	s.open("B")
	c := s.granted("B")
	set := back(c, ledger.Recheck)
	set.NotMade = ledger.CollectCall
	s.settle(c, set)
	c = s.granted("B")
	lim.Horizon = 5 * time.Second
	for i := range 2 {
		p, err := s.ledger.Permit(t.Context(), c, lim)
		if err != nil || p.Code != ledger.Granted || p.Wait > lim.Horizon {
			t.Errorf("%s, for a slot in %s (%v)", p.Code, p.Wait, err)
		}
		if i == 0 {
			s.pass(-5 * time.Minute)
		}
	}
}

// The answer to a claim or a permit is lost, and its slot has gone by when it is asked
// for again: the call must not leave as if its slot were now.
func TestARepeatedGrantSaysHowLongAgoItsSlotWas(t *testing.T) {
	s := newTimed(t)
	s.open("A")
	token, lim := ledger.NewToken(), limits()
	for i, want := range []time.Duration{0, -3 * time.Second} {
		if i > 0 {
			s.pass(3 * time.Second)
		}
		c, err := s.ledger.Claim(t.Context(), "A", token, ledger.NoRound, lim)
		if err != nil || c.Code != ledger.Granted || c.Wait != want {
			t.Errorf("claim: %s in %s (%v), want %s", c.Code, c.Wait, err, want)
		}
	}
	s.open("B")
	c := s.granted("B")
	set := back(c, ledger.Recheck)
	set.NotMade = ledger.CollectCall
	s.settle(c, set)
	c = s.granted("B")
	for i := range 2 {
		if i > 0 {
			s.pass(3 * time.Second)
		}
		p, err := s.ledger.Permit(t.Context(), c, lim)
		if gone := p.Wait < -2*time.Second; err != nil || p.Code != ledger.Granted || gone != (i == 1) {
			t.Errorf("permit: %s in %s (%v)", p.Code, p.Wait, err)
		}
	}
}

// A call is under way that began between two jumps back, the first of which has not
// been mended yet.
func TestMendingEndsNoLease(t *testing.T) {
	s := newTimed(t)
	sweep := func() {
		t.Helper()
		if _, err := s.ledger.Sweep(t.Context(), ledger.SweepArgs{Interval: time.Second}); err != nil {
			t.Fatal(err)
		}
	}
	sweep()
	s.pass(-time.Hour)
	sweep()
	s.open("A")
	s.granted("A")
	s.pass(time.Second - time.Hour)
	sweep()
	if _, err := s.ledger.Mend(t.Context(), time.Time{}); err != nil {
		t.Fatal(err)
	}
	if c := s.claim("A", limits()); c.Code != ledger.Leased || c.Wait < 9*time.Second {
		t.Errorf("%s for %s; the call is under way for 9 s more", c.Code, c.Wait)
	}
}

// An order ends while its call is under way, and Redis's clock jumps ahead by more than
// ended orders are kept whole, or at all. Nothing forgets the lease: reopened, the order
// would be called twice at once.
func TestAJumpAheadKeepsTheLeaseOfAnEndedOrder(t *testing.T) {
	for name, tidy := range map[string]func(s *timed, sure time.Time) (int64, error){
		"compact": func(s *timed, sure time.Time) (int64, error) {
			return s.ledger.Compact(s.Context(), ledger.CompactArgs{After: 25 * time.Hour, Patient: 30 * day, Gap: time.Minute, Sure: sure})
		},
		"retain": func(s *timed, sure time.Time) (int64, error) {
			return s.ledger.Retain(s.Context(), 25*time.Hour, time.Minute, sure)
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newTimed(t)
			s.open("A")
			s.granted("A")
			s.withdraw("A")
			s.pass(2*time.Second + 26*time.Hour)
			lim := limits()
			lim.Sure = s.now.Add(-26 * time.Hour) // as a worker knows whose own clock does not jump
			if n, err := tidy(s, lim.Sure); err != nil || n != 0 {
				t.Errorf("%d orders, %v", n, err)
			}
			if err := openOrder(t.Context(), s.ledger, tasks.Order{Payload: payload("A"), Reopen: true}); err != nil {
				t.Fatal(err)
			}
			if c := s.claim("A", lim); c.Code != ledger.Leased || c.Wait != 8*time.Second {
				t.Errorf("%s for %s; the call is under way for 8 s more", c.Code, c.Wait)
			}
		})
	}
}
