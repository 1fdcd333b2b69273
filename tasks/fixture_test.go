package tasks_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"

	"payscore-collector/internal/ledger"
	"payscore-collector/internal/testkit/redistest"
	"payscore-collector/tasks"
)

const merchant = "1900000001"

// paidAt is 10:00 in China.
var paidAt = time.Date(2026, 1, 2, 2, 0, 0, 0, time.UTC)

// onBothRedises runs a test of scripts on a redis-server and on the embedded one.
func onBothRedises(t *testing.T, test func(*testing.T, *fixture)) {
	for name, start := range map[string]func(*testing.T) *redistest.Server{
		"redis-server": func(t *testing.T) *redistest.Server { return redistest.StartReal(t) },
		"embedded": func(t *testing.T) *redistest.Server {
			t.Setenv(redistest.EmbeddedOnly, "1")
			return redistest.Start(t)
		},
	} {
		t.Run(name, func(t *testing.T) {
			rdb := start(t).Client
			test(t, &fixture{t, rdb, tasks.NewProducer(rdb), ledger.New(rdb, merchant)})
		})
	}
}

// fixture is a billing system beside a ledger: it enqueues, withdraws and reads.
type fixture struct {
	*testing.T
	rdb      *redis.Client
	producer *tasks.Producer
	ledger   *ledger.Ledger
}

func (b *fixture) open(no string) {
	b.Helper()
	if res, err := b.producer.Enqueue(b.Context(), order(no)); err != nil || res.Status != tasks.Accepted {
		b.Fatalf("enqueue of %s: %+v, %v", no, res, err)
	}
}

// withdraw withdraws an order, and says what became of it and where it stands.
func (b *fixture) withdraw(no, reason string, at time.Time) string {
	b.Helper()
	res, err := b.producer.Withdraw(b.Context(), tasks.Withdrawal{MchID: merchant, OutOrderNo: no, Reason: reason, PaidAt: at})
	if err != nil {
		b.Fatal(err)
	}
	return strings.TrimSpace(string(res.Status) + " " + string(res.State))
}

func (b *fixture) get(no string) ledger.Order {
	b.Helper()
	o, err := b.ledger.Get(b.Context(), no)
	if err != nil {
		b.Fatal(err)
	}
	return o
}

func (b *fixture) claim(no string) ledger.Claim {
	b.Helper()
	c, err := b.ledger.Claim(b.Context(), no, ledger.NewToken(), ledger.NoRound, ledger.Limits{Lease: time.Minute, Rate: 1e6, Horizon: time.Second})
	if err != nil {
		b.Fatal(err)
	}
	return c
}

func (b *fixture) settle(c ledger.Claim, s ledger.Settlement) ledger.SettleResult {
	b.Helper()
	s.Failures = 10
	res, err := b.ledger.Settle(b.Context(), c, s)
	if err != nil {
		b.Fatal(err)
	}
	return res
}

// told brings the telling of a withdrawn order to an end.
func (b *fixture) told(no string, state ledger.SyncState, reason string) {
	b.Helper()
	c := b.claim(no)
	if c.Code != ledger.Granted || !c.Order.Sync || c.Plan != ledger.TellPaid {
		b.Fatalf("claim of %s: %+v", no, c)
	}
	res := b.settle(c, ledger.Settlement{State: tasks.Withdrawn, Sync: state, SyncReason: reason, Log: []ledger.Entry{{Call: "sync", Verdict: "accepted"}}})
	if res.Code != ledger.Settled {
		b.Fatalf("settle of %s: %s", no, res.Code)
	}
}

// events are those of an order: type, state and sync of each.
func (b *fixture) events(no string) []string {
	b.Helper()
	entries, err := b.rdb.XRange(b.Context(), ledger.KeysOf(merchant).Outcomes(), "-", "+").Result()
	if err != nil {
		b.Fatal(err)
	}
	var list []string
	for _, entry := range entries {
		e, err := ledger.DecodeEvent(merchant, entry.ID, entry.Values)
		if err != nil {
			b.Fatal(err)
		}
		if e.OutOrderNo != no {
			continue
		}
		list = append(list, strings.TrimSpace(fmt.Sprintf("%s %s %s", e.Type, e.State, e.Sync)))
		if e.Seq != int64(len(list)) {
			b.Errorf("event %d of %s has seq %d", len(list), no, e.Seq)
		}
	}
	return list
}

// agrees sees that the counters, the indexes, the newest event and the records
// of the orders say the same.
func (b *fixture) agrees(nos ...string) {
	b.Helper()
	k := ledger.KeysOf(merchant)
	want := map[tasks.State]int64{}
	for _, state := range tasks.States {
		want[state] = 0
	}
	for _, no := range nos {
		o := b.get(no)
		want[o.State]++
		due := b.rdb.ZScore(b.Context(), k.Due(), no).Err() == nil
		pending := o.Sync != nil && o.Sync.State == ledger.SyncPending
		if working := o.State.Open() || pending; due != working || o.NextDueAt.IsZero() == working || (o.Next == "") == working {
			b.Errorf("%s is %s, sync %+v: in the due index: %v, next %q at %v", no, o.State, o.Sync, due, o.Next, o.NextDueAt)
		}
		for _, state := range tasks.States {
			at, err := b.rdb.ZScore(b.Context(), k.Ended(state), no).Result()
			if listed := err == nil; listed != (state == o.State && !state.Open()) || listed && int64(at) != o.EndedAt.UnixMilli() {
				b.Errorf("%s is %s since %v: in the index of %s: %v, %v", no, o.State, o.EndedAt, state, listed, at)
			}
		}
		sync := ""
		if o.Sync != nil {
			sync = string(o.Sync.State)
		}
		events := b.events(no)
		if newest := strings.Split(events[len(events)-1]+"  ", " "); newest[1] != string(o.State) || newest[2] != sync {
			b.Errorf("%s is %s, sync %q, and its newest event says %q", no, o.State, sync, newest)
		}
	}
	stats, err := b.ledger.Stats(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	if diff := cmp.Diff(want, stats.Orders); diff != "" {
		b.Errorf("the counters (-records +counters)\n%s", diff)
	}
}
