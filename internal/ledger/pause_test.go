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

func (s *setup) pause(length time.Duration) ledger.Pause {
	s.Helper()
	p, err := s.ledger.Pause(s.Context(), ledger.Deed{By: "cli:anna", Reason: "wrong amounts"}, length)
	if err != nil {
		s.Fatal(err)
	}
	return p
}

func (s *setup) resume() bool {
	s.Helper()
	was, err := s.ledger.Resume(s.Context(), ledger.Deed{By: "cli:anna", Reason: "amounts corrected"})
	if err != nil {
		s.Fatal(err)
	}
	return was
}

func (s *setup) paused() *ledger.Pause {
	s.Helper()
	h, err := s.ledger.Holds(s.Context())
	if err != nil {
		s.Fatal(err)
	}
	return h.Pause
}

func (s *setup) swept() []string {
	s.Helper()
	sw, err := s.ledger.Sweep(s.Context(), ledger.SweepArgs{Limit: 1000, Closed: 1000, Grace: time.Minute})
	if err != nil {
		s.Fatal(err)
	}
	nos := []string{}
	for _, o := range sw.Orders {
		nos = append(nos, o.OutOrderNo)
	}
	slices.Sort(nos)
	return nos
}

// awaiting opens an order and gives it back with a plan, due now.
func (s *setup) awaiting(no string, plan ledger.Plan) {
	s.Helper()
	s.open(no)
	c := s.granted(no)
	s.settle(c, back(c, plan))
}

// A pause stops the collect calls of a merchant, and nothing else.
func TestPause_StopsCollectCallsOnly(t *testing.T) {
	s := newTimed(t)
	s.open("NEW")
	s.awaiting("RECHECK", ledger.Recheck)
	s.awaiting("CONFIRM", ledger.Confirm)
	s.open("TOLD")
	if w, err := s.producer.Withdraw(t.Context(), tasks.Withdrawal{MchID: mchid, OutOrderNo: "TOLD", Reason: "cash", PaidAt: paidInCash}); err != nil || w.Status != tasks.Accepted {
		t.Fatal(w, err)
	}
	s.pass(time.Second)
	p := s.pause(0)
	if !p.Since.Equal(s.now) || !p.Until.IsZero() || p.By != "cli:anna" || p.Reason != "wrong amounts" {
		t.Errorf("%+v", p)
	}
	if diff := cmp.Diff(&p, s.paused()); diff != "" {
		t.Error(diff)
	}
	c := s.claim("NEW", limits())
	if c.Code != ledger.Paused {
		t.Errorf("a collect plan: %s", c.Code)
	}
	if o := s.get("NEW"); o.State != tasks.Queued || o.Attempts != 0 || o.CollectCalls != 0 || o.NextDueAt.Sub(s.now) != time.Hour {
		t.Errorf("%+v", o)
	}
	if c := s.claim("NEW", limits()); c.Code != ledger.Early {
		t.Errorf("the order that was put off: %s", c.Code)
	}
	if c := s.granted("CONFIRM"); c.Plan != ledger.Confirm {
		t.Errorf("%s", c.Plan)
	}
	if c := s.granted("TOLD"); c.Plan != ledger.TellPaid {
		t.Errorf("%s", c.Plan)
	}
	c = s.granted("RECHECK") // the query is made
	permit, err := s.ledger.Permit(t.Context(), c, limits())
	if err != nil || permit.Code != ledger.Paused || permit.Wait != time.Hour {
		t.Errorf("%+v %v", permit, err)
	}
	set := back(c, ledger.Recheck)
	set.Paused, set.Due = true, s.now.Add(time.Hour)
	s.settle(c, set)
	if got := s.swept(); len(got) != 0 {
		t.Errorf("swept %v during the pause", got)
	}
	if code := s.notice(paidNotice("NEW")); code != "paid" {
		t.Errorf("a notification during the pause: %s", code)
	}

	if !s.resume() || s.resume() {
		t.Error("resumed other than once")
	}
	if s.paused() != nil {
		t.Error("it is still paused")
	}
	if diff := cmp.Diff([]string{"RECHECK"}, s.swept()); diff != "" {
		t.Errorf("swept after the pause: %s", diff)
	}
	s.granted("RECHECK")
	want := []string{
		`TOLD withdraw go:ledger.test "cash" `,
		` pause cli:anna "wrong amounts" `, ` resume cli:anna "amounts corrected" `,
	}
	if diff := cmp.Diff(want, s.trail()); diff != "" {
		t.Error(diff)
	}
}

