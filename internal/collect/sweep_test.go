package collect

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
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
	"payscore-collector/internal/testkit"
	"payscore-collector/internal/testkit/redistest"
	"payscore-collector/tasks"
)

// nextSweep lets the interval since the last sweep pass.
func (b *fixture) nextSweep() {
	b.t.Helper()
	if err := b.rdb.HDel(b.t.Context(), b.keys.Sweep(), "at").Err(); err != nil {
		b.t.Fatal(err)
	}
}

func (b *fixture) sweep() {
	b.t.Helper()
	if err := NewSweeper(b.Collector, b.rdb).Sweep(b.t.Context()); err != nil {
		b.t.Fatal(err)
	}
}

func (b *fixture) pending() int64 {
	b.t.Helper()
	sizes, err := asynqx.Sizes(b.t.Context(), b.rdb, tasks.QueueName(b.mchid))
	if err != nil {
		b.t.Fatal(err)
	}
	return sizes["pending"]
}

// openDue puts n orders into the ledger that have been due for long.
func (b *fixture) openDue(n int) []string {
	b.t.Helper()
	nos := make([]string, n)
	for i := range nos {
		nos[i] = fmt.Sprintf("A%03d", i)
		b.open(nos[i])
		b.makeDue(nos[i])
	}
	return nos
}

