package collect

import (
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"payscore-collector/internal/ledger"
	"payscore-collector/internal/payscore"
	"payscore-collector/tasks"
)

// shanghai is where all of China's clocks stand.
var shanghai = zone("Asia/Shanghai")

func zone(name string) *time.Location {
	loc, err := time.LoadLocation(name)
	if err != nil {
		panic(err)
	}
	return loc
}

// testPolicy is the default policy, at any time of the day and without jitter.
func testPolicy() Policy {
	return Policy{
		Schedule: []time.Duration{10 * time.Minute, time.Hour, 6 * time.Hour, 24 * time.Hour},
		Confirm:  []time.Duration{10 * time.Second, time.Minute, 10 * time.Minute},
		Window:   Window{Always: true},
		MinGap:   5 * time.Minute,
		GiveUp:   720 * time.Hour,
		Rand:     func() float64 { return 0.5 },
	}
}

// noon is when the replies of these tests come.
var noon = time.Date(2026, 3, 2, 12, 0, 0, 0, shanghai)

// fresh is an order that was opened an hour ago and not tried yet; tried is
// one that was collected ten minutes ago.
func fresh() ledger.Snapshot {
	return ledger.Snapshot{OutOrderNo: "A", State: tasks.Queued, Round: 1, Since: noon.Add(-time.Hour)}
}

func tried() ledger.Snapshot {
	o := fresh()
	o.State, o.Attempts, o.Collected = tasks.Awaiting, 1, noon.Add(-10*time.Minute)
	return o
}

func with(o ledger.Snapshot, f func(*ledger.Snapshot)) ledger.Snapshot {
	f(&o)
	return o
}

func collectReply(v payscore.Verdict) payscore.Reply {
	return payscore.Reply{Call: payscore.CallCollect, Verdict: v, Sent: true}
}

func queryReply(v payscore.Verdict) payscore.Reply {
	r := payscore.Reply{Call: payscore.CallQuery, Verdict: v, Sent: true}
	switch v {
	case payscore.Paid, payscore.Closed, payscore.Owed, payscore.InProgress:
		r.Order, r.Verified = &payscore.Order{OrderID: "1"}, true
	}
	return r
}

// next is what a test wants of a settlement.
type next struct {
	State  tasks.State
	Plan   ledger.Plan
	In     time.Duration // from the reply to the due time
	Reason string

	Declines, Confirms, Fails, Missing, Attempts int64
	NotMade                                      ledger.Call
	Collected                                    bool // MIN_GAP counts from this reply
}

func nextOf(s ledger.Settlement) next {
	n := next{
		State: s.State, Plan: s.Next, Reason: s.Reason,
		Declines: s.Declines, Confirms: s.Confirms, Fails: s.Fails, Missing: s.Missing, Attempts: s.AddAttempts,
		NotMade: s.NotMade, Collected: !s.Collected.IsZero(),
	}
	if !s.Due.IsZero() {
		n.In = s.Due.Sub(noon)
	}
	return n
}

const (
	second = time.Second
	minute = time.Minute
	hour   = time.Hour
)

