package ledger_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"payscore-collector/internal/ledger"
	"payscore-collector/tasks"
)

func fen(n int64) *int64 { return &n }

// paidNotice is a notification of a payment of the whole.
func paidNotice(no string) ledger.Notice {
	return ledger.Notice{
		OutOrderNo: no, Paid: true,
		Facts: ledger.Facts{OrderID: "1000", TransactionID: "4200", PaidType: "NEWTON", Total: fen(1250), Paid: fen(1250)},
		Entry: entry("notification", "paid"),
	}
}

func partialNotice(no string, paid int64) ledger.Notice {
	n := paidNotice(no)
	n.Paid, n.Facts.Paid, n.Entry = false, fen(paid), entry("notification", "in_progress")
	return n
}

func (s *setup) notice(n ledger.Notice) string {
	s.Helper()
	code, news, err := s.ledger.Notice(s.Context(), n)
	if err != nil {
		s.Fatal(err)
	}
	return answer(code, news)
}

// answer is a notice's answer in a line.
func answer(code ledger.NoticeCode, news []ledger.News) string {
	words := []string{string(code)}
	for _, n := range news {
		words = append(words, string(n))
	}
	return strings.Join(words, " ")
}

func (s *setup) withdraw(no string, paidAt ...string) {
	s.Helper()
	w := tasks.Withdrawal{MchID: mchid, OutOrderNo: no, Reason: "paid in cash"}
	if len(paidAt) > 0 {
		w.PaidAt = paidInCash
	}
	res, err := s.producer.Withdraw(s.Context(), w)
	if err != nil || res.Status != tasks.Accepted {
		s.Fatalf("%+v %v", res, err)
	}
}

// events are the types of an order's events, each with the state and what else a
// reader must know.
func (s *setup) events(no string) []string {
	s.Helper()
	var out []string
	for i, m := range s.redis.Client.XRange(s.Context(), ledger.KeysOf(mchid).Outcomes(), "-", "+").Val() {
		e, err := ledger.DecodeEvent(mchid, m.ID, m.Values)
		if err != nil {
			s.Fatalf("event %d: %v", i, err)
		}
		if e.OutOrderNo != no {
			continue
		}
		if want := int64(len(out) + 1); e.Seq != want {
			s.Errorf("event %d of %s has seq %d", want, no, e.Seq)
		}
		line := strings.TrimPrefix(e.Type, "order.") + " " + string(e.State)
		if e.PaidAmount != nil {
			line += fmt.Sprintf(" %d", *e.PaidAmount)
		}
		if e.Sync != "" {
			line += " sync " + string(e.Sync)
		}
		out = append(out, line)
	}
	return out
}

func (s *setup) wantEvents(no string, want ...string) {
	s.Helper()
	if diff := cmp.Diff(want, s.events(no)); diff != "" {
		s.Errorf("events of %s (-want +got):\n%s", no, diff)
	}
}