func TestSweep(t *testing.T) {
	t.Parallel()
	srv := redistest.Start(t)

	t.Run("what is due and not queued is enqueued once", func(t *testing.T) {
		b := parallel(t, srv)
		b.openDue(3)
		b.open("LATER")
		b.set("LATER", "due", time.Now().Add(hour).UnixMilli())
		if err := b.rdb.ZAdd(t.Context(), b.keys.Due(), redis.Z{Score: float64(time.Now().Add(hour).UnixMilli()), Member: "LATER"}).Err(); err != nil {
			t.Fatal(err)
		}
		b.sweep()
		b.nextSweep()
		b.sweep()
		if n := b.pending(); n != 3 {
			t.Fatalf("%d tasks for 3 due orders", n)
		}
		info := b.task("A000", 1)
		if info == nil || info.Type != tasks.TypeCollect || info.State != asynq.TaskStatePending {
			t.Fatalf("%+v", info)
		}
		if p, err := tasks.DecodePayload(info.Payload); err != nil || p != b.payload("A000") {
			t.Errorf("payload %+v %v", p, err)
		}
		if n := b.count(b.metrics.Swept); n != 3 {
			t.Errorf("counted %v", n)
		}
	})
	t.Run("a second sweeper within the interval does nothing", func(t *testing.T) {
		b := parallel(t, srv, func(s *Settings) { s.SweepEvery = hour })
		b.sweep()
		b.openDue(1)
		b.sweep()
		if n := b.pending(); n != 0 {
			t.Errorf("%d tasks", n)
		}
		b.nextSweep()
		b.sweep()
		if n := b.pending(); n != 1 {
			t.Errorf("%d tasks in the next interval", n)
		}
	})
	t.Run("no more than the workers can do until the next but one", func(t *testing.T) {
		b := parallel(t, srv, func(s *Settings) { s.Concurrency, s.Rate = 2, 3 }) // 4*2, or 2*3*1 s
		b.openDue(20)
		b.sweep()
		if n := b.pending(); n != 8 {
			t.Errorf("%d tasks, want 8", n)
		}
		b.nextSweep()
		b.sweep()
		if n := b.pending(); n != 8 {
			t.Errorf("%d tasks though the queue is full", n)
		}
	})
	t.Run("more than one batch", func(t *testing.T) {
		b := parallel(t, srv)
		b.openDue(sweepBatch + 20)
		b.sweep()
		if n := b.pending(); n != sweepBatch+20 {
			t.Errorf("%d tasks", n)
		}
	})
	t.Run("a hold gets its probes and no more", func(t *testing.T) {
		b := parallel(t, srv)
		b.openDue(40)
		if err := b.rdb.HSet(t.Context(), b.keys.Hold(), "merchant", "fault 1 1 5000 0").Err(); err != nil {
			t.Fatal(err)
		}
		for range 3 {
			b.sweep()
			b.nextSweep()
		}
		if n := b.pending(); n != sweepHeld {
			t.Errorf("%d tasks, want %d", n, sweepHeld)
		}
	})
	t.Run("an order under a lease is left to its worker", func(t *testing.T) {
		b := parallel(t, srv)
		b.openDue(1)
		b.set("A000", "lease", time.Now().Add(hour).UnixMilli())
		b.sweep()
		if n := b.pending(); n != 0 {
			t.Errorf("%d tasks", n)
		}
		if score, err := b.rdb.ZScore(t.Context(), b.keys.Due(), "A000").Result(); err != nil || score < float64(time.Now().UnixMilli()) {
			t.Errorf("the sweep checks it again at %v, %v", score, err)
		}
	})
	t.Run("a worker died: its lease expires, and a new round has a new task", func(t *testing.T) {
		b := parallel(t, srv)
		b.openDue(1)
		b.sweep() // the task that its worker took
		b.makeDue("A000")
		b.set("A000", "lease", time.Now().Add(-second).UnixMilli(), "token", "the dead one's", "next", "resolve")
		b.nextSweep()
		b.sweep()
		if info := b.task("A000", 2); info == nil || info.State != asynq.TaskStatePending || b.pending() != 2 {
			t.Fatalf("the new round's task: %+v, %d pending", info, b.pending())
		}
		if err := b.process(t.Context(), asynq.NewTask(tasks.TypeCollect, nil), b.payload("A000"), 1); err != nil {
			t.Error(err)
		}
		b.wants("A000", tasks.Queued, ledger.Resolve, "")
		_ = b.run("A000")
		b.wants("A000", tasks.Awaiting, ledger.Recheck, "query")
	})
	t.Run("an ended order leaves the index", func(t *testing.T) {
		b := parallel(t, srv)
		b.openDue(1)
		b.set("A000", "state", "paid")
		b.sweep()
		if n, err := b.rdb.ZCard(t.Context(), b.keys.Due()).Result(); n != 0 || err != nil || b.pending() != 0 {
			t.Errorf("%d in the index, %v", n, err)
		}
	})
	t.Run("a queue that refuses tasks: an error, and the next sweep enqueues them", func(t *testing.T) {
		b := parallel(t, srv)
		b.openDue(5)
		b.faults.Fail("asynq", 1_000)
		if err := NewSweeper(b.Collector, b.rdb).Sweep(t.Context()); err == nil || !strings.Contains(err.Error(), redistest.ErrInjected.Error()) {
			t.Errorf("%v", err)
		}
		b.faults.Mend()
		for i := range 5 {
			b.makeDue(fmt.Sprintf("A%03d", i)) // the grace has passed
		}
		b.nextSweep()
		b.sweep()
		if n := b.pending(); n != 5 {
			t.Errorf("%d tasks", n)
		}
	})
	t.Run("an enqueue whose answer was lost makes no second task", func(t *testing.T) {
		b := parallel(t, srv)
		b.openDue(1)
		b.faults.Lose("asynq", 1)
		_ = NewSweeper(b.Collector, b.rdb).Sweep(t.Context())
		b.makeDue("A000")
		b.nextSweep()
		b.sweep()
		if n := b.pending(); n != 1 || b.num("A000", "round") != 1 {
			t.Errorf("%d tasks, round %d", n, b.num("A000", "round"))
		}
	})
}

// loseQueue deletes every key of asynq's.
func (b *fixture) loseQueue() {
	b.t.Helper()
	keys, err := b.rdb.Keys(b.t.Context(), "asynq:{"+tasks.QueueName(b.mchid)+"}*").Result()
	if err == nil {
		err = b.rdb.Del(b.t.Context(), keys...).Err()
	}
	if err != nil {
		b.t.Fatal(err)
	}
}