func TestPolicyNext(t *testing.T) {
	t.Parallel()
	declinedAfter := func(k int64) ledger.Snapshot {
		return with(tried(), func(o *ledger.Snapshot) { o.Declines = k })
	}
	failed := func(k int64) ledger.Snapshot { return with(fresh(), func(o *ledger.Snapshot) { o.Fails = k }) }
	confirmed := func(k int64) ledger.Snapshot {
		return with(tried(), func(o *ledger.Snapshot) { o.Confirms = k })
	}
	missed := func(o ledger.Snapshot) ledger.Snapshot {
		return with(o, func(o *ledger.Snapshot) { o.Missing = 1 })
	}
	overdue := func(o ledger.Snapshot) ledger.Snapshot {
		return with(o, func(o *ledger.Snapshot) { o.Since = noon.Add(-720 * hour) })
	}
	refused := payscore.Reply{Call: payscore.CallCollect, Verdict: payscore.NotCollectable, Code: "ORDER_DONE", Reason: "ORDER_DONE", Sent: true}
	refusedQuery := payscore.Reply{Call: payscore.CallQuery, Verdict: payscore.NotCollectable, Code: "INVALID_REQUEST", Reason: "INVALID_REQUEST", Sent: true}
	notCompleted := payscore.Reply{Call: payscore.CallQuery, Verdict: payscore.NotCollectable, Reason: "not_completed", Order: &payscore.Order{}, Verified: true, Sent: true}
	notFound := func(c payscore.Call) payscore.Reply {
		return payscore.Reply{Call: c, Verdict: payscore.NotFound, Code: "ORDER_NOT_EXIST", Reason: "ORDER_NOT_EXIST", Sent: true}
	}
	badRequest := payscore.Reply{Call: payscore.CallCollect, Verdict: payscore.BadRequest, Reason: "PARAM_ERROR", Sent: true}
	unsent := func(r payscore.Reply) payscore.Reply { r.Sent = false; return r }
	revoked := queryReply(payscore.Closed)
	revoked.Reason = "REVOKED"
	riddle := queryReply(payscore.Unknown)
	riddle.Order = &payscore.Order{}

	for _, tt := range []struct {
		name  string
		order ledger.Snapshot
		plan  ledger.Plan
		reply payscore.Reply
		want  next
	}{
		// A collect that was answered about the order: an attempt.
		{"accepted: query after 10 s", fresh(), ledger.Collect, collectReply(payscore.Accepted),
			next{State: tasks.Awaiting, Plan: ledger.Confirm, In: 10 * second, Attempts: 1, Collected: true}},
		{"accepted again: the queries begin anew", confirmed(2), ledger.Recheck, collectReply(payscore.Accepted),
			next{State: tasks.Awaiting, Plan: ledger.Confirm, In: 10 * second, Attempts: 1, Collected: true}},
		{"a deduction is running: query after 10 s", fresh(), ledger.Collect, collectReply(payscore.InProgress),
			next{State: tasks.Awaiting, Plan: ledger.Confirm, In: 10 * second, Attempts: 1, Collected: true}},
		{"declined for the first time: 10 min", fresh(), ledger.Collect, collectReply(payscore.Declined),
			next{State: tasks.Awaiting, Plan: ledger.Recheck, In: 10 * minute, Declines: 1, Attempts: 1, Collected: true}},
		{"declined for the second time: 1 h", declinedAfter(1), ledger.Recheck, collectReply(payscore.Declined),
			next{State: tasks.Awaiting, Plan: ledger.Recheck, In: hour, Declines: 2, Attempts: 1, Collected: true}},
		{"declined for the third time: 6 h", declinedAfter(2), ledger.Recheck, collectReply(payscore.Declined),
			next{State: tasks.Awaiting, Plan: ledger.Recheck, In: 6 * hour, Declines: 3, Attempts: 1, Collected: true}},
		{"declined for the fourth time: 24 h", declinedAfter(3), ledger.Recheck, collectReply(payscore.Declined),
			next{State: tasks.Awaiting, Plan: ledger.Recheck, In: 24 * hour, Declines: 4, Attempts: 1, Collected: true}},
		{"declined for the tenth time: the last entry repeats", declinedAfter(9), ledger.Recheck, collectReply(payscore.Declined),
			next{State: tasks.Awaiting, Plan: ledger.Recheck, In: 24 * hour, Declines: 10, Attempts: 1, Collected: true}},
		{"refused with an error about the order: query it", fresh(), ledger.Collect, refused,
			next{State: tasks.Awaiting, Plan: ledger.Inspect, In: second, Attempts: 1, Collected: true}},
		{"not found: ask once more", fresh(), ledger.Collect, notFound(payscore.CallCollect),
			next{State: tasks.Awaiting, Plan: ledger.Inspect, In: 2 * second, Missing: 1, Attempts: 1, Collected: true}},
		{"not found, though WeChat Pay has signed the order: a query, and no final state", with(missed(tried()), known), ledger.Recheck, notFound(payscore.CallCollect),
			next{State: tasks.Awaiting, Plan: ledger.Inspect, In: second, Attempts: 1, Collected: true}},
		{"not found by queries after an accepted collect: no final state", missed(tried()), ledger.Confirm, notFound(payscore.CallQuery),
			next{State: tasks.Awaiting, Plan: ledger.Confirm, In: time.Minute, Confirms: 1}},
		{"malformed, though WeChat Pay has signed the order: no final state", with(tried(), known), ledger.Recheck, payscore.Reply{Call: payscore.CallQuery, Verdict: payscore.BadRequest, Reason: "PARAM_ERROR", Sent: true},
			next{State: tasks.Awaiting, Plan: ledger.Confirm, In: time.Minute, Confirms: 1}},
		{"malformed: a retry will not help", fresh(), ledger.Collect, badRequest,
			next{State: tasks.Rejected, Reason: "PARAM_ERROR", Attempts: 1, Collected: true}},

		// A collect that met trouble that is not the order's: no attempt.
		{"unknown effect: query after 2 s", fresh(), ledger.Collect, collectReply(payscore.Unknown),
			next{State: tasks.Awaiting, Plan: ledger.Resolve, In: 2 * second, Fails: 1, Collected: true}},
		{"unknown for the second time in a row: 5 s", failed(1), ledger.Recheck, collectReply(payscore.Unknown),
			next{State: tasks.Awaiting, Plan: ledger.Resolve, In: 5 * second, Fails: 2, Collected: true}},
		{"unknown for the third time: 10 s", failed(2), ledger.Recheck, collectReply(payscore.Unknown),
			next{State: tasks.Awaiting, Plan: ledger.Resolve, In: 10 * second, Fails: 3, Collected: true}},
		{"unknown for the fourth time: the schedule", failed(3), ledger.Recheck, collectReply(payscore.Unknown),
			next{State: tasks.Awaiting, Plan: ledger.Resolve, In: 10 * minute, Fails: 4, Collected: true}},
		{"a 5xx may have taken effect", fresh(), ledger.Collect, collectReply(payscore.Unavailable),
			next{State: tasks.Awaiting, Plan: ledger.Resolve, In: 2 * second, Fails: 1, Collected: true}},
		{"never left: collect again, nothing counted", fresh(), ledger.Collect, unsent(collectReply(payscore.Unavailable)),
			next{State: tasks.Queued, Plan: ledger.Collect, In: 2 * second, Fails: 1, NotMade: ledger.CollectCall}},
		{"never left, on a later attempt: query first", tried(), ledger.Recheck, unsent(collectReply(payscore.Unavailable)),
			next{State: tasks.Awaiting, Plan: ledger.Recheck, In: 2 * second, Fails: 1, NotMade: ledger.CollectCall}},
		{"throttled: query, and collect no sooner than MIN_GAP", fresh(), ledger.Collect, collectReply(payscore.Throttled),
			next{State: tasks.Queued, Plan: ledger.Recheck, In: 5 * minute, Fails: 1, Collected: true}},
		{"the merchant's fault: a query next, which can be the hold's probe", fresh(), ledger.Collect, collectReply(payscore.MerchantFault),
			next{State: tasks.Queued, Plan: ledger.Recheck, In: 5 * second, Fails: 1, Collected: true}},
		{"the merchant's fault keeps every counter", with(missed(declinedAfter(2)), func(o *ledger.Snapshot) { o.Fails, o.Confirms = 2, 1 }), ledger.Recheck, collectReply(payscore.MerchantFault),
			next{State: tasks.Awaiting, Plan: ledger.Recheck, In: 5 * second, Declines: 2, Fails: 2, Confirms: 1, Missing: 1, Collected: true}},

		// Queries that show the final state.
		{"paid", tried(), ledger.Confirm, queryReply(payscore.Paid), next{State: tasks.Paid}},
		{"revoked", tried(), ledger.Recheck, revoked, next{State: tasks.Closed, Reason: "REVOKED"}},
		{"nothing to collect, says a signed order", tried(), ledger.Inspect, notCompleted, next{State: tasks.Rejected, Reason: "not_completed"}},
		{"not found a second time", missed(tried()), ledger.Resolve, notFound(payscore.CallQuery), next{State: tasks.Rejected, Reason: "ORDER_NOT_EXIST", Missing: 2}},
		{"a query is refused: ask once more", tried(), ledger.Inspect, refusedQuery,
			next{State: tasks.Awaiting, Plan: ledger.Resolve, In: 2 * second, Missing: 1}},
		{"a query is refused a second time: there is no other way to find out", missed(tried()), ledger.Resolve, refusedQuery,
			next{State: tasks.Rejected, Reason: "INVALID_REQUEST", Missing: 2}},

		// Queries after an accepted collect: 10 s, 1 min, 10 min, schedule.
		{"first query, still owed: 1 min", confirmed(0), ledger.Confirm, queryReply(payscore.Owed),
			next{State: tasks.Awaiting, Plan: ledger.Confirm, In: minute, Confirms: 1}},
		{"second query, still owed: 10 min", confirmed(1), ledger.Confirm, queryReply(payscore.Owed),
			next{State: tasks.Awaiting, Plan: ledger.Confirm, In: 10 * minute, Confirms: 2}},
		{"third query, still owed: the schedule", confirmed(2), ledger.Confirm, queryReply(payscore.Owed),
			next{State: tasks.Awaiting, Plan: ledger.Recheck, In: 10 * minute, Declines: 1}},
		{"a query finds the order changing: query again", confirmed(0), ledger.Recheck, queryReply(payscore.InProgress),
			next{State: tasks.Awaiting, Plan: ledger.Confirm, In: minute, Confirms: 1}},
		{"still changing after the last query: the schedule", confirmed(2), ledger.Confirm, queryReply(payscore.InProgress),
			next{State: tasks.Awaiting, Plan: ledger.Recheck, In: 10 * minute, Declines: 1}},

		// Queries after an unknown effect.
		{"no effect after all: collect, MIN_GAP after the last call", with(tried(), func(o *ledger.Snapshot) { o.Collected = noon.Add(-2 * second) }), ledger.Resolve, queryReply(payscore.Owed),
			next{State: tasks.Awaiting, Plan: ledger.Recheck, In: 5*minute - 2*second}},
		{"no effect, and MIN_GAP has passed: at once", tried(), ledger.Resolve, queryReply(payscore.Owed),
			next{State: tasks.Awaiting, Plan: ledger.Recheck}},
		{"owed though the collect was refused: the schedule", tried(), ledger.Inspect, queryReply(payscore.Owed),
			next{State: tasks.Awaiting, Plan: ledger.Recheck, In: 10 * minute, Declines: 1}},
		{"found after it was missing: forgotten", missed(tried()), ledger.Resolve, queryReply(payscore.Owed),
			next{State: tasks.Awaiting, Plan: ledger.Recheck}},
		{"a good query does not end a row of failed collects: the schedule", with(tried(), func(o *ledger.Snapshot) { o.Fails = 4 }), ledger.Resolve, queryReply(payscore.Owed),
			next{State: tasks.Awaiting, Plan: ledger.Recheck, In: 10 * minute, Fails: 4}},
		{"a good query ends a row of failed queries", with(tried(), func(o *ledger.Snapshot) { o.Fails = 7 }), ledger.Confirm, queryReply(payscore.Owed),
			next{State: tasks.Awaiting, Plan: ledger.Confirm, In: time.Minute, Confirms: 1}},
		{"trouble at the deadline: once more before it is given up", with(overdue(tried()), func(o *ledger.Snapshot) { o.Fails = 1 }), ledger.Final, queryReply(payscore.Owed),
			next{State: tasks.Awaiting, Plan: ledger.Recheck, Fails: 1}},

		// Queries that meet trouble: the same query again, nothing forgotten.
		{"throttled query", missed(confirmed(1)), ledger.Confirm, queryReply(payscore.Throttled),
			next{State: tasks.Awaiting, Plan: ledger.Confirm, In: 2 * second, Fails: 1, Confirms: 1, Missing: 1}},
		{"query of a platform in trouble", tried(), ledger.Resolve, queryReply(payscore.Unavailable),
			next{State: tasks.Awaiting, Plan: ledger.Resolve, In: 2 * second, Fails: 1}},
		{"a query that never left is not counted", tried(), ledger.Resolve, unsent(queryReply(payscore.Unavailable)),
			next{State: tasks.Awaiting, Plan: ledger.Resolve, In: 2 * second, Fails: 1, NotMade: ledger.QueryCall}},
		{"query under a merchant's fault: the hold delays it", tried(), ledger.Recheck, queryReply(payscore.MerchantFault),
			next{State: tasks.Awaiting, Plan: ledger.Recheck, In: 5 * second, Fails: 1}},
		{"an order that contradicts itself", tried(), ledger.Confirm, riddle,
			next{State: tasks.Awaiting, Plan: ledger.Confirm, In: time.Minute, Confirms: 1}},
		{"an order that contradicts itself to the last", overdue(tried()), ledger.Final, riddle,
			next{State: tasks.Exhausted, Reason: ReasonGaveUp}},
		{"an order that is changing to the last", overdue(tried()), ledger.Final, queryReply(payscore.InProgress),
			next{State: tasks.Exhausted, Reason: ReasonGaveUp}},

		// Giving up.
		{"the next attempt would come too late: one last query at the deadline",
			with(declinedAfter(9), func(o *ledger.Snapshot) { o.Since = noon.Add(-719 * hour) }), ledger.Recheck, collectReply(payscore.Declined),
			next{State: tasks.Awaiting, Plan: ledger.Final, In: hour, Declines: 10, Attempts: 1, Collected: true}},
		{"owed at the last query", overdue(tried()), ledger.Final, queryReply(payscore.Owed),
			next{State: tasks.Exhausted, Reason: ReasonGaveUp, Declines: 1}},
		{"paid at the last query", overdue(tried()), ledger.Final, queryReply(payscore.Paid), next{State: tasks.Paid}},
		{"a last query that meets trouble ends nothing", overdue(tried()), ledger.Final, queryReply(payscore.Unavailable),
			next{State: tasks.Awaiting, Plan: ledger.Final, In: 2 * second, Fails: 1}},
		{"owed after the deadline, at any other query", overdue(tried()), ledger.Recheck, queryReply(payscore.Owed),
			next{State: tasks.Exhausted, Reason: ReasonGaveUp, Declines: 1}},
		{"no effect after all, after the deadline", overdue(tried()), ledger.Resolve, queryReply(payscore.Owed),
			next{State: tasks.Exhausted, Reason: ReasonGaveUp}},
		{"an accepted deduction is waited for, even after the deadline", overdue(confirmed(1)), ledger.Confirm, queryReply(payscore.Owed),
			next{State: tasks.Awaiting, Plan: ledger.Confirm, In: 10 * minute, Confirms: 2}},
		{"and given up after its last query", overdue(confirmed(2)), ledger.Confirm, queryReply(payscore.Owed),
			next{State: tasks.Exhausted, Reason: ReasonGaveUp, Declines: 1}},
		{"declined after the deadline: one last query at once", overdue(tried()), ledger.Recheck, collectReply(payscore.Declined),
			next{State: tasks.Awaiting, Plan: ledger.Final, Declines: 1, Attempts: 1, Collected: true}},
		{"never tried, though the deadline has passed: not given up", overdue(fresh()), ledger.Resolve, queryReply(payscore.Owed),
			next{State: tasks.Awaiting, Plan: ledger.Recheck}},
		{"not tried since it was reopened: not given up",
			with(overdue(tried()), func(o *ledger.Snapshot) { o.Collected = o.Since.Add(-second) }), ledger.Resolve, queryReply(payscore.Owed),
			next{State: tasks.Awaiting, Plan: ledger.Recheck}},
		{"a merchant's fault after the deadline ends nothing", overdue(tried()), ledger.Recheck, collectReply(payscore.MerchantFault),
			next{State: tasks.Awaiting, Plan: ledger.Recheck, In: 5 * second, Fails: 1, Collected: true}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got := nextOf(testPolicy().Next(tt.order, tt.plan, tt.reply, noon))
			if got != tt.want {
				t.Errorf("got  %+v\nwant %+v", got, tt.want)
			}
		})
	}
}

