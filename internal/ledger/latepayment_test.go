package ledger_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"payscore-collector/internal/ledger"
	"payscore-collector/tasks"
)

// A payment through PayScore that was not known when billing withdrew is reported,
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
	t.Run("each later one is reported", func(t *testing.T) {
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
	t.Run("reopened for later meanwhile: it is queried now", func(t *testing.T) {
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
	t.Run("its lease was lost, and no worker has the order: it is queried now", func(t *testing.T) {
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
	t.Run("more payments than are listed: the sum stays right, and it is reported", func(t *testing.T) {
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
