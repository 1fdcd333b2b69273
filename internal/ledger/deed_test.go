package ledger_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"

	"payscore-collector/internal/ledger"
	"payscore-collector/tasks"
)

// trail returns the merchant's trail as lines, oldest first.
func (s *setup) trail() []string {
	s.Helper()
	list, next, err := ledger.Audit(s.Context(), []*ledger.Ledger{s.ledger}, 1000, "")
	if err != nil || next != "" {
		s.Fatal(next, err)
	}
	lines := []string{}
	for i := range list {
		e := list[len(list)-1-i]
		lines = append(lines, fmt.Sprintf("%s %s %s %q %s", e.OutOrderNo, e.Action.Action, e.By, e.Reason, e.Detail))
	}
	return lines
}

func (s *setup) reopenBy(no string, d ledger.Deed) ledger.Opened {
	s.Helper()
	o, err := s.ledger.Open(s.Context(), ledger.Opening{Owner: payload(no).Owner(), OutOrderNo: no, Reopen: true, Deed: d})
	if err != nil {
		s.Fatal(err)
	}
	return o
}

// A change is recorded once with the order, in the merchant's trail and in the event,
// however often the answer is lost.
func TestDeedsAreRecordedOnce(t *testing.T) {
	s := newSetup(t)
	s.open("A")
	waive := ledger.Deed{By: "api:billing", Reason: "waived", Token: "1"}
	again := ledger.Deed{By: "cli:anna", Reason: "a mistake", Token: "2"}
	for i := range 3 {
		w, err := s.ledger.Withdraw(t.Context(), "A", waive, time.Time{}, 0)
		if err != nil || w.Code != ledger.Accepted || w.State != tasks.Withdrawn {
			t.Errorf("withdrawal %d: %+v, %v", i+1, w, err)
		}
	}
	if w, err := s.ledger.Withdraw(t.Context(), "A", ledger.Deed{By: "x", Reason: "y"}, time.Time{}, 0); err != nil || w.Code != ledger.Duplicate {
		t.Errorf("another withdrawal: %+v, %v", w, err)
	}
	for i := range 3 {
		if o := s.reopenBy("A", again); o.Code != ledger.Accepted || o.State != tasks.Queued {
			t.Errorf("reopening %d: %+v", i+1, o)
		}
	}
	if o := s.reopenBy("A", ledger.Deed{By: "x"}); o.Code != ledger.Duplicate {
		t.Errorf("another reopening: %+v", o)
	}
	var kept []string
	for _, a := range s.get("A").Actions {
		kept = append(kept, fmt.Sprintf("%s %s %q at:%t", a.Action, a.By, a.Reason, time.Since(a.At).Abs() < time.Hour))
	}
	if diff := cmp.Diff([]string{`withdraw api:billing "waived" at:true`, `reopen cli:anna "a mistake" at:true`}, kept); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{`A withdraw api:billing "waived" `, `A reopen cli:anna "a mistake" `}, s.trail()); diff != "" {
		t.Error(diff)
	}
	var events []string
	for _, x := range s.redis.Client.XRange(t.Context(), ledger.KeysOf(mchid).Outcomes(), "-", "+").Val() {
		e, err := ledger.DecodeEvent(mchid, x.ID, x.Values)
		if err != nil {
			t.Fatal(err)
		}
		events = append(events, fmt.Sprintf("%s %q %q", e.Type, e.By, e.Reason))
	}
	if diff := cmp.Diff([]string{`order.opened "" ""`, `order.withdrawn "api:billing" "waived"`, `order.reopened "cli:anna" "a mistake"`}, events); diff != "" {
		t.Error(diff)
	}
	if o := s.get("A"); o.Reason != "" {
		t.Errorf("the reopened order has the reason %q", o.Reason)
	}
	// The order ends again: the same reopening must not open it a second time.
	if _, err := s.ledger.Withdraw(t.Context(), "A", ledger.Deed{By: "x", Reason: "y"}, time.Time{}, 0); err != nil {
		t.Fatal(err)
	}
	if o := s.reopenBy("A", again); o.Code != ledger.Ended || o.State != tasks.Withdrawn {
		t.Errorf("the repeated reopening of an order that has ended since: %+v", o)
	}
}