// Times that the schedule would put outside the window, or too close to the
// last collect.
func TestPolicyKeepsWindowAndGap(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		change func(*Policy)
		now    time.Time
		reply  payscore.Reply
		plan   ledger.Plan
		want   time.Time
	}{
		{"inside the window", func(*Policy) {}, at(21, 45), collectReply(payscore.Declined), ledger.Recheck, at(21, 55)},
		{"over the window's end: the next morning", func(*Policy) {}, at(21, 55), collectReply(payscore.Declined), ledger.Recheck, at(24+8, 0)},
		{"a query is made at night too", func(*Policy) {}, at(23, 0), queryReply(payscore.Unavailable), ledger.Resolve, at(23, 0).Add(2 * second)},
		{"and the collect that follows waits for the morning", func(*Policy) {}, at(23, 0), queryReply(payscore.Owed), ledger.Resolve, at(24+8, 0)},
		{"a schedule shorter than MIN_GAP", func(p *Policy) { p.Schedule = []time.Duration{second} }, at(12, 0), collectReply(payscore.Declined), ledger.Recheck, at(12, 5)},
		{"MIN_GAP over the window's end", func(p *Policy) { p.Schedule = []time.Duration{second} }, at(21, 58), collectReply(payscore.Declined), ledger.Recheck, at(24+8, 0)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p := testPolicy()
			p.Window = Window{From: 8 * hour, To: 22 * hour, Location: shanghai}
			tt.change(&p)
			o := tried()
			o.Collected = tt.now.Add(-hour)
			if got := p.Next(o, tt.plan, tt.reply, tt.now); !got.Due.Equal(tt.want) {
				t.Errorf("due %s, want %s", got.Due.In(shanghai), tt.want)
			}
		})
	}
}

