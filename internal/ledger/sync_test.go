package ledger_test

import (
	"slices"
	"testing"
	"time"

	"payscore-collector/internal/ledger"
	"payscore-collector/tasks"
)

var paidInCash = time.Date(2026, 11, 3, 12, 30, 5, 0, tasks.China)

// told is what a step of telling WeChat Pay brings.
func told(c ledger.Claim, state ledger.SyncState) ledger.Settlement {
	set := ledger.Settlement{
		State: tasks.Withdrawn, Sync: state, Call: "sync", Verdict: "accepted",
		Log: []ledger.Entry{entry("sync", "accepted")},
	}
	if state == ledger.SyncPending {
		set.Next, set.Due = ledger.Confirm, c.Now
	}
	return set
}

func TestSync(t *testing.T) {
	t.Run("a withdrawn order is due until WeChat Pay was told", func(t *testing.T) {
		s := newSetup(t)
		s.open("A")
		s.withdraw("A", "told")
		o := s.get("A")
		if o.Sync == nil || o.Sync.State != ledger.SyncPending || !o.Sync.PaidAt.Equal(paidInCash) || o.NextDueAt.IsZero() {
			t.Fatalf("%+v", o)
		}
		c := s.granted("A")
		if c.Plan != ledger.TellPaid || !c.Order.Sync || c.Order.PaidAt != "20261103123005" {
			t.Errorf("%+v", c)
		}
		s.settle(c, told(c, ledger.SyncPending))
		c = s.granted("A")
		if c.Plan != ledger.Confirm || !c.Order.Sync {
			t.Errorf("%+v", c)
		}
		s.settle(c, told(c, ledger.SyncDone))
		if c := s.claim("A", limits()); c.Code != ledger.HasEnded {
			t.Errorf("%s", c.Code)
		}
		o = s.get("A")
		if o.State != tasks.Withdrawn || o.Reason != "paid in cash" || o.Sync.State != ledger.SyncDone || o.Sync.Calls != 1 || o.QueryCalls != 1 || o.CollectCalls != 0 {
			t.Errorf("%+v %+v", o, o.Sync)
		}
		s.wantEvents("A", "opened queued", "withdrawn withdrawn sync pending",
			"attempted withdrawn sync pending", "attempted withdrawn sync done")
		if n := s.redis.Client.ZCard(t.Context(), ledger.KeysOf(mchid).Due()).Val(); n != 0 {
			t.Errorf("%d in the due index", n)
		}
	})
	t.Run("waits for the call that is under way, and comes with the next sweep after it", func(t *testing.T) {
		s := newSetup(t)
		s.open("A")
		c := s.granted("A")
		s.withdraw("A", "told")
		if during := s.claim("A", limits()); during.Code != ledger.Leased {
			t.Fatalf("two at once: %s", during.Code)
		}
		if code, _ := s.settle(c, back(c, ledger.Confirm)); code != ledger.HasEnded {
			t.Errorf("%s", code)
		}
		swept, err := s.ledger.Sweep(t.Context(), ledger.SweepArgs{Limit: 10, Closed: 10, Grace: time.Second})
		if err != nil || len(swept.Orders) != 1 || !swept.Orders[0].Sync {
			t.Fatalf("%+v %v", swept, err)
		}
		if next, err := s.ledger.Claim(t.Context(), "A", ledger.NewToken(), swept.Orders[0].Round, limits()); err != nil || next.Plan != ledger.TellPaid {
			t.Errorf("%+v %v", next, err)
		}
	})
	t.Run("neither the window nor the gap holds it back", func(t *testing.T) {
		s := newSetup(t)
		s.open("A")
		c := s.granted("A")
		set := back(c, ledger.Recheck)
		set.Collected = c.Now
		s.settle(c, set)
		s.withdraw("A", "told")
		lim := limits()
		lim.MinGap = time.Hour
		lim.Windows = []time.Time{time.Now().Add(time.Hour), time.Now().Add(2 * time.Hour)}
		c = s.claim("A", lim)
		if c.Code != ledger.Granted || c.Plan != ledger.TellPaid {
			t.Fatalf("%+v", c)
		}
		s.settle(c, func() ledger.Settlement { set := told(c, ledger.SyncPending); set.Next = ledger.Recheck; return set }())
		c = s.claim("A", lim)
		if p, err := s.ledger.Permit(t.Context(), c, lim); err != nil || p.Code != ledger.Granted {
			t.Errorf("%+v %v", p, err)
		}
		if o := s.get("A"); o.Sync.Calls != 2 || o.CollectCalls != 1 {
			t.Errorf("%+v %+v", o, o.Sync)
		}
	})
	t.Run("a payment that comes to light in it stands beside the end", func(t *testing.T) {
		s := newSetup(t)
		s.open("A")
		s.withdraw("A", "told")
		c := s.granted("A")
		set := told(c, ledger.SyncNoNeed)
		set.VerifiedPaid, set.Facts, set.SyncReason = true, paidNotice("A").Facts, "paid_through_wechat"
		res, err := s.ledger.Settle(t.Context(), c, set)
		if err != nil || res.Code != ledger.Settled || !slices.Contains(res.News, ledger.Late) {
			t.Errorf("%+v %v", res, err)
		}
		o := s.get("A")
		if o.State != tasks.Withdrawn || o.LatePaymentAt.IsZero() || o.Sync.State != ledger.SyncNoNeed || o.Sync.Reason != "paid_through_wechat" {
			t.Errorf("%+v %+v", o, o.Sync)
		}
		s.wantEvents("A", "opened queued", "withdrawn withdrawn sync pending", "paid withdrawn 1250 sync not_needed")
	})
	t.Run("reopened during its sync: the old step overwrites nothing", func(t *testing.T) {
		s := newSetup(t)
		s.open("A")
		s.withdraw("A", "told")
		c := s.granted("A")
		if res, err := s.producer.Enqueue(t.Context(), tasks.Order{Payload: payload("A"), Reopen: true}); err != nil || res.Status != tasks.Accepted {
			t.Fatalf("%+v %v", res, err)
		}
		if p, err := s.ledger.Permit(t.Context(), c, limits()); err != nil || p.Code != ledger.HasEnded {
			t.Errorf("%+v %v", p, err)
		}
		if code, _ := s.settle(c, told(c, ledger.SyncDone)); code != ledger.Reopened {
			t.Errorf("%s", code)
		}
		if o := s.get("A"); o.State != tasks.Queued || o.Sync != nil || o.Reason != "" {
			t.Errorf("%+v", o)
		}
	})
	t.Run("a dead worker's telling is due again when its lease ends", func(t *testing.T) {
		s := newSetup(t)
		s.open("A")
		s.withdraw("A", "told")
		lim := limits()
		lim.Lease = time.Millisecond
		s.claim("A", lim)
		s.until(func() bool {
			swept, err := s.ledger.Sweep(t.Context(), ledger.SweepArgs{Limit: 10, Closed: 10, Grace: time.Second})
			return err == nil && len(swept.Orders) == 1 && swept.Orders[0].Sync
		})
		if c := s.granted("A"); c.Plan != ledger.Resolve || !c.Order.Sync {
			t.Errorf("%+v", c)
		}
	})
}
