package collect

import (
	"context"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/hibiken/asynq"

	"payscore-collector/internal/asynqx"
	"payscore-collector/internal/ledger"
	"payscore-collector/internal/payscore"
	"payscore-collector/internal/queue"
	"payscore-collector/internal/testkit/redistest"
	"payscore-collector/tasks"
)

func syncReply(v payscore.Verdict, reason string) payscore.Reply {
	return payscore.Reply{Call: payscore.CallSync, Verdict: v, Reason: reason, Sent: true}
}

// paidReply is a query that shows the order paid, through WeChat Pay or as the
// merchant reported.
func paidReply(paidType string) payscore.Reply {
	r := queryReply(payscore.Paid)
	r.Order = &payscore.Order{TotalAmount: 150, Collection: &payscore.Collection{
		State: "USER_PAID", TotalAmount: 150, PaidAmount: 150, Details: []payscore.Detail{{Amount: 150, PaidType: paidType}},
	}}
	return r
}

func (b *fixture) withdraw(no string) {
	b.t.Helper()
	res, err := b.producer.Withdraw(b.t.Context(), tasks.Withdrawal{
		MchID: b.mchid, OutOrderNo: no, Reason: "paid at the counter", PaidAt: time.Now().Add(-time.Hour),
	})
	if err != nil || res.Status != tasks.Accepted {
		b.t.Fatalf("%+v %v", res, err)
	}
}

