package ledger_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"

	"payscore-collector/internal/ledger"
	"payscore-collector/internal/testkit/redistest"
)

// everything relays all that is there.
var everything = ledger.HookRelayArgs{Scan: 100, Take: 100, Most: 1000, Grace: time.Minute}

// deed is who lets webhooks be delivered or forgotten, in these tests.
var deed = ledger.Deed{By: "cli:anna"}

func TestHookWaits(t *testing.T) {
	s := newSetup(t)
	var nos []string
	for i := range 25 {
		nos = append(nos, fmt.Sprintf("W%02d", i))
	}
	s.end(nos...)
	s.relay(everything)
	k := ledger.KeysOf(mchid)
	// Many of one moment: a page may end among them.
	for _, no := range nos[3:22] {
		s.redis.Client.ZAdd(t.Context(), k.HookWaiting(), z(no, time.Now().UnixMilli()))
	}
	pages := func(limit int, between func()) (got []string) {
		for cursor := ""; ; {
			list, next, err := s.ledger.HookWaits(t.Context(), cursor, limit)
			if err != nil {
				t.Fatal(err)
			}
			if len(list) > limit {
				t.Fatalf("%d on a page of %d", len(list), limit)
			}
			for _, w := range list {
				got = append(got, w.OutOrderNo)
			}
			if cursor = next; cursor == "" {
				return got
			}
			between()
		}
	}
	for _, limit := range []int{1, 2, 7, 24, 25, 100} {
		got := pages(limit, func() {})
		slices.Sort(got)
		if diff := cmp.Diff(nos, got); diff != "" {
			t.Errorf("pages of %d (-want +got):\n%s", limit, diff)
		}
	}
	t.Run("each once, also if some are delivered in between", func(t *testing.T) {
		gone := 0
		got := pages(4, func() {
			no := nos[gone]
			gone++
			s.settleHook(done(no, "mine", s.claimHook(no, "mine", 1<<40)))
		})
		seen := map[string]int{}
		for _, no := range got {
			seen[no]++
		}
		for _, no := range nos[gone:] {
			if seen[no] != 1 {
				t.Errorf("%s is listed %d times", no, seen[no])
			}
		}
	})
	t.Run("a cursor of another origin is refused", func(t *testing.T) {
		for _, cursor := range []string{"x", "12", "-", "-5-A", "12-", "12-a b", "12-" + strings.Repeat("A", 33)} {
			if _, _, err := s.ledger.HookWaits(t.Context(), cursor, 10); !errors.Is(err, ledger.ErrCursor) {
				t.Errorf("%q: %v", cursor, err)
			}
		}
	})
	t.Run("says why the last delivery failed, until one succeeds", func(t *testing.T) {
		s := newSetup(t)
		s.end("A")
		c := s.claimHook("A", "mine", s.handedOut("A"))
		set := failed("A", "mine", c, time.Hour)
		set.Status, set.Why = 503, "it answered 503"
		s.settleHook(set)
		w, err := s.ledger.HookWaitOf(t.Context(), "A")
		if err != nil || w.Last == nil || w.Last.Status != 503 || w.Last.Why != "it answered 503" || time.Since(w.Last.At).Abs() > time.Minute {
			t.Fatalf("%+v %+v %v", w, w.Last, err)
		}
		if w.MchID != mchid || w.OutOrderNo != "A" || w.Failures != 1 {
			t.Errorf("%+v", w)
		}
		if _, err := s.ledger.RetryHooks(t.Context(), deed, nil); err != nil {
			t.Fatal(err)
		}
		c = s.claimHook("A", "next", s.handedOut("A"))
		set = failed("A", "next", c, time.Hour)
		set.Why = "no answer in time"
		s.settleHook(set)
		if w, _ = s.ledger.HookWaitOf(t.Context(), "A"); w.Failures != 2 || w.Last.Status != 0 || w.Last.Why != "no answer in time" {
			t.Errorf("%+v %+v", w, w.Last)
		}
		if _, err := s.ledger.RetryHooks(t.Context(), deed, nil); err != nil {
			t.Fatal(err)
		}
		s.settleHook(done("A", "last", s.claimHook("A", "last", s.handedOut("A"))))
		fields := s.redis.Client.HKeys(t.Context(), k.Hooks()).Val()
		slices.Sort(fields)
		if diff := cmp.Diff([]string{"cursor", "round"}, fields); diff != "" {
			t.Errorf("what is left (-want +got):\n%s", diff)
		}
	})
}

