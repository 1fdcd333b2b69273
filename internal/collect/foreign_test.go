package collect

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/hibiken/asynq"

	"payscore-collector/internal/asynqx"
	"payscore-collector/internal/payscore"
	"payscore-collector/internal/queue"
	"payscore-collector/internal/testkit"
	"payscore-collector/internal/testkit/redistest"
	"payscore-collector/tasks"
)

// serve runs an asynq server with the collector's handlers, which retries failed
// tasks at once, and sweeps all the time, until done says so.
func (b *fixture) serve(done func() bool) {
	b.t.Helper()
	server := asynq.NewServerFromRedisClient(b.rdb, asynq.Config{
		Concurrency: 64, Queues: map[string]int{tasks.QueueName(b.mchid): 1},
		RetryDelayFunc: func(int, error, *asynq.Task) time.Duration { return 0 },
		IsFailure:      asynqx.IsFailure, ErrorHandler: b.Collector, LogLevel: asynq.FatalLevel,
		TaskCheckInterval: 5 * time.Millisecond, DelayedTaskCheckInterval: 20 * time.Millisecond,
	})
	if err := server.Start(asynq.HandlerFunc(b.Process)); err != nil {
		b.t.Fatal(err)
	}
	defer server.Shutdown()
	sweeper := NewSweeper(b.Collector, b.rdb)
	// Two thousand tasks take a busy machine longer than testkit.Patience.
	testkit.Within(b.t, 4*minute, "the tasks to come to an end", func() bool {
		if done() {
			return true
		}
		b.nextSweep()
		if err := sweeper.Sweep(b.t.Context()); err != nil {
			b.t.Fatal(err)
		}
		pause(b.t.Context(), nil, 20*time.Millisecond)
		return false
	})
}

func (b *fixture) sizes() map[string]int64 {
	b.t.Helper()
	sizes, err := asynqx.Sizes(b.t.Context(), b.rdb, tasks.QueueName(b.mchid))
	if err != nil {
		b.t.Fatal(err)
	}
	return sizes
}

func (b *fixture) enqueueForeign(body []byte, opts ...asynq.Option) {
	b.t.Helper()
	opts = append(opts, asynq.Queue(tasks.QueueName(b.mchid)))
	if _, err := asynq.NewClientFromRedisClient(b.rdb).Enqueue(asynq.NewTask(tasks.TypeCollect, body), opts...); err != nil {
		b.t.Fatal(err)
	}
}

func (b *fixture) body(no string) []byte {
	b.t.Helper()
	body, err := json.Marshal(tasks.Payload{MchID: b.mchid, OutOrderNo: no})
	if err != nil {
		b.t.Fatal(err)
	}
	return body
}

// A choice of an option of asynq's client for one task.
type choice struct {
	name string
	make func(b *fixture, no string) []asynq.Option
}

func option(name string, opts ...asynq.Option) choice {
	return choice{name, func(*fixture, string) []asynq.Option { return opts }}
}

// everyOption has the choices of each of asynq's options; the first is to do
// without it.
func everyOption() [][]choice {
	none := option("")
	return [][]choice{
		{none, option("group", asynq.Group("g")), {"group of its own", func(_ *fixture, no string) []asynq.Option { return []asynq.Option{asynq.Group(no)} }}},
		{none, option("deadline past", asynq.Deadline(time.Now().Add(-minute))), option("deadline", asynq.Deadline(time.Now().Add(hour)))},
		{none, option("no retries", asynq.MaxRetry(0))},
		{none, option("timeout 1ms", asynq.Timeout(time.Millisecond)), option("timeout 1s", asynq.Timeout(second))},
		{none, option("retention", asynq.Retention(hour))},
		{none, option("unique", asynq.Unique(hour))},
		{none, option("process in", asynq.ProcessIn(second)), option("process at", asynq.ProcessAt(time.Now().Add(-second)))},
		{
			none,
			{"task ID", func(_ *fixture, no string) []asynq.Option { return []asynq.Option{asynq.TaskID("id " + no)} }},
			{"task ID like ours", func(b *fixture, no string) []asynq.Option {
				return []asynq.Option{asynq.TaskID(queue.TaskID(b.mchid, no, 1))}
			}},
		},
	}
}

