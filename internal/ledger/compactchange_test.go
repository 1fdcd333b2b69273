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

func TestCompact_IsChangedLikeAWholeOne(t *testing.T) {
	// Each deed is done to two orders, one of them compact, which must then be alike.
	paid := func(s *timed, no string) { s.finish(no, 1, tasks.Paid, "") }
	closed := func(s *timed, no string) { s.finish(no, 1, tasks.Closed, "REVOKED") }
	withdrawn := func(s *timed, no string) { s.withdraw(no) }
	enqueue := func(reopen bool) func(s *timed, no string) string {
		return func(s *timed, no string) string {
			res, err := s.producer.Enqueue(s.Context(), tasks.Order{Payload: payload(no), Reopen: reopen})
			return fmt.Sprint(res.Status, " ", res.State, " ", err)
		}
	}
	withdraw := func(told bool) func(s *timed, no string) string {
		return func(s *timed, no string) string {
			w := tasks.Withdrawal{MchID: mchid, OutOrderNo: no, Reason: "again"}
			if told {
				w.PaidAt = paidInCash
			}
			res, err := s.producer.Withdraw(s.Context(), w)
			return fmt.Sprint(res.Status, " ", res.State, " ", err)
		}
	}
	notice := func(f ledger.Facts) func(s *timed, no string) string {
		return func(s *timed, no string) string { return s.notice(saying(no, f)) }
	}
	second := through(2, 400, "4200002345202611271234567899")
	first := through(1, 1250, longTx)
	collectAgain := func(s *timed, no string) string {
		enqueue(true)(s, no)
		c := s.granted(no)
		said := fmt.Sprint(c.Plan, c.Order.Attempts, c.Order.Known, c.Order.Total, c.Order.Life, c.Order.Round)
		s.finish0(c)
		return said
	}
	for name, c := range map[string]struct {
		end   func(*timed, string)
		deed  func(*timed, string) string
		stays bool // compact
	}{
		"paid, enqueued":                        {paid, enqueue(false), true},
		"paid, enqueued to reopen":              {paid, enqueue(true), true},
		"paid, withdrawn":                       {paid, withdraw(false), true},
		"paid, the same notification":           {paid, notice(final(said(1250, first))), true},
		"paid, a second payment":                {paid, notice(final(said(1250, first, second))), false},
		"paid, a second payment alone":          {paid, notice(said(1650, second)), false},
		"closed, enqueued":                      {closed, enqueue(false), true},
		"closed, reopened":                      {closed, enqueue(true), false},
		"closed, reopened and worked on":        {closed, collectAgain, false},
		"closed, a late payment":                {closed, notice(final(said(1250, first))), false},
		"withdrawn again":                       {withdrawn, withdraw(false), true},
		"withdrawn, and WeChat Pay is notified": {withdrawn, withdraw(true), false},
		"withdrawn, a late payment":             {withdrawn, notice(final(said(1250, first))), false},
	} {
		t.Run(name, func(t *testing.T) {
			s := newCompactable(t)
			at := s.now
			for _, no := range []string{"COMPACT", "WHOLE"} {
				s.pass(at.Sub(s.now)) // both at the same times
				s.open(no)
				c.end(s, no)
				if no == "COMPACT" {
					s.pass(time.Second)
					if n := s.compact(compactNow); n != 1 {
						t.Fatalf("%d are compact", n)
					}
				}
			}
			s.pass(time.Minute)
			if got, want := c.deed(s, "COMPACT"), c.deed(s, "WHOLE"); got != want {
				t.Errorf("answered %q, a whole one %q", got, want)
			}
			if s.isCompact("COMPACT") != c.stays {
				t.Errorf("compact: %t", !c.stays)
			}
			a, b := s.get("COMPACT"), s.get("WHOLE")
			a.OutOrderNo = b.OutOrderNo
			if diff := cmp.Diff(withoutLog(b), withoutLog(a)); diff != "" {
				t.Errorf("-whole +compact\n%s", diff)
			}
			events := map[string][]ledger.Event{}
			for _, e := range s.stream() {
				e.ID, e.At = "", time.Time{}
				no := e.OutOrderNo
				e.OutOrderNo = ""
				events[no] = append(events[no], e)
			}
			if diff := cmp.Diff(events["WHOLE"], events["COMPACT"]); diff != "" {
				t.Errorf("events (-whole +compact)\n%s", diff)
			}
			index := func(no string) (in []string) {
				for _, state := range tasks.States {
					if s.redis.Client.ZScore(t.Context(), ledger.KeysOf(mchid).Ended(state), no).Err() == nil {
						in = append(in, string(state))
					}
				}
				return in
			}
			if !slices.Equal(index("COMPACT"), index("WHOLE")) {
				t.Errorf("indexes %v, %v", index("COMPACT"), index("WHOLE"))
			}
		})
	}
}

// finish0 settles a claim as paid.
func (s *timed) finish0(c ledger.Claim) {
	s.Helper()
	s.settle(c, shows(c, final(said(1250, through(1, 1250, longTx)))))
}

// A settle that arrives after its order became compact writes payments and nothing else.
func TestCompact_LateSettle(t *testing.T) {
	s := newCompactable(t)
	s.open("A")
	c := s.granted("A")
	s.withdraw("A")
	s.pass(time.Hour) // the lease has expired
	if n := s.compact(compactNow); n != 1 {
		t.Fatalf("%d", n)
	}
	res := s.settled(c, shows(c, final(said(1250, through(1, 1250, longTx)))))
	if res.Code != ledger.Lost || !slices.Equal(res.News, []ledger.News{ledger.Late}) {
		t.Errorf("%+v", res)
	}
	if o := s.get("A"); o.State != tasks.Withdrawn || o.Reason != "paid in cash" || o.AppID != "wx1" || len(o.Payments) != 1 || o.LatePaymentAt.IsZero() {
		t.Errorf("%+v", o)
	}
	s.wantEvents("A", "opened queued", "withdrawn withdrawn", "paid withdrawn 1250")
}