func TestRetryHooks(t *testing.T) {
	// waiting makes orders whose delivery has failed, and is due in an hour.
	waiting := func(s *setup, nos ...string) {
		s.end(nos...)
		s.relay(everything)
		for _, no := range nos {
			s.settleHook(failed(no, "mine", s.claimHook(no, "mine", 1<<40), time.Hour))
		}
	}
	due := func(s *setup) (nos []string) {
		for _, o := range s.relay(everything).Orders {
			nos = append(nos, o.OutOrderNo)
		}
		slices.Sort(nos)
		return nos
	}
	t.Run("makes those due that are named, and says which have nothing", func(t *testing.T) {
		s := newSetup(t)
		waiting(s, "A", "B", "C")
		if got := due(s); len(got) != 0 {
			t.Fatalf("due before: %v", got)
		}
		r, err := s.ledger.RetryHooks(t.Context(), deed, []string{"A", "NONE", "C"})
		if diff := cmp.Diff(ledger.HookRetry{MchID: mchid, Retried: 2, NotWaiting: []string{"NONE"}}, r); err != nil || diff != "" {
			t.Errorf("%v (-want +got):\n%s", err, diff)
		}
		if diff := cmp.Diff([]string{"A", "C"}, due(s)); diff != "" {
			t.Errorf("due (-want +got):\n%s", diff)
		}
	})
	t.Run("without names makes all of them due, and continues a delivery that is under way", func(t *testing.T) {
		s := newSetup(t)
		waiting(s, "A", "B")
		s.end("BUSY")
		c := s.claimHook("BUSY", "mine", s.handedOut("BUSY"))
		if r, err := s.ledger.RetryHooks(t.Context(), deed, nil); err != nil || r.Retried != 3 || r.NotWaiting != nil {
			t.Errorf("%+v %v", r, err)
		}
		if diff := cmp.Diff([]string{"A", "B"}, due(s)); diff != "" {
			t.Errorf("due (-want +got):\n%s", diff)
		}
		s.wantHook(s.claimHook("BUSY", "other", 1<<40), ledger.Leased, "")
		s.wantHook(s.settleHook(done("BUSY", "mine", c)), ledger.Absent, "")
		if r, err := s.ledger.RetryHooks(t.Context(), deed, []string{"BUSY"}); err != nil || r.Retried != 0 || len(r.NotWaiting) != 1 {
			t.Errorf("delivered: %+v %v", r, err)
		}
	})
	t.Run("takes more than one page", func(t *testing.T) {
		s := newSetup(t)
		const n = 1203
		k := ledger.KeysOf(mchid)
		var nos []string
		for i := range n {
			nos = append(nos, fmt.Sprintf("P%04d", i))
			s.redis.Client.ZAdd(t.Context(), k.HookDue(), z(nos[i], time.Now().Add(time.Hour).UnixMilli()))
		}
		if r, err := s.ledger.RetryHooks(t.Context(), deed, nil); err != nil || r.Retried != n {
			t.Errorf("%+v %v", r, err)
		}
		if later := s.redis.Client.ZCount(t.Context(), k.HookDue(), fmt.Sprint(time.Now().Add(time.Minute).UnixMilli()), "+inf").Val(); later != 0 {
			t.Errorf("%d are not due", later)
		}
		if r, err := s.ledger.RetryHooks(t.Context(), deed, nos); err != nil || r.Retried != n {
			t.Errorf("named: %+v %v", r, err)
		}
	})
}