// enqueued opens n orders as a producer does, each with a task and the time that the
// sweep leaves to it.
func (b *fixture) enqueued(n int) (nos []string) {
	b.t.Helper()
	for i := range n {
		no := fmt.Sprintf("E%03d", i)
		res, err := b.producer.Enqueue(b.t.Context(), tasks.Order{Payload: b.payload(no)})
		if err != nil || res.Status != tasks.Accepted {
			b.t.Fatal(res, err)
		}
		nos = append(nos, no)
	}
	return nos
}

func (b *fixture) score(no string) int64 {
	b.t.Helper()
	score, err := b.rdb.ZScore(b.t.Context(), b.keys.Due(), no).Result()
	if err != nil {
		b.t.Fatal(err)
	}
	return int64(score)
}

// The orders of a queue that was deleted do not wait until the sweep would have given
// their tasks up.
func TestSweepAfterTheQueueWasLost(t *testing.T) {
	t.Parallel()
	srv := redistest.Start(t)
	t.Run("due ones are enqueued at once, later ones when they are due", func(t *testing.T) {
		b := parallel(t, srv)
		b.sweep() // marks the queue
		nos := b.enqueued(15)
		called, leased := nos[0], nos[1]
		if after, ok := again(b.run(called)); !ok || after < 5*second {
			t.Fatalf("the query comes in %s", after)
		}
		if _, err := b.ledger.Claim(t.Context(), leased, "token", 1, b.limits(b.settings.Policy)); err != nil {
			t.Fatal(err)
		}
		held := b.score(leased)
		b.open("LATER")
		later := time.Now().Add(hour).UnixMilli()
		b.set("LATER", "due", later)
		if err := b.rdb.ZAdd(t.Context(), b.keys.Due(), redis.Z{Score: float64(later), Member: "LATER"}).Err(); err != nil {
			t.Fatal(err)
		}
		b.loseQueue()
		b.nextSweep()
		b.sweep()
		for _, no := range nos[2:] {
			if info := b.task(no, 1); info == nil || info.State != asynq.TaskStatePending {
				t.Errorf("%s: %+v", no, info)
			}
		}
		if n := b.pending(); int(n) != len(nos)-2 {
			t.Errorf("%d tasks, want %d", n, len(nos)-2)
		}
		if got, want := b.score(called), b.num(called, "due"); got != want {
			t.Errorf("the sweep finds the order that was called at %d, want its due time, %d", got, want)
		}
		if b.score(leased) != held || b.score("LATER") != later {
			t.Error("an order under a lease, or one that is due later, was moved")
		}
		if n := len(b.logs.Events("queue_lost")); n != 1 {
			t.Errorf("%d lines queue_lost, want 1: %s", n, b.logs)
		}
		b.nextSweep()
		b.sweep()
		if n := b.pending(); int(n) != len(nos)-2 || len(b.logs.Events("queue_lost")) != 1 {
			t.Errorf("%d tasks after another sweep, want %d: %s", n, len(nos)-2, b.logs)
		}
	})
	t.Run("more than a page and a batch", func(t *testing.T) {
		b := parallel(t, srv)
		b.sweep()
		n := sweepBatch + 20
		b.enqueued(n)
		b.loseQueue()
		b.nextSweep()
		b.sweep()
		if got := b.pending(); int(got) != n {
			t.Errorf("%d tasks, want %d", got, n)
		}
	})
	t.Run("a queue that never had a mark was not lost", func(t *testing.T) {
		b := parallel(t, srv)
		b.enqueued(3)
		due := b.score("E000")
		b.sweep()
		if b.score("E000") != due || b.pending() != 3 || b.logs.HasEvent("queue_lost") {
			t.Errorf("%d tasks, log %s", b.pending(), b.logs)
		}
	})
	t.Run("nor was one whose mark two workers miss at once", func(t *testing.T) {
		b := parallel(t, srv)
		b.enqueued(3)
		rdb := redis.NewClient(b.rdb.Options())
		defer rdb.Close()
		var first sync.Once
		rdb.AddHook(afterPipeline(func() {
			first.Do(func() { b.sweep(); b.nextSweep() })
		}))
		if err := NewSweeper(b.Collector, rdb).Sweep(t.Context()); err != nil {
			t.Fatal(err)
		}
		if b.pending() != 3 || b.logs.HasEvent("queue_lost") {
			t.Errorf("%d tasks, log %s", b.pending(), b.logs)
		}
	})
}