// A pause with a length ends by itself: its orders are due at its end, and one that was put
// off for longer is brought back by the next sweep.
func TestPause_EndsByItself(t *testing.T) {
	s := newTimed(t)
	for _, no := range []string{"A", "B"} {
		s.open(no)
	}
	p := s.pause(10 * time.Minute)
	if p.Until.Sub(p.Since) != 10*time.Minute {
		t.Errorf("%+v", p)
	}
	if c := s.claim("A", limits()); c.Code != ledger.Paused || c.Wait != 10*time.Minute {
		t.Errorf("%+v", c)
	}
	s.pause(2 * time.Minute) // a second one replaces the first
	if c := s.claim("B", limits()); c.Code != ledger.Paused || c.Wait != 2*time.Minute {
		t.Errorf("%+v", c)
	}
	s.pass(2*time.Minute - time.Millisecond)
	if got := s.swept(); len(got) != 0 || s.paused() == nil {
		t.Errorf("swept %v a millisecond early, pause %+v", got, s.paused())
	}
	s.pass(time.Millisecond)
	if s.paused() != nil {
		t.Error("it has not ended")
	}
	sw, err := s.ledger.Sweep(t.Context(), ledger.SweepArgs{Limit: 10, Closed: 10, Grace: time.Minute})
	if err != nil || !sw.Parked {
		t.Fatalf("%+v %v", sw, err)
	}
	if n, err := s.ledger.Unpause(t.Context()); n != 1 || err != nil {
		t.Errorf("%d orders brought back, %v", n, err)
	}
	s.pass(time.Minute)
	s.granted("A")
	s.granted("B")
	if s.resume() {
		t.Error("a pause that has ended was resumed")
	}
}

// Redis's clock may jump: a pause with a length never lasts longer than that length from
// now on, one without lasts until it is resumed.
func TestPause_ClockThatJumps(t *testing.T) {
	for _, jump := range []time.Duration{-12 * time.Hour, -time.Hour, -7 * time.Second, time.Hour, 12 * time.Hour} {
		for i, length := range []time.Duration{0, 2 * time.Hour, 0, 2 * time.Hour} {
			first := []string{"claim", "sweep"}[i/2]
			t.Run(jump.String()+" "+length.String()+" "+first, func(t *testing.T) {
				s := newTimed(t)
				s.open("A")
				s.pass(13 * time.Hour) // so that it is due after the jump as well
				s.pause(length)
				s.pass(jump)
				if jump > length && length > 0 {
					s.granted("A") // it has ended too early, by the jump at most
					return
				}
				if first == "claim" {
					if c := s.claim("A", limits()); c.Code != ledger.Paused {
						t.Fatalf("%+v", c)
					}
				}
				if _, err := s.ledger.Sweep(t.Context(), ledger.SweepArgs{Interval: time.Second, Limit: 10, Closed: 10, Grace: time.Minute}); err != nil {
					t.Fatal(err)
				}
				if p := s.paused(); p == nil || p.Since.After(s.now) || p.Until.Sub(s.now) > length {
					t.Fatalf("%+v at %s", p, s.now)
				}
				if length > 0 {
					s.pass(length)
					if p := s.paused(); p != nil {
						t.Errorf("%+v after its length", p)
					}
				} else if s.pass(1000 * time.Hour); s.paused() == nil {
					t.Error("it has ended by itself")
				}
			})
		}
	}
}

