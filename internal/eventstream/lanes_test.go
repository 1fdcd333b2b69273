package eventstream_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/redis/go-redis/v9"
	"github.com/rs/zerolog"

	"payscore-collector/internal/eventstream"
	"payscore-collector/internal/ledger"
	"payscore-collector/internal/testkit/redistest"
)

// inLanes are options with so many lanes, and batches of 7 events.
func inLanes(consumer string, lanes int) eventstream.Options {
	opt := options(consumer)
	opt.Lanes = lanes
	return opt
}

// tellInTurn writes so many events of each order: the first of each, then the second of each.
func (r *rig) tellInTurn(mchid string, orders, events int) map[string]int {
	r.Helper()
	want := map[string]int{}
	for n := range events {
		for i := range orders {
			r.tellOne(mchid, number(i), n)
			want[mchid+" "+number(i)] = events
		}
	}
	return want
}

// hooked returns a client whose commands go through hook first, which can fail them.
func (r *rig) hooked(hook func(redis.Cmder) error) *redis.Client {
	rdb := redis.NewClient(r.redis.Client.Options())
	r.Cleanup(func() { _ = rdb.Close() })
	rdb.AddHook(commands{fail: hook})
	return rdb
}

type commands struct {
	redistest.Hook
	fail func(redis.Cmder) error
}

func (c commands) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if err := c.fail(cmd); err != nil {
			cmd.SetErr(err)
			return err
		}
		return next(ctx, cmd)
	}
}

func TestLanes(t *testing.T) {
	t.Run("several are handled at once, each order's events in their order", func(t *testing.T) {
		r := newRig(t)
		const orders, events = 40, 3 // an order's events follow each other
		want := map[string]int{}
		for i := range orders {
			r.tell(mchA, number(i), events)
			want[mchA+" "+number(i)] = events
		}
		opt := inLanes("a", 3)
		opt.Batch = 20
		var got taken
		var calls atomic.Int64
		both := make(chan struct{})
		run := r.start(r.rdb, opt, func(ctx context.Context, events []ledger.Event) error {
			if calls.Add(1) == 2 {
				close(both)
			}
			<-both // the first call waits for a second one beside it
			return got.handle(ctx, events)
		})
		r.until("every event", func() bool { return got.count() == orders*events })
		run.stop(t)
		got.wantAll(t, true, want)
		if p := r.pending(mchA); len(p) != 0 {
			t.Errorf("not acknowledged: %v", p)
		}
	})
	t.Run("a batch is acknowledged when all of it is handled", func(t *testing.T) {
		r := newRig(t)
		r.tellInTurn(mchA, 7, 1)
		var got taken
		stuck := make(chan struct{})
		run := r.start(r.rdb, inLanes("a", 7), func(ctx context.Context, events []ledger.Event) error {
			if slices.ContainsFunc(events, func(e ledger.Event) bool { return e.OutOrderNo == number(3) }) {
				<-stuck
			}
			return got.handle(ctx, events)
		})
		r.until("what other lanes handle", func() bool { return got.count() > 0 })
		if p := r.pending(mchA); p["a"] != 7 {
			t.Errorf("it holds %v, want the whole batch", p)
		}
		close(stuck)
		r.until("the acknowledgement", func() bool { return len(r.pending(mchA)) == 0 })
		run.stop(t)
	})
	t.Run("after an error another member gets at once what was not handled", func(t *testing.T) {
		r := newRig(t)
		want := r.tellInTurn(mchA, 20, 4)
		opt := inLanes("fails", 3)
		opt.MchID = mchA
		var got taken
		err := r.start(r.rdb, opt, func(ctx context.Context, events []ledger.Event) error {
			for i, e := range events {
				if e.OutOrderNo == number(5) && e.Seq == 2 {
					_ = got.handle(ctx, events[:i])
					return errDead
				}
			}
			return got.handle(ctx, events)
		}).wait(t)
		if !errors.Is(err, errDead) {
			t.Fatalf("it ended with %v", err)
		}
		opt.Consumer, opt.Once = "works", true
		if err := r.start(r.rdb, opt, got.handle).wait(t); err != nil {
			t.Fatal(err)
		}
		got.wantAll(t, false, want)
		if p := r.pending(mchA); len(p) != 0 {
			t.Errorf("not acknowledged: %v", p)
		}
	})
	t.Run("after an error all is given back in one command, in the order of the stream", func(t *testing.T) {
		r := newRig(t)
		r.tellInTurn(mchA, 7, 6)
		var claims [][]any
		err := r.start(r.hooked(func(cmd redis.Cmder) error {
			if cmd.Name() == "xclaim" {
				claims = append(claims, cmd.Args())
			}
			return nil
		}), inLanes("a", 3), func(context.Context, []ledger.Event) error {
			r.until("four batches", func() bool { return r.pending(mchA)["a"] == 28 })
			return errDead
		}).wait(t)
		if !errors.Is(err, errDead) {
			t.Fatalf("it ended with %v", err)
		}
		var want []any
		for _, id := range r.ids(mchA)[:28] {
			want = append(want, id)
		}
		if len(claims) != 1 || len(claims[0]) < 33 || !slices.Equal(claims[0][5:33], want) {
			t.Errorf("given back by %v, want one command with %v", claims, want)
		}
	})
	t.Run("no call begins after the end", func(t *testing.T) {
		r := newRig(t)
		r.tellInTurn(mchA, 70, 2)
		opt := inLanes("a", 3)
		opt.Batch = 20
		var calls atomic.Int64
		stuck := make(chan struct{})
		run := r.start(r.rdb, opt, func(context.Context, []ledger.Event) error {
			calls.Add(1)
			<-stuck
			return nil
		})
		r.until("a call in each lane, and parts that wait", func() bool { return calls.Load() == 3 && r.pending(mchA)["a"] == 80 })
		run.cancel()
		close(stuck)
		run.stop(t)
		if n := calls.Load(); n != 3 {
			t.Errorf("%d calls, want the 3 that had begun", n)
		}
	})
	t.Run("an error ends it although Redis accepts no acknowledgement", func(t *testing.T) {
		t.Parallel() // it waits some seconds
		r := newRig(t)
		r.tellInTurn(mchA, 20, 2)
		opt := inLanes("a", 3)
		opt.Batch = 20
		refused := make(chan struct{})
		var once sync.Once
		reads := 0
		err := r.start(r.hooked(func(cmd redis.Cmder) error {
			switch cmd.Name() {
			case "xack":
				once.Do(func() { close(refused) })
				return errors.New("LOADING")
			case "xreadgroup":
				if args := cmd.Args(); args[len(args)-1] == ">" {
					if reads++; reads == 2 { // the second batch
						<-refused
					}
				}
			}
			return nil
		}), opt, func(_ context.Context, events []ledger.Event) error {
			if events[0].Seq == 2 {
				return errDead
			}
			return nil
		}).wait(t)
		if !errors.Is(err, errDead) {
			t.Errorf("it ended with %v", err)
		}
	})
	t.Run("of many merchants that are behind, a few hold several batches", func(t *testing.T) {
		r := newRig(t)
		const merchants, several = 10, 8
		want := map[string]int{}
		for m := range merchants {
			mchid := fmt.Sprintf("19000001%02d", m)
			maps.Copy(want, r.tellInTurn(mchid, 35, 1))
			if err := r.rdb.XGroupCreate(t.Context(), ledger.KeysOf(mchid).Outcomes(), "g", "0").Err(); err != nil {
				t.Fatal(err)
			}
		}
		held := func() (one, more int) {
			for m := range merchants {
				switch r.pending(fmt.Sprintf("19000001%02d", m))["a"] {
				case 7:
					one++
				case 4 * 7: // three that lanes work on, and one that waits for them
					more++
				}
			}
			return one, more
		}
		stuck := make(chan struct{})
		var got taken
		run := r.start(r.rdb, inLanes("a", 3), func(ctx context.Context, events []ledger.Event) error {
			<-stuck
			return got.handle(ctx, events)
		})
		r.until("all merchants' batches", func() bool {
			one, more := held()
			return one == merchants-several && more == several
		})
		close(stuck)
		r.until("every event", func() bool { return got.count() == merchants*35 })
		run.stop(t)
		got.wantAll(t, true, want)
	})
}

