package collect

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"payscore-collector/internal/asynqx"
	"payscore-collector/internal/ledger"
	"payscore-collector/internal/payscore"
	"payscore-collector/internal/queue"
	"payscore-collector/internal/testkit/redistest"
	"payscore-collector/tasks"
)

// trips counts a client's round trips to Redis: a command is one, and so is a
// pipeline, however many commands it has. It names the ledger's scripts, and
// calls every other one asynq's.
type trips struct {
	redistest.Hook

	mu    sync.Mutex
	names []string
}

func (c *trips) add(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.names = append(c.names, name)
}

// made returns the trips since the last call of made, as in "claim settle".
func (c *trips) made() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := strings.Join(c.names, " ")
	c.names = nil
	return s
}

func (c *trips) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		err := next(ctx, cmd)
		name := cmd.Name()
		if name == "evalsha" {
			if name = ledger.ScriptName(cmd.Args()[1].(string)); name == "" {
				name = "script"
			}
		}
		if name == "script" && errors.Is(err, redis.Nil) || name == "hello" {
			return err // asynq asked, and there was nothing to do; or a connection is new
		}
		c.add(name)
		return err
	}
}

func (c *trips) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		if cmds[0].Name() != "client" { // a new connection introduces itself, once
			c.add("pipeline")
		}
		return next(ctx, cmds)
	}
}

// The budget of a step: one round trip to claim, none for the gate where the
// claim takes the slot along, one where an order that was looked at is collected
// too, and one to settle. A further round trip slows down everyone who has Redis in
// another data centre.
func TestRoundTripsOfAStep(t *testing.T) {
	b := newFixture(t, redistest.Start(t))
	count := &trips{}
	b.rdb.AddHook(count)
	step := func(t *testing.T, no, want string) {
		t.Helper()
		round := b.num(no, "round")
		count.made()
		err := b.process(t.Context(), asynq.NewTask(tasks.TypeCollect, nil), b.payload(no), round)
		got := count.made()
		if _, later := again(err); err != nil && !later {
			t.Fatal(err)
		}
		if got != want {
			t.Errorf("the round trips were %q, the budget is %q", got, want)
		}
	}
	b.open("A")
	t.Run("a first collect", func(t *testing.T) { step(t, "A", "claim settle") })
	t.Run("a confirming query", func(t *testing.T) {
		b.platform.query = says(queryReply(payscore.Paid))
		b.makeDue("A")
		step(t, "A", "claim settle")
	})
	t.Run("a query and a collect", func(t *testing.T) {
		b.open("B")
		b.platform.collect = says(collectReply(payscore.Declined))
		step(t, "B", "claim settle")
		b.platform.query = says(queryReply(payscore.Owed))
		b.makeDue("B")
		step(t, "B", "claim permit settle")
	})
	t.Run("a task that came too early", func(t *testing.T) { step(t, "B", "claim") })
	t.Run("a task of an order that has ended", func(t *testing.T) { step(t, "A", "claim") })
	t.Run("a task that another asynq client enqueued without the ledger", func(t *testing.T) {
		b.platform.collect = says(collectReply(payscore.Accepted))
		count.made()
		_ = b.process(t.Context(), asynq.NewTask(tasks.TypeCollect, nil), b.payload("C"), ledger.NoRound)
		if got := count.made(); got != "claim open claim settle" {
			t.Errorf("the round trips were %q; an order is opened once, and opening it is one", got)
		}
	})
}

// What asynq adds: one to fetch a task, and one to put it back or away.
func TestRoundTripsOfAsynq(t *testing.T) {
	srv := redistest.Start(t)
	b := newFixture(t, srv)
	opt, err := redis.ParseURL(srv.URL)
	if err != nil {
		t.Fatal(err)
	}
	queue := redis.NewClient(opt)
	defer queue.Close()
	const orders = 20
	var left sync.WaitGroup
	left.Add(orders + 1) // and one that makes asynq's scripts known
	handler := asynq.HandlerFunc(func(context.Context, *asynq.Task) error {
		left.Done()
		return nil
	})
	for i := range orders + 1 {
		if err := b.push(b.payload(fmt.Sprintf("T%d", i)), 1); err != nil {
			t.Fatal(err)
		}
	}
	count := &trips{}
	queue.AddHook(count)
	server := asynq.NewServerFromRedisClient(queue, asynq.Config{
		Concurrency: 1, Queues: map[string]int{tasks.QueueName(b.mchid): 1}, LogLevel: asynq.FatalLevel,
		TaskCheckInterval: time.Minute, DelayedTaskCheckInterval: time.Minute, // not during this test
	})
	started := time.Now()
	if err := server.Start(handler); err != nil {
		t.Fatal(err)
	}
	left.Wait()
	server.Shutdown()
	n := 0
	for _, name := range strings.Fields(count.made()) {
		if name == "script" {
			n++
		}
	}
	// Beside the tasks' own: one check of the delayed tasks and a few at the start and
	// the end, the same whatever the number of tasks, and heartbeats every five seconds.
	if own := n - 2*(orders+1); own > 12+int(time.Since(started)/time.Second) {
		t.Errorf("%d scripts for %d tasks; two each, and a few beside", n, orders+1)
	}
}

