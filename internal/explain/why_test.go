package explain

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"payscore-collector/internal/collect"
	"payscore-collector/internal/ledger"
	"payscore-collector/internal/testkit"
	"payscore-collector/tasks"
)

var shanghai, _ = time.LoadLocation("Asia/Shanghai")

// noon in Shanghai, in whose collection window it is.
var noon = time.Date(2026, 11, 20, 12, 0, 0, 0, shanghai)

func day() collect.Window {
	return collect.Window{From: 8 * time.Hour, To: 22 * time.Hour, Location: shanghai}
}

// well returns a merchant whose orders are collected.
func well(now time.Time) Situation {
	return Situation{
		MchID: "1900000109", Workers: 2, Seen: now.Add(-time.Second), Holds: ledger.Holds{Now: now, Share: 1},
		Rate: 50, Window: day(), Work: true,
	}
}

// each makes a situation have one cause.
var each = map[Code]func(*Situation){
	RedisRefuses: func(s *Situation) { s.Full = Memory{Used: 600, Limit: 500} },
	NoWorker:     func(s *Situation) { s.Workers, s.Seen = 0, noon.Add(-5*time.Minute) },
	QueuePaused:  func(s *Situation) { s.PausedSince = noon.Add(-time.Hour) },
	Paused: func(s *Situation) {
		s.Holds.Pause = &ledger.Pause{By: "cli:anna", Reason: "wrong amounts", Since: noon.Add(-time.Minute), Until: noon.Add(time.Hour)}
	},
	HoldFault: func(s *Situation) {
		s.Holds.Merchant = ledger.Hold{Kind: ledger.HoldFault, Since: noon.Add(-time.Minute), NextProbe: noon.Add(20 * time.Second)}
	},
	HoldDown: func(s *Situation) {
		s.Holds.Merchant = ledger.Hold{Kind: ledger.HoldDown, Since: noon.Add(-time.Minute), NextProbe: noon.Add(-time.Second)}
	},
	HoldThrottled: func(s *Situation) {
		s.Holds.Merchant = ledger.Hold{Kind: ledger.HoldThrottled, Since: noon.Add(-time.Minute), NextProbe: noon.Add(20 * time.Second)}
	},
	HoldService: func(s *Situation) {
		s.Holds.Services = []ledger.Hold{{Kind: ledger.HoldService, Owner: tasks.Owner{AppID: "wx1", ServiceID: "500001"}, Since: noon.Add(-time.Minute), NextProbe: noon.Add(20 * time.Second)}}
	},
	OutsideWindow:   func(s *Situation) { s.Window.From = 13 * time.Hour },
	NotDue:          func(s *Situation) { s.NextWork = noon.Add(10 * time.Minute) },
	Slowed:          func(s *Situation) { s.Holds.Share = 0.1 },
	WebhooksWaiting: func(s *Situation) { s.HooksWaiting, s.HooksSince = 7, noon.Add(-time.Hour) },
	ClockJumped:     func(s *Situation) { s.Holds.Jump = ledger.ClockJump{By: -2 * time.Hour, At: noon.Add(-time.Minute)} },
}

func codesOf(list []Cause) (codes []Code) {
	for _, c := range list {
		codes = append(codes, c.Code)
	}
	return codes
}

func TestWhy(t *testing.T) {
	if got := (Teller{Zone: shanghai}).Why(well(noon)); len(got) != 0 {
		t.Fatalf("where all is well: %+v, want nothing", got)
	}
	inEachLanguage(t, "why", func(b *strings.Builder, teller Teller) {
		for _, code := range Codes {
			s := well(noon)
			each[code](&s)
			got := teller.Why(s)
			if diff := cmp.Diff([]Code{code}, codesOf(got)); diff != "" {
				t.Errorf("%s: (-want +got)\n%s", code, diff)
				continue
			}
			fmt.Fprintf(b, "%s: %s\n", code, teller.Nothing(got[0]))
		}
	})
}

// Every cause that holds is named, in any combination.
func TestWhy_NamesEveryCause(t *testing.T) {
	for set := range 1 << len(Codes) {
		s, want := well(noon), []Code(nil)
		for i, code := range Codes {
			if set&(1<<i) == 0 {
				continue
			}
			each[code](&s)
			want = append(want, code)
		}
		// A merchant has one hold, which the last one has overwritten; and workers cannot
		// report to a Redis that refuses writes.
		want = leaveOut(want, func(c Code) bool {
			switch c {
			case NoWorker:
				return s.Full.Limit > 0
			case HoldFault, HoldDown, HoldThrottled:
				return c != Code("hold_"+s.Holds.Merchant.Kind)
			}
			return false
		})
		if diff := cmp.Diff(want, codesOf(Teller{Zone: shanghai}.Why(s))); diff != "" {
			t.Fatalf("set %b: (-want +got)\n%s", set, diff)
		}
	}
}

