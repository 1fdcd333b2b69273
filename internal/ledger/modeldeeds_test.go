package ledger_test

import (
	"context"

	"pgregory.net/rapid"

	"payscore-collector/internal/ledger"
	"payscore-collector/tasks"
)

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
	res, err := m.producer.Enqueue(context.Background(), tasks.Order{Payload: m.payload(no), Reopen: reopen, Reason: "still owed"})
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
	o.state, o.parked = "queued", false
	m.due[no] = true
	kind := "opened"
	if was != "" {
		kind = "reopened"
		m.act("reopen", no, "still owed")
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
	o.next, o.sync, o.why, o.parked = "", "", "", false
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
	m.act("withdraw", no, "waived")
	kind := "attempted"
	if opened {
		kind = "withdrawn"
	}
	m.emit(kind, no)
}

func (m *model) CollectNow(t *rapid.T) {
	m.t = t
	no := m.no()
	o := m.orders[no]
	got, err := m.l.CollectNow(context.Background(), no, ledger.Deed{By: "cli:x", Reason: "now"}, ledger.Earliest{}, 0)
	if err != nil {
		t.Fatal(err)
	}
	want := ledger.Accepted
	switch {
	case o == nil:
		want = ledger.NoOrder
	case !o.open():
		want = ledger.Ended
	case o.live, !o.parked && o.next != ledger.Confirm && o.next != ledger.Final:
		want = ledger.Duplicate
	}
	m.want("collect "+no+" now", got.Code, want)
	if want != ledger.Accepted {
		return
	}
	if o.next == ledger.Confirm || o.next == ledger.Final {
		o.next = ledger.Recheck
	}
	o.parked = false
	o.round++
	m.act("collect-now", no, "now")
	m.want("round of "+no, got.Round, o.round)
}

func (m *model) Pause(t *rapid.T) {
	m.t = t
	if _, err := m.l.Pause(context.Background(), ledger.Deed{By: "cli:x", Reason: "a mistake"}, 0); err != nil {
		t.Fatal(err)
	}
	m.paused = true
	m.trail = append(m.trail, " pause a mistake")
}

func (m *model) Resume(t *rapid.T) {
	m.t = t
	was, err := m.l.Resume(context.Background(), ledger.Deed{By: "cli:x", Reason: "mended"})
	if err != nil {
		t.Fatal(err)
	}
	m.want("resume", was, m.paused)
	if was {
		m.trail = append(m.trail, " resume mended")
	}
	m.paused = false
	for _, o := range m.orders {
		if o.open() && !o.lease {
			o.parked = false
		}
	}
}
