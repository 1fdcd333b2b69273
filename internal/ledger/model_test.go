package ledger_test

import (
	"context"
	"fmt"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"payscore-collector/internal/audit"
	"payscore-collector/internal/ledger"
	"payscore-collector/internal/testkit/redistest"
	"payscore-collector/tasks"
)

// The scripts against a model in plain Go: random operations on a few orders,
// and after each of them the record, the indexes, the stream and the counters
// must be the model's.

// modelOrder is what the model knows of one order.
type modelOrder struct {
	state, reason     string
	life, round       int64
	next              ledger.Plan
	token, done       string // of the lease, and of the last settle
	lease, live       bool   // there is one; it has not run out
	doing             ledger.Plan
	collectedAhead    bool // a collect is under way, or was lost: it may last to the lease's end
	collects, queries int64
	syncs, attempts   int64
	total, paid       int64
	oid, tx, pt       string
	sync, why         string
	payments          []ledger.Payment
	late              bool
	alarms            []string // the last few
	entries           int
	seq               int64
	untold            map[string]string // answers to notifications, until they were told
	actions           []string
	parked            bool // put off by the pause, and not looked at since
}

func (o *modelOrder) open() bool { return o.state == "queued" || o.state == "awaiting" }

func (o *modelOrder) working() bool {
	return o.open() || o.state == "withdrawn" && o.sync == "pending"
}

type model struct {
	t        *rapid.T
	l        *ledger.Ledger
	producer *tasks.Producer
	redis    *redistest.Server
	mchid    string

	orders   map[string]*modelOrder
	was      map[string]tasks.State // before the operation
	due      map[string]bool        // who is in the due index
	ended    map[string]string
	events   map[string][]string
	paidLeft int64
	removed  audit.RecoveryCounts // of orders that Retain removed
	trail    []string
	paused   bool
	claims   []modelClaim // that were granted, live or not
	answers  map[string]ledger.SettleResult
}

type modelClaim struct {
	ledger.Claim
	no   string
	life int64
	sync bool
}

func (m *model) emit(kind, no string) {
	o := m.orders[no]
	o.seq++
	reason := o.reason
	if kind == "reopened" {
		reason = "still owed"
	}
	m.events[no] = append(m.events[no], fmt.Sprintf("%d %s %s %s total=%d paid=%d %s sync=%s attempts=%d ended=%t late=%t %s",
		o.seq, kind, o.state, reason, o.total, o.paid, o.tx, o.sync, o.attempts, !o.open(), o.late, listing(o.payments)))
}

// act is what a person does to an order.
func (m *model) act(action, no, reason string) {
	o := m.orders[no]
	o.actions = append(o.actions, action+" "+reason)
	m.trail = append(m.trail, no+" "+action+" "+reason)
}

func (m *model) end(no, state string) {
	m.orders[no].state = state
	m.ended[no] = state
}

var (
	modelNos   = []string{"A", "B", "C|*"}
	modelPlans = []ledger.Plan{ledger.Recheck, ledger.Confirm, ledger.Resolve, ledger.Inspect, ledger.Final}
)

func (m *model) no() string { return rapid.SampledFrom(modelNos).Draw(m.t, "no") }

func (m *model) want(what string, got, want any) {
	m.t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		m.t.Fatalf("%s (-model +ledger):\n%s", what, diff)
	}
}

func (m *model) Claim(t *rapid.T) {
	m.t = t
	no := m.no()
	o := m.orders[no]
	round := int64(ledger.NoRound)
	if o != nil && rapid.Bool().Draw(t, "with a round") {
		round = o.round - int64(rapid.IntRange(0, 1).Draw(t, "stale"))
	}
	c, err := m.l.Claim(context.Background(), no, ledger.NewToken(), round, limits())
	if err != nil {
		t.Fatal(err)
	}
	want := ledger.Granted
	switch {
	case o == nil:
		want = ledger.Absent
	case !o.working():
		want = ledger.HasEnded
	case o.live:
		want = ledger.Leased
	case round != ledger.NoRound && round != o.round:
		want = ledger.Stale
	case o.parked:
		want = ledger.Early
	case m.paused && o.next == ledger.Collect:
		want = ledger.Paused
		o.parked = true
	}
	m.want("claim "+no, c.Code, want)
	if want != ledger.Granted {
		return
	}
	m.want("plan of "+no, c.Plan, o.next)
	m.want("syncing "+no, c.Order.Sync, o.state == "withdrawn")
	m.claims = append(m.claims, modelClaim{c, no, o.life, c.Order.Sync})
	o.token, o.lease, o.live, o.doing = c.Token, true, true, c.Plan
	switch c.Plan {
	case ledger.Collect:
		o.next, o.collectedAhead = ledger.Resolve, true
		o.collects++
	case ledger.TellPaid:
		o.next = ledger.Resolve
		o.syncs++
	default:
		o.queries++
	}
}