func leaveOut(list []Code, out func(Code) bool) (left []Code) {
	for _, c := range list {
		if !out(c) {
			left = append(left, c)
		}
	}
	return left
}

func TestWhy_Quiet(t *testing.T) {
	for name, change := range map[string]func(*Situation){
		"nothing to do and no worker": func(s *Situation) { s.Work, s.Workers = false, 0 },
		"nothing to do at night":      func(s *Situation) { s.Work, s.Window.From = false, 13*time.Hour },
		"a window that is not known":  func(s *Situation) { s.Window = collect.Window{} },
		"no window at all":            func(s *Situation) { s.Window = collect.Window{Always: true, Location: shanghai} },
		"webhooks on their way":       func(s *Situation) { s.HooksWaiting, s.HooksSince = 3, noon.Add(-time.Second) },
		"a jump of last week":         func(s *Situation) { s.Holds.Jump = ledger.ClockJump{By: time.Hour, At: noon.Add(-7 * 24 * time.Hour)} },
	} {
		s := well(noon)
		change(&s)
		if got := (Teller{Zone: shanghai}).Why(s); len(got) != 0 {
			t.Errorf("%s: %+v, want nothing", name, got)
		}
	}
}

func TestWhyOrder(t *testing.T) {
	order := func(change func(*ledger.Order)) ledger.Order {
		o := ledger.Order{State: tasks.Awaiting, AppID: "wx1", ServiceID: "500001", Next: ledger.Recheck, LastAttemptAt: noon.Add(-time.Hour), NextDueAt: noon}
		change(&o)
		return o
	}
	same := func(*ledger.Order) {}
	for name, c := range map[string]struct {
		order ledger.Order
		in    []Code
		want  []Code
	}{
		"a worker may take it up":           {order(same), nil, nil},
		"its service is held":               {order(same), []Code{HoldService}, []Code{HoldService}},
		"another service is held":           {order(func(o *ledger.Order) { o.ServiceID = "500002" }), []Code{HoldService}, nil},
		"outside the window":                {order(same), []Code{OutsideWindow}, []Code{OutsideWindow}},
		"a query goes out at any time":      {order(func(o *ledger.Order) { o.Next = ledger.Confirm }), []Code{OutsideWindow}, nil},
		"paused":                            {order(same), []Code{Paused}, []Code{Paused}},
		"a query goes out during a pause":   {order(func(o *ledger.Order) { o.Next = ledger.Confirm }), []Code{Paused}, nil},
		"put off by a pause":                {order(func(o *ledger.Order) { o.NextDueAt = noon.Add(time.Hour) }), []Code{Paused}, []Code{Paused, NotDue}},
		"what concerns others":              {order(same), []Code{NotDue, WebhooksWaiting}, nil},
		"what concerns all":                 {order(same), []Code{NoWorker, QueuePaused, HoldFault, Slowed, ClockJumped}, []Code{NoWorker, QueuePaused, HoldFault, Slowed, ClockJumped}},
		"not due":                           {order(func(o *ledger.Order) { o.NextDueAt = noon.Add(time.Minute) }), nil, []Code{NotDue}},
		"due when the window opens":         {order(func(o *ledger.Order) { o.NextDueAt = noon.Add(time.Hour) }), []Code{OutsideWindow}, []Code{OutsideWindow}},
		"due long after the window opens":   {order(func(o *ledger.Order) { o.NextDueAt = noon.Add(2 * time.Hour) }), []Code{OutsideWindow}, []Code{NotDue}},
		"ended":                             {order(func(o *ledger.Order) { o.State = tasks.Paid }), []Code{NoWorker}, nil},
		"withdrawn, and WeChat is notified": {order(func(o *ledger.Order) { o.State, o.Sync = tasks.Withdrawn, &ledger.Sync{State: ledger.SyncPending} }), []Code{OutsideWindow, HoldFault}, []Code{HoldFault}},
	} {
		s := well(noon)
		for _, code := range c.in {
			each[code](&s)
		}
		if diff := cmp.Diff(c.want, codesOf(Teller{Now: noon, Zone: shanghai}.WhyOrder(s, c.order))); diff != "" {
			t.Errorf("%s: (-want +got)\n%s", name, diff)
		}
	}
}