// afterPipeline is a hook that runs after every pipeline but those of a new connection.
type afterPipeline func()

func (f afterPipeline) DialHook(next redis.DialHook) redis.DialHook          { return next }
func (f afterPipeline) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }
func (f afterPipeline) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		err := next(ctx, cmds)
		if slices.ContainsFunc(cmds, func(c redis.Cmder) bool { return c.Name() == "exists" }) {
			f()
		}
		return err
	}
}

// A process that has run dry asks the ledger for more without waiting for the next
// sweep. It is one process a second, and it leaves Redis alone if there is nothing to do.
func TestSweepOfAProcessThatHasRunDry(t *testing.T) {
	t.Parallel()
	srv := redistest.Start(t)
	t.Run("as soon as its last task is done", func(t *testing.T) {
		b := parallel(t, srv, func(s *Settings) { s.SweepEvery = hour })
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		defer running.Wait()
		defer cancel()
		running.Go(func() { NewSweeper(b.Collector, b.rdb).Run(ctx) })
		testkit.Eventually(t, "the first sweep", func() bool { return b.rdb.HExists(ctx, b.keys.Sweep(), "at").Val() })
		b.openDue(3)
		p, err := json.Marshal(b.payload("NONE"))
		if err != nil {
			t.Fatal(err)
		}
		_ = b.Process(ctx, asynq.NewTask(tasks.TypeCollect, p))
		testkit.Eventually(t, "a sweep", func() bool { return b.pending() == 3 })
	})
	t.Run("several processes: one a second", func(t *testing.T) {
		b := parallel(t, srv)
		b.sweep()
		b.openDue(2)
		first, second := NewSweeper(b.Collector, b.rdb), NewSweeper(b.Collector, b.rdb)
		if n, err := first.sweep(t.Context(), true); n != 2 || err != nil {
			t.Errorf("it found %d orders (%v), want 2", n, err)
		}
		b.loseQueue() // so that the queue is empty again
		if err := b.rdb.Set(t.Context(), asynqx.KeysOf(tasks.QueueName(b.mchid)).Mark, 1, 0).Err(); err != nil {
			t.Fatal(err)
		}
		b.makeDue("A000")
		if n, err := second.sweep(t.Context(), true); n != 0 || err != nil {
			t.Errorf("it found %d orders (%v) in the same second, want 0", n, err)
		}
		b.nextSweep()
		if n, err := second.sweep(t.Context(), false); n != 1 || err != nil {
			t.Errorf("the regular sweep found %d orders (%v), want 1", n, err)
		}
	})
	t.Run("nothing if the queue has tasks", func(t *testing.T) {
		b := parallel(t, srv)
		b.openDue(2)
		if err := b.push(b.payload("OTHER"), 1); err != nil {
			t.Fatal(err)
		}
		if n, err := NewSweeper(b.Collector, b.rdb).sweep(t.Context(), true); n != 0 || err != nil {
			t.Errorf("it found %d orders (%v), want 0", n, err)
		}
	})
	t.Run("ever more rarely while there is nothing", func(t *testing.T) {
		b := parallel(t, srv, func(s *Settings) { s.SweepEvery = 15 * second })
		s := NewSweeper(b.Collector, b.rdb)
		s.pace(false, 0)
		for _, want := range []time.Duration{2 * second, 4 * second, 8 * second, 15 * second, 15 * second} {
			if s.pace(true, 0); s.rest != want {
				t.Errorf("the next one after %s, want %s", s.rest, want)
			}
		}
		if s.pace(false, 1); s.rest != second {
			t.Errorf("after orders were found the next one after %s, want %s", s.rest, second)
		}
	})
}

