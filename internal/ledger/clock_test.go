package ledger_test

import (
	"fmt"
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

// Due times that billing has asked for are wishes by the clock on the wall. Those
// that the ledger made while Redis's clock was ahead are not.
func TestDueTimesAreMendedWhenTheClockWentBack(t *testing.T) {
	const orders = 450 // three pages
	s := newTimed(t)
	wish := s.now.Add(10 * time.Hour)
	open := func(no string, at time.Time) {
		t.Helper()
		if err := openOrder(t.Context(), s.ledger, tasks.Order{Payload: payload(no), At: at}); err != nil {
			t.Fatal(err)
		}
	}
	open("BEFORE", time.Time{})
	c := s.granted("BEFORE")
	set := back(c, ledger.Recheck)
	set.Due = s.now.Add(9 * time.Hour)
	s.settle(c, set)
	open("WISH", wish)
	open("PARTS", time.Time{})
	s.pass(8 * time.Hour)
	c = s.granted("PARTS")
	set = back(c, ledger.Recheck)
	set.Due = s.now.Add(10 * time.Second)
	s.settle(c, set)
	for i := range orders {
		no := fmt.Sprintf("S%03d", i)
		open(no, time.Time{})
		c := s.granted(no)
		set := back(c, ledger.Recheck)
		set.Due = s.now.Add(10 * time.Second)
		if i%2 == 0 {
			set.Log = nil // a step that made no call
		}
		s.settle(c, set)
	}
	open("NEW", time.Time{})
	open("TIES", wish)
	sweep := func() ledger.Sweep {
		t.Helper()
		swept, err := s.ledger.Sweep(t.Context(), ledger.SweepArgs{Interval: time.Second, Limit: 1000, Grace: time.Minute})
		if err != nil {
			t.Fatal(err)
		}
		return swept
	}
	sweep()
	s.pass(time.Minute - 8*time.Hour)
	if swept := sweep(); !swept.Taken || swept.WentBack != 8*time.Hour-time.Minute {
		t.Fatalf("taken %t, went back by %s", swept.Taken, swept.WentBack)
	}
	// A notification of a part puts an entry of the right time in front of the
	// call's; the due time is still that of the call.
	part := int64(1)
	n := ledger.Notice{OutOrderNo: "PARTS", Facts: ledger.Facts{Paid: &part}, Entry: ledger.Entry{Call: "notification", Verdict: "owed"}}
	if code, _, err := s.ledger.Notice(t.Context(), n); err != nil || code != ledger.NoticePartial {
		t.Fatal(code, err)
	}
	moved, err := s.ledger.Mend(t.Context(), time.Time{})
	if err != nil || moved != orders+2 {
		t.Errorf("%d moved (%v), want %d", moved, err, orders+2)
	}
	for no, want := range map[string]time.Time{"BEFORE": s.now.Add(9*time.Hour - time.Minute), "WISH": wish, "TIES": wish} {
		if due := s.get(no).NextDueAt; !due.Equal(want) {
			t.Errorf("%s is due %s, want %s", no, due, want)
		}
	}
	if s.pass(2 * time.Minute); len(sweep().Orders) != orders+2 {
		t.Error("orders that were due in 10 s are not due after 2 minutes")
	}
	if again, err := s.ledger.Mend(t.Context(), time.Time{}); err != nil || again != 0 {
		t.Errorf("mended again: %d %v", again, err)
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

func TestWebhooksAreMendedWhenTheClockWentBack(t *testing.T) {
	s := newTimed(t)
	args := ledger.HookRelayArgs{Scan: 100, Take: 100, Most: 1000, Grace: time.Minute}
	relay := func() int {
		t.Helper()
		r, err := s.ledger.RelayHooks(t.Context(), args)
		if err != nil {
			t.Fatal(err)
		}
		return len(r.Orders)
	}
	for i := range 450 {
		s.end(fmt.Sprintf("H%03d", i))
	}
	s.pass(8 * time.Hour)
	args.Scan, args.Take = 1000, 1000
	for n := 0; n < 450; n += relay() {
	}
	if _, err := s.ledger.Sweep(t.Context(), ledger.SweepArgs{Interval: time.Second}); err != nil {
		t.Fatal(err)
	}
	s.pass(-8 * time.Hour)
	if _, err := s.ledger.Sweep(t.Context(), ledger.SweepArgs{Interval: time.Second}); err != nil {
		t.Fatal(err)
	}
	if moved, err := s.ledger.Mend(t.Context(), time.Time{}); err != nil || moved != 450 {
		t.Errorf("%d moved (%v)", moved, err)
	}
	if s.pass(time.Minute); relay() != 450 {
		t.Error("webhooks that were due in a minute are not")
	}
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

// Redis's clock is ahead for a while, and right again before a sweep has read it. Whoever
// wrote a due time meanwhile may be gone, and no worker knows what the clock showed.
func TestTimesOfAClockThatNoSweepHasReadAreMended(t *testing.T) {
	const ahead = time.Hour
	deed := ledger.Deed{By: "cli:anna", Reason: "why"}
	withdraw := func(s *timed, paidAt time.Time) {
		if w, err := s.ledger.Withdraw(s.Context(), "A", deed, paidAt, time.Second); err != nil || w.Code != ledger.Accepted {
			s.Fatal(w.Code, err)
		}
	}
	for name, tt := range map[string]struct {
		before, ahead func(*timed)
		in            time.Duration // when the order is due, by the clock that is right
	}{
		"opened":    {ahead: func(s *timed) { s.open("A") }},
		"withdrawn": {before: func(s *timed) { s.open("A") }, ahead: func(s *timed) { withdraw(s, time.UnixMilli(1_700_000_000_000)) }},
		"reopened": {
			before: func(s *timed) { s.open("A"); withdraw(s, time.Time{}) },
			ahead: func(s *timed) {
				if err := openOrder(s.Context(), s.ledger, tasks.Order{Payload: payload("A"), Reopen: true}); err != nil {
					s.Fatal(err)
				}
			},
		},
		"collect-now": {
			before: func(s *timed) {
				s.open("A")
				c := s.granted("A")
				set := back(c, ledger.Recheck)
				set.Due = s.now.Add(24 * time.Hour)
				s.settle(c, set)
			},
			ahead: func(s *timed) {
				if h, err := s.ledger.CollectNow(s.Context(), "A", deed, ledger.Earliest{}, time.Second); err != nil || h.Code != ledger.Accepted {
					s.Fatal(h.Code, err)
				}
			},
		},
		"queried because of a bill": {
			before: func(s *timed) { s.open("A") },
			ahead: func(s *timed) {
				s.redis.Client.HSet(s.Context(), ledger.KeysOf(mchid).Order("A"), "due", s.now.Add(24*time.Hour).UnixMilli())
				if a, err := s.ledger.Ask(s.Context(), "A", "", 0, time.Second, 1, time.Time{}); err != nil || a.Code != ledger.AskOpen {
					s.Fatal(a.Code, err)
				}
			},
		},
		"brought back from a pause": {
			before: func(s *timed) {
				s.open("A")
				s.pause(0)
				if c := s.claim("A", limits()); c.Code != ledger.Paused {
					s.Fatal(c.Code)
				}
			},
			ahead: func(s *timed) { s.resume() },
		},
		"put off by its window": {
			before: func(s *timed) { s.open("A") },
			ahead: func(s *timed) {
				lim := limits()
				lim.Windows = []time.Time{s.now.Add(10 * time.Second), s.now.Add(time.Minute)}
				if c := s.claim("A", lim); c.Code != ledger.Postponed {
					s.Fatal(c.Code)
				}
			},
			in: 10 * time.Second,
		},
		"settled": {
			before: func(s *timed) {
				s.open("A")
				c := s.granted("A")
				set := back(c, ledger.Recheck)
				set.At, set.Due = s.now, s.now.Add(10*time.Second)
				s.pass(ahead)
				s.settle(c, set)
				s.pass(-ahead)
			},
			ahead: func(*timed) {},
			in:    10 * time.Second,
		},
		"paid by a step that has lost it": {
			before: func(s *timed) {
				s.open("A")
				lost := s.granted("A")
				s.pass(11 * time.Second)
				c := s.granted("A")
				set := back(c, ledger.Recheck)
				set.Due = s.now.Add(24 * time.Hour)
				s.settle(c, set)
				set = back(lost, ledger.Recheck)
				part := int64(1)
				set.Facts.Paid = &part
				s.pass(ahead)
				if code, _ := s.settle(lost, set); code != ledger.Lost {
					s.Fatal(code)
				}
				s.pass(-ahead)
			},
			ahead: func(*timed) {},
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newTimed(t)
			sweep := func() {
				s.Helper()
				if _, err := s.ledger.Sweep(s.Context(), ledger.SweepArgs{Interval: time.Second, Grace: time.Minute}); err != nil {
					s.Fatal(err)
				}
				if _, err := s.ledger.Mend(s.Context(), time.Time{}); err != nil {
					s.Fatal(err)
				}
			}
			sweep()
			if tt.before != nil {
				tt.before(s)
			}
			s.pass(ahead)
			tt.ahead(s)
			s.pass(-ahead)
			sweep()
			if due := s.get("A").NextDueAt; due.After(s.now.Add(tt.in)) {
				t.Errorf("it is due in %s, want %s", due.Sub(s.now), tt.in)
			}
			if index := s.redis.Client.ZScore(s.Context(), ledger.KeysOf(mchid).Due(), "A").Val(); index > float64(s.now.Add(tt.in+time.Second).UnixMilli()) {
				t.Errorf("a sweep takes it %s after it is due", time.UnixMilli(int64(index)).Sub(s.now)-tt.in)
			}
		})
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