func TestReplayHooks(t *testing.T) {
	// deliver delivers everything that is due, and returns the events by order.
	deliver := func(s *setup) map[string][]string {
		got := map[string][]string{}
		for {
			r := s.relay(everything)
			for _, o := range r.Orders {
				c := s.claimHook(o.OutOrderNo, "mine", o.Round)
				for c.Code == ledger.Granted {
					got[o.OutOrderNo] = append(got[o.OutOrderNo], c.EntryID)
					c = s.settleHook(done(o.OutOrderNo, "mine", c))
				}
			}
			if len(r.Orders) == 0 && !r.More {
				return got
			}
		}
	}
	replay := func(s *setup, since time.Time) ledger.HookReplay {
		s.Helper()
		r, err := s.ledger.ReplayHooks(s.Context(), deed, since, false)
		if err != nil {
			s.Fatal(err)
		}
		return r
	}
	t.Run("delivers the events since a time again, with the same ids, in order", func(t *testing.T) {
		s := newSetup(t)
		s.end("OLD", "A")
		s.tick()
		since := s.now()
		s.end("B")
		s.reopen("A")
		s.withdrawFor("A", "once more")
		first := deliver(s)
		if len(first["A"]) != 2 || len(first["B"]) != 1 || len(first["OLD"]) != 1 {
			t.Fatalf("%v", first)
		}
		r := replay(s, since)
		if r.MchID != mchid || r.First.Before(since) || r.Last.Before(r.First) || !r.Since.Equal(since) {
			t.Errorf("since %s: %+v", since, r)
		}
		if diff := cmp.Diff(map[string][]string{"A": first["A"][1:], "B": first["B"]}, deliver(s)); diff != "" {
			t.Errorf("since the second event (-want +got):\n%s", diff)
		}
		replay(s, time.UnixMilli(0))
		if diff := cmp.Diff(first, deliver(s)); diff != "" {
			t.Errorf("all (-want +got):\n%s", diff)
		}
	})
	t.Run("an order that waits for billing gets its earlier events before the later ones", func(t *testing.T) {
		s := newSetup(t)
		s.end("A")
		first := deliver(s)["A"]
		for _, why := range []string{"2", "3", "4"} {
			s.reopen("A")
			s.withdrawFor("A", why)
		}
		// The second event is delivered, the third and the fourth wait.
		c := s.claimHook("A", "mine", s.handedOut("A"))
		first = append(first, c.EntryID)
		set := done("A", "mine", c)
		set.Lease = 0
		s.settleHook(set)
		for range 2 {
			replay(s, time.UnixMilli(0))
			s.relay(everything)
		}
		w, err := s.ledger.HookWaitOf(t.Context(), "A")
		if err != nil || w.Ends != 4 || w.Since.UnixMilli() != msOf(first[0]) {
			t.Errorf("%+v, %v; want 4 since %s", w, err, first[0])
		}
		if _, err := s.ledger.RetryHooks(t.Context(), deed, nil); err != nil {
			t.Fatal(err)
		}
		got := deliver(s)["A"]
		if len(got) != 4 || !slices.Equal(got[:2], first) || !slices.IsSortedFunc(got, func(a, b string) int { return int(msOf(a) - msOf(b)) }) {
			t.Errorf("delivered %v, after %v", got, first)
		}
	})
	t.Run("an event that is being delivered meanwhile is delivered again", func(t *testing.T) {
		s := newSetup(t)
		s.end("A")
		first := deliver(s)["A"][0]
		s.reopen("A")
		s.withdrawFor("A", "2")
		c := s.claimHook("A", "mine", s.handedOut("A"))
		replay(s, time.UnixMilli(0))
		s.relay(everything)
		next := s.settleHook(done("A", "mine", c))
		if next.Code != ledger.Granted || next.EntryID != first {
			t.Fatalf("%+v, want %s", next, first)
		}
		next = s.settleHook(done("A", "mine", next))
		if next.Code != ledger.Granted || next.EntryID != c.EntryID {
			t.Fatalf("%+v, want %s", next, c.EntryID)
		}
		s.wantHook(s.settleHook(done("A", "mine", next)), ledger.Absent, "")
	})
	t.Run("leaves an order that waits, which wakes a merchant that sleeps", func(t *testing.T) {
		s := newSetup(t)
		var before []string // more than are taken at once
		for i := range 1500 {
			before = append(before, fmt.Sprintf("OPEN%04d", i))
		}
		for page := range slices.Chunk(before, 500) {
			for _, o := range ledger.Open(t.Context(), s.redis.Client, openings(page)) {
				if o.Err != nil {
					t.Fatal(o.Err)
				}
			}
		}
		s.end("A")
		for relay := (ledger.HookRelay{More: true}); relay.More; {
			relay = s.relay(everything)
			for _, o := range relay.Orders {
				s.settleHook(done(o.OutOrderNo, "mine", s.claimHook(o.OutOrderNo, "mine", o.Round)))
			}
		}
		if n, _, err := s.ledger.HooksWaiting(t.Context()); err != nil || n != 0 {
			t.Fatalf("%d wait before; %v", n, err)
		}
		replay(s, time.UnixMilli(0))
		if n, _, err := s.ledger.HooksWaiting(t.Context()); err != nil || n != 1 {
			t.Errorf("%d wait; %v", n, err)
		}
	})
	t.Run("changes nothing where the relay has not come that far", func(t *testing.T) {
		s := newSetup(t)
		s.end("A")
		deliver(s)
		s.tick()
		since := s.now()
		s.end("B")
		if r := replay(s, since); !r.First.IsZero() || !r.Last.IsZero() {
			t.Errorf("%+v", r)
		}
		if r := replay(s, time.Now().Add(-time.Hour)); r.First.IsZero() { // A's
			t.Errorf("%+v", r)
		}
	})
	t.Run("webhooks that have never run begin where they must", func(t *testing.T) {
		s := newSetup(t)
		s.end("PAST")
		s.tick()
		since := s.now()
		s.end("NEW")
		if _, err := s.ledger.ReplayHooks(t.Context(), deed, since, false); !errors.Is(err, ledger.ErrNoHooks) {
			t.Fatalf("%v", err)
		}
		if n := s.redis.Client.Exists(t.Context(), ledger.KeysOf(mchid).Hooks()).Val(); n != 0 {
			t.Error("a refused replay keeps events in the stream")
		}
		if _, err := s.ledger.ReplayHooks(t.Context(), deed, since, true); err != nil {
			t.Fatal(err)
		}
		if got := deliver(s); len(got) != 1 || len(got["NEW"]) != 1 {
			t.Errorf("%v", got)
		}
	})
	t.Run("a replay at the same time as the relay loses nothing", func(t *testing.T) {
		s := newSetup(t)
		s.end("A", "B")
		first := deliver(s)
		done := make(chan struct{})
		go func() {
			defer close(done)
			for range 20 {
				_, _ = s.ledger.ReplayHooks(s.Context(), deed, time.UnixMilli(0), false)
			}
		}()
		for range 20 {
			s.relay(everything)
		}
		<-done
		replay(s, time.UnixMilli(0))
		s.relay(everything)
		for no, ids := range first {
			w, err := s.ledger.HookWaitOf(t.Context(), no)
			if err != nil || int(w.Ends) != len(ids) {
				t.Errorf("%s: %d events wait, want %d; %v", no, w.Ends, len(ids), err)
			}
		}
	})
}

