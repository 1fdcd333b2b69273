package ledger_test

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"payscore-collector/internal/ledger"
	"payscore-collector/tasks"
)

// reopenLater opens an order again, to be worked on in an hour.
func (s *setup) reopenLater(no string) {
	s.Helper()
	o := tasks.Order{Payload: payload(no), Reopen: true, At: time.Now().Add(time.Hour)}
	if res, err := s.producer.Enqueue(s.Context(), o); err != nil || res.Status != tasks.Accepted {
		s.Fatalf("%+v %v", res, err)
	}
}

// shows is the settlement of a query that shows these facts: of the whole where
// they are done.
func shows(c ledger.Claim, f ledger.Facts) ledger.Settlement {
	set := back(c, ledger.Recheck)
	set.Call, set.Verdict, set.Log = "query", "owed", []ledger.Entry{entry("query", "owed")}
	set.Facts, set.First, set.Most, set.Failures = f, time.Second, time.Second, 10
	if f.Done {
		set.State, set.Verdict, set.VerifiedPaid = tasks.Paid, "paid", true
	}
	return set
}

func final(f ledger.Facts) ledger.Facts {
	f.Done = true
	return f
}

func (s *setup) settled(c ledger.Claim, set ledger.Settlement) ledger.SettleResult {
	s.Helper()
	res, err := s.ledger.Settle(s.Context(), c, set)
	if err != nil {
		s.Fatal(err)
	}
	res.Now = time.Time{} // when it was written is not what is compared
	return res
}

func (s *setup) wantPayments(no string, want ...ledger.Payment) {
	s.Helper()
	o := s.get(no)
	if diff := cmp.Diff(want, o.Payments); diff != "" {
		s.Errorf("payments of %s (-want +record)\n%s", no, diff)
	}
	events := slices.DeleteFunc(s.stream(), func(e ledger.Event) bool { return e.OutOrderNo != no })
	if diff := cmp.Diff(want, events[len(events)-1].Payments); diff != "" {
		s.Errorf("payments of %s (-want +newest event)\n%s", no, diff)
	}
}

var (
	part = through(1, 400, "4200001")
	rest = through(2, 850, "4200002")
	cash = elsewhere(2, 850)
)

// The records of the release before have the last payment and the sum, and no
// list: what they know is neither told as late nor counted again.
func TestPaymentsOfAnOlderRecord(t *testing.T) {
	older := func(t *testing.T, fields ...any) *setup {
		s := newSetup(t)
		s.open("A")
		s.withdraw("A")
		if err := s.redis.Client.HSet(t.Context(), ledger.KeysOf(mchid).Order("A"), fields...).Err(); err != nil {
			t.Fatal(err)
		}
		return s
	}
	t.Run("a part that it knows is not late", func(t *testing.T) {
		s := older(t, "paid", 400, "tx", "4200001", "pt", "NEWTON", "total", 1250)
		if got := s.notice(saying("A", said(1250, part))); got != "repeat" {
			t.Errorf("%s", got)
		}
		if got := s.notice(saying("A", final(said(1250, part, rest)))); got != "ended late" {
			t.Errorf("the rest: %s", got)
		}
		s.wantPayments("A", part, rest)
	})
	t.Run("nor one behind money that came elsewhere", func(t *testing.T) {
		s := older(t, "paid", 1250, "tx", "4200001", "pt", "MCH", "total", 1250)
		if got := s.notice(saying("A", final(said(1250, part, cash)))); got != "repeat" {
			t.Errorf("%s", got)
		}
	})
	t.Run("an order that stays open lists all", func(t *testing.T) {
		s := newSetup(t)
		s.open("A")
		s.redis.Client.HSet(t.Context(), ledger.KeysOf(mchid).Order("A"), "paid", 400, "tx", "4200001", "pt", "NEWTON", "total", 1250)
		if got := s.notice(saying("A", final(said(1250, part, rest)))); got != "paid" {
			t.Errorf("%s", got)
		}
		s.wantPayments("A", part, rest)
		if st, err := s.ledger.Stats(t.Context()); err != nil || st.PaidAmount != 1250 {
			t.Errorf("%+v %v", st, err)
		}
	})
	t.Run("one that ended as paid stays as billing has booked it", func(t *testing.T) {
		s := newSetup(t)
		s.open("A")
		s.notice(paidNotice("A"))
		before := len(s.stream())
		if got := s.notice(saying("A", final(said(1250, part, rest)))); got != "repeat" {
			t.Errorf("%s", got)
		}
		if n := len(s.stream()); n != before {
			t.Errorf("%d events more", n-before)
		}
	})
}

// A signed message about an order makes it known, also one that does not say
// WeChat Pay's number of it.
func TestKnown(t *testing.T) {
	s := newSetup(t)
	for name, f := range map[string]ledger.Facts{"by-number": {OrderID: "1"}, "without": {Known: true}, "not": {}} {
		s.open(name)
		c := s.granted(name)
		if c.Order.Known {
			t.Errorf("%s is known before anything was said", name)
		}
		set := back(c, ledger.Recheck)
		set.Facts = f
		s.settle(c, set)
		if c := s.granted(name); c.Order.Known != (name != "not") {
			t.Errorf("%s: known %t", name, c.Order.Known)
		}
	}
}
