package ledger_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"

	"payscore-collector/internal/ledger"
	"payscore-collector/tasks"
)

// age puts the end of an order into the past.
func (s *setup) age(state tasks.State, no string, by time.Duration) {
	s.Helper()
	at := float64(time.Now().Add(-by).UnixMilli())
	if err := s.redis.Client.ZAdd(s.Context(), ledger.KeysOf(mchid).Ended(state), redis.Z{Score: at, Member: no}).Err(); err != nil {
		s.Fatal(err)
	}
}

func (s *setup) retain(retention, gap time.Duration) int64 {
	s.Helper()
	n, err := s.ledger.Retain(s.Context(), retention, gap, time.Time{})
	if err != nil {
		s.Fatal(err)
	}
	return n
}

func TestRetain(t *testing.T) {
	const day = 24 * time.Hour
	t.Run("takes old ends and their logs away, and nothing else", func(t *testing.T) {
		s := newSetup(t)
		for _, no := range []string{"OLD", "NEW", "OPEN"} {
			s.open(no)
		}
		s.notice(paidNotice("OLD"))
		s.notice(paidNotice("NEW"))
		s.age(tasks.Paid, "OLD", 91*day)
		if n := s.retain(90*day, time.Minute); n != 1 {
			t.Errorf("%d", n)
		}
		ctx, k := t.Context(), ledger.KeysOf(mchid)
		if n := s.redis.Client.Exists(ctx, k.Order("OLD"), k.Log("OLD")).Val(); n != 0 {
			t.Errorf("%d keys of it are left", n)
		}
		if s.get("NEW").State != tasks.Paid || s.get("OPEN").State != tasks.Queued {
			t.Error("others were touched")
		}
		st, err := s.ledger.Stats(ctx)
		if err != nil || st.Orders[tasks.Paid] != 1 || st.PaidAmount != 1250 || st.PaidLeft != 1250 {
			t.Errorf("%+v %v", st, err)
		}
	})
	t.Run("every kind of end goes", func(t *testing.T) {
		s := newSetup(t)
		for _, state := range []tasks.State{tasks.Closed, tasks.Rejected, tasks.Exhausted} {
			no := string(state)
			s.open(no)
			c := s.granted(no)
			s.settle(c, ledger.Settlement{State: state, Collected: c.Now})
			s.age(state, no, 2*day)
		}
		s.open("withdrawn")
		s.withdraw("withdrawn")
		s.age(tasks.Withdrawn, "withdrawn", 2*day)
		if n := s.retain(day, 0); n != 4 {
			t.Errorf("%d", n)
		}
		if left := s.stats(); len(left) != 0 {
			t.Errorf("%v", left)
		}
	})
	t.Run("an order with work left stays, and does not block those behind it", func(t *testing.T) {
		s := newSetup(t)
		s.open("LEASED")
		c := s.granted("LEASED")
		s.withdraw("LEASED")
		s.age(tasks.Withdrawn, "LEASED", 5*day)
		s.open("TELLING")
		s.withdraw("TELLING", "told")
		s.age(tasks.Withdrawn, "TELLING", 4*day)
		s.open("DONE")
		s.withdraw("DONE")
		s.age(tasks.Withdrawn, "DONE", 3*day)
		if n := s.retain(day, 0); n != 1 {
			t.Errorf("%d", n)
		}
		if s.get("LEASED").State != tasks.Withdrawn || s.get("TELLING").Sync == nil {
			t.Error("gone")
		}
		set := back(c, ledger.Confirm)
		set.Collected = c.Now
		s.settle(c, set)
		if n := s.retain(day, 0); n != 1 {
			t.Errorf("%d after the call", n)
		}
	})
	t.Run("an order that was collected less than MIN_GAP ago stays", func(t *testing.T) {
		s := newSetup(t)
		s.open("A")
		c := s.granted("A")
		s.settle(c, ledger.Settlement{State: tasks.Rejected, Collected: c.Now, Log: []ledger.Entry{entry("collect", "bad_request")}})
		s.age(tasks.Rejected, "A", time.Minute)
		if n := s.retain(time.Second, time.Hour); n != 0 {
			t.Errorf("%d", n)
		}
		if n := s.retain(time.Second, 0); n != 1 {
			t.Errorf("%d", n)
		}
	})
	t.Run("more than a page of them go at once", func(t *testing.T) {
		s := newSetup(t)
		for i := range 450 {
			no := fmt.Sprintf("A%d", i)
			s.open(no)
			s.notice(paidNotice(no))
			s.age(tasks.Paid, no, 2*day)
		}
		if n := s.retain(day, 0); n != 450 {
			t.Errorf("%d", n)
		}
	})
	t.Run("an order that was opened again is not what its old place in the index says", func(t *testing.T) {
		s := newSetup(t)
		s.open("A")
		s.age(tasks.Paid, "A", 2*day)
		s.retain(day, 0)
		if s.get("A").State != tasks.Queued {
			t.Error("gone")
		}
	})
}

