package ledger_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"payscore-collector/internal/ledger"
	"payscore-collector/internal/redistest"
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
	late, differs     bool
	entries           int
	seq               int64
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
	claims   []modelClaim // that were granted, live or not
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
	m.events[no] = append(m.events[no], fmt.Sprintf("%d %s %s %s total=%d paid=%d %s sync=%s attempts=%d ended=%t late=%t",
		o.seq, kind, o.state, o.reason, o.total, o.paid, o.tx, o.sync, o.attempts, !o.open(), o.late))
}

func (m *model) end(no, state string) {
	m.orders[no].state = state
	m.ended[no] = state
}

// learn is what a signed reply says. What has come in only grows.
func (o *modelOrder) learn(oid string, total, paid int64, tx, pt string) (anew bool) {
	was := *o
	if oid != "" {
		o.oid = oid
	}
	if total > 0 {
		o.total = total
	}
	if paid > 0 && paid >= o.paid {
		o.paid, o.tx, o.pt = paid, tx, pt
	}
	return was.oid != o.oid || was.total != o.total || was.paid != o.paid || was.tx != o.tx || was.pt != o.pt
}

// compareAmounts is differs of common.lua.
func (o *modelOrder) compareAmounts(total, paid int64) bool {
	if o.differs {
		return false
	}
	o.differs = o.total > 0 && total > 0 && o.total != total || o.state == "paid" && o.paid > 0 && paid > 0 && o.paid != paid
	return o.differs
}

