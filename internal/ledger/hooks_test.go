package ledger_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"

	"payscore-collector/internal/ledger"
	"payscore-collector/tasks"
)

// hookLease is long enough to be held for the whole test.
const hookLease = time.Minute

// withdrawFor ends an open order.
func (s *setup) withdrawFor(no, reason string) {
	s.Helper()
	res, err := s.producer.Withdraw(s.Context(), tasks.Withdrawal{MchID: mchid, OutOrderNo: no, Reason: reason})
	if err != nil || res.Status != tasks.Accepted {
		s.Fatalf("withdraw %s: %+v %v", no, res, err)
	}
}

func (s *setup) reopen(no string) {
	s.Helper()
	if err := openOrder(s.Context(), s.ledger, tasks.Order{Payload: payload(no), Reopen: true}); err != nil {
		s.Fatal(err)
	}
}

// end makes an order, and an end of it.
func (s *setup) end(nos ...string) {
	s.Helper()
	for _, no := range nos {
		s.open(no)
		s.withdrawFor(no, "waived")
	}
}

func (s *setup) relay(a ledger.HookRelayArgs) ledger.HookRelay {
	s.Helper()
	r, err := s.ledger.RelayHooks(s.Context(), a)
	if err != nil {
		s.Fatal(err)
	}
	return r
}

// handedOut relays everything, and returns the round of the one order due.
func (s *setup) handedOut(no string) int64 {
	s.Helper()
	r := s.relay(ledger.HookRelayArgs{Scan: 100, Take: 100, Most: 1000, Grace: time.Minute})
	if len(r.Orders) != 1 || r.Orders[0].OutOrderNo != no {
		s.Fatalf("handed out: %+v, want %s", r.Orders, no)
	}
	return r.Orders[0].Round
}

func (s *setup) claimHook(no, token string, round int64) ledger.HookClaim {
	s.Helper()
	c, err := s.ledger.ClaimHook(s.Context(), no, token, round, hookLease)
	if err != nil {
		s.Fatal(err)
	}
	return c
}

func (s *setup) settleHook(set ledger.HookSettlement) ledger.HookClaim {
	s.Helper()
	c, err := s.ledger.SettleHook(s.Context(), set)
	if err != nil {
		s.Fatal(err)
	}
	return c
}

func done(no, token string, c ledger.HookClaim) ledger.HookSettlement {
	return ledger.HookSettlement{OutOrderNo: no, Token: token, EntryID: c.EntryID, Done: true, Lease: hookLease}
}

func failed(no, token string, c ledger.HookClaim, wait time.Duration) ledger.HookSettlement {
	return ledger.HookSettlement{OutOrderNo: no, Token: token, EntryID: c.EntryID, Failed: true, Wait: wait}
}

// wantHook checks the code of an answer and the type of the event it has.
func (s *setup) wantHook(c ledger.HookClaim, code ledger.Code, eventType string) {
	s.Helper()
	if c.Code != code || c.Event.Type != eventType || c.EventErr != nil {
		s.Errorf("%s %s %v, want %s %s", c.Code, c.Event.Type, c.EventErr, code, eventType)
	}
}