func (m *model) claimOf(t *rapid.T) (modelClaim, *modelOrder) {
	m.t = t
	if len(m.claims) == 0 {
		t.Skip("nothing was claimed yet")
	}
	c := m.claims[rapid.IntRange(max(0, len(m.claims)-4), len(m.claims)-1).Draw(t, "claim")]
	return c, m.orders[c.no]
}

func (m *model) Permit(t *rapid.T) {
	c, o := m.claimOf(t)
	p, err := m.l.Permit(context.Background(), c.Claim, limits())
	if err != nil {
		t.Fatal(err)
	}
	act := ledger.Plan("recollect")
	if o != nil && o.state == "withdrawn" {
		act = "resync"
	}
	want := ledger.Granted
	switch {
	case o == nil || o.token != c.Token:
		want = ledger.Lost
	case !o.working() || o.life != c.life || c.sync != (o.state == "withdrawn"):
		want = ledger.HasEnded
	case o.doing != act && !c.sync && m.paused:
		want = ledger.Paused
	case o.doing != act && !c.sync && o.collectedAhead:
		want = ledger.Postponed // a collect may last to the end of its lease
	}
	m.want("permit "+c.no, p.Code, want)
	if want != ledger.Granted || o.doing == act {
		return
	}
	o.next, o.doing, o.lease, o.live = ledger.Resolve, act, true, true
	if c.sync {
		o.syncs++
	} else {
		o.collects++
		o.collectedAhead = true
	}
}

// Fill finds every order counted as it stands.
func (m *model) Fill(t *rapid.T) {
	m.t = t
	key := ledger.KeysOf(m.mchid).Recovery()
	fields := func() map[string]string {
		_ = m.redis.Client.HDel(context.Background(), key, "fill", "trim").Err()
		return m.redis.Client.HGetAll(context.Background(), key).Val()
	}
	before := fields()
	if _, err := m.l.FillRecovery(context.Background(), time.Now()); err != nil {
		t.Fatal(err)
	}
	m.want("the counters after fill", fields(), before)
}

