package ledger_test

import (
	"fmt"
	"testing"
	"time"

	"payscore-collector/internal/ledger"
	"payscore-collector/tasks"
)

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

// Redis's clock is ahead for a while, and right again before a sweep has read it. The process
// that wrote a due time meanwhile may have ended, so no worker knows what the clock showed.
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