// A record keeps the newest actions; the trail has all of them.
func TestARecordKeepsItsNewestActions(t *testing.T) {
	s := newSetup(t)
	s.open("A")
	const rounds = ledger.ActionsKept
	for i := range rounds {
		d := ledger.Deed{By: "cli:anna", Reason: fmt.Sprint("round ", i)}
		if _, err := s.ledger.Withdraw(t.Context(), "A", d, time.Time{}, 0); err != nil {
			t.Fatal(err)
		}
		s.reopenBy("A", d)
	}
	kept := s.get("A").Actions
	if len(kept) != ledger.ActionsKept || kept[0].Reason != fmt.Sprint("round ", rounds/2) || kept[len(kept)-1].Action != ledger.ActReopen {
		t.Errorf("%d actions, %+v", len(kept), kept)
	}
	if n := len(s.trail()); n != 2*rounds {
		t.Errorf("the trail has %d actions, want %d", n, 2*rounds)
	}
}

func TestRecord(t *testing.T) {
	s := newSetup(t)
	d := ledger.Deed{By: "api:ops", Reason: "no longer needed", Token: "7"}
	for range 3 {
		if err := s.ledger.Record(t.Context(), d, "reader-destroy", "", "archive"); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff([]string{` reader-destroy api:ops "no longer needed" archive`}, s.trail()); diff != "" {
		t.Error(diff)
	}
}

// The pages of several trails are one list, newest first, with no entry missing or twice:
// also where entries stand at one place, and while others are added.
func TestAudit_Pages(t *testing.T) {
	s := newSetup(t)
	ledgers := []*ledger.Ledger{ledger.New(s.redis.Client, "12"), ledger.New(s.redis.Client, "3"), ledger.New(s.redis.Client, "45")}
	add := func(l *ledger.Ledger, id string) {
		if err := s.redis.Client.XAdd(t.Context(), &redis.XAddArgs{
			Stream: ledger.KeysOf(l.MchID()).Audit(), ID: id,
			Values: []string{"at", "1000", "by", "cli:x", "action", "pause", "no", "", "reason", "r", "detail", "", "token", id},
		}).Err(); err != nil {
			t.Fatal(err)
		}
	}
	for _, l := range ledgers {
		add(l, "5-0")
		add(l, "9-0")
		add(l, "10-1")
	}
	add(ledgers[1], "10-2")
	want := []string{"3-10-2", "12-10-1", "3-10-1", "45-10-1", "12-9-0", "3-9-0", "45-9-0", "12-5-0", "3-5-0", "45-5-0"}
	for limit := 1; limit <= 11; limit++ {
		var got []string
		cursor := ""
		for {
			list, next, err := ledger.Audit(t.Context(), ledgers, limit, cursor)
			if err != nil || len(list) > limit {
				t.Fatal(list, err)
			}
			for _, e := range list {
				got = append(got, e.ID)
			}
			if cursor = next; next == "" {
				break
			}
			if len(got) == limit && limit == 2 {
				add(ledgers[0], "11-0") // newer than the first page: it moves no other
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("in pages of %d: %s", limit, diff)
		}
		if limit == 2 {
			want = append([]string{"12-11-0"}, want...)
		}
	}
	for _, wrong := range []string{"x", "5", "5-0", "5-0-", "5-0-x", "-5-0-12", "5-00-12", "5-0-12-"} {
		if _, _, err := ledger.Audit(t.Context(), ledgers, 5, wrong); !errors.Is(err, ledger.ErrCursor) {
			t.Errorf("the cursor %q: %v", wrong, err)
		}
	}
}

// The trail is kept as long as RETENTION says, and actions as long as their order.
func TestForget(t *testing.T) {
	s := newTimed(t)
	const keep = time.Hour
	record := func(n int) {
		for i := range n {
			if err := s.ledger.Record(t.Context(), ledger.Deed{By: "cli:x", Reason: fmt.Sprint(i)}, "pause", "", ""); err != nil {
				t.Fatal(err)
			}
		}
	}
	record(300) // Redis trims whole nodes of a stream
	s.pass(keep)
	record(1)
	if err := s.ledger.Forget(t.Context(), keep); err != nil {
		t.Fatal(err)
	}
	if n := len(s.trail()); n != 301 {
		t.Errorf("%d entries are left as long as they are kept, want 301", n)
	}
	s.pass(time.Minute)
	if err := s.ledger.Forget(t.Context(), keep); err != nil {
		t.Fatal(err)
	}
	if n := len(s.trail()); n > 150 {
		t.Errorf("%d entries are left after that", n)
	}
}