func TestNotice(t *testing.T) {
	t.Run("of the whole makes an idle order paid, once, however often it is delivered", func(t *testing.T) {
		s := newSetup(t)
		s.open("A")
		if got := s.notice(paidNotice("A")); got != "paid" {
			t.Errorf("%s", got)
		}
		once := s.get("A")
		for range 1000 {
			if got := s.notice(paidNotice("A")); got != "repeat" {
				t.Fatalf("again: %s", got)
			}
		}
		if diff := cmp.Diff(once, s.get("A")); diff != "" {
			t.Error(diff)
		}
		if once.State != tasks.Paid || once.TransactionID != "4200" || *once.PaidAmount != 1250 || once.EndedAt.IsZero() || len(once.Log) != 1 {
			t.Errorf("%+v", once)
		}
		s.wantEvents("A", "opened queued", "paid paid 1250")
		if diff := cmp.Diff(map[tasks.State]int64{tasks.Paid: 1}, s.stats()); diff != "" {
			t.Error(diff)
		}
		ctx, k := t.Context(), ledger.KeysOf(mchid)
		if due, ended := s.redis.Client.ZCard(ctx, k.Due()).Val(), s.redis.Client.ZCard(ctx, k.Ended(tasks.Paid)).Val(); due != 0 || ended != 1 {
			t.Errorf("%d due, %d ended", due, ended)
		}
		if c := s.claim("A", limits()); c.Code != ledger.HasEnded {
			t.Errorf("claimed after its end: %s", c.Code)
		}
	})
	t.Run("of an unknown order changes nothing", func(t *testing.T) {
		s := newSetup(t)
		if got := s.notice(paidNotice("A")); got != "absent" {
			t.Errorf("%s", got)
		}
		if n := s.redis.Client.DBSize(t.Context()).Val(); n != 0 {
			t.Errorf("%d keys", n)
		}
	})
	t.Run("while a call is under way: its settle finds the end and yields", func(t *testing.T) {
		s := newSetup(t)
		s.open("A")
		c := s.granted("A")
		if got := s.notice(paidNotice("A")); got != "paid" {
			t.Errorf("%s", got)
		}
		set := back(c, ledger.Confirm)
		set.Collected, set.AddAttempts = c.Now, 1
		if code, _ := s.settle(c, set); code != ledger.HasEnded {
			t.Errorf("%s", code)
		}
		o := s.get("A")
		if o.State != tasks.Paid || len(o.Log) != 2 || !o.NextDueAt.IsZero() || o.Attempts != 1 {
			t.Errorf("%+v", o)
		}
		s.wantEvents("A", "opened queued", "paid paid 1250", "attempted paid 1250")
	})
	t.Run("of a part updates the amounts, and the order stays open", func(t *testing.T) {
		s := newSetup(t)
		s.open("A")
		if got := s.notice(partialNotice("A", 500)); got != "partial" {
			t.Errorf("%s", got)
		}
		if got := s.notice(partialNotice("A", 500)); got != "repeat" {
			t.Errorf("again: %s", got)
		}
		if got := s.notice(partialNotice("A", 800)); got != "partial" {
			t.Errorf("more: %s", got)
		}
		// Late, and behind what is known.
		if got := s.notice(partialNotice("A", 500)); got != "repeat" {
			t.Errorf("late: %s", got)
		}
		o := s.get("A")
		if o.State != tasks.Queued || *o.PaidAmount != 800 || *o.TotalAmount != 1250 {
			t.Errorf("%+v", o)
		}
		if c := s.claim("A", limits()); c.Code != ledger.Granted {
			t.Errorf("%s", c.Code)
		}
		if got := s.notice(paidNotice("A")); got != "paid" {
			t.Errorf("%s", got)
		}
		if got := s.notice(partialNotice("A", 800)); got != "repeat" {
			t.Errorf("after the end: %s", got)
		}
		s.wantEvents("A", "opened queued", "attempted queued 500", "attempted queued 800", "paid paid 1250")
	})
	t.Run("beside another end: both stand in the record, and billing is notified once", func(t *testing.T) {
		s := newSetup(t)
		s.open("A")
		s.withdraw("A")
		if got := s.notice(paidNotice("A")); got != "ended late" {
			t.Errorf("%s", got)
		}
		if got := s.notice(paidNotice("A")); got != "repeat" {
			t.Errorf("again: %s", got)
		}
		o := s.get("A")
		if o.State != tasks.Withdrawn || o.Reason != "paid in cash" || o.LatePaymentAt.IsZero() || *o.PaidAmount != 1250 || o.TransactionID != "4200" {
			t.Errorf("%+v", o)
		}
		s.wantEvents("A", "opened queued", "withdrawn withdrawn", "paid withdrawn 1250")
	})
	t.Run("of a part beside another final state is reported as such, and the rest when it arrives", func(t *testing.T) {
		s := newSetup(t)
		s.open("A")
		s.withdraw("A")
		for _, n := range []ledger.Notice{partialNotice("A", 300), partialNotice("A", 300), paidNotice("A"), paidNotice("A"), partialNotice("A", 300)} {
			s.notice(n)
		}
		if o := s.get("A"); o.State != tasks.Withdrawn || o.LatePaymentAt.IsZero() || *o.PaidAmount != 1250 {
			t.Errorf("%+v", o)
		}
		s.wantEvents("A", "opened queued", "withdrawn withdrawn", "paid withdrawn 300", "paid withdrawn 1250")
	})
	t.Run("that WeChat Pay took over what billing said of a withdrawn order is no news", func(t *testing.T) {
		s := newSetup(t)
		s.open("A")
		s.withdraw("A", "told")
		n := paidNotice("A")
		n.Facts.PaidType, n.Facts.TransactionID = "MCH", ""
		if got := s.notice(n); got != "repeat" {
			t.Errorf("%s", got)
		}
		if o := s.get("A"); !o.LatePaymentAt.IsZero() || o.PaidType != "MCH" {
			t.Errorf("%+v", o)
		}
	})
	t.Run("of a withdrawn order that WeChat Pay was told of, with a raised total, tells of the total alone", func(t *testing.T) {
		s := newSetup(t)
		s.open("A")
		c := s.granted("A")
		set := back(c, ledger.Recheck)
		set.Facts = ledger.Facts{Total: fen(999)}
		s.settle(c, set)
		s.withdraw("A", "told")
		n := paidNotice("A")
		n.Facts.PaidType, n.Facts.TransactionID = "MCH", ""
		if got := s.notice(n); got != "repeat differs" {
			t.Errorf("%s", got)
		}
		if o := s.get("A"); o.State != tasks.Withdrawn || !o.LatePaymentAt.IsZero() || o.AmountDiffers == nil {
			t.Errorf("%+v", o)
		}
	})
	t.Run("with a raised total is written down and told, once", func(t *testing.T) {
		s := newSetup(t)
		s.open("A")
		c := s.granted("A")
		set := back(c, ledger.Recheck)
		set.Facts = ledger.Facts{Total: fen(999)}
		s.settle(c, set)
		if got := s.notice(paidNotice("A")); got != "paid differs" {
			t.Errorf("%s", got)
		}
		if got := s.notice(paidNotice("A")); got != "repeat" {
			t.Errorf("again: %s", got)
		}
		d := s.get("A").AmountDiffers
		if d == nil || d.Field != "total_amount" || d.Known != 999 || d.Said != 1250 || d.At.IsZero() {
			t.Errorf("%+v", d)
		}
	})
	t.Run("whose answer was lost is a repeat the next time, and told in full by the record", func(t *testing.T) {
		s := newSetup(t)
		s.open("A")
		s.notice(paidNotice("A"))
		other := paidNotice("A")
		other.Facts.Paid, other.Facts.Total = fen(1251), fen(1251)
		if got := s.notice(other); got != "repeat differs" {
			t.Errorf("another amount after the end: %s", got)
		}
		if d := s.get("A").AmountDiffers; d == nil || d.Said != 1251 || d.Known != 1250 {
			t.Errorf("%+v", d)
		}
	})
}

