package ledger_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"payscore-collector/internal/ledger"
	"payscore-collector/tasks"
)

// Amounts that contradict each other are an alarm each time that they do so in a
// new way. What the merchant does itself is not an alarm.
func TestAmountDiffers(t *testing.T) {
	type step struct {
		query bool // else a notification
		facts ledger.Facts
		want  string // the alarm; "" for none
	}
	query := func(f ledger.Facts, want string) step { return step{true, f, want} }
	notice := func(f ledger.Facts, want string) step { return step{false, f, want} }
	whole := func(total, paid int64) ledger.Facts {
		return final(ledger.Facts{Total: &total, Paid: &paid, PaidType: "NEWTON", TransactionID: "1"})
	}
	for _, tt := range []struct {
		name  string
		steps []step
		total int64 // in the record, at last
	}{
		{"lowered while the order waits, and paid", []step{
			query(said(1250), ""), query(said(1000), ""), query(said(400), ""), query(final(said(400, part)), ""),
		}, 400},
		{"lowered by the message that shows it paid", []step{query(said(1250), ""), notice(final(said(400, part)), "")}, 400},
		{"lowered to what was paid in part", []step{
			notice(said(1250, part), ""), notice(final(said(400, part)), ""),
		}, 400},
		{"an old notification from before it was lowered", []step{
			notice(said(1250, part), ""), query(said(1000, part), ""), notice(said(1250, part), ""), query(said(1000, part), ""),
		}, 1000},
		{"raised", []step{query(said(1000), ""), query(said(1250), "total_amount 1000 1250"), query(said(1250), "")}, 1250},
		{"raised again", []step{
			query(said(1000), ""), query(said(1250), "total_amount 1000 1250"), query(said(1300), "total_amount 1250 1300"),
		}, 1300},
		{"raised by a payment", []step{notice(said(1000, part), ""), notice(final(said(1250, part, rest)), "total_amount 1000 1250")}, 1250},
		{"paid above the total", []step{notice(final(said(1000, part, rest)), "paid_amount 1000 1250"), notice(final(said(1000, part, rest)), "")}, 1000},
		{"done, and less was paid", []step{query(final(said(1000, part)), "paid_amount 1000 400"), notice(final(said(1000, part)), "")}, 1000},
		{"a first, harmless one hides no other", []step{
			notice(final(said(500, part)), "paid_amount 500 400"), notice(whole(500, 9000), "paid_amount 500 9000"), notice(whole(500, 9000), ""),
			notice(whole(500, 9001), "paid_amount 500 9001"),
		}, 500},
		{"lowered after it was paid", []step{notice(final(said(1250, part, rest)), ""), notice(final(said(1000, part, rest)), "paid_amount 1000 1250")}, 1250},
		{"less is said to be paid than was", []step{notice(final(said(1250, part, rest)), ""), notice(final(said(400, part)), "paid_amount 1250 400")}, 1250},
		{"an old notification of a part", []step{notice(final(said(1250, part, rest)), ""), notice(said(1250, part), "")}, 1250},
		{"payments that do not add up", []step{notice(final(ledger.Facts{
			Total: fen(1250), Paid: fen(1250), Payments: []ledger.Payment{part},
		}), "payments 400 1250")}, 1250},
		{"two amounts of one payment", []step{
			notice(said(1250, part), ""), notice(said(1250, through(1, 500, "4200001")), "payments 400 500"), notice(said(1250, part), "payments 500 400"),
			notice(said(1250, part), ""), notice(said(1250, through(1, 500, "4200001")), ""),
		}, 1250},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newSetup(t)
			s.open("A")
			for i, step := range tt.steps {
				was := s.get("A").AmountDiffers
				var news []ledger.News
				if step.query {
					c := s.granted("A")
					news = s.settled(c, shows(c, step.facts)).News
				} else {
					n := saying("A", step.facts)
					n.Paid = step.facts.Done
					var err error
					if _, news, err = s.ledger.Notice(t.Context(), n); err != nil {
						t.Fatal(err)
					}
				}
				if got := slices.Contains(news, ledger.Differs); got != (step.want != "") {
					t.Errorf("step %d: news %v, want %q", i+1, news, step.want)
				}
				d := s.get("A").AmountDiffers
				switch {
				case step.want == "":
					if diff := cmp.Diff(was, d); diff != "" {
						t.Errorf("step %d: %s", i+1, diff)
					}
				case d == nil || fmt.Sprintf("%s %d %d", d.Field, d.Known, d.Said) != step.want:
					t.Errorf("step %d: %+v, want %s", i+1, d, step.want)
				}
			}
			if o := s.get("A"); *o.TotalAmount != tt.total {
				t.Errorf("the total is %d", *o.TotalAmount)
			}
		})
	}
	t.Run("a reply from before the total was lowered, settled after the notification of that", func(t *testing.T) {
		s := newSetup(t)
		s.open("A")
		c := s.granted("A")
		s.settled(c, shows(c, said(1250)))
		c = s.granted("A")
		for _, f := range []ledger.Facts{said(1250, part), said(1000, part)} {
			if _, _, err := s.ledger.Notice(t.Context(), saying("A", f)); err != nil {
				t.Fatal(err)
			}
		}
		res := s.settled(c, shows(c, said(1250, part)))
		if o := s.get("A"); len(res.News) > 0 || o.AmountDiffers != nil || *o.TotalAmount != 1000 {
			t.Errorf("%v, %+v, a total of %d", res.News, o.AmountDiffers, *o.TotalAmount)
		}
	})
	t.Run("a lowered total is in the record, the events and the news", func(t *testing.T) {
		s := newSetup(t)
		s.open("A")
		for i, total := range []int64{1250, 1000, 1000, 900} {
			c := s.granted("A")
			res := s.settled(c, shows(c, said(total)))
			if told := slices.Contains(res.News, ledger.Lowered); told != (i%2 == 1) {
				t.Errorf("%d: %v", total, res.News)
			}
		}
		events, o := s.stream(), s.get("A")
		if last := events[len(events)-1]; last.Type != "order.attempted" || *last.TotalAmount != 900 {
			t.Errorf("%+v", last)
		}
		if l := o.TotalLowered; l == nil || l.From != 1000 || l.To != 900 || l.At.IsZero() || o.AmountDiffers != nil {
			t.Errorf("%+v %+v", l, o)
		}
	})
	t.Run("what the release before has written is read, and is new no more", func(t *testing.T) {
		s := newSetup(t)
		s.open("A")
		s.redis.Client.HSet(t.Context(), ledger.KeysOf(mchid).Order("A"), "differs", "1700000000000 paid_amount 1000 1250")
		if d := s.get("A").AmountDiffers; d == nil || d.Known != 1000 {
			t.Errorf("%+v", d)
		}
		if got := s.notice(saying("A", final(said(1000, part, rest)))); got != "paid" {
			t.Errorf("%s", got)
		}
	})
	t.Run("a record remembers the last few", func(t *testing.T) {
		s := newSetup(t)
		s.open("A")
		for total := range int64(20) {
			c := s.granted("A")
			s.settled(c, shows(c, said(total+1)))
		}
		if d := s.get("A").AmountDiffers; d.Said != 20 {
			t.Errorf("%+v", d)
		}
		if field := s.redis.Client.HGet(t.Context(), ledger.KeysOf(mchid).Order("A"), "differs").Val(); strings.Count(field, ";") != 4 {
			t.Errorf("%s", field)
		}
	})
}