// Whatever options another client gives its tasks, all of their orders come into
// the ledger and are worked on, and none is left in asynq.
func TestForeignTasksWithAnyOptions(t *testing.T) {
	t.Parallel()
	b := newFixture(t, redistest.Start(t), func(s *Settings) { s.Concurrency = 64 })
	combinations := [][]choice{nil}
	for _, option := range everyOption() {
		var longer [][]choice
		for _, c := range combinations {
			for _, o := range option {
				longer = append(longer, append(c[:len(c):len(c)], o))
			}
		}
		combinations = longer
	}
	if len(combinations) != 3*3*2*3*2*2*3*3 {
		t.Fatalf("%d combinations", len(combinations))
	}
	names := map[string]string{}
	for i, choices := range combinations {
		// The short form takes every 29th, which has every pair of choices.
		if i%testkit.Form(29, 1) != 0 {
			continue
		}
		no := fmt.Sprintf("F%04d", i)
		var opts []asynq.Option
		for _, c := range choices {
			opts = append(opts, c.make(b, no)...)
			names[no] = strings.Trim(names[no]+", "+c.name, ", ")
		}
		b.enqueueForeign(b.body(no), opts...)
	}
	if sizes := b.sizes(); sizes["aggregating"] == 0 {
		t.Errorf("no task waits in a group: %v", sizes)
	}
	b.serve(func() bool {
		sizes := b.sizes()
		called := b.count(b.metrics.Calls, string(payscore.CallCollect), string(payscore.Accepted))
		return int(called) >= len(names) && sizes["archived"]+sizes["aggregating"]+sizes["scheduled"] == 0
	})
	for no, name := range names {
		if o := b.get(no); o.CollectCalls == 0 {
			t.Errorf("%s: the order was not collected, it is %s", name, o.State)
		}
	}
	// asynq logs "Retry exhausted for task id=…"; ours names the order.
	if lines := b.logs.Events("foreign_task_taken_up"); len(lines) == 0 || lines[0]["out_order_no"] == nil {
		t.Errorf("the log names no order: %v", lines)
	}
	if n := b.count(b.metrics.Foreign, "aggregating"); n == 0 {
		t.Error("no task of a group was counted")
	}
}

func (b *fixture) countKeys(prefix string) int64 {
	b.t.Helper()
	var n int64
	keys := b.rdb.Scan(b.t.Context(), 0, strings.TrimSuffix(b.keys.Order(""), "order:")+prefix+"*", 1000).Iterator()
	for keys.Next(b.t.Context()) {
		n++
	}
	if err := keys.Err(); err != nil {
		b.t.Fatal(err)
	}
	return n
}

// An unusable task stays in the archive, and is counted and logged once, whether
// the handler met it or not.
func TestForeignTasksThatAreUnusable(t *testing.T) {
	t.Parallel()
	b := newFixture(t, redistest.Start(t))
	past := asynq.Deadline(time.Now().Add(-minute))
	bodies := [][]byte{[]byte("no JSON"), b.body("order no spaces"), []byte(`{"mchid":"1900000999","out_order_no":"A","appid":"wx1","service_id":"500"}`)}
	options := [][]asynq.Option{nil, {asynq.Group("g")}, {asynq.MaxRetry(0)}, {past}, {past, asynq.MaxRetry(0)}, {past, asynq.MaxRetry(0), asynq.Group("g")}}
	for _, body := range bodies {
		for _, opts := range options {
			b.enqueueForeign(body, opts...)
		}
	}
	want := len(bodies) * len(options)
	b.serve(func() bool { return b.sizes()["archived"] == int64(want) })
	before := b.logs.String()
	for range 3 {
		b.nextSweep()
		b.sweep()
	}
	if n := b.count(b.metrics.Unusable); n != float64(want) {
		t.Errorf("%v unusable tasks counted, want %d", n, want)
	}
	if n := len(b.logs.Events("task_unusable")); n != want || b.logs.String() != before {
		t.Errorf("%d lines for %d tasks; the later sweeps logged %q", n, want, strings.TrimPrefix(b.logs.String(), before))
	}
	if n := b.sizes()["archived"]; n != int64(want) || b.countKeys("order:") != 0 {
		t.Errorf("%d tasks are in the archive, and %d records in the ledger", n, b.countKeys("order:"))
	}
}

// archive puts a task into asynq's archive, as one that failed at that time.
func (b *fixture) archive(id string, failed time.Time) {
	b.t.Helper()
	inspector, queue := asynq.NewInspectorFromRedisClient(b.rdb), tasks.QueueName(b.mchid)
	server := asynq.NewServerFromRedisClient(b.rdb, asynq.Config{
		Queues: map[string]int{queue: 1}, TaskCheckInterval: 5 * time.Millisecond, LogLevel: asynq.FatalLevel,
	})
	err := server.Start(asynq.HandlerFunc(func(context.Context, *asynq.Task) error { return asynq.SkipRetry }))
	if err != nil {
		b.t.Fatal(err)
	}
	defer server.Shutdown()
	testkit.Eventually(b.t, "the task to be archived", func() bool {
		info, err := inspector.GetTaskInfo(queue, id)
		if err != nil {
			b.t.Fatal(err)
		}
		return info.State == asynq.TaskStateArchived
	})
}