// The other side of the same thing: the news comes by the step's own call.
func TestSettleAfterAnEnd(t *testing.T) {
	paid := func(c ledger.Claim) ledger.Settlement {
		return ledger.Settlement{
			State: tasks.Paid, VerifiedPaid: true, Call: "query", Verdict: "paid", Log: []ledger.Entry{entry("query", "paid")},
			Facts: paidNotice("A").Facts,
		}
	}
	t.Run("a verified payment of a withdrawn order stands beside the end", func(t *testing.T) {
		s := newSetup(t)
		s.open("A")
		c := s.granted("A")
		s.withdraw("A")
		res, err := s.ledger.Settle(t.Context(), c, paid(c))
		if err != nil || res.Code != ledger.HasEnded || !slices.Contains(res.News, ledger.Late) {
			t.Errorf("%+v %v", res, err)
		}
		if res, err := s.ledger.Settle(t.Context(), c, paid(c)); err != nil || res.Code != ledger.Repeat || !slices.Contains(res.News, ledger.Late) {
			t.Errorf("again: %+v %v", res, err)
		}
		o := s.get("A")
		if o.State != tasks.Withdrawn || o.LatePaymentAt.IsZero() || o.TransactionID != "4200" || len(o.Log) != 1 {
			t.Errorf("%+v", o)
		}
		s.wantEvents("A", "opened queued", "withdrawn withdrawn", "paid withdrawn 1250")
		if diff := cmp.Diff(map[tasks.State]int64{tasks.Withdrawn: 1}, s.stats()); diff != "" {
			t.Error(diff)
		}
	})
	t.Run("what else it learnt is in an event, so that the newest event is the order", func(t *testing.T) {
		s := newSetup(t)
		s.open("A")
		c := s.granted("A")
		s.withdraw("A")
		set := back(c, ledger.Confirm)
		set.Facts = ledger.Facts{OrderID: "1000", Total: fen(1250)}
		s.settle(c, set)
		s.wantEvents("A", "opened queued", "withdrawn withdrawn", "attempted withdrawn")
		if o := s.get("A"); o.OrderID != "1000" || *o.TotalAmount != 1250 || !o.LatePaymentAt.IsZero() {
			t.Errorf("%+v", o)
		}
	})
	t.Run("a payment in part of a withdrawn order stands beside the end as well", func(t *testing.T) {
		s := newSetup(t)
		s.open("A")
		c := s.granted("A")
		s.withdraw("A")
		set := back(c, ledger.Confirm)
		set.Facts = ledger.Facts{Total: fen(1250), Paid: fen(500), PaidType: "NEWTON", TransactionID: "4200"}
		if res, err := s.ledger.Settle(t.Context(), c, set); err != nil || !slices.Contains(res.News, ledger.Late) {
			t.Errorf("%+v %v", res, err)
		}
		s.wantEvents("A", "opened queued", "withdrawn withdrawn", "paid withdrawn 500")
	})
	t.Run("and a later notification of the same payment says nothing new", func(t *testing.T) {
		s := newSetup(t)
		s.open("A")
		c := s.granted("A")
		s.withdraw("A")
		s.settle(c, paid(c))
		if got := s.notice(paidNotice("A")); got != "repeat" {
			t.Errorf("%s", got)
		}
	})
	t.Run("opened again meanwhile: the step writes nothing over the new life", func(t *testing.T) {
		s := newSetup(t)
		s.open("A")
		c := s.granted("A")
		s.withdraw("A")
		s.reopen("A")
		before := s.get("A")
		if code, _ := s.settle(c, back(c, ledger.Confirm)); code != ledger.Reopened {
			t.Errorf("%s", code)
		}
		after := s.get("A")
		if after.State != tasks.Queued || after.Next != ledger.Recheck || !after.NextDueAt.Equal(before.NextDueAt) || len(after.Log) != 1 {
			t.Errorf("before %+v\nafter  %+v", before, after)
		}
		if next := s.claim("A", limits()); next.Code != ledger.Granted || next.Plan != ledger.Recheck {
			t.Errorf("%+v", next)
		}
		s.wantEvents("A", "opened queued", "withdrawn withdrawn", "reopened queued")
	})
}
