package collect

import (
	"testing"
	"testing/synctest"
	"time"
)

// What a worker holds for sure is not to outlast the leases that it is for: an
// order whose worker died under a clock that was then put right waits for no more
// than two of them.
func TestSureForgetsAClockThatWasBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const lease = 10 * time.Second
		w := newClockWatch(lease)
		off := func() time.Duration { return w.sure().Sub(time.Now()) }
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
			if off := w.sure().Sub(time.Now()); off > 0 {
				t.Fatalf("%s after a jump ahead sure is %s off, and leases taken before it are under way", passed, off)
			}
			time.Sleep(time.Second)
			w.observe(time.Now(), time.Now().Add(8*time.Hour))
		}
	})
}
