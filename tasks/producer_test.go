package tasks_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"payscore-collector/internal/ledger"
	"payscore-collector/internal/testkit/redistest"
	"payscore-collector/tasks"
)

func order(no string) tasks.Order {
	return tasks.Order{Payload: tasks.Payload{MchID: "1900000001", OutOrderNo: no, AppID: "wx1", ServiceID: "500001"}}
}

func pending(t *testing.T, rdb *redis.Client) []*asynq.TaskInfo {
	t.Helper()
	infos, err := asynq.NewInspectorFromRedisClient(rdb).ListPendingTasks(tasks.QueueName("1900000001"), asynq.PageSize(10_000))
	if err != nil {
		t.Fatal(err)
	}
	return infos
}

// end brings an order to an end, as a worker would.
func end(t *testing.T, rdb *redis.Client, no string, state tasks.State) {
	t.Helper()
	l := ledger.New(rdb, "1900000001")
	c, err := l.Claim(t.Context(), no, ledger.NewToken(), ledger.NoRound, ledger.Limits{Lease: time.Minute, Rate: 1000, Horizon: time.Second})
	if err != nil || c.Code != ledger.Granted {
		t.Fatalf("%+v %v", c, err)
	}
	if _, err := l.Settle(t.Context(), c, ledger.Settlement{State: state, Failures: 1}); err != nil {
		t.Fatal(err)
	}
}

func TestEnqueue(t *testing.T) {
	t.Parallel()
	rdb := redistest.Start(t).Client
	p := tasks.NewProducer(rdb)
	enqueue := func(o tasks.Order) tasks.Result {
		t.Helper()
		res, err := p.Enqueue(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		return res
	}
	if res := enqueue(order("A")); res.Status != tasks.Accepted || res.State != tasks.Queued {
		t.Errorf("%+v", res)
	}
	infos := pending(t, rdb)
	if len(infos) != 1 || infos[0].ID != "1900000001:A:1" || infos[0].Type != tasks.TypeCollect ||
		string(infos[0].Payload) != `{"mchid":"1900000001","out_order_no":"A","appid":"wx1","service_id":"500001"}` {
		t.Errorf("%+v", infos)
	}
	if res := enqueue(order("A")); res.Status != tasks.Duplicate {
		t.Errorf("again: %+v", res)
	}
	other := order("A")
	other.ServiceID = "500002"
	if res := enqueue(other); res.Status != tasks.Conflict {
		t.Errorf("under another service_id: %+v", res)
	}
	if res := enqueue(order("A B")); res.Status != tasks.Invalid || res.Err == nil {
		t.Errorf("malformed: %+v", res)
	}

	at := order("LATER")
	at.At = time.Now().Add(time.Hour)
	if res := enqueue(at); res.Status != tasks.Accepted || res.Due.Before(time.Now().Add(59*time.Minute)) {
		t.Errorf("for later: %+v", res)
	}
	if n := len(pending(t, rdb)); n != 1 {
		t.Errorf("%d tasks in the queue, of which one is for later", n)
	}

	end(t, rdb, "A", tasks.Rejected)
	if res := enqueue(order("A")); res.Status != tasks.Ended || res.State != tasks.Rejected {
		t.Errorf("after its end: %+v", res)
	}
	other.Reopen = true
	if res := enqueue(other); res.Status != tasks.Accepted || res.State != tasks.Queued {
		t.Errorf("reopened: %+v", res)
	}
	if o, err := ledger.New(rdb, "1900000001").Get(t.Context(), "A"); err != nil || o.ServiceID != "500002" || o.Next != ledger.Recheck || !o.EndedAt.IsZero() {
		t.Errorf("reopened: %+v %v", o, err)
	}
	end(t, rdb, "A", tasks.Paid)
	if res := enqueue(other); res.Status != tasks.Ended || res.State != tasks.Paid {
		t.Errorf("a paid order was reopened: %+v", res)
	}
}

func TestEnqueueAll(t *testing.T) {
	t.Parallel()
	rdb := redistest.Start(t).Client
	p := tasks.NewProducer(rdb)
	const n = 1234 // some batches and a part of one
	read := 0
	orders := func(yield func(tasks.Order) bool) {
		for i := range n {
			read++
			no := fmt.Sprintf("N-%04d", i)
			if i == 700 {
				no = "N 700"
			}
			if !yield(order(no)) {
				return
			}
		}
	}
	i, counts := 0, map[tasks.Status]int{}
	for o, res := range p.EnqueueAll(t.Context(), orders) {
		if want := fmt.Sprintf("N-%04d", i); o.OutOrderNo != want && i != 700 {
			t.Fatalf("answer %d is for %s", i, o.OutOrderNo)
		}
		if read > i+500 {
			t.Fatalf("%d orders were read for answer %d", read, i)
		}
		counts[res.Status]++
		i++
	}
	if counts[tasks.Accepted] != n-1 || counts[tasks.Invalid] != 1 {
		t.Errorf("%v", counts)
	}
	// The queue takes so many at once, and the sweep brings the rest: all are due.
	if got := len(pending(t, rdb)); got != 1000 {
		t.Errorf("%d tasks in the queue", got)
	}
	if got := rdb.ZCard(t.Context(), ledger.KeysOf(order("").MchID).Due()).Val(); got != n-1 {
		t.Errorf("%d orders in the due index", got)
	}
	t.Run("again", func(t *testing.T) {
		for o, res := range p.EnqueueAll(t.Context(), slices.Values([]tasks.Order{order("N-0001"), order("NEW"), order("NEW")})) {
			want := tasks.Duplicate
			if o.OutOrderNo == "NEW" && counts["new"] == 0 {
				want, counts["new"] = tasks.Accepted, 1
			}
			if res.Status != want {
				t.Errorf("%s: %s", o.OutOrderNo, res.Status)
			}
		}
	})
	t.Run("a slow stream is answered before its next batch is whole", func(t *testing.T) {
		answers := 0
		slow := func(yield func(tasks.Order) bool) {
			for i := range 250 {
				yield(order(fmt.Sprintf("S-%d", i)))
			}
			for i := 250; answers == 0 && i < 499; i++ {
				time.Sleep(20 * time.Millisecond)
				yield(order(fmt.Sprintf("S-%d", i)))
			}
			if answers != 250 {
				t.Errorf("%d orders of the first batch are answered", answers)
			}
		}
		for range p.EnqueueAll(t.Context(), slow) {
			answers++
		}
	})
	t.Run("until the caller has enough", func(t *testing.T) {
		for range p.EnqueueAll(t.Context(), orders) {
			break
		}
	})
	t.Run("until the context ends", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		var forever iter.Seq[tasks.Order] = func(yield func(tasks.Order) bool) {
			for i := 0; yield(order(fmt.Sprintf("E-%d", i))); i++ {
			}
		}
		for o, res := range p.EnqueueAll(ctx, forever) {
			if res.Status != tasks.Failed {
				t.Errorf("%s: %+v", o.OutOrderNo, res)
			}
		}
	})
}

