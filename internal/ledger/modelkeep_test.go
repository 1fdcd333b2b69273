package ledger_test

import (
	"context"
	"fmt"
	"slices"
	"time"

	"pgregory.net/rapid"

	"payscore-collector/internal/ledger"
)

// Told records that the answer to a notification was sent.
func (m *model) Told(t *rapid.T) {
	m.t = t
	no := m.no()
	n := ledger.Notice{OutOrderNo: no, ID: fmt.Sprint("EV-", rapid.IntRange(1, 4).Draw(t, "id"))}
	if err := m.l.NoticeTold(context.Background(), n); err != nil {
		t.Fatal(err)
	}
	if o := m.orders[no]; o != nil {
		delete(o.untold, n.ID)
	}
}

// Expire lets a lease run out unsettled: its worker died, or stood still.
func (m *model) Expire(t *rapid.T) {
	m.t = t
	no := m.no()
	o := m.orders[no]
	if o == nil || !o.live {
		t.Skip("no worker has it")
	}
	m.redis.Client.HSet(context.Background(), ledger.KeysOf(m.mchid).Order(no), "lease", 1)
	o.live = false
}

func (m *model) Sweep(t *rapid.T) {
	m.t = t
	ctx, key := context.Background(), ledger.KeysOf(m.mchid).Due()
	for _, no := range m.redis.Client.ZRange(ctx, key, 0, -1).Val() {
		m.redis.Client.ZAddXX(ctx, key, zAt(1, no))
	}
	swept, err := m.l.Sweep(ctx, ledger.SweepArgs{Limit: 10, Closed: 10, Grace: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	var got, want []string // nil where it is empty
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
		t.Skip("no such order or claim")
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
	gone := map[string]ledger.Order{}
	causes := map[string]string{}
	for no := range m.orders {
		o, err := m.l.Get(context.Background(), no)
		if err != nil {
			t.Fatal(err)
		}
		gone[no], causes[no] = o, m.cause(no)
	}
	removed, err := m.l.Retain(context.Background(), 0, 0, time.Time{})
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
			m.removed.Add(gone[no], causes[no])
			delete(m.orders, no)
			delete(m.ended, no)
		}
	}
	m.want("retain", removed, want)
}

// Compact may come at any moment after an end, and every answer is as before. Which orders
// are compact the ledger says: the model does not know the indexes' milliseconds.
func (m *model) Compact(t *rapid.T) {
	m.t = t
	ctx, k := context.Background(), ledger.KeysOf(m.mchid)
	state := func() (orders map[string]ledger.Order, compact int64) {
		orders = map[string]ledger.Order{}
		for no := range m.orders {
			o, err := m.l.Get(ctx, no)
			if err != nil {
				t.Fatal(err)
			}
			orders[no] = withoutLog(o)
			if m.redis.Client.HExists(ctx, k.Order(no), "k").Val() {
				compact++
			}
		}
		return orders, compact
	}
	before, was := state()
	n, err := m.l.Compact(ctx, ledger.CompactArgs{})
	if err != nil {
		t.Fatal(err)
	}
	after, is := state()
	m.want("orders", after, before)
	m.want("compact orders", n, is-was)
	for no, o := range m.orders {
		if !m.redis.Client.HExists(ctx, k.Order(no), "k").Val() {
			continue
		}
		if o.working() || o.live || o.collectedAhead {
			t.Fatalf("%s is compact, and may change soon", no)
		}
		o.entries, o.token, o.lease, o.done = 0, "", false, ""
	}
}