func (m *model) Settle(t *rapid.T) {
	c, o := m.claimOf(t)
	set := ledger.Settlement{
		State: tasks.Awaiting, Next: rapid.SampledFrom(modelPlans).Draw(t, "next"), Due: c.Now,
		NewRound: rapid.Bool().Draw(t, "new round"), AddAttempts: int64(rapid.IntRange(0, 1).Draw(t, "attempts")),
		Collected: c.Now, Log: []ledger.Entry{rapid.SampledFrom([]ledger.Entry{entry("query", "owed"), declinedBy("扣款失败"), declinedBy("")}).Draw(t, "entry")},
		Facts: modelFacts(t),
	}
	set.Call = "collect"
	if set.Verdict = rapid.SampledFrom([]string{"declined", "accepted", "unknown", "owed"}).Draw(t, "verdict"); set.Verdict == "accepted" || set.Verdict == "unknown" {
		set.Accepted = 10 * time.Second
	}
	set.Code, set.DetailCode = "TRADE_ERROR", rapid.SampledFrom([]string{"271316574", "", "2713-,;7"}).Draw(t, "detail code")
	paid := set.Facts.Paid != nil
	end := rapid.SampledFrom([]tasks.State{"", "", tasks.Paid, tasks.Closed, tasks.Rejected, tasks.Exhausted}).Draw(t, "end")
	switch {
	case c.sync:
		set.State = tasks.Withdrawn
		set.Sync = rapid.SampledFrom([]ledger.SyncState{ledger.SyncPending, ledger.SyncDone, ledger.SyncFailed, ledger.SyncNoNeed}).Draw(t, "sync")
		set.VerifiedPaid = set.Sync != ledger.SyncPending && set.Sync != ledger.SyncFailed && paid
		set.AddAttempts = 0
	case end != "":
		set.State, set.Reason = end, "why"
		set.VerifiedPaid = end == tasks.Paid && paid
		if end == tasks.Paid && !paid {
			set.State = tasks.Closed
		}
	}
	if !set.Open() {
		set.Next, set.Due = "", time.Time{}
	} else if !c.sync && m.paused && set.Next == ledger.Recheck && rapid.Bool().Draw(t, "paused") {
		set.Paused, set.Due = true, c.Now.Add(time.Hour)
	}
	res, err := m.l.Settle(context.Background(), c.Claim, set)
	if err != nil {
		t.Fatal(err)
	}
	answers := func(code ledger.Code, news []ledger.News) {
		t.Helper()
		if code == ledger.Repeat {
			first := m.answers[c.Token]
			m.want("the repeat of "+c.no, res, ledger.SettleResult{Code: code, Now: res.Now, First: first.Code, News: first.News, State: res.State})
			return
		}
		m.want("settle "+c.no, res.Code, code)
		m.want("news of "+c.no, res.News, news)
		m.answers[c.Token] = res
	}
	f, done := set.Facts, set.VerifiedPaid
	switch {
	case o != nil && o.done == c.Token:
		answers(ledger.Repeat, nil)
		return
	case o == nil:
		answers(ledger.Lost, nil)
		return
	case o.token != c.Token:
		var news []ledger.News
		if f.Paid != nil || f.Payments != nil {
			var money bool
			if news, money = m.aside(c.no, f, done, 0); money && o.open() && !o.lease {
				o.next, o.parked = ledger.Recheck, false
			}
		}
		answers(ledger.Lost, news)
		return
	}
	o.entries++
	o.token, o.lease, o.live, o.doing, o.done, o.collectedAhead = "", false, false, "", c.Token, false
	if o.life != c.life {
		news, money := m.aside(c.no, f, done, set.AddAttempts)
		if money && o.open() {
			o.next, o.parked = ledger.Recheck, false
		}
		answers(ledger.Reopened, news)
		return
	}
	syncing := c.sync && o.state == "withdrawn" && o.sync == "pending"
	if !o.open() && !syncing {
		news, _ := m.aside(c.no, f, done, set.AddAttempts)
		answers(ledger.HasEnded, news)
		return
	}
	h := o.hear(f, o.total == c.Order.Total, done)
	o.parked = set.Paused
	o.attempts += set.AddAttempts
	o.next = set.Next
	kind := "attempted"
	if syncing {
		if found := o.beside(&h); found == "paid" {
			kind = found
		}
		o.sync, o.why = string(set.Sync), set.SyncReason
	} else {
		o.reason = set.Reason
		o.state = string(set.State)
	}
	if set.Open() {
		m.due[c.no] = true
		if set.NewRound {
			o.round++
		}
	} else {
		delete(m.due, c.no)
		if !syncing {
			m.end(c.no, o.state)
			kind = o.state
		}
	}
	answers(ledger.Settled, h.news())
	m.emit(kind, c.no)
}

func (m *model) Notice(t *rapid.T) {
	m.t = t
	no := m.no()
	o := m.orders[no]
	n := paidNotice(no)
	n.Facts = modelFacts(t)
	n.Paid = value(n.Facts.Paid) >= 1000 || n.Facts.Paid != nil && rapid.IntRange(0, 5).Draw(t, "whole") == 0
	n.ID = fmt.Sprint("EV-", rapid.IntRange(1, 4).Draw(t, "id"))
	code, news, err := m.l.Notice(context.Background(), n)
	if err != nil {
		t.Fatal(err)
	}
	got := answer(code, news)
	if o == nil {
		m.want("notice "+no, got, "absent")
		return
	}
	if untold := o.untold[n.ID]; untold != "" {
		m.want("notice "+no+" again", got, untold)
		return
	}
	h := o.hear(n.Facts, false, n.Paid)
	want, kind := "repeat", ""
	switch {
	case !o.open():
		kind = o.beside(&h)
		if h.late {
			want = "ended"
		}
	case n.Paid:
		want, kind = "paid", "paid"
		o.reason, o.next = "", ""
		delete(m.due, no)
		m.end(no, "paid")
	default:
		if h.grown {
			want = "partial"
		}
		if h.anew {
			kind = "attempted"
		}
	}
	want = answer(ledger.NoticeCode(want), h.news())
	m.want("notice "+no, got, want)
	if kind != "" {
		m.emit(kind, no)
	}
	if kind != "" || h.differs {
		o.entries++
	}
	if want != "repeat" && want != "partial" {
		if o.untold == nil {
			o.untold = map[string]string{}
		}
		o.untold[n.ID] = want
	}
}

func (m *model) payload(no string) tasks.Payload {
	p := payload(no)
	p.MchID = m.mchid
	return p
}