func TestDropHooks(t *testing.T) {
	s := newSetup(t)
	s.end("A", "B")
	c := s.claimHook("A", "mine", s.relay(everything).Orders[0].Round)
	s.settleHook(failed("A", "mine", c, time.Hour))
	if had, err := s.ledger.DropHooks(t.Context(), deed, "webhooks"); err != nil || !had {
		t.Errorf("%t %v", had, err)
	}
	k := ledger.KeysOf(mchid)
	if n := s.redis.Client.Exists(t.Context(), k.Hook("A"), k.Hook("B"), k.HookDue(), k.HookWaiting()).Val(); n != 0 {
		t.Errorf("%d keys are left", n)
	}
	if diff := cmp.Diff([]string{"round"}, s.redis.Client.HKeys(t.Context(), k.Hooks()).Val()); diff != "" {
		t.Errorf("what is left (-want +got):\n%s", diff)
	}
	if readers, _, err := s.ledger.Readers(t.Context()); err != nil || len(readers) != 0 {
		t.Errorf("readers: %+v %v", readers, err)
	}
	if had, err := s.ledger.DropHooks(t.Context(), deed, "webhooks"); err != nil || had {
		t.Errorf("again: %t %v", had, err)
	}
}

// What is left when a caller dies midway is dropped when the operator does so again: the
// webhooks are still a reader.
func TestDropHooks_InterruptedMidway(t *testing.T) {
	s := newSetup(t)
	s.end("A")
	s.relay(everything)
	k := ledger.KeysOf(mchid)
	for i := range 600 { // more than one call drops
		s.redis.Client.ZAdd(t.Context(), k.HookWaiting(), z(fmt.Sprintf("W%d", i), time.Now().UnixMilli()))
	}
	ctx, die := context.WithCancel(t.Context())
	s.redis.Client.AddHook(afterScript{do: die})
	if _, err := s.ledger.DropHooks(ctx, deed, "webhooks"); err == nil {
		t.Fatal("not interrupted")
	}
	if readers, _, err := s.ledger.Readers(t.Context()); err != nil || len(readers) != 1 {
		t.Errorf("readers: %+v %v", readers, err)
	}
	if had, err := s.ledger.DropHooks(t.Context(), deed, "webhooks"); err != nil || !had {
		t.Errorf("again: %t %v", had, err)
	}
	if n := s.redis.Client.Exists(t.Context(), k.HookWaiting()).Val(); n != 0 {
		t.Error("orders are left")
	}
}