// Each reason for an order's due time has words of its own.
func TestNext_WhyNotSooner(t *testing.T) {
	later := noon.Add(time.Minute)
	inEachLanguage(t, "next", func(b *strings.Builder, teller Teller) {
		for _, o := range []ledger.Order{
			{State: tasks.Queued, Next: ledger.Collect, NextDueAt: later},
			{State: tasks.Queued, Next: ledger.Collect, NextDueAt: time.Date(2026, 11, 21, 8, 0, 0, 0, shanghai)},
			{State: tasks.Queued, Next: ledger.Collect, NextDueAt: later, LastAttemptAt: noon},
			{State: tasks.Awaiting, Next: ledger.Recheck, NextDueAt: later, LastError: &ledger.LastError{HTTPStatus: 403, Code: "TRADE_ERROR"}},
			{State: tasks.Awaiting, Next: ledger.Recheck, NextDueAt: later, LastError: &ledger.LastError{HTTPStatus: 403, Code: "NO_AUTH", DetailCode: "268560785"}},
			{State: tasks.Awaiting, Next: ledger.Recheck, NextDueAt: later, LastError: &ledger.LastError{HTTPStatus: 502}},
			{State: tasks.Awaiting, Next: ledger.Recheck, NextDueAt: later, LastError: &ledger.LastError{}},
			{State: tasks.Queued, Next: ledger.Recheck, NextDueAt: later, LastError: &ledger.LastError{HTTPStatus: 401, Code: "SIGN_ERROR", DetailCode: "270924332"}},
			{State: tasks.Queued, Next: ledger.Recheck, NextDueAt: later, LastError: &ledger.LastError{HTTPStatus: 403, Code: "NO_AUTH"}},
			{State: tasks.Queued, Next: ledger.Recheck, NextDueAt: later, LastError: &ledger.LastError{HTTPStatus: 429, Code: "FREQUENCY_LIMITED"}},
			{State: tasks.Awaiting, Next: ledger.Confirm, NextDueAt: later},
			{State: tasks.Awaiting, Next: ledger.Resolve, NextDueAt: later},
			{State: tasks.Awaiting, Next: ledger.Inspect, NextDueAt: later},
			{State: tasks.Awaiting, Next: ledger.Final, NextDueAt: later},
			{State: tasks.Withdrawn, Sync: &ledger.Sync{State: ledger.SyncPending}, Next: ledger.TellPaid, NextDueAt: later},
		} {
			fmt.Fprintln(b, teller.Next(well(noon), o, nil))
		}
	})
}

// Orders with a schedule of their own are due by it, and withdrawn ones by the settings.
func TestNext_BySchedule(t *testing.T) {
	s := well(noon)
	s.Schedules = &collect.Schedules{Named: map[string]collect.Policy{"gentle": {Window: collect.Window{Always: true}}}}
	for name, c := range map[string]struct {
		change func(*ledger.Order)
		want   string
	}{
		"the next attempt":        {func(o *ledger.Order) {}, "its schedule gentle says so"},
		"the last query":          {func(o *ledger.Order) { o.Next = ledger.Final }, "give_up_after of its schedule gentle ends then"},
		"a confirmation":          {func(o *ledger.Order) { o.Next = ledger.Confirm }, "(CONFIRM_SCHEDULE)"},
		"unknown to the workers":  {func(o *ledger.Order) { o.Schedule = "gone" }, "COLLECT_SCHEDULE says so"},
		"none":                    {func(o *ledger.Order) { o.Schedule = "" }, "COLLECT_SCHEDULE says so"},
		"withdrawn in the middle": {func(o *ledger.Order) { o.State, o.Sync = tasks.Withdrawn, &ledger.Sync{State: ledger.SyncPending} }, "COLLECT_SCHEDULE says so"},
	} {
		o := ledger.Order{State: tasks.Awaiting, Schedule: "gentle", Next: ledger.Recheck, NextDueAt: noon.Add(time.Minute), LastAttemptAt: noon,
			LastError: &ledger.LastError{HTTPStatus: 403, Code: "TRADE_ERROR"}}
		c.change(&o)
		if got := (Teller{Now: noon, Zone: shanghai}).Next(s, o, nil); !strings.HasSuffix(got, c.want) {
			t.Errorf("%s: %q, want %q at the end", name, got, c.want)
		}
	}
}

// inEachLanguage compares a text at noon in Shanghai with testdata/NAME.golden, and in
// Chinese with testdata/NAME.zh.golden.
func inEachLanguage(t *testing.T, name string, tell func(*strings.Builder, Teller)) {
	t.Helper()
	for lang, file := range map[Language]string{English: name, Chinese: name + ".zh"} {
		var b strings.Builder
		tell(&b, Teller{Now: noon, Zone: shanghai, Lang: lang})
		testkit.Golden(t, file, b.String())
	}
}
