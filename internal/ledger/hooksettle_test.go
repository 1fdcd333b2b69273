package ledger_test

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"payscore-collector/internal/ledger"
)

func TestSettleHook(t *testing.T) {
	// twoEnds is an order that was withdrawn, and paid all the same.
	twoEnds := func(s *setup) ledger.HookClaim {
		s.end("A")
		amount := int64(1250)
		code, _, err := s.ledger.Notice(s.Context(), ledger.Notice{
			OutOrderNo: "A", Paid: true, Facts: ledger.Facts{TransactionID: "42", Total: &amount, Paid: &amount},
			Entry: entry("notification", "paid"),
		})
		if err != nil || code != ledger.NoticeEnded {
			s.Fatalf("%s %v", code, err)
		}
		c := s.claimHook("A", "mine", s.handedOut("A"))
		s.wantHook(c, ledger.Granted, "order.withdrawn")
		return c
	}
	t.Run("continues with the next final state under the same lease, and leaves nothing behind", func(t *testing.T) {
		s := newSetup(t)
		c := twoEnds(s)
		next := s.settleHook(done("A", "mine", c))
		s.wantHook(next, ledger.Granted, "order.paid")
		s.wantHook(s.claimHook("A", "other", 1<<40), ledger.Leased, "")
		s.wantHook(s.settleHook(done("A", "mine", next)), ledger.Absent, "")
		fields := s.redis.Client.HKeys(t.Context(), ledger.KeysOf(mchid).Hooks()).Val()
		slices.Sort(fields)
		if diff := cmp.Diff([]string{"cursor", "round"}, fields); diff != "" {
			t.Error(diff)
		}
		k := ledger.KeysOf(mchid)
		if n := s.redis.Client.Exists(t.Context(), k.Hook("A"), k.HookDue(), k.HookWaiting()).Val(); n != 0 {
			t.Errorf("%d keys are left", n)
		}
	})
	t.Run("repeated changes nothing", func(t *testing.T) {
		s := newSetup(t)
		c := twoEnds(s)
		for range 3 {
			s.wantHook(s.settleHook(done("A", "mine", c)), ledger.Granted, "order.paid")
		}
		next := s.claimHook("A", "mine", 1<<40)
		s.wantHook(s.settleHook(failed("A", "mine", next, time.Hour)), ledger.Settled, "")
		s.wantHook(s.settleHook(failed("A", "mine", next, 0)), ledger.Lost, "")
		if r := s.relay(ledger.HookRelayArgs{Scan: 10, Take: 10, Most: 1000}); len(r.Orders) != 0 {
			t.Errorf("the repeat was taken for news: %+v", r)
		}
	})
	t.Run("may leave the next end to others", func(t *testing.T) {
		s := newSetup(t)
		set := done("A", "mine", twoEnds(s))
		set.Lease = 0
		s.wantHook(s.settleHook(set), ledger.Settled, "")
		s.wantHook(s.claimHook("A", "other", s.handedOut("A")), ledger.Granted, "order.paid")
	})
	t.Run("a failure puts the order off, for older tasks too, and counts", func(t *testing.T) {
		s := newSetup(t)
		s.end("A")
		// The queue is slower than the grace: it has three tasks.
		var rounds []int64
		for range 3 {
			r := s.relay(ledger.HookRelayArgs{Scan: 10, Take: 10, Most: 1000, Grace: 0})
			rounds = append(rounds, r.Orders[0].Round)
		}
		c := s.claimHook("A", "mine", rounds[0])
		s.wantHook(c, ledger.Granted, "order.withdrawn")
		s.settleHook(failed("A", "mine", c, 30*time.Millisecond))
		for _, round := range rounds {
			s.wantHook(s.claimHook("A", "other", round), ledger.Stale, "")
		}
		var again int64
		s.until(func() bool {
			r := s.relay(ledger.HookRelayArgs{Scan: 10, Take: 10, Most: 1000, Grace: time.Minute})
			if len(r.Orders) == 1 {
				again = r.Orders[0].Round
			}
			return len(r.Orders) == 1
		})
		c = s.claimHook("A", "mine", again)
		if c.Code != ledger.Granted || c.Fails != 1 {
			t.Errorf("%s after %d failures", c.Code, c.Fails)
		}
		s.settleHook(done("A", "mine", c))
		s.reopen("A")
		s.withdrawFor("A", "once more")
		if c = s.claimHook("A", "mine", s.handedOut("A")); c.Fails != 0 {
			t.Errorf("the next end begins with %d failures", c.Fails)
		}
	})
	t.Run("a new end of an order that waits does not hurry it", func(t *testing.T) {
		s := newSetup(t)
		s.end("A")
		c := s.claimHook("A", "mine", s.handedOut("A"))
		s.settleHook(failed("A", "mine", c, time.Hour))
		s.reopen("A")
		s.withdrawFor("A", "once more")
		s.end("B")
		s.handedOut("B") // alone
	})
	t.Run("what was delivered is removed, also without the lease", func(t *testing.T) {
		s := newSetup(t)
		s.end("A")
		slow, err := s.ledger.ClaimHook(t.Context(), "A", "slow", s.handedOut("A"), time.Millisecond)
		if err != nil {
			t.Fatal(err)
		}
		s.reopen("A")
		s.withdrawFor("A", "once more")
		s.relay(ledger.HookRelayArgs{Scan: 10, Most: 1000})
		var other ledger.HookClaim
		s.until(func() bool { other = s.claimHook("A", "other", 1<<40); return other.Code == ledger.Granted })
		if other.EntryID != slow.EntryID {
			t.Fatalf("%s is not %s", other.EntryID, slow.EntryID)
		}
		// The slow one neither continues nor moves the order.
		s.wantHook(s.settleHook(failed("A", "slow", slow, 0)), ledger.Lost, "")
		s.wantHook(s.settleHook(done("A", "slow", slow)), ledger.Lost, "")
		// The other's failure is not one of the next end.
		s.wantHook(s.settleHook(failed("A", "other", other, time.Hour)), ledger.Settled, "")
		next := s.claimHook("A", "other", s.handedOut("A"))
		if next.Code != ledger.Granted || next.Fails != 0 || next.Event.Reason != "once more" {
			t.Errorf("%+v", next)
		}
	})
}

func TestHookWaitOf(t *testing.T) {
	s := newSetup(t)
	wait := func() ledger.HookWait {
		t.Helper()
		w, err := s.ledger.HookWaitOf(t.Context(), "A")
		if err != nil {
			t.Fatal(err)
		}
		return w
	}
	if got := wait(); got != (ledger.HookWait{}) {
		t.Errorf("of no order: %+v", got)
	}
	s.end("A")
	round := s.handedOut("A")
	if got := wait(); got.Ends != 1 || got.Failures != 0 || time.Since(got.Since).Abs() > time.Minute {
		t.Errorf("before its delivery: %+v", got)
	}
	c := s.claimHook("A", "mine", round)
	s.settleHook(ledger.HookSettlement{OutOrderNo: "A", Token: "mine", EntryID: c.EntryID, Failed: true, Wait: time.Hour})
	if got := wait(); got.Ends != 1 || got.Failures != 1 || time.Until(got.Next) < 50*time.Minute {
		t.Errorf("after a failure: %+v", got)
	}
	s.settleHook(ledger.HookSettlement{OutOrderNo: "A", Token: "mine", EntryID: c.EntryID, Done: true})
	if got := wait(); got != (ledger.HookWait{}) {
		t.Errorf("delivered: %+v", got)
	}
}
