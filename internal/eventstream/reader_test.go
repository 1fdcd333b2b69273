package eventstream_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/rs/zerolog"

	"payscore-collector/internal/eventstream"
	"payscore-collector/internal/ledger"
)

func TestReader(t *testing.T) {
	t.Run("delivers what exists, then what is new, also of new merchants", func(t *testing.T) {
		r := newRig(t)
		want := map[string]int{}
		for i := range 10 {
			r.tell(mchA, number(i), 5)
			want[mchA+" "+number(i)] = 5
		}
		var got taken
		run := r.start(r.rdb, options("a"), got.handle)
		r.until("the first events", func() bool { return got.count() == 50 })
		r.tell(mchA, "LATER", 2)
		r.tell(mchB, "NEW", 3)
		want[mchA+" LATER"], want[mchB+" NEW"] = 2, 3
		r.until("the later events", func() bool { return got.count() == 55 })
		run.stop(t)
		got.wantAll(t, true, want)
		for _, mchid := range []string{mchA, mchB} {
			if p := r.pending(mchid); len(p) != 0 {
				t.Errorf("not acknowledged: %v", p)
			}
			if m := r.members(mchid); m != "" && r.redis.Real {
				t.Errorf("it has not left: %s", m)
			}
		}
	})
	t.Run("continues where the group stopped; another group starts from the beginning", func(t *testing.T) {
		r := newRig(t)
		r.tell(mchA, "A", 3)
		var first, second, other taken
		once := options("a")
		once.Once = true
		if err := r.start(r.rdb, once, first.handle).wait(t); err != nil {
			t.Fatal(err)
		}
		r.tell(mchA, "B", 2)
		once.Consumer = "b"
		if err := r.start(r.rdb, once, second.handle).wait(t); err != nil {
			t.Fatal(err)
		}
		once.Group = "other"
		if err := r.start(r.rdb, once, other.handle).wait(t); err != nil {
			t.Fatal(err)
		}
		first.wantAll(t, true, map[string]int{mchA + " A": 3})
		second.wantAll(t, true, map[string]int{mchA + " B": 2})
		other.wantAll(t, true, map[string]int{mchA + " A": 3, mchA + " B": 2})
		for group, want := range map[string]bool{"other": true, "third": false} {
			once.Group = group
			if has, err := eventstream.NewReader(r.rdb, once, zerolog.Nop()).HasRead(t.Context()); err != nil || has != want {
				t.Errorf("group %s has read: %t, %v", group, has, err)
			}
		}
	})
	t.Run("reads one merchant only, if MchID names it", func(t *testing.T) {
		r := newRig(t)
		r.tell(mchA, "A", 1)
		r.tell(mchB, "B", 1)
		var got taken
		opt := options("a")
		opt.MchID, opt.Once = mchB, true
		if err := r.start(r.rdb, opt, got.handle).wait(t); err != nil {
			t.Fatal(err)
		}
		got.wantAll(t, true, map[string]int{mchB + " B": 1})
	})
	t.Run("a handler's error ends it; after that the same member gets those events first, in order", func(t *testing.T) {
		r := newRig(t)
		r.tell(mchA, "A", 20)
		calls := 0
		err := r.start(r.rdb, options("a"), func(context.Context, []ledger.Event) error {
			if calls++; calls == 2 {
				return errDead
			}
			return nil
		}).wait(t)
		if !errors.Is(err, errDead) {
			t.Fatalf("it ended with %v, want %v", err, errDead)
		}
		if p := r.pending(mchA); p["a"] != 7 {
			t.Errorf("it holds %v, want 7", p)
		}
		var got taken
		run := r.start(r.rdb, options("a"), got.handle)
		r.until("the rest", func() bool { return got.count() == 13 })
		run.stop(t)
		for i, seq := range got.seqs()[mchA+" A"] {
			if seq != int64(8+i) {
				t.Errorf("event %d came as number %d", seq, i)
			}
		}
	})
	t.Run("what was handled is acknowledged, although it was stopped meanwhile", func(t *testing.T) {
		r := newRig(t)
		r.tell(mchA, "A", 3)
		var run *running
		started := make(chan struct{})
		run = r.start(r.rdb, options("a"), func(context.Context, []ledger.Event) error {
			<-started
			run.cancel()
			return nil
		})
		close(started)
		if err := run.wait(t); err != nil {
			t.Errorf("it ended with %v, want nil", err)
		}
		if p := r.pending(mchA); len(p) != 0 {
			t.Errorf("not acknowledged: %v", p)
		}
	})
	t.Run("another member takes over what a dead one holds", func(t *testing.T) {
		r := newRig(t)
		r.tell(mchA, "A", 20)
		if err := r.start(r.rdb, options("dead"), dies).wait(t); !errors.Is(err, errDead) {
			t.Fatal(err)
		}
		if p := r.pending(mchA); p["dead"] != 7 {
			t.Fatalf("it holds %v", p)
		}
		var got taken
		run := r.start(r.rdb, options("alive"), got.handle)
		r.until("all events", func() bool { return got.count() == 20 })
		run.stop(t)
		if p := r.pending(mchA); len(p) != 0 {
			t.Errorf("not acknowledged: %v", p)
		}
	})
	t.Run("with Once it waits for what others hold, and takes over what they do not acknowledge", func(t *testing.T) {
		r := newRig(t)
		r.tell(mchA, "A", 3)
		r.tell(mchA, "B", 2)
		r.holds(mchA, "dead", 2)
		held := r.holds(mchA, "alive", 1)
		key := ledger.KeysOf(mchA).Outcomes()
		opt := options("a")
		opt.Once, opt.Idle = true, 300*time.Millisecond
		var got taken
		run := r.start(r.rdb, opt, got.handle)
		r.until("the line that it waits", func() bool { return r.log.HasEvent("waiting_for_other_readers") })
		if err := r.rdb.XAck(t.Context(), key, "g", held...).Err(); err != nil {
			t.Fatal(err)
		}
		if err := run.wait(t); err != nil {
			t.Fatal(err)
		}
		if p := r.pending(mchA); len(p) != 0 || got.count() != 4 {
			t.Errorf("%d events delivered, and others hold %v; want all and none", got.count(), p)
		}
	})
	t.Run("with Once it ignores what others get after its start", func(t *testing.T) {
		r := newRig(t)
		r.tell(mchA, "A", 1)
		r.holds(mchA, "dead", 1)
		opt := options("a")
		opt.Once, opt.Idle = true, 200*time.Millisecond
		run := r.start(r.rdb, opt, func(context.Context, []ledger.Event) error {
			r.tell(mchA, "B", 1)
			r.holds(mchA, "alive", 1)
			return nil
		})
		if err := run.wait(t); err != nil {
			t.Fatal(err)
		}
		if p := r.pending(mchA); p["alive"] != 1 || len(p) != 1 {
			t.Errorf("held by member: %v, want only the other one's", p)
		}
	})
	t.Run("what a member could not handle, another member gets at once", func(t *testing.T) {
		r := newRig(t)
		r.tell(mchA, "A", 20)
		opt := options("fails")
		opt.Idle = time.Hour
		if err := r.start(r.rdb, opt, dies).wait(t); !errors.Is(err, errDead) {
			t.Fatal(err)
		}
		var got taken
		opt.Consumer, opt.Once = "works", true
		if err := r.start(r.rdb, opt, got.handle).wait(t); err != nil {
			t.Fatal(err)
		}
		if p := r.pending(mchA); got.count() != 20 || len(p) != 0 {
			t.Errorf("%d events delivered, and others hold %v; want all and none", got.count(), p)
		}
	})
	t.Run("what another member has taken over stays with it", func(t *testing.T) {
		r := newRig(t)
		r.tell(mchA, "A", 2)
		key := ledger.KeysOf(mchA).Outcomes()
		opt := options("slow")
		opt.Idle = time.Hour
		err := r.start(r.rdb, opt, func(_ context.Context, events []ledger.Event) error {
			msgs, err := r.rdb.XClaim(t.Context(), &redis.XClaimArgs{Stream: key, Group: "g", Consumer: "quick", Messages: r.ids(mchA)}).Result()
			if err != nil || len(msgs) != 2 {
				t.Error(msgs, err)
			}
			return errDead
		}).wait(t)
		if !errors.Is(err, errDead) {
			t.Fatal(err)
		}
		if p := r.pending(mchA); p["quick"] != 2 || len(p) != 1 {
			t.Errorf("held by member: %v, want only the other one's", p)
		}
	})
	t.Run("silent members that hold nothing are removed, and no others", func(t *testing.T) {
		r := newRig(t)
		r.tell(mchA, "A", 1)
		key := ledger.KeysOf(mchA).Outcomes()
		ctx := t.Context()
		if err := r.rdb.XGroupCreate(ctx, key, "g", "0").Err(); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"holds", "idle"} { // the second gets nothing
			_ = r.rdb.XReadGroup(ctx, &redis.XReadGroupArgs{Group: "g", Consumer: name, Streams: []string{key, ">"}, Block: -1}).Err()
			if err := r.rdb.XGroupCreateConsumer(ctx, key, "g", name).Err(); err != nil {
				t.Fatal(err)
			}
		}
		opt := options("a")
		opt.Idle = 20 * time.Millisecond // so that 400 ms of silence are enough
		stuck := make(chan struct{})
		run := r.start(r.rdb, opt, func(context.Context, []ledger.Event) error { <-stuck; return nil })
		r.until("the event to be taken over", func() bool { return r.pending(mchA)["a"] == 1 })
		close(stuck)
		if r.redis.Real { // the embedded one does not know idle times
			// After a pause of the machine of 400 ms the reader has removed itself too; its
			// next event adds it again.
			r.until("the others to be removed", func() bool { return r.members(mchA) == "a" || r.members(mchA) == "" })
		}
		run.stop(t)
	})
	t.Run("a lost group is created anew, and everything is delivered again", func(t *testing.T) {
		r := newRig(t)
		r.tell(mchA, "A", 3)
		var got taken
		run := r.start(r.rdb, options("a"), got.handle)
		r.until("the events", func() bool { return got.count() == 3 })
		if err := r.rdb.XGroupDestroy(t.Context(), ledger.KeysOf(mchA).Outcomes(), "g").Err(); err != nil {
			t.Fatal(err)
		}
		r.until("the events again", func() bool { return got.count() == 6 })
		run.stop(t)
		if !r.log.HasEvent("reader_group_lost") {
			t.Errorf("no line reader_group_lost in the log:\n%s", r.log)
		}
	})
	t.Run("an entry that is not an event is logged and acknowledged", func(t *testing.T) {
		r := newRig(t)
		key := ledger.KeysOf(mchA).Outcomes()
		for _, fields := range [][]any{{"type", "order.paid", "no", "A", "state", "dreamt"}, {"secret", "hunter2"}, {"type", "order.dreamt", "secret", "hunter2"}} {
			if err := r.rdb.XAdd(t.Context(), &redis.XAddArgs{Stream: key, Values: fields}).Err(); err != nil {
				t.Fatal(err)
			}
		}
		r.tell(mchA, "A", 2)
		var got taken
		run := r.start(r.rdb, options("a"), got.handle)
		r.until("the events", func() bool { return got.count() == 2 })
		r.until("the acknowledgement", func() bool { return len(r.pending(mchA)) == 0 })
		run.stop(t)
		if log := r.log.String(); len(r.log.Events("event_unreadable")) != 2 || len(r.log.Events("event_of_newer_release")) != 1 || strings.Contains(log, "hunter2") {
			t.Errorf("the log says: %s", log)
		}
	})
	t.Run("trimmed events are logged and skipped", func(t *testing.T) {
		r := newRig(t)
		r.tell(mchA, "A", 4)
		if err := r.start(r.rdb, options("a"), dies).wait(t); !errors.Is(err, errDead) {
			t.Fatal(err)
		}
		if err := r.rdb.XTrimMaxLen(t.Context(), ledger.KeysOf(mchA).Outcomes(), 1).Err(); err != nil {
			t.Fatal(err)
		}
		var got taken
		run := r.start(r.rdb, options("a"), got.handle)
		r.until("the event that is left", func() bool { return got.count() == 1 })
		r.until("the acknowledgement", func() bool { return len(r.pending(mchA)) == 0 })
		run.stop(t)
		if log := r.log.String(); r.redis.Real && !r.log.HasEvent("events_trimmed_unread", "count", 3) {
			t.Errorf("the log says: %s", log)
		}
	})
	t.Run("invalid merchant numbers are skipped", func(t *testing.T) {
		r := newRig(t)
		if err := r.rdb.SAdd(t.Context(), ledger.MerchantsKey, "no number").Err(); err != nil {
			t.Fatal(err)
		}
		r.tell(mchA, "A", 1)
		var got taken
		opt := options("a")
		opt.Once = true
		if err := r.start(r.rdb, opt, got.handle).wait(t); err != nil {
			t.Fatal(err)
		}
		if n := r.rdb.Exists(t.Context(), ledger.KeysOf("no number").Outcomes()).Val(); n != 0 || got.count() != 1 {
			t.Errorf("%d keys made, want 0; %d events delivered, want 1", n, got.count())
		}
	})
}

func TestUniqueConsumer(t *testing.T) {
	if a, b := eventstream.UniqueConsumer(), eventstream.UniqueConsumer(); a == b || strings.ContainsAny(a, " \n") {
		t.Errorf("%q and %q", a, b)
	}
}

func TestGrace(t *testing.T) {
	ctx, end := context.WithCancel(t.Context())
	late, cancel := eventstream.Grace(ctx, 50*time.Millisecond)
	defer cancel()
	end()
	if late.Err() != nil {
		t.Error("it ended at once")
	}
	select {
	case <-late.Done():
	case <-time.After(10 * time.Second):
		t.Error("it does not end")
	}
	never, cancelNever := eventstream.Grace(ctx, time.Hour)
	cancelNever()
	if never.Err() == nil {
		t.Error("the context does not end with its cancel")
	}
}