// afterScript is called after each script that has run.
type afterScript struct {
	redistest.Hook
	do func()
}

func (a afterScript) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		err := next(ctx, cmd)
		if err == nil && strings.HasPrefix(cmd.Name(), "eval") {
			a.do()
		}
		return err
	}
}

// msOf is the time of an entry.
func msOf(id string) (ms int64) {
	_, _ = fmt.Sscanf(id, "%d-", &ms)
	return ms
}

// z is a member of an index by time.
func z(no string, ms int64) redis.Z { return redis.Z{Member: no, Score: float64(ms)} }

// now is Redis's clock as the IDs of the stream's entries have it.
func (s *setup) now() time.Time {
	s.Helper()
	now, err := s.redis.Client.Time(s.Context()).Result()
	if err != nil {
		s.Fatal(err)
	}
	return now.Truncate(time.Millisecond).UTC()
}

// tick waits until what is written next is later than what was written.
func (s *setup) tick() {
	s.Helper()
	last, err := s.redis.Client.XRevRangeN(s.Context(), ledger.KeysOf(mchid).Outcomes(), "+", "-", 1).Result()
	if err != nil || len(last) != 1 {
		s.Fatal(last, err)
	}
	s.until(func() bool { return s.now().UnixMilli() > msOf(last[0].ID) })
}

// openings are orders without a wish.
func openings(nos []string) (list []ledger.Opening) {
	for _, no := range nos {
		list = append(list, ledger.Opening{Owner: payload(no).Owner(), OutOrderNo: no})
	}
	return list
}

// The trail has what was done to webhooks and readers once, also when the caller dies right
// after Redis has begun with it, and when it is repeated with its token.
func TestDeedsToReadersAreRecorded(t *testing.T) {
	for name, do := range map[string]func(*setup, context.Context, ledger.Deed) error{
		"retry-webhooks every order that waits": func(s *setup, ctx context.Context, d ledger.Deed) error {
			_, err := s.ledger.RetryHooks(ctx, d, nil)
			return err
		},
		"retry-webhooks A": func(s *setup, ctx context.Context, d ledger.Deed) error {
			_, err := s.ledger.RetryHooks(ctx, d, []string{"A"})
			return err
		},
		"replay-webhooks since 1970-01-01T00:00:01Z": func(s *setup, ctx context.Context, d ledger.Deed) error {
			_, err := s.ledger.ReplayHooks(ctx, d, time.Unix(1, 0), false)
			return err
		},
		"destroy-reader webhooks": func(s *setup, ctx context.Context, d ledger.Deed) error {
			_, err := s.ledger.DropHooks(ctx, d, "webhooks")
			return err
		},
		"destroy-reader g": func(s *setup, ctx context.Context, d ledger.Deed) error {
			had, err := s.ledger.DestroyReader(ctx, d, "g")
			if err == nil && !had {
				err = errors.New("there was none")
			}
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSetup(t)
			s.end("A")
			s.relay(everything)
			k := ledger.KeysOf(mchid)
			if err := s.redis.Client.XGroupCreate(t.Context(), k.Outcomes(), "g", "0").Err(); err != nil {
				t.Fatal(err)
			}
			for i := range 600 { // more than one call is needed for all
				for _, key := range []string{k.HookWaiting(), k.HookDue()} {
					s.redis.Client.ZAdd(t.Context(), key, z(fmt.Sprintf("W%d", i), time.Now().Add(time.Hour).UnixMilli()))
				}
			}
			d := ledger.Deed{By: "cli:anna", Token: ledger.NewToken()}
			ctx, die := context.WithCancel(t.Context())
			defer die()
			s.redis.Client.AddHook(afterScript{do: die})
			_ = do(s, ctx, d) // the caller dies; whether it has its answer is chance
			wants := func(when string, n int) {
				t.Helper()
				list, _, err := ledger.Audit(t.Context(), []*ledger.Ledger{s.ledger}, 10, "")
				list = slices.DeleteFunc(list, func(a ledger.Audited) bool { return a.By != d.By }) // what the fixture has done
				if err != nil || len(list) != n {
					t.Fatalf("%s: %+v %v", when, list, err)
				}
				if a := list[0]; a.Action.Action+" "+a.Detail != name || a.By != d.By {
					t.Errorf("%s: %+v", when, a)
				}
			}
			wants("after the caller's death", 1)
			if err := do(s, t.Context(), d); err != nil {
				t.Fatal(err)
			}
			wants("repeated", 1)
		})
	}
}
