package eventstream_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"payscore-collector/internal/eventstream"
	"payscore-collector/internal/ledger"
)

// standing returns where a reader of mchA's stream stands.
func (r *rig) standing(group string) (eventstream.Standing, bool) {
	r.Helper()
	list, err := eventstream.Readers(r.Context(), r.rdb, ledger.New(r.rdb, mchA))
	if err != nil {
		r.Fatal(err)
	}
	for _, s := range list {
		if s.MchID != mchA {
			r.Errorf("%+v", s)
		}
		if s.Group == group {
			return s, true
		}
	}
	return eventstream.Standing{}, false
}

func TestReaders(t *testing.T) {
	t.Run("a merchant without a stream has none", func(t *testing.T) {
		r := newRig(t)
		if list, err := eventstream.Readers(t.Context(), r.rdb, ledger.New(r.rdb, mchB)); err != nil || len(list) != 0 {
			t.Errorf("%+v %v", list, err)
		}
	})
	t.Run("says how far each reader is, and who was seen when", func(t *testing.T) {
		r := newRig(t)
		r.tell(mchA, "A", 5)
		var got taken
		once := options("a")
		once.Once = true
		if err := r.start(r.rdb, once, got.handle).wait(t); err != nil {
			t.Fatal(err)
		}
		s, ok := r.standing("g")
		if !ok || s.Pending != 0 || !s.Oldest.IsZero() || !s.OldestPending.IsZero() || r.redis.Real && (s.Lag == nil || *s.Lag != 0) {
			t.Errorf("after everything: %+v", s)
		}
		r.tell(mchA, "B", 4)
		if err := r.rdb.XGroupCreate(t.Context(), ledger.KeysOf(mchA).Outcomes(), "h", "0").Err(); err != nil {
			t.Fatal(err)
		}
		_ = r.start(r.rdb, options("dies"), func(_ context.Context, events []ledger.Event) error { return errDead }).wait(t)
		s, _ = r.standing("g")
		if s.Pending != 4 || r.redis.Real && s.Members != 1 || s.Members == 0 || s.OldestPending.IsZero() || !s.Oldest.Equal(s.OldestPending) || time.Since(s.LastSeen).Abs() > time.Minute {
			t.Errorf("with what a dead member holds: %+v", s)
		}
		s, ok = r.standing("h")
		if !ok || s.Members != 0 || !s.LastSeen.IsZero() || s.Pending != 0 || time.Since(s.Oldest).Abs() > time.Minute {
			t.Errorf("that has not read: %+v", s)
		}
		if r.redis.Real && (s.Lag == nil || *s.Lag != 9) {
			t.Errorf("its lag: %+v", s)
		}
	})
}

func TestDestroy(t *testing.T) {
	destroy := func(r *rig, group string) error {
		_, err := eventstream.Destroy(r.Context(), r.rdb, ledger.New(r.rdb, mchA), group, ledger.Deed{By: "cli:x"})
		return err
	}
	t.Run("a reader that runs is left alone, and one that is gone is destroyed", func(t *testing.T) {
		r := newRig(t)
		r.tell(mchA, "A", 3)
		var got taken
		run := r.start(r.rdb, options("a"), got.handle)
		r.until("the events", func() bool { return got.count() == 3 })
		if err := destroy(r, "g"); !errors.Is(err, eventstream.ErrReading) {
			t.Errorf("while it runs: %v", err)
		}
		run.stop(t)
		if !r.redis.Real {
			// The embedded Redis keeps the member that has left.
			r.rdb.XGroupDelConsumer(t.Context(), ledger.KeysOf(mchA).Outcomes(), "g", "a")
		}
		if err := destroy(r, "g"); err != nil {
			t.Fatal(err)
		}
		if _, ok := r.standing("g"); ok {
			t.Error("it is still there")
		}
		if err := destroy(r, "g"); !errors.Is(err, eventstream.ErrNoReader) {
			t.Errorf("again: %v", err)
		}
	})
	t.Run("webhooks are switched off for good, once no worker delivers them", func(t *testing.T) {
		r := newRig(t)
		r.tell(mchA, "A", 2)
		l := ledger.New(r.rdb, mchA)
		if err := destroy(r, eventstream.Webhooks); !errors.Is(err, eventstream.ErrNoReader) {
			t.Errorf("webhooks that never ran: %v", err)
		}
		if _, err := l.RelayHooks(t.Context(), ledger.HookRelayArgs{Scan: 10, Take: 10, Most: 10, Grace: time.Minute}); err != nil {
			t.Fatal(err)
		}
		beat := func(stopped bool) {
			if err := l.Beat(t.Context(), "w1", time.Minute, ledger.Settings{Webhooks: true}, stopped); err != nil {
				t.Fatal(err)
			}
		}
		beat(false)
		s, ok := r.standing(eventstream.Webhooks)
		if !ok || s.Pending != 1 || s.Members != 1 || s.OldestPending.IsZero() || time.Since(s.LastSeen).Abs() > time.Minute {
			t.Errorf("%+v", s)
		}
		if err := destroy(r, eventstream.Webhooks); !errors.Is(err, eventstream.ErrReading) {
			t.Errorf("with a worker: %v", err)
		}
		beat(true)
		if err := destroy(r, eventstream.Webhooks); err != nil {
			t.Fatal(err)
		}
		if _, ok := r.standing(eventstream.Webhooks); ok {
			t.Error("they still keep events")
		}
		if n, _, err := l.HooksWaiting(t.Context()); err != nil || n != 0 {
			t.Errorf("%d wait; %v", n, err)
		}
	})
}