// A producer that loses Redis says so, and the same call does it later.
func TestEnqueueWithoutRedis(t *testing.T) {
	t.Parallel()
	rdb := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1", MaxRetries: -1})
	defer rdb.Close()
	res, err := tasks.NewProducer(rdb).Enqueue(t.Context(), order("A"))
	if err == nil || res.Status != tasks.Failed {
		t.Errorf("%+v %v", res, err)
	}
	for _, res := range tasks.NewProducer(rdb).EnqueueAll(t.Context(), slices.Values([]tasks.Order{order("A")})) {
		if res.Status != tasks.Failed || res.Err == nil {
			t.Errorf("%+v", res)
		}
	}
}

// A script that fails midway undoes nothing. What it has written by then must be
// an order that the sweep finds: enqueued again, it is a duplicate.
func TestEnqueueAll_AfterAFailureMidway(t *testing.T) {
	rdb := redistest.Start(t).Client
	p := tasks.NewProducer(rdb)
	nos := []string{"A", "B", "C", "D"}
	handOver := func() map[string]tasks.Status {
		got := map[string]tasks.Status{}
		for o, res := range p.EnqueueAll(t.Context(), func(yield func(tasks.Order) bool) {
			for _, no := range nos {
				if !yield(order(no)) {
					return
				}
			}
		}) {
			got[o.OutOrderNo] = res.Status
		}
		return got
	}
	keys := ledger.KeysOf(order("A").MchID)
	if err := rdb.Set(t.Context(), keys.Order("C"), "another client's", 0).Err(); err != nil {
		t.Fatal(err)
	}
	if got := handOver(); got["A"] != tasks.Failed || got["D"] != tasks.Failed {
		t.Fatalf("%v", got)
	}
	if err := rdb.Del(t.Context(), keys.Order("C")).Err(); err != nil {
		t.Fatal(err)
	}
	got := handOver()
	for _, no := range nos {
		if got[no] != tasks.Accepted && got[no] != tasks.Duplicate {
			t.Errorf("%s: %s", no, got[no])
		}
		if err := rdb.ZScore(t.Context(), keys.Due(), no).Err(); err != nil {
			t.Errorf("%s is %s, and no sweep finds it: %v", no, got[no], err)
		}
	}
	if n, err := rdb.HGet(t.Context(), keys.Stats(), "queued").Int(); n != len(nos) || err != nil {
		t.Errorf("%d orders are counted of %d, %v", n, len(nos), err)
	}
}