// Amounts are exact to the last fen, or refused before anything is written.
func TestAmountsAreExactOrRefused(t *testing.T) {
	t.Run("the largest", func(t *testing.T) {
		s := newSetup(t)
		s.open("A")
		big := int64(tasks.MaxAmount)
		f := said(big, through(1, big-1, "1"), through(2, 1, "2"))
		if got := s.notice(saying("A", final(f))); got != "paid" {
			t.Errorf("%s", got)
		}
		st, err := s.ledger.Stats(t.Context())
		if o := s.get("A"); *o.PaidAmount != big || *o.TotalAmount != big || o.Payments[0].Amount != big-1 || st.PaidAmount != big || err != nil {
			t.Errorf("%+v %+v %v", o, st, err)
		}
	})
	t.Run("larger ones and negative ones", func(t *testing.T) {
		s := newSetup(t)
		s.open("A")
		c := s.granted("A")
		before := s.redis.Client.HGetAll(t.Context(), ledger.KeysOf(mchid).Order("A")).Val()
		for _, amount := range []int64{-1, tasks.MaxAmount + 1, 1<<53 + 1, 1e17, 1e18} {
			for name, f := range map[string]ledger.Facts{
				"total": {Total: &amount}, "paid": {Paid: &amount}, "payment": {Payments: []ledger.Payment{{Amount: amount}}},
			} {
				if _, _, err := s.ledger.Notice(t.Context(), ledger.Notice{OutOrderNo: "A", Paid: true, Facts: f}); !errors.Is(err, ledger.ErrAmount) {
					t.Errorf("a notice of %s %d: %v", name, amount, err)
				}
				if _, err := s.ledger.Settle(t.Context(), c, shows(c, f)); !errors.Is(err, ledger.ErrAmount) {
					t.Errorf("a settle of %s %d: %v", name, amount, err)
				}
			}
		}
		if diff := cmp.Diff(before, s.redis.Client.HGetAll(t.Context(), ledger.KeysOf(mchid).Order("A")).Val()); diff != "" {
			t.Error(diff)
		}
	})
	t.Run("whatever they are", func(t *testing.T) {
		s := newSetup(t)
		n := 0
		rapid.Check(t, func(rt *rapid.T) {
			n++
			no := fmt.Sprint("B", n)
			s.open(no)
			a := rapid.Int64Range(1, tasks.MaxAmount-1).Draw(rt, "part")
			b := rapid.Int64Range(1, tasks.MaxAmount-a).Draw(rt, "rest")
			before, _ := s.ledger.Stats(t.Context())
			if _, _, err := s.ledger.Notice(t.Context(), saying(no, final(said(a+b, through(1, a, "1"), elsewhere(2, b))))); err != nil {
				rt.Fatal(err)
			}
			after, _ := s.ledger.Stats(t.Context())
			if o := s.get(no); *o.PaidAmount != a+b || o.Payments[0].Amount != a || o.Payments[1].Amount != b || o.AmountDiffers != nil || after.PaidAmount-before.PaidAmount != a+b {
				rt.Fatalf("%+v", o)
			}
		})
	})
}
