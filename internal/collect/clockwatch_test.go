package collect

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"payscore-collector/internal/testkit/redistest"
)

// What a worker holds for sure is not to outlast the leases that it is for: an
// order whose worker died under a clock that was then put right waits for no more
// than two of them.
func TestSureForgetsAClockThatWasBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const lease = 10 * time.Second
		w := newClockWatch(lease)
		off := func() time.Duration { return time.Until(w.sure()) }
		see := func(offset time.Duration) { w.observe(time.Now(), time.Now().Add(offset)) }
		see(0)
		time.Sleep(time.Second)
		see(-10 * time.Minute)
		time.Sleep(time.Second)
		see(0)
		if off() != -10*time.Minute {
			t.Errorf("sure is %s off right after a jump ahead: leases that were taken before it are still under way", off())
		}
		for range 2*lease/time.Second + 2 {
			time.Sleep(time.Second)
			see(0)
		}
		if off() != 0 {
			t.Errorf("two leases after the clock was put right sure is %s off", off())
		}
	})
}

// A jump ahead ends no lease that is under way.
func TestSureStaysBehindAJumpAhead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const lease = 10 * time.Second
		w := newClockWatch(lease)
		for range 100 {
			w.observe(time.Now(), time.Now())
			time.Sleep(time.Second)
		}
		w.observe(time.Now(), time.Now().Add(8*time.Hour))
		for passed := time.Duration(0); passed <= lease; passed += time.Second {
			if off := time.Until(w.sure()); off > 0 {
				t.Fatalf("%s after a jump ahead sure is %s off, and leases taken before it are under way", passed, off)
			}
			time.Sleep(time.Second)
			w.observe(time.Now(), time.Now().Add(8*time.Hour))
		}
	})
}

func TestClockWatch(t *testing.T) {
	t.Parallel()
	// ask is one question to Redis, whose clock is so far ahead, that takes so long.
	ask := func(w *clockWatch, ahead, takes time.Duration) time.Duration {
		asked := time.Now()
		time.Sleep(takes / 2)
		shown := time.Now().Add(ahead)
		time.Sleep(takes - takes/2)
		by, _ := w.observe(asked, shown)
		return by
	}
	in := func(name string, f func(*testing.T, *clockWatch)) {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { f(t, newClockWatch(130*second)) })
		})
	}
	in("a steady clock, and replies that take any time", func(t *testing.T, w *clockWatch) {
		for _, takes := range []time.Duration{time.Millisecond, 20 * second, time.Millisecond, 3 * second, minute, time.Millisecond} {
			if by := ask(w, 3*hour, takes); by != 0 {
				t.Errorf("a reply that takes %s is a jump by %s", takes, by)
			}
			time.Sleep(hour)
		}
		if off := time.Until(w.now()) - 3*hour; off.Abs() > second {
			t.Errorf("the clock is known to %s", off)
		}
	})
	in("jumps back and ahead", func(t *testing.T, w *clockWatch) {
		ask(w, 0, time.Millisecond)
		for _, tt := range []struct{ ahead, want time.Duration }{{-8 * hour, -8 * hour}, {-8 * hour, 0}, {hour, 9 * hour}, {hour + 7*second, 7 * second}} {
			time.Sleep(15 * second)
			if by := ask(w, tt.ahead, time.Millisecond); (by - tt.want).Abs() > second {
				t.Errorf("a jump by %s, want %s", by, tt.want)
			}
		}
	})
	in("a question that was asked before the newest answer says nothing", func(t *testing.T, w *clockWatch) {
		early := time.Now()
		time.Sleep(second)
		ask(w, 0, time.Millisecond)
		time.Sleep(second)
		ask(w, hour, time.Millisecond)
		if by, _ := w.observe(early, early); by != 0 {
			t.Errorf("a jump by %s", by)
		}
	})
	in("leases that were taken before a jump ahead are sure to last", func(t *testing.T, w *clockWatch) {
		if !w.sure().IsZero() {
			t.Error("nothing is sure before the first reply")
		}
		ask(w, 0, time.Millisecond)
		time.Sleep(15 * second)
		ask(w, hour, time.Millisecond)
		for range 12 {
			if late := time.Until(w.sure()); late.Abs() > second {
				t.Errorf("sure is %s off by the clock from before the jump", late)
			}
			time.Sleep(10 * second)
			ask(w, hour, time.Millisecond)
		}
		// No lease from before the jump lasts for so long.
		for range 30 {
			time.Sleep(10 * second)
			ask(w, hour, time.Millisecond)
		}
		if late := time.Until(w.sure()) - hour; late.Abs() > second {
			t.Errorf("sure is %s off long after the jump", late)
		}
	})
	in("leases run by the clock as it is after a jump back", func(t *testing.T, w *clockWatch) {
		ask(w, hour, time.Millisecond)
		time.Sleep(15 * second)
		ask(w, 0, time.Millisecond)
		if late := time.Until(w.sure()); late.Abs() > second {
			t.Errorf("sure is %s off", late)
		}
	})
}

func TestAJumpOfRedissClockIsSaid(t *testing.T) {
	t.Parallel()
	b := newFixture(t, redistest.Start(t))
	asked := time.Now()
	b.watchClock(t.Context(), asked, asked.Add(8*hour)) // so ahead was Redis's clock
	for asked = time.Now(); !asked.After(b.clock.start.Add(b.clock.ref.at)); asked = time.Now() {
	}
	if !b.watchClock(t.Context(), asked, asked) {
		t.Fatal("not noticed")
	}
	for _, want := range []string{`"event":"redis_clock_jumped"`, `"direction":"back"`} {
		if !strings.Contains(b.logs.String(), want) {
			t.Errorf("the log lacks %s: %s", want, b.logs)
		}
	}
	h, err := b.ledger.Holds(t.Context())
	if err != nil || (h.Jump.By+8*hour).Abs() > minute {
		t.Errorf("the ledger has %+v (%v)", h.Jump, err)
	}
}
