package main

import (
	"strings"
	"testing"
	"time"

	"payscore-collector/internal/simulator"
	"payscore-collector/internal/testkit"
	"payscore-collector/internal/testkit/redistest"
	"payscore-collector/internal/testkit/workertest"
)

// Redis's clock is put back or ahead by hours, as a failover to another machine
// does it: orders are collected as before, and the jump is in the log.
func TestRedisClockJumps(t *testing.T) {
	const soon = testkit.Patience
	setUp := func(t *testing.T) (*workertest.Rig, *redistest.WallClock, func(fate simulator.Fate, no string), func(int64)) {
		t.Parallel()
		redistest.NeedReal(t)
		clock := redistest.NewWallClock(t)
		r := workertest.NewOn(t, redistest.StartWithClock(t, clock))
		start(t, r, nil)
		enqueue := func(fate simulator.Fate, no string) {
			r.Add(simulator.Order{OutOrderNo: no, Fate: fate})
			r.Enqueue(no)
		}
		wait := func(n int64) {
			t.Helper()
			r.Until(soon, "all orders to be paid", func() bool { return paid(r) == n })
		}
		return r, clock, enqueue, wait
	}
	told := func(t *testing.T, r *workertest.Rig) {
		t.Helper()
		r.Until(soon, "the jump to be in the log", func() bool {
			return strings.Contains(r.Logs.String(), `"event":"redis_clock_jumped"`)
		})
	}

	t.Run("back by eight hours", func(t *testing.T) {
		r, clock, enqueue, wait := setUp(t)
		enqueue(simulator.FatePays, "K1")
		enqueue(simulator.FateDeclines(1), "K2")
		wait(2)
		enqueue(simulator.FateDeclines(2), "K3") // open while it happens
		clock.Set(t, -8*time.Hour)
		enqueue(simulator.FatePays, "K4")
		enqueue(simulator.FateDeclines(1), "K5")
		wait(5)
		told(t, r)
	})

	t.Run("ahead by eight hours for two seconds, and right again", func(t *testing.T) {
		r, clock, enqueue, wait := setUp(t)
		enqueue(simulator.FatePays, "K1")
		wait(1)
		enqueue(simulator.FateUserPaying(time.Second), "K2")
		clock.Set(t, 8*time.Hour)
		enqueue(simulator.FateDeclines(1), "K3") // its times are those of the wrong clock
		<-time.After(2 * time.Second)            // of the clock's being wrong: nothing is waited for
		clock.Set(t, 0)
		enqueue(simulator.FatePays, "K4")
		wait(4)
		told(t, r)
	})
}