// The sync of an order that the user paid elsewhere, step by step.
func TestSync(t *testing.T) {
	t.Parallel()
	srv := redistest.Start(t)
	notCollectable := syncReply(payscore.NotCollectable, "ORDER_DONE")
	revoked := queryReply(payscore.Closed)
	revoked.Reason = "REVOKED"
	notCompleted := queryReply(payscore.NotCollectable)
	notCompleted.Order, notCompleted.Reason = &payscore.Order{}, "not_completed"
	owed := queryReply(payscore.Owed)

	for _, tt := range []struct {
		name    string
		sync    []payscore.Reply // the last one repeats
		query   []payscore.Reply
		overdue bool
		calls   string
		want    ledger.SyncState
		reason  string
		late    bool
	}{
		{name: "accepted, and a query shows it done", sync: []payscore.Reply{syncReply(payscore.Accepted, "")}, query: []payscore.Reply{paidReply("MCH")},
			calls: "sync query", want: ledger.SyncDone},
		{name: "accepted, and done without saying how", sync: []payscore.Reply{syncReply(payscore.Accepted, "")}, query: []payscore.Reply{paidReply("")},
			calls: "sync query", want: ledger.SyncDone},
		{name: "accepted, and not seen yet: queried again", sync: []payscore.Reply{syncReply(payscore.Accepted, "")}, query: []payscore.Reply{owed, paidReply("MCH")},
			calls: "sync query query", want: ledger.SyncDone},
		{name: "accepted, and never seen: synced again", sync: []payscore.Reply{syncReply(payscore.Accepted, "")}, query: []payscore.Reply{owed, owed, owed, owed, paidReply("MCH")},
			calls: "sync query query query query sync query", want: ledger.SyncDone},
		{name: "refused: the user has paid through WeChat Pay", sync: []payscore.Reply{notCollectable}, query: []payscore.Reply{paidReply("NEWTON")},
			calls: "sync query", want: ledger.SyncNoNeed, reason: ReasonPaid, late: true},
		{name: "refused: it was cancelled", sync: []payscore.Reply{notCollectable}, query: []payscore.Reply{revoked},
			calls: "sync query", want: ledger.SyncNoNeed, reason: "REVOKED"},
		{name: "refused: it was never completed", sync: []payscore.Reply{notCollectable}, query: []payscore.Reply{notCompleted},
			calls: "sync query", want: ledger.SyncFailed, reason: "not_completed"},
		{name: "refused, and still owed: synced again by the schedule", sync: []payscore.Reply{notCollectable, syncReply(payscore.Accepted, "")}, query: []payscore.Reply{owed, owed, paidReply("MCH")},
			calls: "sync query query sync query", want: ledger.SyncDone},
		{name: "its time of payment is refused", sync: []payscore.Reply{syncReply(payscore.BadRequest, "PARAM_ERROR")},
			calls: "sync", want: ledger.SyncFailed, reason: "PARAM_ERROR"},
		{name: "a deduction is running, and succeeds", sync: []payscore.Reply{syncReply(payscore.InProgress, "")}, query: []payscore.Reply{paidReply("NEWTON")},
			calls: "sync query", want: ledger.SyncNoNeed, reason: ReasonPaid, late: true},
		{name: "of unknown effect: queried before it is synced again", sync: []payscore.Reply{syncReply(payscore.Unknown, ""), syncReply(payscore.Accepted, "")}, query: []payscore.Reply{owed, owed, paidReply("MCH")},
			calls: "sync query query sync query", want: ledger.SyncDone},
		{name: "of unknown effect, and it had one", sync: []payscore.Reply{syncReply(payscore.Unknown, "")}, query: []payscore.Reply{paidReply("MCH")},
			calls: "sync query", want: ledger.SyncDone},
		{name: "a merchant's fault and an outage use up nothing", sync: []payscore.Reply{syncReply(payscore.MerchantFault, ""), syncReply(payscore.Throttled, ""), syncReply(payscore.Accepted, "")},
			query: []payscore.Reply{owed, owed, paidReply("MCH")}, calls: "sync query sync query sync query", want: ledger.SyncDone},
		{name: "no such order, twice", sync: []payscore.Reply{syncReply(payscore.NotFound, "ORDER_NOT_EXIST")},
			query: []payscore.Reply{{Call: payscore.CallQuery, Verdict: payscore.NotFound, Reason: "ORDER_NOT_EXIST", Sent: true}},
			calls: "sync query", want: ledger.SyncFailed, reason: "ORDER_NOT_EXIST"},
		{name: "past its deadline", sync: []payscore.Reply{notCollectable}, query: []payscore.Reply{owed}, overdue: true,
			calls: "sync query", want: ledger.SyncFailed, reason: ReasonGaveUp},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			// The window is closed, which must not matter.
			b := newFixture(t, srv, func(s *Settings) {
				from := time.Duration((time.Now().UTC().Hour()+12)%24) * time.Hour
				s.Policy.Window = Window{From: from, To: from + time.Hour, Location: time.UTC}
			})
			b.open("A")
			b.withdraw("A")
			if tt.overdue {
				b.set("A", "since", 1)
			}
			b.platform.sync, b.platform.query = takingTurns(tt.sync), takingTurns(tt.query)
			var made []string
			for range 20 {
				if o := b.get("A"); o.Sync.State != ledger.SyncPending {
					break
				}
				b.makeDue("A")
				_ = b.rdb.Del(t.Context(), b.keys.Hold()).Err() // holds are not tested here
				b.hold.release()
				if err := b.run("A"); asynqx.IsFailure(err) {
					t.Fatal(err)
				}
				made = append(made, b.platform.made())
			}
			if got := strings.Join(made, " "); got != tt.calls {
				t.Errorf("calls: %s, want %s", got, tt.calls)
			}
			o := b.get("A")
			if o.State != tasks.Withdrawn || o.Reason != "paid at the counter" {
				t.Errorf("the order's state changed: %s %s", o.State, o.Reason)
			}
			if o.Sync.State != tt.want || o.Sync.Reason != tt.reason || !o.NextDueAt.IsZero() {
				t.Errorf("%+v, want %s %q", o.Sync, tt.want, tt.reason)
			}
			if o.LatePaymentAt.IsZero() == tt.late {
				t.Errorf("late payment at %s", o.LatePaymentAt)
			}
			if n := b.count(b.metrics.Syncs, string(tt.want)); n != 1 {
				t.Errorf("counted %v", n)
			}
			if o.Attempts != 0 || o.CollectCalls != 0 {
				t.Errorf("%d attempts, %d collect calls", o.Attempts, o.CollectCalls)
			}
			if want := int64(strings.Count(tt.calls, "sync")); o.Sync.Calls != want {
				t.Errorf("%d sync calls in the record, want %d", o.Sync.Calls, want)
			}
			if due := b.rdb.ZCard(t.Context(), b.keys.Due()).Val(); due != 0 {
				t.Errorf("%d in the due index", due)
			}
			if tt.late != b.logs.HasEvent("paid_after_its_end") {
				t.Errorf("the log: %s", b.logs)
			}
		})
	}
	t.Run("is queued and swept like any other step, under a task type of its own", func(t *testing.T) {
		b := parallelWithA(t, srv)
		b.withdraw("A")
		round := b.num("A", "round")
		info := b.task("A", round)
		if info == nil || info.Type != queue.TypeSync || !strings.Contains(string(info.Payload), `"appid":"wx1"`) {
			t.Fatalf("%+v", info)
		}
		if err := b.rdb.Del(t.Context(), "asynq:{"+info.Queue+"}:pending", "asynq:{"+info.Queue+"}:t:"+info.ID).Err(); err != nil {
			t.Fatal(err)
		}
		b.makeDue("A")
		if err := NewSweeper(b.Collector, b.rdb).Sweep(t.Context()); err != nil {
			t.Fatal(err)
		}
		if info := b.task("A", round); info == nil || info.Type != queue.TypeSync {
			t.Errorf("%+v", info)
		}
	})
	t.Run("of an order that the ledger has lost opens nothing", func(t *testing.T) {
		b := parallel(t, srv)
		if err := b.process(t.Context(), asynq.NewTask(queue.TypeSync, nil), b.payload("A"), 1); err != nil {
			t.Error(err)
		}
		if _, err := b.ledger.Get(t.Context(), "A"); err == nil {
			t.Error("it was opened, and would be collected")
		}
		if !b.logs.HasEvent("sync_order_missing") {
			t.Errorf("the log: %s", b.logs)
		}
	})
	t.Run("any task that has outlived its order's record opens nothing", func(t *testing.T) {
		b := parallel(t, srv, func(s *Settings) { s.Retention = time.Hour })
		task := func(age time.Duration) *asynq.Task {
			made := strconv.FormatInt(time.Now().Add(-age).UnixMilli(), 10)
			return asynq.NewTaskWithHeaders(tasks.TypeCollect, nil, map[string]string{queue.HeaderMadeAt: made})
		}
		if err := b.process(t.Context(), task(time.Hour), b.payload("OLD"), 1); err != nil {
			t.Error(err)
		}
		if _, err := b.ledger.Get(t.Context(), "OLD"); err == nil || b.platform.made() != "" {
			t.Error("it was opened, though it may have been withdrawn")
		}
		_ = b.process(t.Context(), task(time.Minute), b.payload("LOST"), 1)
		if _, err := b.ledger.Get(t.Context(), "LOST"); err != nil {
			t.Errorf("an order whose record was lost is opened by its task: %v", err)
		}
		if err := b.push(b.payload("P"), 7); err != nil {
			t.Fatal(err)
		}
		if info := b.task("P", 7); info.Headers[queue.HeaderMadeAt] == "" {
			t.Errorf("%+v", info)
		}
	})
	t.Run("never while a collect is in flight", func(t *testing.T) {
		b := parallelWithA(t, srv)
		b.platform.collect = func(context.Context) payscore.Reply {
			b.withdraw("A")
			if err := b.run("A"); err != nil { // the sync's task comes meanwhile
				t.Error(err)
			}
			return collectReply(payscore.Accepted)
		}
		if err := b.run("A"); err != nil && asynqx.IsFailure(err) {
			t.Fatal(err)
		}
		if made := b.platform.made(); made != "collect" {
			t.Errorf("calls: %s", made)
		}
		o := b.get("A")
		if o.State != tasks.Withdrawn || o.Sync.State != ledger.SyncPending || len(o.Log) != 1 {
			t.Errorf("%+v", o)
		}
		if !b.logs.HasEvent("order_ended_during_collect") {
			t.Errorf("no warning that money may still come: %s", b.logs)
		}
	})
}

// takingTurns answers with one reply after the other; the last one repeats.
func takingTurns(replies []payscore.Reply) func(context.Context) payscore.Reply {
	i := -1
	return func(context.Context) payscore.Reply {
		i = min(i+1, len(replies)-1)
		return replies[i]
	}
}
