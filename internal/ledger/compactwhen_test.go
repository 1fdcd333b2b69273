package ledger_test

import (
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"payscore-collector/internal/ledger"
	"payscore-collector/tasks"
)

func TestCompact_WaitsForReaders(t *testing.T) {
	after := ledger.CompactArgs{After: 25 * time.Hour, Patient: 30 * day}
	start := func(t *testing.T) *timed {
		s := newCompactable(t)
		// The stream's clock is Redis's own, which these tests do not move: no order ends
		// long before the event of its end.
		s.pass(time.Since(s.now) + time.Minute)
		return s
	}
	read := func(s *timed) []redis.XMessage {
		s.Helper()
		got, err := s.redis.Client.XReadGroup(s.Context(), &redis.XReadGroupArgs{Group: "books", Consumer: "c", Streams: []string{ledger.KeysOf(mchid).Outcomes(), ">"}}).Result()
		if err != nil {
			s.Fatal(err)
		}
		return got[0].Messages
	}
	group := func(s *timed) {
		s.redis.Client.XGroupCreateMkStream(s.Context(), ledger.KeysOf(mchid).Outcomes(), "books", "0")
	}
	t.Run("a group that was not given its end, or has not acknowledged it", func(t *testing.T) {
		s := start(t)
		group(s)
		s.end("A")
		s.pass(26 * time.Hour)
		if n := s.compact(after); n != 0 {
			t.Errorf("%d before it was read", n)
		}
		messages := read(s)
		if n := s.compact(after); n != 0 {
			t.Errorf("%d before it was acknowledged", n)
		}
		for _, m := range messages {
			s.redis.Client.XAck(t.Context(), ledger.KeysOf(mchid).Outcomes(), "books", m.ID)
		}
		if n := s.compact(after); n != 1 || !s.isCompact("A") {
			t.Errorf("%d after that", n)
		}
	})
	t.Run("a group that is destroyed is waited for no longer", func(t *testing.T) {
		s := start(t)
		group(s)
		s.end("A")
		s.pass(26 * time.Hour)
		if n := s.compact(after); n != 0 {
			t.Errorf("%d", n)
		}
		s.redis.Client.XGroupDestroy(t.Context(), ledger.KeysOf(mchid).Outcomes(), "books")
		if n := s.compact(after); n != 1 {
			t.Errorf("%d", n)
		}
	})
	t.Run("a group that stands still is not waited for longer than Patient", func(t *testing.T) {
		s := start(t)
		group(s)
		s.end("A")
		s.pass(30*day - time.Second)
		if n := s.compact(after); n != 0 {
			t.Errorf("%d", n)
		}
		s.pass(2 * time.Second)
		if n := s.compact(after); n != 1 {
			t.Errorf("%d", n)
		}
	})
	t.Run("the relay of webhooks, and billing behind it", func(t *testing.T) {
		s := start(t)
		s.redis.Client.HSet(t.Context(), ledger.KeysOf(mchid).Hooks(), "cursor", "0-0")
		s.end("A", "B")
		s.pass(26 * time.Hour)
		if n := s.compact(after); n != 0 {
			t.Errorf("%d before they were relayed", n)
		}
		s.relay(ledger.HookRelayArgs{Scan: 100, Take: 100, Most: 1000, Grace: time.Minute})
		c := s.claimHook("A", "t", 1000)
		s.settleHook(done("A", "t", c))
		if n := s.compact(after); n != 1 || !s.isCompact("A") || s.isCompact("B") {
			t.Errorf("%d: want A, whose webhook was delivered", n)
		}
		c = s.claimHook("B", "t", 1000)
		s.settleHook(done("B", "t", c))
		if n := s.compact(after); n != 0 {
			t.Errorf("%d before B is looked at again", n)
		}
		s.pass(day)
		if n := s.compact(after); n != 1 || !s.isCompact("B") {
			t.Errorf("%d: want B, in its next turn", n)
		}
		if n := s.redis.Client.ZCard(t.Context(), ledger.KeysOf(mchid).Whole()).Val(); n != 0 {
			t.Errorf("%d are to come again", n)
		}
	})
}

func TestCompact_LeavesOutWhatMayChangeSoon(t *testing.T) {
	gap := ledger.CompactArgs{After: time.Hour, Patient: 30 * day, Gap: 5 * time.Hour}
	for name, begin := range map[string]func(s *timed) (finish func()){
		"a sync that is pending": func(s *timed) func() {
			s.open("A")
			s.withdraw("A", "told")
			return func() {
				c := s.granted("A")
				s.settled(c, told(c, ledger.SyncDone))
			}
		},
		"a call under way": func(s *timed) func() {
			s.open("A")
			lim := limits()
			lim.Lease = 2 * time.Minute
			c := s.claim("A", lim)
			s.withdraw("A")
			s.redis.Client.HSet(s.Context(), ledger.KeysOf(mchid).Order("A"), "lease", s.now.Add(2*time.Hour).UnixMilli())
			return func() { s.settle(c, back(c, ledger.Confirm)) }
		},
		"a collect less than MIN_GAP ago": func(s *timed) func() {
			s.open("A")
			c := s.granted("A")
			s.settle(c, ledger.Settlement{State: tasks.Rejected, Collected: c.Now, Log: []ledger.Entry{entry("collect", "bad_request")}})
			return func() {}
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newCompactable(t)
			finish := begin(s)
			s.pass(90 * time.Minute)
			if n := s.compact(gap); n != 0 || s.isCompact("A") {
				t.Fatalf("%d", n)
			}
			finish()
			s.pass(day - time.Minute)
			if n := s.compact(gap); n != 0 {
				t.Errorf("%d before its next turn", n)
			}
			s.pass(2 * time.Minute)
			if n := s.compact(gap); n != 1 || !s.isCompact("A") {
				t.Errorf("%d in its next turn", n)
			}
		})
	}
}

// Retain removes compact orders like others.
func TestCompact_AndRetain(t *testing.T) {
	s := newCompactable(t)
	s.open("A")
	s.finish("A", 0, tasks.Paid, "")
	s.compact(compactNow)
	s.pass(91 * day)
	if n := s.retain(90*day, time.Minute); n != 1 {
		t.Errorf("%d", n)
	}
	if st, err := s.ledger.Stats(t.Context()); err != nil || st.PaidLeft != 1250 || st.PaidAmount != 0 || st.Orders[tasks.Paid] != 0 {
		t.Errorf("%+v %v", st, err)
	}
}