// What a worker of the previous release, which does not know k, does to a compact order
// during an upgrade stands, and the rest of the order is there again with the next step.
func TestCompact_AndThePreviousRelease(t *testing.T) {
	s := newCompactable(t)
	ctx, k := t.Context(), ledger.KeysOf(mchid)
	s.open("A")
	s.finish("A", 2, tasks.Closed, "REVOKED")
	s.compact(compactNow)
	was := s.get("A")
	// Its open.lua, to reopen.
	pipe := s.redis.Client.Pipeline()
	pipe.HSet(ctx, k.Order("A"), "past", `[{"state":"closed","ended":0,"reopened":1}]`)
	pipe.HDel(ctx, k.Order("A"), "reason", "ended")
	pipe.HIncrBy(ctx, k.Order("A"), "life", 1)
	pipe.ZRem(ctx, k.Ended(tasks.Closed), "A")
	pipe.HIncrBy(ctx, k.Stats(), "closed", -1)
	pipe.HIncrBy(ctx, k.Stats(), "queued", 1)
	pipe.HSet(ctx, k.Order("A"), "state", "queued", "appid", "wx1", "svc", "s1", "next", "recheck", "due", 1, "round", 1, "since", 1, "opened", s.now.UnixMilli())
	pipe.HIncrBy(ctx, k.Order("A"), "events", 1)
	pipe.ZAdd(ctx, k.Due(), zAt(1, "A"))
	if _, err := pipe.Exec(ctx); err != nil {
		t.Fatal(err)
	}
	if n := s.compact(compactNow); n != 0 {
		t.Errorf("%d", n)
	}
	o := s.get("A")
	if o.State != tasks.Queued || o.Reason != "" || !o.EndedAt.IsZero() || o.OrderID != was.OrderID || o.CollectCalls != was.CollectCalls {
		t.Errorf("%+v", o)
	}
	// The step of its task would not see what k says, so that the sweep goes first.
	if c := s.claim("A", ledger.Limits{Lease: time.Minute, Rate: 1000, Horizon: time.Second, Most: time.Second}); c.Code != ledger.Stale || !s.isCompact("A") {
		t.Errorf("%+v", c)
	}
	swept, err := s.ledger.Sweep(ctx, ledger.SweepArgs{Limit: 10, Closed: 10, Grace: time.Hour})
	if err != nil || len(swept.Orders) != 1 || swept.Orders[0].Round != 1 || swept.Orders[0].AppID != "wx1" {
		t.Fatalf("%+v %v", swept, err)
	}
	if s.isCompact("A") {
		t.Error("the sweep has not made it whole")
	}
	c := s.granted("A")
	s.finish0(c)
	if o := s.get("A"); o.State != tasks.Paid || o.Reason != "" || o.Attempts < was.Attempts || o.QueryCalls != was.QueryCalls+1 || o.EndedAt.Before(was.EndedAt) {
		t.Errorf("%+v", o)
	}
	s.compact(compactNow)
	if o := s.get("A"); o.State != tasks.Paid || o.Reason != "" || *o.PaidAmount != 1250 || len(o.Past) != 1 {
		t.Errorf("%+v", o)
	}
}

// A worker or a producer of the previous release must not begin to notify WeChat Pay of a
// withdrawn order whose owner it does not find: such a due order fails its sweeps.
func TestCompact_IsNotToldByThePreviousRelease(t *testing.T) {
	s := newCompactable(t)
	s.open("A")
	s.withdraw("A")
	for _, sync := range []ledger.SyncState{ledger.SyncFailed, ledger.SyncNoNeed} {
		s.open(string(sync))
		s.withdraw(string(sync), "told")
		c := s.granted(string(sync))
		s.settled(c, told(c, sync))
	}
	s.pass(time.Second)
	if n := s.compact(compactNow); n != 1 || !s.isCompact("A") {
		t.Errorf("%d are compact, want A alone: the previous release would notify WeChat Pay of the second, and the third says what A says to it", n)
	}
	// Its withdraw.lua: "if ARGV[3] == '' or (rec.sync and rec.sync ~= 'failed')" changes nothing.
	if sync := s.stored("A")["sync"]; sync != "not_needed" {
		t.Errorf("the previous release reads sync %q", sync)
	}
	if o := s.get("A"); o.Sync != nil {
		t.Errorf("%+v", o.Sync)
	}
	for o, err := range s.ledger.Select(t.Context(), ledger.Filter{State: tasks.Withdrawn}) {
		if err != nil || o.OutOrderNo == "A" && o.Sync != nil {
			t.Errorf("listed: %+v %v", o.Sync, err)
		}
	}
	s.withdraw("A", "told")
	c := s.granted("A")
	if c.Plan != ledger.TellPaid || c.Order.AppID != "wx1" || s.isCompact("A") {
		t.Errorf("%+v", c)
	}
	s.settled(c, told(c, ledger.SyncDone))
	if o := s.get("A"); o.Sync == nil || o.Sync.State != ledger.SyncDone {
		t.Errorf("%+v", o.Sync)
	}
}
