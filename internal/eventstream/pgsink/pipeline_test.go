package pgsink_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/rs/zerolog"

	"payscore-collector/internal/eventstream"
	"payscore-collector/internal/eventstream/pgsink"
	"payscore-collector/internal/ledger"
	"payscore-collector/internal/testkit"
	"payscore-collector/internal/testkit/pgtest"
	"payscore-collector/internal/testkit/redistest"
	"payscore-collector/tasks"
)

// env is the whole way from the ledger's streams to the tables: a Redis and a database.
type env struct {
	*testing.T
	redis *redistest.Server
	pg    *pgtest.Server
	url   string
	log   testkit.LogBuffer
}

func newEnv(t *testing.T, redis *redistest.Server) *env {
	pg := pgtest.Start(t)
	return &env{T: t, redis: redis, pg: pg, url: pg.URL}
}

// tell writes so many events of an order, which is opened and withdrawn in turn. It waits
// for a Redis that is down.
func (w *env) tell(mchid, no string, events int) {
	w.Helper()
	p := tasks.NewProducer(w.redis.Client)
	for i := range events {
		testkit.Eventually(w.T, "Redis", func() bool {
			if i%2 == 0 {
				_, err := ledger.New(w.redis.Client, mchid).Open(w.Context(), ledger.Opening{
					Owner: tasks.Owner{AppID: "wx1", ServiceID: "s1"}, OutOrderNo: no, Reopen: i > 0,
				})
				return err == nil
			}
			_, err := p.Withdraw(w.Context(), tasks.Withdrawal{MchID: mchid, OutOrderNo: no, Reason: "paid in cash"})
			return err == nil
		}, &w.log)

	}
}

// truth returns all events in the streams.
func (w *env) truth() []ledger.Event {
	w.Helper()
	ids, err := ledger.Merchants(w.Context(), w.redis.Client)
	if err != nil {
		w.Fatal(err)
	}
	var all []ledger.Event
	for _, id := range ids {
		entries, err := w.redis.Client.XRange(w.Context(), ledger.KeysOf(id).Outcomes(), "-", "+").Result()
		if err != nil {
			w.Fatal(err)
		}
		for _, entry := range entries {
			if e, err := ledger.DecodeEvent(id, entry.ID, entry.Values); err == nil {
				all = append(all, e)
			}
		}
	}
	return all
}

// drained reports whether the group has read and acknowledged everything.
func (w *env) drained() bool {
	ids, err := ledger.Merchants(w.Context(), w.redis.Client)
	if err != nil {
		return false
	}
	for _, id := range ids {
		readers, err := ledger.New(w.redis.Client, id).Trim(w.Context(), 0)
		if err != nil || len(readers) == 0 || readers[0].Pending > 0 || readers[0].Behind > 0 {
			return false
		}
	}
	return true
}

// instance is one running sink, as in a process of its own.
type instance struct {
	sink   *pgsink.Sink
	cancel context.CancelFunc
	done   chan error
}

func (w *env) start(opt eventstream.Options, hooks ...redis.Hook) *instance {
	w.Helper()
	client := redis.NewClient(w.redis.Client.Options())
	for _, h := range hooks {
		client.AddHook(h)
	}
	opt = pgsink.Reading(opt)
	opt.Group, opt.Consumer, opt.Batch = "postgres", eventstream.UniqueConsumer(), 20
	opt.Idle, opt.Block = 200*time.Millisecond, 50*time.Millisecond
	opt.Lookup, opt.Pause = 50*time.Millisecond, 20*time.Millisecond
	in := &instance{sink: open(w.T, w.url, &w.log), done: make(chan error, 1)}
	in.sink.Once = opt.Once
	reader := eventstream.NewReader(client, opt, zerolog.New(&w.log))
	var ctx context.Context
	ctx, in.cancel = context.WithCancel(w.Context())
	w.Cleanup(func() { in.cancel(); _ = client.Close() })
	go func() {
		_, err := in.sink.Prepare(ctx)
		if err == nil {
			err = reader.Run(ctx, in.sink.Write)
		}
		in.done <- err
	}()
	return in
}

func (in *instance) stop(t *testing.T) {
	t.Helper()
	in.cancel()
	if err := <-in.done; err != nil {
		t.Errorf("it ended with %v, want nil", err)
	}
}