// Reading costs the same, however many orders there are; and a sweep costs what
// it finds.
func TestRoundTripsDoNotGrowWithTheLedger(t *testing.T) {
	b := newFixture(t, redistest.Start(t))
	count := &trips{}
	b.rdb.AddHook(count)
	sweeper := NewSweeper(b.Collector, b.rdb)
	seen := map[string]string{}
	look := func(t *testing.T, what string, ask func() error) {
		t.Helper()
		if err := ask(); err != nil { // makes Redis know the script
			t.Fatal(err)
		}
		count.made()
		if err := ask(); err != nil {
			t.Fatal(err)
		}
		got := count.made()
		if before, ok := seen[what]; ok && before != got {
			t.Errorf("%s took %q with few orders, and now %q", what, before, got)
		}
		seen[what] = got
	}
	opened := 0
	for _, orders := range []int{5, 90} {
		for ; opened < orders; opened++ {
			no := fmt.Sprintf("N%03d", opened)
			b.open(no)
			later := float64(time.Now().Add(time.Hour).UnixMilli())
			if err := b.rdb.ZAdd(t.Context(), b.keys.Due(), redis.Z{Score: later, Member: no}).Err(); err != nil {
				t.Fatal(err)
			}
		}
		t.Run(fmt.Sprintf("%d orders", orders), func(t *testing.T) {
			ctx := t.Context()
			look(t, "stats", func() error { _, err := b.ledger.Stats(ctx); return err })
			look(t, "the holds", func() error { _, err := b.ledger.Holds(ctx); return err })
			look(t, "the lag", func() error { _, err := b.ledger.Lag(ctx); return err })
			look(t, "the queue's sizes", func() error { _, err := asynqx.Sizes(ctx, b.rdb, tasks.QueueName(b.mchid)); return err })
			look(t, "one order", func() error { _, err := b.ledger.Get(ctx, "N000"); return err })
			look(t, "a listing", func() error {
				n := 0
				for _, err := range b.ledger.Select(ctx, ledger.Filter{State: tasks.Queued}) {
					if err != nil {
						return err
					}
					n++
				}
				if n != orders {
					return fmt.Errorf("%d orders listed", n)
				}
				return nil
			})
			look(t, "a sweep that finds nothing", func() error {
				if err := b.rdb.HDel(ctx, b.keys.Sweep(), "at").Err(); err != nil {
					return err
				}
				return sweeper.Sweep(ctx)
			})
		})
	}
	for what, n := range map[string]int{"stats": 1, "the holds": 1, "the lag": 1, "the queue's sizes": 1, "one order": 1, "a listing": 2} {
		if got := len(strings.Fields(seen[what])); got != n {
			t.Errorf("%s took %d round trips (%s), the budget is %d", what, got, seen[what], n)
		}
	}
	t.Run("a sweep that finds some", func(t *testing.T) {
		for i := range 10 {
			b.makeDue(fmt.Sprintf("N%03d", i))
		}
		p := b.payload("other")
		task := queue.Task{Type: queue.TypeCollect, MchID: p.MchID, OutOrderNo: p.OutOrderNo, Round: 1, Payload: p}
		if err := sweeper.queue.Push(t.Context(), task); err != nil { // makes Redis know asynq's script
			t.Fatal(err)
		}
		b.rdb.HDel(t.Context(), b.keys.Sweep(), "at")
		count.made()
		if err := sweeper.Sweep(t.Context()); err != nil {
			t.Fatal(err)
		}
		got := len(strings.Fields(count.made()))
		nothing := len(strings.Fields(seen["a sweep that finds nothing"])) - 1 // the test's own HDEL
		if pushed := got - nothing; pushed > 11 {
			t.Errorf("10 due orders took %d round trips more than none; the ledger takes one for all, and asynq one for each", pushed)
		}
	})
}