func TestTakeUpForeign(t *testing.T) {
	t.Parallel()
	srv := redistest.Start(t)

	t.Run("a large archive of unusable tasks does not hide a good one behind them", func(t *testing.T) {
		b := parallel(t, srv)
		for i := range 3*foreignPage + 7 {
			b.enqueueForeign([]byte("no JSON"), asynq.TaskID(fmt.Sprintf("a%03d", i)))
		}
		b.enqueueForeign(b.body("GOOD"), asynq.TaskID("z"))
		inspector, queue := asynq.NewInspectorFromRedisClient(b.rdb), tasks.QueueName(b.mchid)
		if _, err := inspector.ArchiveAllPendingTasks(queue); err != nil {
			t.Fatal(err)
		}
		b.sweep()
		if n := b.sizes()["archived"]; n != 3*foreignPage+7 || b.countKeys("order:") != 1 {
			t.Errorf("%d tasks are in the archive, and %d records in the ledger", n, b.countKeys("order:"))
		}
	})
	t.Run("more good ones than a page are taken up at once", func(t *testing.T) {
		b := parallel(t, srv)
		for i := range 2*foreignPage + 50 {
			b.enqueueForeign(b.body(fmt.Sprintf("A%03d", i)))
		}
		inspector, queue := asynq.NewInspectorFromRedisClient(b.rdb), tasks.QueueName(b.mchid)
		if _, err := inspector.ArchiveAllPendingTasks(queue); err != nil {
			t.Fatal(err)
		}
		b.sweep()
		if n := b.sizes()["archived"]; n != 0 || b.countKeys("order:") != 2*foreignPage+50 {
			t.Errorf("%d tasks are in the archive, and %d records in the ledger", n, b.countKeys("order:"))
		}
	})
	t.Run("a task that failed longer ago than RETENTION opens no order", func(t *testing.T) {
		b := parallel(t, srv, func(s *Settings) { s.Retention = time.Nanosecond })
		b.enqueueForeign(b.body("OLD"), asynq.TaskID("old"))
		b.archive("old", time.Now())
		b.sweep()
		if n := b.sizes()["archived"]; n != 0 || b.countKeys("order:") != 0 {
			t.Errorf("%d tasks are in the archive, and %d records in the ledger", n, b.countKeys("order:"))
		}
		if !b.logs.HasEvent("task_outlived_order", "out_order_no", "OLD") {
			t.Errorf("the log: %s", b.logs)
		}
	})
	t.Run("a task of ours in the archive goes back to a worker", func(t *testing.T) {
		b := parallel(t, srv)
		b.openDue(1)
		b.sweep()
		inspector, queue := asynq.NewInspectorFromRedisClient(b.rdb), tasks.QueueName(b.mchid)
		if _, err := inspector.ArchiveAllPendingTasks(queue); err != nil {
			t.Fatal(err)
		}
		b.nextSweep()
		b.sweep()
		if sizes := b.sizes(); sizes["archived"] != 0 || sizes["pending"] != 1 {
			t.Errorf("%v", sizes)
		}
	})
	t.Run("a task of ours that waits for its retry is left to asynq", func(t *testing.T) {
		b := parallel(t, srv)
		b.openDue(1)
		b.sweep()
		b.moveTask("retry", 20*second)
		b.nextSweep()
		b.sweep()
		if info := b.task("A000", 1); info == nil || info.State != asynq.TaskStateRetry {
			t.Errorf("%+v", info)
		}
	})
	t.Run("Redis fails, and the next sweep takes the task up", func(t *testing.T) {
		b := parallel(t, srv)
		b.enqueueForeign(b.body("A"), asynq.Group("g"))
		b.faults.Fail("asynq", 100)
		b.sweep()
		b.faults.Mend()
		if !b.logs.HasEvent("foreign_tasks_unread") || b.sizes()["aggregating"] != 1 {
			t.Fatalf("%v, %s", b.sizes(), b.logs)
		}
		b.nextSweep()
		b.sweep()
		if b.sizes()["aggregating"] != 0 || b.countKeys("order:A") != 1 {
			t.Errorf("%v", b.sizes())
		}
	})
}
