package ledger_test

import (
	"context"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"payscore-collector/internal/audit"
	"payscore-collector/internal/ledger"
	"payscore-collector/internal/testkit"
	"payscore-collector/internal/testkit/redistest"
	"payscore-collector/tasks"
)

func TestMain(m *testing.M) {
	testkit.RapidChecks(50)
	os.Exit(m.Run())
}

// Check compares everything. It runs after every operation.
func (m *model) Check(t *rapid.T) {
	m.t = t
	ctx, k := context.Background(), ledger.KeysOf(m.mchid)
	var paid int64
	stats := map[tasks.State]int64{}
	for _, no := range modelNos {
		got, err := m.l.Get(ctx, no)
		o := m.orders[no]
		if o == nil {
			delete(m.was, no)
			m.want("order "+no, fmt.Sprint(err), ledger.ErrNotFound.Error())
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		fields, err := m.redis.Client.HGetAll(ctx, k.Order(no)).Result()
		if err != nil {
			t.Fatal(err)
		}
		for name, value := range fields {
			if !strings.HasPrefix(name, "n:") && !slices.ContainsFunc(ledger.Record, func(f ledger.Field) bool { return f.Name == name }) {
				t.Fatalf("the record of %s has the field %q, which ledger.Record does not have", no, name)
			}
			if form := earlierForms[name]; form != nil && !form.MatchString(value) {
				t.Fatalf("the record of %s has %s %q, which an earlier release cannot read: it wants %s", no, name, value, form)
			}
		}
		if was := m.was[no]; was != "" && was != got.State && !slices.Contains(was.Next(), got.State) {
			t.Fatalf("%s went from %s to %s", no, was, got.State)
		}
		m.was[no] = got.State
		stats[tasks.State(o.state)]++
		if o.state == "paid" {
			paid += o.paid
		}
		sync, why := "", ""
		if got.Sync != nil {
			sync, why = string(got.Sync.State), got.Sync.Reason
		}
		newest := ""
		if d := got.AmountDiffers; d != nil {
			newest = fmt.Sprintf("%s %d %d", d.Field, d.Known, d.Said)
		}
		alarm := ""
		if n := len(o.alarms); n > 0 {
			alarm = o.alarms[n-1]
		}
		type view struct {
			State, Reason, Tx, Pt, Sync, Why string
			Next                             ledger.Plan
			Collects, Queries, Attempts      int64
			Total, Paid                      int64
			Late, Ended                      bool
			Differs, Payments                string
			Entries                          int
		}
		m.want("order "+no, view{
			string(got.State), got.Reason, got.TransactionID, got.PaidType, sync, why, got.Next,
			got.CollectCalls, got.QueryCalls, got.Attempts, value(got.TotalAmount), value(got.PaidAmount),
			!got.LatePaymentAt.IsZero(), !got.EndedAt.IsZero(), newest, listing(got.Payments), len(got.Log),
		}, view{
			o.state, o.reason, o.tx, o.pt, o.sync, o.why, o.next,
			o.collects, o.queries, o.attempts, o.total, o.paid, o.late, !o.open(), alarm, listing(o.payments), min(o.entries, ledger.LogEntries),
		})
	}
	for _, no := range modelNos {
		o := m.orders[no]
		if o == nil {
			continue
		}
		got, err := m.l.Get(ctx, no)
		if err != nil {
			t.Fatal(err)
		}
		var actions []string
		for _, a := range got.Actions {
			actions = append(actions, a.Action+" "+a.Reason)
		}
		m.want("actions of "+no, actions, o.actions[max(0, len(o.actions)-ledger.ActionsKept):])
	}
	entries, _, err := ledger.Audit(ctx, []*ledger.Ledger{m.l}, 10_000, "")
	if err != nil {
		t.Fatal(err)
	}
	var trail []string
	for _, e := range slices.Backward(entries) {
		trail = append(trail, e.OutOrderNo+" "+e.Action.Action+" "+e.Reason)
	}
	m.want("trail", trail, m.trail)
	due := m.redis.Client.ZRange(ctx, k.Due(), 0, -1).Val()
	due = slices.Sorted(slices.Values(due))
	var wantDue []string
	for no := range m.due {
		wantDue = append(wantDue, no)
	}
	slices.Sort(wantDue)
	m.want("due index", due, wantDue)
	ended := map[string]string{}
	for _, state := range tasks.States {
		for _, no := range m.redis.Client.ZRange(ctx, k.Ended(state), 0, -1).Val() {
			ended[no] += string(state)
		}
	}
	m.want("ended indexes", ended, m.ended)
	s, err := m.l.Stats(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for state, n := range s.Orders {
		if n == 0 {
			delete(s.Orders, state)
		}
	}
	counts := maps.Clone(m.removed)
	for no := range m.orders {
		o, err := m.l.Get(ctx, no)
		if err != nil {
			t.Fatal(err)
		}
		counts.Add(o, m.cause(no))
	}
	recovery, err := m.l.Recovery(ctx, "2000-01-01", "2999-01-01")
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range counts.Differ(recovery.Counts) {
		t.Error(d.Text)
	}
	m.want("counters", s, ledger.Stats{Orders: stats, PaidAmount: paid, PaidLeft: m.paidLeft})
	events := map[string][]string{}
	for _, x := range m.redis.Client.XRange(ctx, k.Outcomes(), "-", "+").Val() {
		e, err := ledger.DecodeEvent(m.mchid, x.ID, x.Values)
		if err != nil {
			t.Fatal(err)
		}
		var total, paid int64
		if e.TotalAmount != nil {
			total = *e.TotalAmount
		}
		if e.PaidAmount != nil {
			paid = *e.PaidAmount
		}
		events[e.OutOrderNo] = append(events[e.OutOrderNo], fmt.Sprintf("%d %s %s %s total=%d paid=%d %s sync=%s attempts=%d ended=%t late=%t %s",
			e.Seq, strings.TrimPrefix(e.Type, "order."), e.State, e.Reason, total, paid, e.TransactionID, e.Sync, e.Attempts,
			!e.EndedAt.IsZero(), !e.LatePaymentAt.IsZero(), listing(e.Payments)))
	}
	m.want("stream", events, m.events)
}

func (m *model) cause(no string) string {
	cause, err := m.l.Cause(context.Background(), no)
	if err != nil {
		m.t.Fatal(err)
	}
	return cause
}

func TestScriptsAgainstAModel(t *testing.T) {
	t.Parallel()
	srv := redistest.Start(t)
	run := 0
	rapid.Check(t, func(rt *rapid.T) {
		run++
		mchid := fmt.Sprintf("19%08d", run)
		m := &model{
			l: ledger.New(srv.Client, mchid), producer: tasks.NewProducer(srv.Client), redis: srv, mchid: mchid,
			orders: map[string]*modelOrder{}, was: map[string]tasks.State{}, due: map[string]bool{}, removed: audit.RecoveryCounts{}, ended: map[string]string{}, events: map[string][]string{}, answers: map[string]ledger.SettleResult{},
		}
		rt.Repeat(map[string]func(*rapid.T){
			"": m.Check, "open": m.Open, "withdraw": m.Withdraw, "claim": m.Claim, "claim again": m.Claim, "permit": m.Permit,
			"settle": m.Settle, "settle again": m.Settle, "notice": m.Notice, "notice again": m.Notice, "told": m.Told, "expire": m.Expire, "sweep": m.Sweep,
			"rewind": m.Rewind, "fill": m.Fill, "retain": m.Retain, "compact": m.Compact, "compact again": m.Compact,
			"collect now": m.CollectNow, "pause": m.Pause, "resume": m.Resume,
		})
		_ = srv.Client.FlushDB(context.Background()).Err()
	})
}