func TestTrim(t *testing.T) {
	tenOldEvents := func(t *testing.T) (*setup, string) {
		s := newSetup(t)
		key := ledger.KeysOf(mchid).Outcomes()
		// Ten events of long ago, and then one of now. Nodes of ten entries, since
		// trimming takes whole nodes.
		if s.redis.Real {
			if err := s.redis.Client.ConfigSet(t.Context(), "stream-node-max-entries", "10").Err(); err != nil {
				t.Fatal(err)
			}
		}
		for i := 1; i <= 10; i++ {
			if err := s.redis.Client.XAdd(t.Context(), &redis.XAddArgs{Stream: key, ID: fmt.Sprintf("%d-0", i*1000), Values: []string{"no", "x"}}).Err(); err != nil {
				t.Fatal(err)
			}
		}
		s.open("A")
		return s, key
	}
	trim := func(s *setup, keep time.Duration) []ledger.StreamReader {
		s.Helper()
		readers, err := s.ledger.Trim(s.Context(), keep)
		if err != nil {
			s.Fatal(err)
		}
		return readers
	}
	left := func(s *setup, key string) int64 { return s.redis.Client.XLen(s.Context(), key).Val() }

	t.Run("of a stream without readers goes by age alone", func(t *testing.T) {
		s, key := tenOldEvents(t)
		if r := trim(s, 0); r != nil || left(s, key) != 11 {
			t.Errorf("%v %d", r, left(s, key))
		}
		if r := trim(s, time.Hour); r != nil || left(s, key) != 1 {
			t.Errorf("%v, %d left", r, left(s, key))
		}
	})
	t.Run("of no stream at all does nothing", func(t *testing.T) {
		s := newSetup(t)
		if r := trim(s, time.Hour); r != nil {
			t.Errorf("%v", r)
		}
	})
	t.Run("never past what a group was not given", func(t *testing.T) {
		s, key := tenOldEvents(t)
		s.redis.Client.XGroupCreate(t.Context(), key, "books", "0")
		r := trim(s, time.Hour)
		if len(r) != 1 || r[0].Group != "books" || r[0].Pending != 0 || r[0].Behind < 24*time.Hour || left(s, key) != 11 {
			t.Errorf("%+v, %d left", r, left(s, key))
		}
	})
	t.Run("never past what a group was given and did not acknowledge", func(t *testing.T) {
		s, key := tenOldEvents(t)
		ctx := t.Context()
		s.redis.Client.XGroupCreate(ctx, key, "books", "0")
		read, err := s.redis.Client.XReadGroup(ctx, &redis.XReadGroupArgs{Group: "books", Consumer: "c", Streams: []string{key, ">"}}).Result()
		if err != nil || len(read[0].Messages) != 11 {
			t.Fatalf("%v %v", read, err)
		}
		if r := trim(s, time.Hour); len(r) != 1 || r[0].Pending != 11 || r[0].Behind < 24*time.Hour || left(s, key) != 11 {
			t.Errorf("%+v, %d left", r, left(s, key))
		}
		for _, m := range read[0].Messages {
			s.redis.Client.XAck(ctx, key, "books", m.ID)
		}
		if r := trim(s, time.Hour); len(r) != 1 || r[0].Pending != 0 || r[0].Behind != 0 || left(s, key) != 1 {
			t.Errorf("%+v, %d left", r, left(s, key))
		}
	})
	t.Run("a group that was put back has events to read before its pending ones", func(t *testing.T) {
		s, key := tenOldEvents(t)
		ctx := t.Context()
		s.redis.Client.XGroupCreate(ctx, key, "books", "9000-0")
		if err := s.redis.Client.XReadGroup(ctx, &redis.XReadGroupArgs{Group: "books", Consumer: "c", Streams: []string{key, ">"}}).Err(); err != nil {
			t.Fatal(err)
		}
		if err := s.redis.Client.XGroupSetID(ctx, key, "books", "0").Err(); err != nil {
			if s.redis.Real {
				t.Error(err)
			}
			return // the embedded Redis does not know it
		}
		if trim(s, time.Hour); left(s, key) != 11 {
			t.Errorf("%d left", left(s, key))
		}
	})
	t.Run("the slowest of several holds it, the relay of webhooks among them", func(t *testing.T) {
		s, key := tenOldEvents(t)
		ctx := t.Context()
		s.redis.Client.XGroupCreate(ctx, key, "quick", "$")
		s.redis.Client.HSet(ctx, ledger.KeysOf(mchid).Hooks(), "cursor", "0-0")
		r := trim(s, time.Hour)
		if left(s, key) != 11 || len(r) != 2 {
			t.Fatalf("%+v, %d left", r, left(s, key))
		}
		if diff := cmp.Diff([]string{"quick", "webhooks"}, []string{r[0].Group, r[1].Group}); diff != "" || r[0].Behind != 0 || r[1].Behind < 24*time.Hour {
			t.Errorf("%+v", r)
		}
		s.redis.Client.HSet(ctx, ledger.KeysOf(mchid).Hooks(), "cursor", "10000-0")
		trim(s, time.Hour)
		if left(s, key) != 1 {
			t.Errorf("%d left", left(s, key))
		}
	})
}

func zAt(score float64, member string) redis.Z { return redis.Z{Score: score, Member: member} }

func TestRetentionOfCenturies(t *testing.T) {
	s := newSetup(t)
	s.end("A")
	const longest = 292 * 365 * 24 * time.Hour
	if removed, err := s.ledger.Retain(t.Context(), longest, longest, time.Time{}); err != nil || removed != 0 {
		t.Errorf("%d orders removed: %v", removed, err)
	}
	if _, err := s.ledger.Trim(t.Context(), longest); err != nil {
		t.Error(err)
	}
}