// noAck fails every acknowledgement, and counts them, as if the process died after the
// commit.
type noAck struct {
	redistest.Hook
	tried atomic.Int64
}

func (n *noAck) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if cmd.Name() == "xack" {
			n.tried.Add(1)
			return errors.New("the process is dead")
		}
		return next(ctx, cmd)
	}
}

func TestSinkExactlyOnceInEffect(t *testing.T) {
	t.Run("killed between commit and acknowledgement", func(t *testing.T) {
		w := newEnv(t, redistest.Start(t))
		for i := range 30 {
			w.tell(mchA, fmt.Sprintf("A-%d", i), 3)
		}
		for range 3 { // each dies after it has committed one batch
			var dead noAck
			in := w.start(eventstream.Options{}, &dead)
			testkit.Eventually(t, "a commit", func() bool { return dead.tried.Load() > 0 }, &w.log)
			in.cancel()
		}
		last := w.start(eventstream.Options{})
		testkit.Eventually(t, "the rest", w.drained, &w.log)
		last.stop(t)
		truth := w.truth()
		wantTables(t, w.url, truth)
		if n := last.sink.Totals().Known; len(truth) != 90 || n == 0 {
			t.Errorf("%d events, want 90; %d were delivered again, want some", len(truth), n)
		}
	})
	t.Run("continues where it stopped, and skips entries that are not events", func(t *testing.T) {
		w := newEnv(t, redistest.Start(t))
		once := eventstream.Options{Once: true}
		w.tell(mchA, "A", 3)
		if err := w.redis.Client.XAdd(t.Context(), &redis.XAddArgs{Stream: ledger.KeysOf(mchA).Outcomes(), Values: []any{"what", "ever"}}).Err(); err != nil {
			t.Fatal(err)
		}
		first := w.start(once)
		if err := <-first.done; err != nil {
			t.Fatal(err)
		}
		w.tell(mchA, "B", 2)
		w.tell("1900000002", "C", 1)
		second := w.start(once)
		if err := <-second.done; err != nil {
			t.Fatal(err)
		}
		wantTables(t, w.url, w.truth())
		if a, b := first.sink.Totals(), second.sink.Totals(); a.Events != 3 || b.Events != 3 || b.Known != 0 {
			t.Errorf("first %+v, then %+v; want 3 new events each", a, b)
		}
	})
}

// Three instances share the work while orders arrive, PostgreSQL and Redis are killed and
// restarted, and one instance is replaced.
func TestSinkLivesThroughRestarts(t *testing.T) {
	w := newEnv(t, redistest.StartReal(t))
	var wg sync.WaitGroup
	const orders = 100
	var told atomic.Int64
	for m := range 2 {
		wg.Go(func() {
			for i := range orders {
				w.tell(fmt.Sprintf("190000000%d", m+1), fmt.Sprintf("A-%d", i), 4)
				told.Add(1)
			}
		})
	}
	var all []*instance
	for range 3 {
		all = append(all, w.start(eventstream.Options{}))
	}
	stored := func() (n int64) {
		for _, in := range all {
			n += in.sink.Totals().Events
		}
		return n
	}
	testkit.Eventually(t, "some events", func() bool { return stored() > 40 }, &w.log)
	w.pg.Kill()
	before := told.Load()
	testkit.Eventually(t, "more orders", func() bool { return told.Load() > before+10 || told.Load() == 2*orders }, &w.log)
	w.pg.Run(t)
	now := stored()
	testkit.Eventually(t, "more events", func() bool { return stored() > now || w.drained() }, &w.log)
	w.redis.Kill()
	testkit.Eventually(t, "the outage in the log", func() bool { return strings.Contains(w.log.String(), "Redis does not answer as it should") }, &w.log)
	w.redis.Run(t)
	all[0].stop(t)
	all = append(all, w.start(eventstream.Options{}))
	wg.Wait()
	testkit.Eventually(t, "the rest", w.drained, &w.log)
	for _, in := range all[1:] {
		in.stop(t)
	}
	truth := w.truth()
	if len(truth) < 2*orders*4 {
		t.Errorf("%d events in the streams, want %d at least", len(truth), 2*orders*4)
	}
	wantTables(t, w.url, truth)
	shared := 0
	for _, in := range all {
		if in.sink.Totals().Events > 0 {
			shared++
		}
	}
	if shared < 2 {
		t.Errorf("%d instance did all the work, want several", shared)
	}
}