// moveTask makes the pending task of A000 one of another state: in its record, and,
// unless in is zero, so far from now in the sorted set of that state.
func (b *fixture) moveTask(state string, in time.Duration) {
	b.t.Helper()
	k, id, ctx := asynqx.KeysOf(tasks.QueueName(b.mchid)), queue.TaskID(b.mchid, "A000", 1), b.t.Context()
	pipe := b.rdb.TxPipeline()
	pipe.LRem(ctx, k.Pending, 0, id)
	if state == "active" {
		pipe.LPush(ctx, k.Active, id)
	}
	pipe.HSet(ctx, strings.TrimSuffix(k.Retry, "retry")+"t:"+id, "state", state)
	if in != 0 {
		set := map[string]string{"active": k.Lease, "retry": k.Retry, "scheduled": k.Scheduled}[state]
		pipe.ZAdd(ctx, set, redis.Z{Score: float64(time.Now().Add(in).Unix()), Member: id})
	}
	if _, err := pipe.Exec(ctx); err != nil {
		b.t.Fatal(err)
	}
}

// A task that asynq holds and never runs keeps its ID. Its order gets another.
func TestSweepStuckTasks(t *testing.T) {
	t.Parallel()
	srv := redistest.Start(t)
	inspect := func(b *fixture, do func(i *asynq.Inspector, queue, id string) error) {
		err := do(asynq.NewInspectorFromRedisClient(b.rdb), tasks.QueueName(b.mchid), queue.TaskID(b.mchid, "A000", 1))
		if err != nil {
			b.t.Fatal(err)
		}
	}
	moved := func(state string, in time.Duration) func(*fixture) {
		return func(b *fixture) { b.moveTask(state, in) }
	}
	for _, tt := range []struct {
		name  string
		wedge func(*fixture)
		stuck bool
	}{
		{"pending: a worker will take it", func(*fixture) {}, false},
		{"archived", func(b *fixture) { inspect(b, (*asynq.Inspector).ArchiveTask) }, true},
		{"deleted meanwhile", func(b *fixture) { inspect(b, (*asynq.Inspector).DeleteTask) }, false},
		{"active under a lease", moved("active", asynqLease), false},
		{"active, its lease renewed a beat ago", moved("active", asynqLease-5*second), false},
		{"active, its lease not renewed for more than two beats: its worker died", moved("active", asynqLease-unrenewed-2*second), true},
		{"active, its lease long expired", moved("active", -hour), true},
		{"active without a lease: asynq never takes it back", moved("active", 0), true},
		{"waiting for a retry", moved("retry", minute), false},
		{"waiting for a retry that is far away", moved("retry", hour), true},
		{"waiting for a retry, and missing from asynq's set", moved("retry", 0), true},
		{"scheduled, and missing from asynq's set", moved("scheduled", 0), true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := parallel(t, srv)
			b.openDue(1)
			b.sweep()
			if b.task("A000", 1) == nil {
				t.Fatal("no task")
			}
			tt.wedge(b)
			b.makeDue("A000")
			b.nextSweep()
			b.sweep()
			wantRound, wantStuck := int64(1), 0.0
			if tt.stuck {
				wantRound, wantStuck = 2, 1
			}
			if round := b.num("A000", "round"); round != wantRound {
				t.Fatalf("round %d, want %d", round, wantRound)
			}
			if n := b.count(b.metrics.Stuck); n != wantStuck {
				t.Errorf("counted %v stuck tasks", n)
			}
			if !tt.stuck {
				return
			}
			if info := b.task("A000", 2); info == nil || info.State != asynq.TaskStatePending {
				t.Fatalf("the new round's task: %+v", info)
			}
			// The new one works; the old one, should it run, does nothing.
			b.platform.collect = says(collectReply(payscore.Accepted))
			if err := b.process(t.Context(), asynq.NewTask(tasks.TypeCollect, nil), b.payload("A000"), 1); err != nil {
				t.Error(err)
			}
			b.wants("A000", tasks.Queued, ledger.Collect, "")
			_ = b.run("A000")
			b.wants("A000", tasks.Awaiting, ledger.Confirm, "collect")
		})
	}
	t.Run("an order of another round is not given a new one", func(t *testing.T) {
		b := parallel(t, srv)
		b.openDue(1)
		b.set("A000", "round", 7)
		for _, round := range []int64{6, 8} {
			if next, ok, err := b.ledger.Rewind(t.Context(), "A000", round); ok || err != nil {
				t.Errorf("round %d became %d: %v", round, next, err)
			}
		}
		b.set("A000", "lease", time.Now().Add(hour).UnixMilli())
		if _, ok, err := b.ledger.Rewind(t.Context(), "A000", 7); ok || err != nil {
			t.Errorf("an order under a lease was given a new round: %v", err)
		}
	})
}