// Readers fail and are stopped at random moments, with any number of lanes: every event is
// handled, and none before an earlier one of its order.
func TestLanes_AnyFailure(t *testing.T) {
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 0))
	r := newRig(t)
	const orders, events = 30, 6
	want := r.tellInTurn(mchA, orders, events)
	var got taken
	var mu sync.Mutex
	roll := func(n int) int {
		mu.Lock()
		defer mu.Unlock()
		return random.IntN(n)
	}
	for round := 0; ; round++ {
		opt := inLanes("a", 1+roll(4))
		opt.Batch, opt.Once = int64(1+roll(20)), true
		ctx, cancel := context.WithCancel(t.Context())
		last := round >= 30
		err := eventstream.NewReader(r.rdb, opt, zerolog.New(r.log)).Run(ctx, func(ctx context.Context, events []ledger.Event) error {
			switch n := roll(12); {
			case n == 0 && !last:
				return errDead
			case n == 1 && !last:
				cancel()
			case n == 2 && !last: // it dies after it has handled them
				_ = got.handle(ctx, events)
				return errDead
			}
			return got.handle(ctx, events)
		})
		cancel()
		if last {
			if err != nil {
				t.Fatal(err)
			}
			break
		}
	}
	got.wantAll(t, false, want)
	if p := r.pending(mchA); len(p) != 0 {
		t.Errorf("not acknowledged: %v", p)
	}
	if t.Failed() {
		t.Logf("seed %d", seed)
	}
}