// latePayment is late of common.lua.
func (m *model) latePayment(no, oid string, total, paid int64, tx, pt string) bool {
	o := m.orders[no]
	more := paid > o.paid
	anew := o.learn(oid, total, paid, tx, pt)
	if o.late && !more || o.state == "withdrawn" && pt == "MCH" {
		if anew {
			m.emit("attempted", no)
		}
		return false
	}
	o.late = true
	m.emit("paid", no)
	return true
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

func (m *model) Open(t *rapid.T) {
	m.t = t
	no, reopen := m.no(), rapid.Bool().Draw(t, "reopen")
	o, was := m.orders[no], ""
	if o != nil {
		was = o.state
	}
	want := tasks.Accepted
	switch {
	case o == nil:
		o = &modelOrder{}
		m.orders[no] = o
	case o.open():
		want = tasks.Duplicate
	case !reopen || was == "paid":
		want = tasks.Ended
	}
	res, err := m.producer.Enqueue(context.Background(), tasks.Order{Payload: m.payload(no), Reopen: reopen})
	if err != nil {
		t.Fatal(err)
	}
	m.want("open "+no, res.Status, want)
	if want != tasks.Accepted {
		return
	}
	o.next, o.round = ledger.Collect, o.round+1
	if was != "" {
		o.next = ledger.Recheck
		o.life++
		o.reason, o.sync, o.why, o.late = "", "", "", false
		delete(m.ended, no)
	}
	o.state = "queued"
	m.due[no] = true
	kind := "opened"
	if was != "" {
		kind = "reopened"
	}
	m.emit(kind, no)
}

func (m *model) Withdraw(t *rapid.T) {
	m.t = t
	no, tell := m.no(), rapid.Bool().Draw(t, "tell")
	o := m.orders[no]
	w := tasks.Withdrawal{MchID: m.mchid, OutOrderNo: no, Reason: "waived"}
	if tell {
		w.PaidAt = paidInCash
	}
	res, err := m.producer.Withdraw(context.Background(), w)
	if err != nil {
		t.Fatal(err)
	}
	want := tasks.Accepted
	switch {
	case o == nil:
		want = tasks.Absent
	case o.state == "withdrawn" && (!tell || o.sync != "" && o.sync != "failed"):
		want = tasks.Duplicate
	case o.state != "withdrawn" && !o.open():
		want = tasks.Ended
	}
	m.want("withdraw "+no, res.Status, want)
	if want != tasks.Accepted {
		return
	}
	o.next, o.sync, o.why = "", "", ""
	delete(m.due, no)
	opened := o.open()
	if opened {
		o.reason = "waived"
		m.end(no, "withdrawn")
	}
	if tell {
		o.round++
		o.sync, o.next = "pending", ledger.TellPaid
		m.due[no] = true
	}
	kind := "attempted"
	if opened {
		kind = "withdrawn"
	}
	m.emit(kind, no)
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

func (m *model) Settle(t *rapid.T) {
	c, o := m.claimOf(t)
	paid := int64(rapid.SampledFrom([]int{0, 300, 1000, 1001}).Draw(t, "paid"))
	set := ledger.Settlement{
		State: tasks.Awaiting, Next: rapid.SampledFrom(modelPlans).Draw(t, "next"), Due: c.Now,
		NewRound: rapid.Bool().Draw(t, "new round"), AddAttempts: int64(rapid.IntRange(0, 1).Draw(t, "attempts")),
		Collected: c.Now, Log: []ledger.Entry{entry("query", "owed")},
		Facts: ledger.Facts{Total: fen(1000)},
	}
	if paid > 0 {
		set.Facts.Paid, set.Facts.TransactionID, set.Facts.PaidType = &paid, fmt.Sprint("tx", paid), rapid.SampledFrom([]string{"NEWTON", "MCH"}).Draw(t, "by")
	}
	end := rapid.SampledFrom([]tasks.State{"", "", tasks.Paid, tasks.Closed, tasks.Rejected, tasks.Exhausted}).Draw(t, "end")
	switch {
	case c.sync:
		set.State = tasks.Withdrawn
		set.Sync = rapid.SampledFrom([]ledger.SyncState{ledger.SyncPending, ledger.SyncDone, ledger.SyncFailed, ledger.SyncNoNeed}).Draw(t, "sync")
		set.VerifiedPaid = set.Sync == ledger.SyncNoNeed && paid > 0
		set.AddAttempts = 0
	case end != "":
		set.State, set.Reason = end, "why"
		set.VerifiedPaid = end == tasks.Paid && paid > 0
		if end == tasks.Paid && paid == 0 {
			set.State = tasks.Closed
		}
	}
	if !set.Open() {
		set.Next, set.Due = "", time.Time{}
	}
	res, err := m.l.Settle(context.Background(), c.Claim, set)
	if err != nil {
		t.Fatal(err)
	}
	news, total := ledger.NoNews, int64(1000)
	// money is what the reply said was paid; verified says that it was the whole.
	learn := func() bool { return o.learn("", total, paid, set.Facts.TransactionID, set.Facts.PaidType) }
	switch {
	case o != nil && o.done == c.Token:
		m.want("settle "+c.no, res.Code, ledger.Repeat)
		return
	case o == nil || o.token != c.Token:
		m.want("settle "+c.no, res.Code, ledger.Lost)
		return
	}
	o.entries++
	o.token, o.lease, o.live, o.doing, o.done, o.collectedAhead = "", false, false, "", c.Token, false
	if o.life != c.life {
		m.want("settle "+c.no, res.Code, ledger.Reopened)
		return
	}
	syncing := c.sync && o.state == "withdrawn" && o.sync == "pending"
	if !o.open() && !syncing {
		m.want("settle "+c.no, res.Code, ledger.HasEnded)
		switch {
		case o.state == "paid":
			if set.VerifiedPaid && o.compareAmounts(total, paid) {
				news = ledger.Differs
			}
		case set.VerifiedPaid || paid > o.paid:
			if m.latePayment(c.no, "", total, paid, set.Facts.TransactionID, set.Facts.PaidType) {
				news = ledger.Late
			}
		case learn():
			m.emit("attempted", c.no)
		}
		m.want("news of "+c.no, res.News, news)
		return
	}
	m.want("settle "+c.no, res.Code, ledger.Settled)
	if set.VerifiedPaid && o.compareAmounts(total, paid) {
		news = ledger.Differs
	}
	o.attempts += set.AddAttempts
	o.next = set.Next
	kind := "attempted"
	if syncing {
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
	learn()
	if syncing && set.VerifiedPaid && set.Facts.PaidType != "MCH" && m.latePayment(c.no, "", total, paid, set.Facts.TransactionID, set.Facts.PaidType) {
		news = ledger.Late
	} else if syncing && set.VerifiedPaid && set.Facts.PaidType != "MCH" {
		news = ledger.NoNews
	}
	m.want("news of "+c.no, res.News, news)
	m.emit(kind, c.no)
}

func (m *model) Notice(t *rapid.T) {
	m.t = t
	no := m.no()
	o := m.orders[no]
	n := paidNotice(no)
	paid := int64(rapid.SampledFrom([]int{300, 600, 1000, 1002}).Draw(t, "paid"))
	total := int64(rapid.SampledFrom([]int{1000, 1000, 1000, 2000}).Draw(t, "total"))
	n.Paid = paid >= 1000
	n.Facts.Total, n.Facts.Paid, n.Facts.TransactionID = &total, &paid, fmt.Sprint("tx", paid)
	n.Facts.PaidType = rapid.SampledFrom([]string{"NEWTON", "NEWTON", "MCH"}).Draw(t, "by")
	code, news, err := m.l.Notice(context.Background(), n)
	if err != nil {
		t.Fatal(err)
	}
	got := strings.TrimSpace(string(code) + " " + string(news))
	if o == nil {
		m.want("notice "+no, got, "absent")
		return
	}
	differs := ""
	if (n.Paid || o.state != "paid" && paid > o.paid) && o.compareAmounts(total, paid) {
		differs = " differs"
	}
	switch {
	case n.Paid && o.state == "paid":
		m.want("notice "+no, got, "repeat"+differs)
		if differs != "" {
			o.entries++
		}
	case n.Paid && !o.open():
		want := "ended"
		if !m.latePayment(no, "1000", total, paid, n.Facts.TransactionID, n.Facts.PaidType) {
			want = "repeat"
		}
		m.want("notice "+no, got, want+differs)
		if want+differs != "repeat" {
			o.entries++
		}
	case n.Paid:
		m.want("notice "+no, got, "paid"+differs)
		o.learn("1000", total, paid, n.Facts.TransactionID, n.Facts.PaidType)
		o.reason, o.next = "", ""
		delete(m.due, no)
		m.end(no, "paid")
		m.emit("paid", no)
		o.entries++
	case o.state == "paid" || paid <= o.paid:
		m.want("notice "+no, got, "repeat")
	case !o.open():
		want := "repeat"
		if m.latePayment(no, "1000", total, paid, n.Facts.TransactionID, n.Facts.PaidType) {
			want = "ended"
		}
		m.want("notice "+no, got, want+differs)
		o.entries++
	default:
		m.want("notice "+no, got, "partial"+differs)
		o.learn("1000", total, paid, n.Facts.TransactionID, n.Facts.PaidType)
		m.emit("attempted", no)
		o.entries++
	}
}

// Expire lets a lease run out unsettled: its worker died, or stood still.
func (m *model) Expire(t *rapid.T) {
	m.t = t
	no := m.no()
	o := m.orders[no]
	if o == nil || !o.live {
		t.Skip("nobody works on it")
	}
	m.redis.Client.HSet(context.Background(), tasks.KeysOf(m.mchid).Order(no), "lease", 1)
	o.live = false
}

func (m *model) Sweep(t *rapid.T) {
	m.t = t
	ctx, key := context.Background(), tasks.KeysOf(m.mchid).Due()
	for _, no := range m.redis.Client.ZRange(ctx, key, 0, -1).Val() {
		m.redis.Client.ZAddXX(ctx, key, zAt(1, no))
	}
	swept, err := m.l.Sweep(ctx, ledger.SweepArgs{Limit: 10, Closed: 10, Grace: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	var got, want []string // nil where there are none
	for _, d := range swept.Orders {
		got = append(got, fmt.Sprintf("%s %d sync=%t", d.OutOrderNo, d.Round, d.Sync))
	}
	for no := range m.due {
		o := m.orders[no]
		switch {
		case o.live:
			continue
		case o.lease:
			o.round++
			o.lease = false
		}
		want = append(want, fmt.Sprintf("%s %d sync=%t", no, o.round, o.state == "withdrawn"))
	}
	slices.Sort(got)
	slices.Sort(want)
	m.want("sweep", got, want)
}

func (m *model) Rewind(t *rapid.T) {
	m.t = t
	no := m.no()
	o := m.orders[no]
	if o == nil {
		t.Skip("there is none")
	}
	round, ok, err := m.l.Rewind(context.Background(), no, o.round)
	if err != nil {
		t.Fatal(err)
	}
	m.want("rewind "+no, ok, o.working() && !o.live)
	if ok {
		o.round++
		m.want("round of "+no, round, o.round)
	}
}

func (m *model) Retain(t *rapid.T) {
	m.t = t
	removed, err := m.l.Retain(context.Background(), 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	var want int64
	for no, o := range m.orders {
		if !o.working() && !o.live && !o.collectedAhead {
			want++
			if o.state == "paid" {
				m.paidLeft += o.paid
			}
			delete(m.orders, no)
			delete(m.ended, no)
		}
	}
	m.want("retain", removed, want)
}

func (m *model) payload(no string) tasks.Payload {
	p := payload(no)
	p.MchID = m.mchid
	return p
}