func TestRelayHooks(t *testing.T) {
	all := ledger.HookRelayArgs{Scan: 100, Take: 100, Most: 1000, Grace: time.Minute}
	t.Run("hands out the orders that ended, once within the grace", func(t *testing.T) {
		s := newSetup(t)
		s.open("OPEN")
		s.end("A|B*C", "D")
		var got []string
		rounds := map[int64]bool{}
		for _, o := range s.relay(all).Orders {
			got = append(got, o.OutOrderNo)
			rounds[o.Round] = true
		}
		slices.Sort(got)
		if diff := cmp.Diff([]string{"A|B*C", "D"}, got); diff != "" {
			t.Error(diff)
		}
		if len(rounds) != 2 {
			t.Errorf("rounds %v: each task needs its own", rounds)
		}
		if r := s.relay(all); len(r.Orders) != 0 || r.More {
			t.Errorf("again: %+v", r)
		}
		n, oldest, err := s.ledger.HooksWaiting(t.Context())
		if err != nil || n != 2 || oldest < 0 || oldest > time.Minute {
			t.Errorf("%d orders wait, the oldest for %v; %v", n, oldest, err)
		}
	})
	t.Run("hands an order out again after the grace, in another round", func(t *testing.T) {
		s := newSetup(t)
		s.end("A")
		short := ledger.HookRelayArgs{Scan: 100, Take: 100, Most: 1000, Grace: 20 * time.Millisecond}
		first := s.relay(short).Orders[0]
		s.until(func() bool {
			r := s.relay(short)
			return len(r.Orders) == 1 && r.Orders[0].Round > first.Round
		})
	})
	t.Run("takes no more than it is to", func(t *testing.T) {
		s := newSetup(t)
		s.end("A", "B", "C") // six events
		few := ledger.HookRelayArgs{Scan: 4, Take: 1, Most: 1000, Grace: time.Minute}
		var got []string
		for range 10 {
			r := s.relay(few)
			if len(r.Orders) > 1 {
				t.Fatalf("%+v", r)
			}
			for _, o := range r.Orders {
				got = append(got, o.OutOrderNo)
			}
			if !r.More && len(r.Orders) == 0 {
				break
			}
		}
		if diff := cmp.Diff([]string{"A", "B", "C"}, got); diff != "" {
			t.Error(diff)
		}
		full := ledger.HookRelayArgs{Scan: 4, Take: 0, Most: 1000, Grace: time.Minute}
		s.end("D")
		if r := s.relay(full); len(r.Orders) != 0 {
			t.Errorf("into a full queue: %+v", r)
		}
		if n, _, _ := s.ledger.HooksWaiting(t.Context()); n != 4 {
			t.Errorf("%d wait: a full queue must not keep events in the stream", n)
		}
	})
	t.Run("counts as a reader of the stream from its first look on", func(t *testing.T) {
		s := newSetup(t)
		s.relay(all)
		s.end("A")
		readers, err := s.ledger.Trim(t.Context(), time.Nanosecond)
		if err != nil || len(readers) != 1 || readers[0].Group != "webhooks" {
			t.Fatalf("%+v %v", readers, err)
		}
		if round := s.handedOut("A"); round == 0 {
			t.Error("the end was trimmed before it was taken")
		}
	})
	t.Run("leaves events in the stream where too many orders wait", func(t *testing.T) {
		s := newSetup(t)
		s.end("A", "B", "C")
		args := ledger.HookRelayArgs{Scan: 2, Take: 10, Most: 2, Grace: time.Minute}
		for range 5 {
			s.relay(args)
		}
		if n, _, _ := s.ledger.HooksWaiting(t.Context()); n != 2 {
			t.Errorf("%d wait", n)
		}
		c := s.claimHook("A", "mine", 1)
		s.settleHook(done("A", "mine", c))
		if r := s.relay(args); len(r.Orders) != 1 || r.Orders[0].OutOrderNo != "C" {
			t.Errorf("%+v", r)
		}
	})
	t.Run("put back, takes again what is still there, and nothing twice that still waits", func(t *testing.T) {
		s := newSetup(t)
		s.end("TAKEN", "WAITS")
		s.relay(all)
		s.settleHook(done("TAKEN", "mine", s.claimHook("TAKEN", "mine", 1<<40)))
		for _, cursor := range []any{"0-0", time.Now().Add(-time.Minute).UnixMilli()} {
			if err := s.redis.Client.HSet(t.Context(), ledger.KeysOf(mchid).Hooks(), "cursor", cursor).Err(); err != nil {
				t.Fatal(err)
			}
			if round := s.handedOut("TAKEN"); round == 0 {
				t.Error("it was not taken again")
			}
			s.settleHook(done("TAKEN", "mine", s.claimHook("TAKEN", "mine", 1<<40)))
			if n := s.redis.Client.LLen(t.Context(), ledger.KeysOf(mchid).Hook("WAITS")).Val(); n != 1 {
				t.Errorf("%d times in the list", n)
			}
		}
	})
	t.Run("writes nothing where there is nothing to do", func(t *testing.T) {
		s := newSetup(t)
		if !s.redis.Real {
			return // the embedded one does not count
		}
		s.end("A")
		s.relay(all)
		changes := func() string {
			info := s.redis.Client.InfoMap(t.Context(), "persistence").Val()
			return info["Persistence"]["rdb_changes_since_last_save"]
		}
		before := changes()
		s.relay(all)
		if after := changes(); after != before || before == "" {
			t.Errorf("%q changes before, %q after", before, after)
		}
	})
	t.Run("passes over what calls itself an end and names no order", func(t *testing.T) {
		s := newSetup(t)
		for _, no := range []string{"", "A B", strings.Repeat("X", 33)} {
			if err := s.redis.Client.XAdd(t.Context(), &redis.XAddArgs{
				Stream: ledger.KeysOf(mchid).Outcomes(), Values: []string{"type", "order.paid", "no", no},
			}).Err(); err != nil {
				t.Fatal(err)
			}
		}
		s.end("A")
		if r := s.relay(all); r.Foreign != 3 || len(r.Orders) != 1 {
			t.Errorf("%+v", r)
		}
	})
	t.Run("by many at once: every end once, and each order's in their order", func(t *testing.T) {
		s := newSetup(t)
		const orders, lives = 8, 6
		var work sync.WaitGroup
		stop := make(chan struct{})
		for range 4 {
			work.Go(func() {
				for {
					select {
					case <-stop:
						return
					default:
					}
					if _, err := s.ledger.RelayHooks(t.Context(), ledger.HookRelayArgs{Scan: 3, Take: 2, Most: 1000, Grace: time.Minute}); err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		var makers sync.WaitGroup
		for i := range orders {
			makers.Go(func() {
				no := fmt.Sprintf("N-%d", i)
				s.open(no)
				for life := range lives {
					s.withdrawFor(no, fmt.Sprintf("life %d", life))
					s.reopen(no)
				}
			})
		}
		makers.Wait()
		close(stop)
		work.Wait()
		for s.relay(all).More {
		}
		for i := range orders {
			no, token := fmt.Sprintf("N-%d", i), ledger.NewToken()
			c := s.claimHook(no, token, 1<<40)
			for life := range lives {
				if c.Code != ledger.Granted || c.Event.Reason != fmt.Sprintf("life %d", life) {
					t.Fatalf("%s, life %d: %s %+v", no, life, c.Code, c.Event)
				}
				c = s.settleHook(done(no, token, c))
			}
			s.wantHook(c, ledger.Absent, "")
		}
	})
}

func TestClaimHook(t *testing.T) {
	t.Run("gives the end as it stands in the stream", func(t *testing.T) {
		s := newSetup(t)
		s.open("A")
		const reason = `waived: "50%" \ 甲/乙 <&> ' 🚲`
		s.withdrawFor("A", reason)
		c := s.claimHook("A", ledger.NewToken(), s.handedOut("A"))
		s.wantHook(c, ledger.Granted, "order.withdrawn")
		stream, err := s.redis.Client.XRange(t.Context(), ledger.KeysOf(mchid).Outcomes(), c.EntryID, c.EntryID).Result()
		if err != nil || len(stream) != 1 {
			t.Fatalf("%v %v", stream, err)
		}
		want, err := ledger.DecodeEvent(mchid, stream[0].ID, stream[0].Values)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, c.Event); diff != "" || c.Event.Reason != reason {
			t.Errorf("%s %s", c.Event.Reason, diff)
		}
	})
	t.Run("one at a time, and repeated with its token as often as you like", func(t *testing.T) {
		s := newSetup(t)
		s.end("A")
		round := s.handedOut("A")
		for range 2 {
			s.wantHook(s.claimHook("A", "mine", round), ledger.Granted, "order.withdrawn")
		}
		s.wantHook(s.claimHook("A", "other", round), ledger.Leased, "")
	})
	t.Run("of an order without ends leaves nothing behind", func(t *testing.T) {
		s := newSetup(t)
		s.wantHook(s.claimHook("NONE", "mine", 1), ledger.Absent, "")
		if keys := s.redis.Client.Keys(t.Context(), "*").Val(); len(keys) != 0 {
			t.Errorf("%v", keys)
		}
	})
	t.Run("after the lease it is another's, and the order comes by itself", func(t *testing.T) {
		s := newSetup(t)
		s.end("A")
		round := s.handedOut("A")
		if _, err := s.ledger.ClaimHook(t.Context(), "A", "dead", round, 30*time.Millisecond); err != nil {
			t.Fatal(err)
		}
		var again int64
		s.until(func() bool {
			r := s.relay(ledger.HookRelayArgs{Scan: 10, Take: 10, Most: 1000, Grace: time.Minute})
			if len(r.Orders) == 1 {
				again = r.Orders[0].Round
			}
			return len(r.Orders) == 1
		})
		s.wantHook(s.claimHook("A", "alive", again), ledger.Granted, "order.withdrawn")
	})
	t.Run("says that an entry is no event", func(t *testing.T) {
		s := newSetup(t)
		if err := s.redis.Client.XAdd(t.Context(), &redis.XAddArgs{
			Stream: ledger.KeysOf(mchid).Outcomes(), Values: []string{"type", "order.paid", "no", "A", "state", "unheard-of"},
		}).Err(); err != nil {
			t.Fatal(err)
		}
		c := s.claimHook("A", "mine", s.handedOut("A"))
		if c.Code != ledger.Granted || !errors.Is(c.EventErr, ledger.ErrEvent) {
			t.Errorf("%+v", c)
		}
		s.wantHook(s.settleHook(done("A", "mine", c)), ledger.Absent, "")
	})
}
