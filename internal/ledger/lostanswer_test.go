package ledger_test

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"payscore-collector/internal/ledger"
	"payscore-collector/tasks"
)

// A lost answer is given again when the call is repeated.
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