func TestSweepHousekeeping(t *testing.T) {
	t.Parallel()
	srv := redistest.Start(t)
	t.Run("a paused queue shows in the metric", func(t *testing.T) {
		b := parallel(t, srv)
		queue := tasks.QueueName(b.mchid)
		paused := b.metrics.Paused.WithLabelValues(b.mchid)
		inspector := asynq.NewInspectorFromRedisClient(b.rdb)
		b.sweep()
		if b.value(paused) != 0 {
			t.Error("a queue that is not paused is called so")
		}
		if err := inspector.PauseQueue(queue); err != nil {
			t.Fatal(err)
		}
		b.nextSweep()
		b.sweep()
		if b.value(paused) != 1 {
			t.Error("the metric does not show it")
		}
		if err := inspector.UnpauseQueue(queue); err != nil {
			t.Fatal(err)
		}
		b.nextSweep()
		b.sweep()
		if b.value(paused) != 0 {
			t.Error("still called paused")
		}
	})
	t.Run("what Redis lost is registered again", func(t *testing.T) {
		b := parallel(t, srv)
		b.sweep()
		mchid := b.mchid
		if err := errors.Join(b.rdb.SRem(t.Context(), "asynq:queues", tasks.QueueName(mchid)).Err(),
			b.rdb.SRem(t.Context(), ledger.MerchantsKey, mchid).Err()); err != nil {
			t.Fatal(err)
		}
		b.nextSweep()
		b.sweep()
		queues, err := asynq.NewInspectorFromRedisClient(b.rdb).Queues()
		if err != nil || !strings.Contains(fmt.Sprint(queues), tasks.QueueName(mchid)) {
			t.Errorf("queues %v, %v", queues, err)
		}
		if ids, err := ledger.Merchants(t.Context(), b.rdb); err != nil || !strings.Contains(fmt.Sprint(ids), mchid) {
			t.Errorf("merchants %v, %v", ids, err)
		}
	})
}

// A sweep that fails is counted and logged, and sweeps continue; the loop ends with
// its context.
func TestSweeperRun(t *testing.T) {
	t.Parallel()
	b := newFixture(t, redistest.Start(t), func(s *Settings) { s.SweepEvery = 20 * time.Millisecond })
	b.openDue(1)
	b.faults.Fail("sweep", 2)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		NewSweeper(b.Collector, b.rdb).Run(ctx)
	}()
	testkit.Eventually(t, "a sweep after the failed ones", func() bool { return b.pending() > 0 })
	cancel()
	<-done
	if n := b.count(b.metrics.SweepErrors); n != 2 {
		t.Errorf("counted %v failed sweeps", n)
	}
	if n := len(b.logs.Events("sweep_failed")); n != 2 {
		t.Errorf("%d sweeps logged as failed, want 2: %s", n, b.logs)
	}
}
