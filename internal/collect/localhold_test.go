package collect

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestLocalHold(t *testing.T) {
	t.Parallel()
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	for _, tt := range []struct {
		name  string
		begin func(*localHold)                  // before three workers wait
		then  func(*localHold, chan<- struct{}) // a second later
		ctx   context.Context                   // of the workers; nil for the test's
		want  time.Duration                     // how long they wait
	}{
		{name: "no hold"},
		{name: "a hold ends by itself", begin: func(h *localHold) { h.hold(3*second, time.Now()) }, want: 3 * second},
		{name: "the ledger is asked again after a while", begin: func(h *localHold) { h.hold(hour, time.Now()) }, want: recheckEvery},
		{
			name: "released", want: second,
			begin: func(h *localHold) { h.hold(hour, time.Now()) },
			then:  func(h *localHold, _ chan<- struct{}) { h.release() },
		},
		{
			name: "held again while they wait", want: 5 * second,
			begin: func(h *localHold) { h.hold(2*second, time.Now()) },
			then:  func(h *localHold, _ chan<- struct{}) { h.hold(4*second, time.Now()) },
		},
		{
			name: "an answer that was asked for before a release is out of date",
			begin: func(h *localHold) {
				asked := time.Now()
				time.Sleep(second)
				h.release()
				h.hold(hour, asked)
			},
		},
		{
			name: "the worker stops", want: second,
			begin: func(h *localHold) { h.hold(hour, time.Now()) },
			then:  func(_ *localHold, stop chan<- struct{}) { close(stop) },
		},
		{name: "the task's time has ended", ctx: ended, begin: func(h *localHold) { h.hold(hour, time.Now()) }},
		{name: "a service's hold makes no worker wait", begin: func(h *localHold) { h.holdService("wx:1", hour) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h, stop, ctx := newLocalHold(), make(chan struct{}), t.Context()
				if tt.ctx != nil {
					ctx = tt.ctx
				}
				if tt.begin != nil {
					tt.begin(h)
				}
				start := time.Now()
				var workers sync.WaitGroup
				for range 3 {
					workers.Go(func() { h.wait(ctx, stop) })
				}
				if tt.then != nil {
					time.Sleep(second)
					tt.then(h, stop)
				}
				workers.Wait()
				if took := time.Since(start); took != tt.want {
					t.Errorf("waited %s, want %s", took, tt.want)
				}
			})
		})
	}
}

func TestLocalHold_Services(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newLocalHold()
		h.holdService("wx:1", 2*second)
		if !h.holds("wx:1") || h.holds("wx:2") {
			t.Errorf("held: wx:1 %t, wx:2 %t, want only wx:1", h.holds("wx:1"), h.holds("wx:2"))
		}
		h.hold(second, time.Now())
		if !h.holds("wx:2") {
			t.Error("a merchant's hold does not hold its services")
		}
		time.Sleep(2 * second)
		if h.holds("wx:1") || h.holds("wx:2") {
			t.Error("held after its time")
		}
		h.holdService("wx:1", hour)
		h.release()
		if h.holds("wx:1") {
			t.Error("held after a release")
		}
	})
}

func TestPause(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		stopped := make(chan struct{})
		close(stopped)
		for _, tt := range []struct {
			name string
			ctx  context.Context
			stop chan struct{}
			d    time.Duration
			want bool
			took time.Duration
		}{
			{"waits", t.Context(), nil, second, true, second},
			{"nothing to wait for", t.Context(), nil, 0, true, 0},
			{"late", t.Context(), nil, -second, true, 0},
			{"ended", ended, nil, second, false, 0},
			{"stopped", t.Context(), stopped, second, false, 0},
		} {
			start := time.Now()
			if ok := pause(tt.ctx, tt.stop, tt.d); ok != tt.want || time.Since(start) != tt.took {
				t.Errorf("%s: %t after %s, want %t after %s", tt.name, ok, time.Since(start), tt.want, tt.took)
			}
		}
	})
}