// One call of the script opens an order once, even if the call names it twice.
func TestEnqueueAll_TheSameNumberAgain(t *testing.T) {
	rdb := redistest.Start(t).Client
	p := tasks.NewProducer(rdb)
	other := order("A")
	other.AppID = "wxother"
	withdrawn := order("W")
	if _, err := p.Enqueue(t.Context(), withdrawn); err != nil {
		t.Fatal(err)
	}
	if res, err := p.Withdraw(t.Context(), tasks.Withdrawal{MchID: withdrawn.MchID, OutOrderNo: "W", Reason: "by mistake"}); err != nil || res.Status != tasks.Accepted {
		t.Fatalf("%+v %v", res, err)
	}
	withdrawn.Reopen = true
	var got []tasks.Status
	for _, res := range p.EnqueueAll(t.Context(), slices.Values([]tasks.Order{order("A"), other, order("A"), withdrawn, withdrawn})) {
		got = append(got, res.Status)
	}
	if want := []tasks.Status{tasks.Accepted, tasks.Conflict, tasks.Duplicate, tasks.Accepted, tasks.Duplicate}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if n, err := rdb.HGet(t.Context(), ledger.KeysOf(withdrawn.MchID).Stats(), "queued").Int(); n != 2 || err != nil {
		t.Errorf("%d orders are counted, want 2; %v", n, err)
	}
}

// Batches overlap, but not those that have a number in common: its first order counts.
func TestEnqueueAll_TheSameNumberInTheNextBatch(t *testing.T) {
	p := tasks.NewProducer(redistest.Start(t).Client)
	const batch = 250
	later := time.Now().Add(time.Hour) // no task makes the batches wait for each other
	orders := func(yield func(tasks.Order) bool) {
		for i := range 8 * batch {
			o := order(fmt.Sprintf("N-%d", i/(2*batch)*batch+i%batch))
			o.At = later
			if i/batch%2 == 1 {
				o.AppID = "wxother"
			}
			if !yield(o) {
				return
			}
		}
	}
	wrong := 0
	for o, res := range p.EnqueueAll(t.Context(), orders) {
		want := tasks.Accepted
		if o.AppID == "wxother" {
			want = tasks.Conflict
		}
		if res.Status != want {
			wrong++
		}
	}
	if wrong > 0 {
		t.Errorf("%d orders were not answered in their order", wrong)
	}
}

// breaks is a Redis client's hook that panics at the ledger's script.
type breaks struct{ redistest.Hook }

func (breaks) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if cmd.Name() == "evalsha" {
			panic("a bug")
		}
		return next(ctx, cmd)
	}
}

// A panic reaches the caller, who may recover it, and ends no process.
func TestEnqueueAll_APanicIsTheCallers(t *testing.T) {
	rdb := redistest.Start(t).Client
	rdb.AddHook(breaks{})
	defer func() {
		if fault := recover(); fault != "a bug" {
			t.Errorf("recovered %v", fault)
		}
	}()
	for _, res := range tasks.NewProducer(rdb).EnqueueAll(t.Context(), slices.Values([]tasks.Order{order("A")})) {
		t.Errorf("answered: %+v", res)
	}
}

func TestOrderValidate(t *testing.T) {
	t.Parallel()
	good := tasks.Payload{MchID: "1900000001", OutOrderNo: "A", AppID: "wx1", ServiceID: "s1"}
	for _, tt := range []struct {
		name  string
		order tasks.Order
		field string // the one that is wrong
	}{
		{"nothing said", tasks.Order{}, ""},
		{"the largest amount, owed since today", tasks.Order{Amount: tasks.MaxAmount, OwedSince: time.Now()}, ""},
		{"a negative amount", tasks.Order{Amount: -1}, "amount"},
		{"an amount out of range", tasks.Order{Amount: tasks.MaxAmount + 1}, "amount"},
		{"owed from next week on", tasks.Order{OwedSince: time.Now().AddDate(0, 0, 7)}, "owed_since"},
		{"owed since the year 1926", tasks.Order{OwedSince: time.Now().AddDate(-100, 0, 0)}, "owed_since"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			tt.order.Payload = good
			err := tt.order.Validate()
			var field *tasks.FieldError
			if errors.As(err, &field); (err != nil) != (tt.field != "") || err != nil && field.Field != tt.field {
				t.Errorf("%v", err)
			}
		})
	}
}