// A repeated pause, because its answer was lost, neither extends it nor is it recorded
// twice.
func TestPause_Repeated(t *testing.T) {
	s := newTimed(t)
	d := ledger.Deed{By: "api:ops", Reason: "wrong amounts", Token: "1"}
	first, err := s.ledger.Pause(t.Context(), d, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	s.pass(time.Minute)
	again, err := s.ledger.Pause(t.Context(), d, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(first, again); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{` pause api:ops "wrong amounts" for 1h0m0s`}, s.trail()); diff != "" {
		t.Error(diff)
	}
}

// What became of an order since a pause has put it off is not undone at its end.
func TestUnpause_LeavesWhatHasChanged(t *testing.T) {
	s := newTimed(t)
	for _, no := range []string{"WITHDRAWN", "REOPENED", "LATER", "STILL"} {
		s.open(no)
	}
	s.pause(0)
	for _, no := range []string{"WITHDRAWN", "REOPENED", "LATER", "STILL"} {
		if c := s.claim(no, limits()); c.Code != ledger.Paused {
			t.Fatal(c.Code)
		}
	}
	for _, no := range []string{"WITHDRAWN", "REOPENED"} {
		s.withdraw(no)
	}
	wish := s.now.Add(5 * time.Hour)
	if _, err := s.producer.Enqueue(t.Context(), tasks.Order{Payload: payload("REOPENED"), Reopen: true, At: wish}); err != nil {
		t.Fatal(err)
	}
	// LATER is put off once more when the hour is over, and by the window this time.
	s.pass(time.Hour)
	lim := limits()
	lim.Windows = []time.Time{s.now.Add(3 * time.Hour), s.now.Add(4 * time.Hour)}
	s.redis.Client.HDel(t.Context(), ledger.KeysOf(mchid).Hold(), "pause")
	if c := s.claim("LATER", lim); c.Code != ledger.Postponed {
		t.Fatal(c.Code)
	}
	s.pause(0)
	if c := s.claim("STILL", lim); c.Code != ledger.Paused {
		t.Fatal(c.Code)
	}
	s.resume()
	if o := s.get("WITHDRAWN"); o.State != tasks.Withdrawn || !o.NextDueAt.IsZero() {
		t.Errorf("%+v", o)
	}
	if o := s.get("REOPENED"); !o.NextDueAt.Equal(wish.UTC().Truncate(time.Millisecond)) {
		t.Errorf("due %s, want billing's %s", o.NextDueAt, wish)
	}
	if o := s.get("LATER"); !o.NextDueAt.Equal(lim.Windows[0].UTC()) {
		t.Errorf("due %s, want when the window opens", o.NextDueAt)
	}
	if o := s.get("STILL"); !o.NextDueAt.Equal(s.now.UTC()) {
		t.Errorf("due %s, want now", o.NextDueAt)
	}
	if n := s.redis.Client.Exists(t.Context(), ledger.KeysOf(mchid).Paused()).Val(); n != 0 {
		t.Error("the index of paused orders is left")
	}
}

// Many orders come back, page by page.
func TestUnpause_Many(t *testing.T) {
	s := newTimed(t)
	const orders = 450
	var openings []ledger.Opening
	for i := range orders {
		openings = append(openings, ledger.Opening{Owner: payload("").Owner(), OutOrderNo: fmt.Sprint("N-", i)})
	}
	for _, o := range ledger.Open(t.Context(), s.redis.Client, openings) {
		if o.Err != nil {
			t.Fatal(o.Err)
		}
	}
	s.pause(0)
	for i := range orders {
		if c := s.claim(fmt.Sprint("N-", i), limits()); c.Code != ledger.Paused {
			t.Fatal(c.Code)
		}
	}
	if n, err := s.ledger.Unpause(t.Context()); n != 0 || err != nil {
		t.Errorf("%d orders made due during the pause, %v", n, err)
	}
	s.resume()
	if got := s.swept(); len(got) != orders {
		t.Errorf("%d orders are due after the pause, want %d", len(got), orders)
	}
}

func TestCollectNow(t *testing.T) {
	deed := ledger.Deed{By: "cli:anna", Reason: "topped up"}
	type due struct {
		code ledger.OpenCode
		in   time.Duration
	}
	const gap = 5 * time.Minute
	for name, tt := range map[string]struct {
		plan     ledger.Plan
		in       time.Duration // when the order is due
		windowIn time.Duration // when the window opens; 0: it is open
		want     due
		wantPlan ledger.Plan
	}{
		"after the gap":                        {ledger.Recheck, time.Hour, 0, due{ledger.Accepted, gap}, ledger.Recheck},
		"within the gap already":               {ledger.Recheck, time.Minute, 0, due{ledger.Duplicate, time.Minute}, ledger.Recheck},
		"when the window opens":                {ledger.Recheck, 24 * time.Hour, 2 * time.Hour, due{ledger.Accepted, 2 * time.Hour}, ledger.Recheck},
		"a confirming query stays where it is": {ledger.Confirm, 10 * time.Second, 0, due{ledger.Accepted, 10 * time.Second}, ledger.Recheck},
		"a late confirming query":              {ledger.Confirm, 10 * time.Minute, 0, due{ledger.Accepted, gap}, ledger.Recheck},
		"the last query":                       {ledger.Final, 10 * time.Minute, 0, due{ledger.Accepted, gap}, ledger.Recheck},
		"a call of unknown effect":             {ledger.Resolve, 10 * time.Minute, 0, due{ledger.Accepted, 0}, ledger.Resolve},
		"a refusal":                            {ledger.Inspect, 10 * time.Minute, 0, due{ledger.Accepted, 0}, ledger.Inspect},
	} {
		t.Run(name, func(t *testing.T) {
			s := newTimed(t)
			s.open("A")
			c := s.granted("A")
			set := back(c, tt.plan)
			set.Collected, set.Due, set.Declines, set.AddAttempts = s.now, s.now.Add(tt.in), 2, 1
			s.settle(c, set)
			e := ledger.Earliest{MinGap: gap}
			if tt.windowIn > 0 {
				e.Windows = []time.Time{s.now.Add(tt.windowIn), s.now.Add(tt.windowIn + time.Hour)}
			}
			before := s.redis.Client.HGet(t.Context(), ledger.KeysOf(mchid).Order("A"), "declines").Val()
			for i := range 2 {
				h, err := s.ledger.CollectNow(t.Context(), "A", deed, e, 10*time.Second)
				if err != nil {
					t.Fatal(err)
				}
				if i == 1 {
					tt.want.code = ledger.Duplicate // it is due as soon as may be
				}
				if got := (due{h.Code, h.Due.Sub(s.now)}); got != tt.want {
					t.Errorf("time %d: got %+v, want %+v", i+1, got, tt.want)
				}
			}
			o := s.get("A")
			if o.Next != tt.wantPlan || o.NextDueAt.Sub(s.now) != tt.want.in || o.State != tasks.Awaiting || o.Attempts != 1 {
				t.Errorf("%+v", o)
			}
			if after := s.redis.Client.HGet(t.Context(), ledger.KeysOf(mchid).Order("A"), "declines").Val(); after != before {
				t.Errorf("its place in the schedule was %s, and is %s", before, after)
			}
		})
	}
	t.Run("an order that billing wants later", func(t *testing.T) {
		s := newTimed(t)
		if err := openOrder(t.Context(), s.ledger, tasks.Order{Payload: payload("A"), At: s.now.Add(24 * time.Hour)}); err != nil {
			t.Fatal(err)
		}
		h, err := s.ledger.CollectNow(t.Context(), "A", deed, ledger.Earliest{MinGap: gap}, 0)
		if err != nil || h.Code != ledger.Accepted || !h.Due.Equal(s.now) {
			t.Fatalf("%+v %v", h, err)
		}
		s.pass(time.Millisecond)
		if c := s.granted("A"); c.Plan != ledger.Collect {
			t.Errorf("%s", c.Plan)
		}
	})
	t.Run("while a worker has it, after its end, and of no order", func(t *testing.T) {
		s := newTimed(t)
		s.open("A")
		s.granted("A")
		for _, want := range []ledger.OpenCode{ledger.Duplicate, ledger.Ended} {
			if want == ledger.Ended {
				s.withdraw("A")
			}
			h, err := s.ledger.CollectNow(t.Context(), "A", deed, ledger.Earliest{}, 0)
			if err != nil || h.Code != want {
				t.Errorf("%+v %v, want %s", h, err, want)
			}
		}
		if h, err := s.ledger.CollectNow(t.Context(), "NONE", deed, ledger.Earliest{}, 0); err != nil || h.Code != ledger.NoOrder {
			t.Errorf("%+v %v", h, err)
		}
	})
	t.Run("once for its token, whatever came of the order since", func(t *testing.T) {
		s := newTimed(t)
		s.awaiting("A", ledger.Confirm)
		d := deed
		d.Token = "1"
		for range 3 {
			if h, err := s.ledger.CollectNow(t.Context(), "A", d, ledger.Earliest{}, 0); err != nil || h.Code != ledger.Accepted {
				t.Errorf("%+v %v", h, err)
			}
			s.pass(time.Second)
			c := s.granted("A")
			set := back(c, ledger.Recheck)
			s.settle(c, set)
		}
		if diff := cmp.Diff([]string{`A collect-now cli:anna "topped up" `}, s.trail()); diff != "" {
			t.Error(diff)
		}
	})
}
