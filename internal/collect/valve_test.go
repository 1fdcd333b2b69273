package collect

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestValve(t *testing.T) {
	t.Parallel()
	// wait runs f while some workers wait, and returns how long they did.
	wait := func(t *testing.T, v *valve, ctx context.Context, stop chan struct{}, f func()) time.Duration {
		t.Helper()
		start := time.Now()
		var workers sync.WaitGroup
		for range 3 {
			workers.Go(func() { v.wait(ctx, stop) })
		}
		synctest.Wait()
		f()
		workers.Wait()
		return time.Since(start)
	}
	nothing := func() {}
	t.Run("open: nobody waits", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			v := newValve()
			if v.closed() || wait(t, v, t.Context(), nil, nothing) != 0 {
				t.Error("a new valve is closed")
			}
		})
	})
	t.Run("closed for a while", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			v := newValve()
			v.close(3 * second)
			if !v.closed() {
				t.Error("not closed")
			}
			if d := wait(t, v, t.Context(), nil, nothing); d != 3*second || v.closed() {
				t.Errorf("waited %s", d)
			}
		})
	})
	t.Run("never longer than it takes to ask the ledger again", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			v := newValve()
			v.close(hour)
			if d := wait(t, v, t.Context(), nil, nothing); d != recheckEvery {
				t.Errorf("waited %s", d)
			}
		})
	})
	t.Run("opened: everybody goes on at once", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			v := newValve()
			v.close(hour)
			d := wait(t, v, t.Context(), nil, func() {
				time.Sleep(second)
				v.open()
			})
			if d != second || v.closed() {
				t.Errorf("waited %s", d)
			}
		})
	})
	t.Run("closed again while they wait", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			v := newValve()
			v.close(2 * second)
			d := wait(t, v, t.Context(), nil, func() {
				time.Sleep(second)
				v.close(4 * second)
			})
			if d != 5*second {
				t.Errorf("waited %s", d)
			}
		})
	})
	t.Run("the worker stops, or the task's time is over", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			v := newValve()
			v.close(hour)
			stop := make(chan struct{})
			if d := wait(t, v, t.Context(), stop, func() { close(stop) }); d != 0 {
				t.Errorf("stopped after %s", d)
			}
			ctx, cancel := context.WithCancel(t.Context())
			if d := wait(t, v, ctx, nil, cancel); d != 0 {
				t.Errorf("cancelled after %s", d)
			}
		})
	})
}

func TestPause(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		stopped := make(chan struct{})
		close(stopped)
		for _, tt := range []struct {
			ctx  context.Context
			stop chan struct{}
			d    time.Duration
			want bool
			took time.Duration
		}{
			{t.Context(), nil, second, true, second},
			{t.Context(), nil, 0, true, 0},
			{t.Context(), nil, -second, true, 0},
			{ended, nil, second, false, 0},
			{t.Context(), stopped, second, false, 0},
		} {
			before := time.Since(start)
			if ok := pause(tt.ctx, tt.stop, tt.d); ok != tt.want || time.Since(start)-before != tt.took {
				t.Errorf("%+v: %t after %s", tt, ok, time.Since(start)-before)
			}
		}
	})
}