// at is a time of noon's day in Shanghai; hours past 23 are the next day's.
func at(h, m int) time.Time { return time.Date(2026, 3, 2, h, m, 0, 0, shanghai) }

func TestPolicyPostpone(t *testing.T) {
	t.Parallel()
	p := testPolicy()
	o := with(tried(), func(o *ledger.Snapshot) { o.Fails, o.Missing, o.Declines = 3, 1, 2 })
	got := p.Postpone(o, queryReply(payscore.Owed), noon.Add(hour), noon)
	if n := nextOf(got); n != (next{State: tasks.Awaiting, Plan: ledger.Recheck, In: hour, Declines: 2, Fails: 3}) {
		t.Errorf("postponed: %+v", n)
	}
	o.Since, o.Fails = noon.Add(-719*hour-30*minute), 0
	got = p.Postpone(o, queryReply(payscore.Owed), noon.Add(hour), noon)
	if n := nextOf(got); n != (next{State: tasks.Awaiting, Plan: ledger.Final, In: 30 * minute, Declines: 2}) {
		t.Errorf("postponed past its deadline: %+v", n)
	}
}

func TestGateSignal(t *testing.T) {
	t.Parallel()
	fault := func(s payscore.Scope) payscore.Reply {
		r := collectReply(payscore.MerchantFault)
		r.Scope = s
		return r
	}
	givenUp := collectReply(payscore.Unknown)
	givenUp.Reason = payscore.ReasonGivenUp
	riddle := queryReply(payscore.Unknown)
	riddle.Order = &payscore.Order{}
	for _, tt := range []struct {
		name  string
		reply payscore.Reply
		want  ledger.GateSignal
	}{
		{"signature", fault(payscore.ScopeMerchant), ledger.GateFault},
		{"permission for one service", fault(payscore.ScopeService), ledger.GateService},
		{"too fast", collectReply(payscore.Throttled), ledger.GateThrottled},
		{"platform in trouble", collectReply(payscore.Unavailable), ledger.GateDown},
		{"no answer", collectReply(payscore.Unknown), ledger.GateDown},
		{"this side gave up", givenUp, ledger.GateNothing},
		{"a signed riddle is an answer", riddle, ledger.GateOK},
		{"declined", collectReply(payscore.Declined), ledger.GateOK},
		{"refused", collectReply(payscore.NotCollectable), ledger.GateOK},
		{"not found", queryReply(payscore.NotFound), ledger.GateOK},
		{"paid", queryReply(payscore.Paid), ledger.GateOK},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if got := ledger.GateSignal(tt.reply.Signal()); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

// What is booked is what a signed order says, in fen.
func TestFacts(t *testing.T) {
	t.Parallel()
	if diff := cmp.Diff(ledger.Facts{}, facts(collectReply(payscore.Accepted))); diff != "" {
		t.Errorf("a reply without an order says %s", diff)
	}
	r := queryReply(payscore.Paid)
	r.Order = &payscore.Order{OrderID: "77", Collection: &payscore.Collection{
		State: "USER_PAID", TotalAmount: 150, PaidAmount: 150,
		Details: []payscore.Detail{{TransactionID: "t1", PaidType: "NEWTON", Amount: 100}, {TransactionID: "t2", PaidType: "NEWTON", Amount: 50}},
	}}
	f := facts(r)
	if f.OrderID != "77" || f.TransactionID != "t2" || f.PaidType != "NEWTON" || f.Total == nil || *f.Total != 150 || f.Paid == nil || *f.Paid != 150 {
		t.Errorf("%+v", f)
	}
	payments := []ledger.Payment{
		{Seq: 1, TransactionID: "t1", PaidType: "NEWTON", Amount: 100},
		{Seq: 2, TransactionID: "t2", PaidType: "NEWTON", Amount: 50},
	}
	if diff := cmp.Diff(payments, f.Payments); diff != "" {
		t.Error(diff)
	}
	owed := queryReply(payscore.Owed)
	owed.Order.TotalAmount = 150
	if f := facts(owed); f.Paid != nil || *f.Total != 150 {
		t.Errorf("owed: %+v", f)
	}
}

// DONE and USER_PAID is final, whatever the sum is: the order is not queried for a
// month and then called owed.
func TestDoneOrderEndsWhateverItsAmounts(t *testing.T) {
	t.Parallel()
	for _, paid := range []payscore.Integer{1, 900, 1000, 1100} {
		o := &payscore.Order{State: "DONE", OrderID: "1", Collection: &payscore.Collection{State: "USER_PAID", TotalAmount: 1000, PaidAmount: paid}}
		r := queryReply("")
		r.Order = o
		r.Verdict, r.Reason = o.Judge()
		s := testPolicy().Next(tried(), ledger.Recheck, r, noon)
		if s.State != tasks.Paid || !s.Facts.Done || *s.Facts.Paid != int64(paid) || *s.Facts.Total != 1000 {
			t.Errorf("%d of 1000: %+v", paid, s)
		}
	}
}

// What WeChat Pay has signed about an order makes it known, whether or not it
// says its own number of it; from then on no unsigned reply rejects it.
func TestKnownOrderIsNotRejectedByAnUnsignedReply(t *testing.T) {
	t.Parallel()
	signed := func(r payscore.Reply) payscore.Reply {
		r.Verified, r.HTTPStatus = true, 200
		return r
	}
	refused := func(code string) payscore.Reply {
		r := signed(collectReply(payscore.NotCollectable))
		r.Code, r.Reason, r.HTTPStatus = code, code, 400
		return r
	}
	missing := queryReply(payscore.NotFound)
	missing.HTTPStatus, missing.Code, missing.Reason = 404, "ORDER_NOT_EXIST", "ORDER_NOT_EXIST"
	malformed := queryReply(payscore.BadRequest)
	for name, tt := range map[string]struct {
		reply payscore.Reply
		want  bool
	}{
		"a deduction is under way":         {signed(collectReply(payscore.InProgress)), true},
		"accepted":                         {signed(collectReply(payscore.Accepted)), true},
		"declined":                         {signed(collectReply(payscore.Declined)), true},
		"done already":                     {refused("ORDER_DONE"), true},
		"cancelled":                        {refused("ORDER_CANCELED"), true},
		"in another state":                 {refused("INVALID_ORDER_STATE"), true},
		"the order itself":                 {queryReply(payscore.Owed), true},
		"against a rule":                   {refused("INVALID_REQUEST"), false},
		"declined, unsigned":               {collectReply(payscore.Declined), false},
		"in progress, unsigned":            {collectReply(payscore.InProgress), false},
		"throttled":                        {signed(collectReply(payscore.Throttled)), false},
		"no such order, under a signature": {signed(missing), false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, o, now := testPolicy(), fresh(), noon
			step := func(plan ledger.Plan, r payscore.Reply) ledger.Settlement {
				s := p.Next(o, plan, r, now)
				o.State, o.Declines, o.Confirms, o.Fails, o.Missing = s.State, s.Declines, s.Confirms, s.Fails, s.Missing
				o.Attempts += s.AddAttempts
				if !s.Collected.IsZero() {
					o.Collected = s.Collected
				}
				o.Known = o.Known || s.Facts.Known || s.Facts.OrderID != ""
				now = later(now, s.Due)
				return s
			}
			plan := ledger.Collect
			if tt.reply.Call == payscore.CallQuery {
				plan = ledger.Recheck
			}
			s := step(plan, tt.reply)
			if o.Known != tt.want {
				t.Fatalf("known %t", o.Known)
			}
			for i := 0; s.State.Open() && i < 200; i++ {
				s = step(s.Next, []payscore.Reply{missing, missing, malformed}[i%3])
			}
			if rejected := s.State == tasks.Rejected; rejected == tt.want {
				t.Errorf("%s %s", s.State, s.Reason)
			}
		})
	}
}

// An outage, however long, moves no order along COLLECT_SCHEDULE: its first real
// decline finds it where it stood.
func TestOutageKeepsThePlaceInTheSchedule(t *testing.T) {
	t.Parallel()
	r := seeded(t)
	for range 500 {
		p, o, now := testPolicy(), fresh(), noon
		o.Known, o.Declines = true, r.Int64N(3)
		place, plan := o.Declines, ledger.Collect
		for range 1 + r.IntN(20) {
			call := collectReply
			if plan != ledger.Collect && (plan != ledger.Recheck || r.IntN(2) == 0) {
				call = queryReply
			}
			trouble := []payscore.Verdict{payscore.Unknown, payscore.Unavailable, payscore.Throttled, payscore.MerchantFault}
			verdict := trouble[r.IntN(len(trouble))]
			if plan == ledger.Resolve && r.IntN(2) == 0 {
				call, verdict = queryReply, payscore.Owed // the platform works for a moment
			}
			s := p.Next(o, plan, call(verdict), now)
			o.State, o.Declines, o.Confirms, o.Fails, o.Missing = s.State, s.Declines, s.Confirms, s.Fails, s.Missing
			if !s.Collected.IsZero() {
				o.Collected = s.Collected
			}
			plan, now = s.Next, later(now, s.Due)
			if o.Declines != place {
				t.Fatalf("after a %s that came to %s the order is at place %d, and was at %d", plan, verdict, o.Declines, place)
			}
		}
		if s := p.Next(o, ledger.Recheck, collectReply(payscore.Declined), now); s.Declines != place+1 {
			t.Fatalf("a decline moves it to %d", s.Declines)
		}
	}
}

func known(o *ledger.Snapshot) { o.Known = true }

// Each signed text that the ledger keeps comes from WeChat Pay's order, and each that
// the order gives is kept.
func TestFactsOf_HasEverySignedText(t *testing.T) {
	t.Parallel()
	given := slices.Sorted(maps.Keys((&payscore.Order{}).Texts()))
	kept := ledger.TextNames()
	slices.Sort(kept)
	if !slices.Equal(given, kept) {
		t.Errorf("payscore.Order.Texts gives %v, want those of ledger.Record and ledger.Facts: %v", given, kept)
	}
}

// A payment soon after a collect call that was accepted, or may have taken effect, is that
// call's doing, from its beginning on; no other reply makes it so.
func TestPolicyNext_Accepted(t *testing.T) {
	for _, v := range payscore.Verdicts {
		r := collectReply(v)
		r.Elapsed = 15 * time.Second
		want := time.Duration(0)
		switch v {
		case payscore.Accepted, payscore.InProgress, payscore.Unknown, payscore.Unavailable:
			want = 25 * time.Second
		}
		if got := testPolicy().Next(fresh(), ledger.Collect, r, noon).Accepted; got != want {
			t.Errorf("%s: %s, want %s", v, got, want)
		}
	}
	for name, r := range map[string]payscore.Reply{
		"a query": queryReply(payscore.InProgress), "a query without an answer": queryReply(payscore.Unknown), "a sync": syncReply(payscore.Accepted, ""), "a sync without an answer": syncReply(payscore.Unknown, ""),
	} {
		if got := testPolicy().Next(tried(), ledger.Recheck, r, noon).Accepted; got != 0 {
			t.Errorf("%s: %s", name, got)
		}
	}
	unsent := collectReply(payscore.Unavailable)
	unsent.Sent = false
	if got := testPolicy().Next(fresh(), ledger.Collect, unsent, noon).Accepted; got != 0 {
		t.Errorf("a call that was not made: %s", got)
	}
}
