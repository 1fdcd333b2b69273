package ledger_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

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

// A payment through PayScore that was not known when billing withdrew is told,
// whatever the last part's type is, and by whatever message it comes.
func TestPaymentThroughPayScoreIsNeverHidden(t *testing.T) {
	mixed := final(said(1250, part, cash))
	late := func(s *setup, want bool) {
		s.Helper()
		o := s.get("A")
		if (!o.LatePaymentAt.IsZero()) != want || o.State != tasks.Withdrawn {
			s.Errorf("late %t: %+v", want, o)
		}
		s.wantPayments("A", part, cash)
		last := s.stream()[len(s.stream())-1]
		if kind := map[bool]string{true: "order.paid", false: "order.attempted"}[want]; last.Type != kind {
			s.Errorf("the newest event is %s", last.Type)
		}
	}
	confirm := func(s *setup) ledger.SettleResult {
		s.Helper()
		c := s.granted("A")
		s.settle(c, told(c, ledger.SyncPending))
		c = s.granted("A")
		set := told(c, ledger.SyncDone)
		set.Call, set.Verdict, set.VerifiedPaid, set.Facts = "query", "paid", true, mixed
		return s.settled(c, set)
	}
	t.Run("by the query that confirms the sync", func(t *testing.T) {
		s := newSetup(t)
		s.open("A")
		s.withdraw("A", "told")
		if res := confirm(s); res.Code != ledger.Settled || !slices.Equal(res.News, []ledger.News{ledger.Late}) {
			t.Errorf("%+v", res)
		}
		late(s, true)
		if got := s.notice(saying("A", mixed)); got != "repeat" {
			t.Errorf("a notification of the same: %s", got)
		}
	})
	t.Run("by a query while the sync is pending, of a part alone", func(t *testing.T) {
		s := newSetup(t)
		s.open("A")
		s.withdraw("A", "told")
		c := s.granted("A")
		set := told(c, ledger.SyncPending)
		set.Call, set.Verdict, set.Facts = "query", "owed", said(1250, part)
		if res := s.settled(c, set); !slices.Equal(res.News, []ledger.News{ledger.Late}) {
			t.Errorf("%+v", res)
		}
		if res := confirm(s); res.News != nil {
			t.Errorf("told twice: %+v", res)
		}
		if o := s.get("A"); o.LatePaymentAt.IsZero() || o.Sync.State != ledger.SyncDone {
			t.Errorf("%+v", o)
		}
		s.wantPayments("A", part, cash)
	})
	for name, sync := range map[string]bool{"before the sync": false, "after the sync": true} {
		t.Run("by a notification "+name, func(t *testing.T) {
			s := newSetup(t)
			s.open("A")
			s.withdraw("A", "told")
			if sync {
				c := s.granted("A")
				set := told(c, ledger.SyncDone)
				set.Facts = final(said(1250, elsewhere(1, 1250)))
				if res := s.settled(c, set); res.News != nil {
					t.Errorf("what billing itself has said: %+v", res)
				}
				return // WeChat Pay never adds to that
			}
			if got := s.notice(saying("A", mixed)); got != "ended late" {
				t.Errorf("%s", got)
			}
			late(s, true)
		})
	}
	t.Run("by the settle of a call that was under way", func(t *testing.T) {
		s := newSetup(t)
		s.open("A")
		c := s.granted("A")
		s.withdraw("A", "told")
		if res := s.settled(c, shows(c, mixed)); res.Code != ledger.HasEnded || res.State != tasks.Withdrawn || !slices.Equal(res.News, []ledger.News{ledger.Late}) {
			t.Errorf("%+v", res)
		}
		late(s, true)
	})
	t.Run("but it is no news where it was known when billing withdrew", func(t *testing.T) {
		s := newSetup(t)
		s.open("A")
		s.notice(saying("A", said(1250, part)))
		s.withdraw("A", "told")
		if res := confirm(s); res.News != nil {
			t.Errorf("%+v", res)
		}
		late(s, false)
	})
	t.Run("each one that follows is told", func(t *testing.T) {
		s := newSetup(t)
		s.open("A")
		s.withdraw("A")
		for i, f := range []ledger.Facts{said(1250, part), said(1250, part), final(said(1250, part, rest)), final(said(1250, part, rest))} {
			if got, want := s.notice(saying("A", f)), []string{"ended late", "repeat"}[i%2]; got != want {
				t.Errorf("%d: %s", i, got)
			}
		}
		s.wantPayments("A", part, rest)
	})
	t.Run("nor behind an end of another kind", func(t *testing.T) {
		for _, state := range []tasks.State{tasks.Closed, tasks.Rejected, tasks.Exhausted} {
			s := newSetupSerial(t)
			s.open("A")
			c := s.granted("A")
			s.settle(c, ledger.Settlement{State: state, Reason: "r", Log: []ledger.Entry{entry("query", "x")}})
			if got := s.notice(saying("A", mixed)); got != "ended late" {
				t.Errorf("%s: %s", state, got)
			}
			s.wantPayments("A", part, cash)
		}
	})
}

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
	t.Run("an order that goes on lists all", func(t *testing.T) {
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

// A verified payment is written down whatever has become of its step.
func TestPaymentIsNeverDropped(t *testing.T) {
	whole := final(said(1250, part, rest))
	t.Run("opened again for later and withdrawn again meanwhile", func(t *testing.T) {
		s := newSetup(t)
		s.open("A")
		c := s.granted("A")
		s.withdraw("A")
		s.reopenLater("A")
		s.withdraw("A")
		for _, code := range []ledger.Code{ledger.Reopened, ledger.Repeat} {
			res := s.settled(c, shows(c, whole))
			if res.Code != code || res.State != tasks.Withdrawn || !slices.Equal(res.News, []ledger.News{ledger.Late}) {
				t.Errorf("%+v", res)
			}
		}
		if o := s.get("A"); o.State != tasks.Withdrawn || o.LatePaymentAt.IsZero() || *o.PaidAmount != 1250 {
			t.Errorf("%+v", o)
		}
		s.wantPayments("A", part, rest)
	})
	t.Run("opened again for later meanwhile: it is looked at now", func(t *testing.T) {
		s := newSetup(t)
		s.open("A")
		c := s.granted("A")
		s.withdraw("A")
		s.reopenLater("A")
		if res := s.settled(c, shows(c, whole)); res.Code != ledger.Reopened || res.News != nil {
			t.Errorf("%+v", res)
		}
		s.wantPayments("A", part, rest)
		swept, err := s.ledger.Sweep(t.Context(), ledger.SweepArgs{Limit: 10, Closed: 10, Grace: time.Second})
		if err != nil || len(swept.Orders) != 1 {
			t.Fatalf("%+v %v", swept, err)
		}
		if c = s.granted("A"); c.Plan != ledger.Recheck {
			t.Errorf("%+v", c)
		}
		s.settled(c, shows(c, whole))
		s.wantEvents("A", "opened queued", "withdrawn withdrawn", "reopened queued", "attempted queued 1250", "paid paid 1250")
	})
	t.Run("its lease was lost", func(t *testing.T) {
		s := newSetup(t)
		s.open("A")
		lim := limits()
		lim.Lease = time.Millisecond
		slow := s.claim("A", lim)
		var c ledger.Claim
		s.until(func() bool { c = s.claim("A", limits()); return c.Code == ledger.Granted })
		s.settle(c, back(c, ledger.Recheck))
		s.withdraw("A")
		if res := s.settled(slow, shows(slow, whole)); res.Code != ledger.Lost || !slices.Equal(res.News, []ledger.News{ledger.Late}) {
			t.Errorf("%+v", res)
		}
		if res := s.settled(slow, shows(slow, whole)); res.Code != ledger.Lost || res.News != nil {
			t.Errorf("again: %+v", res)
		}
		s.wantPayments("A", part, rest)
	})
	t.Run("its lease was lost, and nobody works on the order: it is looked at now", func(t *testing.T) {
		s := newSetup(t)
		s.open("A")
		lim := limits()
		lim.Lease = time.Millisecond
		slow := s.claim("A", lim)
		var c ledger.Claim
		s.until(func() bool { c = s.claim("A", limits()); return c.Code == ledger.Granted })
		set := back(c, ledger.Collect)
		set.Due = c.Now.Add(time.Hour)
		s.settle(c, set)
		s.settled(slow, shows(slow, whole))
		if c = s.granted("A"); c.Plan != ledger.Recheck {
			t.Errorf("%+v", c)
		}
		s.wantPayments("A", part, rest)
	})
	t.Run("more money after the order was paid", func(t *testing.T) {
		s := newSetup(t)
		s.open("A")
		s.notice(saying("A", final(said(1250, part, rest))))
		again := through(3, 1250, "4200003")
		for i := range 2 {
			got := s.notice(saying("A", final(said(1250, part, rest, again))))
			if want := []string{"repeat differs", "repeat"}[i]; got != want {
				t.Errorf("%s", got)
			}
		}
		s.wantPayments("A", part, rest, again)
		if st, err := s.ledger.Stats(t.Context()); err != nil || st.PaidAmount != 2500 || *s.get("A").PaidAmount != 2500 {
			t.Errorf("%+v %v", st, err)
		}
		s.wantEvents("A", "opened queued", "paid paid 1250", "paid paid 2500")
	})
	t.Run("a payment that is listed only after the order was paid", func(t *testing.T) {
		s := newSetup(t)
		s.open("A")
		short := final(said(1250, part))
		short.Paid = fen(1250)
		if got := s.notice(saying("A", short)); got != "paid differs" {
			t.Errorf("%s", got)
		}
		s.notice(saying("A", final(said(1250, part, rest))))
		s.wantPayments("A", part, rest)
		if last := s.stream()[2]; last.Type != "order.paid" {
			t.Errorf("%+v", last)
		}
	})
	t.Run("more payments than are listed: the sum stays right, and it is told", func(t *testing.T) {
		s := newSetup(t)
		s.open("A")
		var all []ledger.Payment
		for i := range int64(ledger.MaxPayments + 2) {
			all = append(all, through(i+1, 10, fmt.Sprint("tx", i)))
		}
		if got := s.notice(saying("A", final(said(520, all...)))); got != "paid differs" {
			t.Errorf("%s", got)
		}
		s.wantPayments("A", all[:ledger.MaxPayments]...)
		o := s.get("A")
		want := &ledger.Difference{At: o.AmountDiffers.At, Field: "payments", Known: 500, Said: 520}
		if diff := cmp.Diff(want, o.AmountDiffers); diff != "" || *o.PaidAmount != 520 {
			t.Errorf("%s%+v", diff, o)
		}
	})
}

// What an answer told is told again where it was lost.
func TestLostAnswerIsToldAgain(t *testing.T) {
	t.Run("of a settle, with the end that the order has", func(t *testing.T) {
		s := newSetup(t)
		s.open("A")
		c := s.granted("A")
		s.withdraw("A")
		set := shows(c, final(said(1000, part, rest)))
		first, again := s.settled(c, set), s.settled(c, set)
		if first.Code != ledger.HasEnded || !slices.Equal(first.News, []ledger.News{ledger.Late, ledger.Differs}) || first.State != tasks.Withdrawn {
			t.Errorf("%+v", first)
		}
		first.First, first.Code = first.Code, ledger.Repeat
		if diff := cmp.Diff(first, again); diff != "" {
			t.Errorf("(-first +again)\n%s", diff)
		}
	})
	t.Run("of a settle that had nothing to tell", func(t *testing.T) {
		s := newSetup(t)
		s.open("A")
		c := s.granted("A")
		s.settle(c, back(c, ledger.Recheck))
		if diff := cmp.Diff(ledger.SettleResult{Code: ledger.Repeat, First: ledger.Settled}, s.settled(c, back(c, ledger.Recheck))); diff != "" {
			t.Error(diff)
		}
	})
	t.Run("of a notice, each time that WeChat Pay sends it, until it was told", func(t *testing.T) {
		for name, want := range map[string]string{"late": "ended late", "paid": "paid", "differs": "paid differs"} {
			t.Run(name, func(t *testing.T) {
				s := newSetup(t)
				s.open("A")
				n := saying("A", final(said(1250, part, rest)))
				n.ID = "EV-1"
				switch name {
				case "late":
					s.withdraw("A")
				case "differs":
					n.Facts.Total = fen(1000)
				}
				for range 3 {
					if got := s.notice(n); got != want {
						t.Errorf("%s", got)
					}
				}
				other := n
				other.ID = "EV-2"
				if got := s.notice(other); got != "repeat" {
					t.Errorf("another notification of the same: %s", got)
				}
				if err := s.ledger.NoticeTold(t.Context(), n); err != nil {
					t.Fatal(err)
				}
				if got := s.notice(n); got != "repeat" {
					t.Errorf("told: %s", got)
				}
				s.wantPayments("A", part, rest)
				if o := s.get("A"); len(o.Log) != 1 {
					t.Errorf("%+v", o.Log)
				}
			})
		}
	})
}

// Deliveries of one notification that come at the same time count once; one that
// comes when the first has failed gets the answer.
func TestNoticeIsForOneDelivery(t *testing.T) {
	s := newTimed(t)
	start := s.now
	s.open("A")
	n := paidNotice("A")
	n.ID, n.Token = "EV-1", "first"
	other := n
	other.Token = "second"
	for _, step := range []struct {
		after  time.Duration
		notice ledger.Notice
		want   string
	}{
		{0, n, "paid"},
		{time.Second, n, "paid"},           // the answer was lost, and the client asks again
		{2 * time.Second, other, "repeat"}, // the first one is still at work
		{9 * time.Second, other, "repeat"},
		{10 * time.Second, other, "paid"}, // the first one died
		{11 * time.Second, n, "repeat"},
		{-time.Hour, n, "paid"}, // Redis's clock went back: how long ago that was is unknown
	} {
		s.clock.Set(start.Add(step.after))
		if got := s.notice(step.notice); got != step.want {
			t.Errorf("%s after %v: got %s, want %s", step.notice.Token, step.after, got, step.want)
		}
	}
}

// Amounts that contradict each other are an alarm each time that they do so in a
// new way. What the merchant does itself is none.
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
	t.Run("a lowered total is in the record and in the events, and is told", func(t *testing.T) {
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
