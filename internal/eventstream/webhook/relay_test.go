package webhook

import (
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hibiken/asynq"

	"payscore-collector/internal/ledger"
	"payscore-collector/internal/queue"
	"payscore-collector/internal/testkit/redistest"
)

func numbers(prefix string, n int) []string {
	nos := make([]string, n)
	for i := range nos {
		nos[i] = fmt.Sprintf("%s-%03d", prefix, i)
	}
	return nos
}

// perOrder are the IDs of events by order. Each order's stand in the order of the
// list; once is that list without what came again.
func perOrder(events []ledger.Event) (all, once map[string][]string) {
	all, once = map[string][]string{}, map[string][]string{}
	for _, e := range events {
		all[e.OutOrderNo] = append(all[e.OutOrderNo], e.ID)
		if !slices.Contains(once[e.OutOrderNo], e.ID) {
			once[e.OutOrderNo] = append(once[e.OutOrderNo], e.ID)
		}
	}
	return all, once
}

// complete checks that billing has taken every end of the stream, each order's in
// their order, and none twice unless that is allowed.
func (b *bench) complete(twice bool) {
	b.t.Helper()
	taken := b.receiver.Taken()
	all, once := perOrder(taken)
	_, want := perOrder(b.ends())
	if diff := cmp.Diff(want, once); diff != "" {
		b.t.Errorf("the ends and what was taken differ: %s", diff)
	}
	if diff := cmp.Diff(once, all); diff != "" && !twice {
		b.t.Errorf("delivered more than once: %s", diff)
	}
	b.clean()
}

func TestWorkers(t *testing.T) {
	t.Parallel()

	t.Run("two at once deliver every end once, each order's in their order", func(t *testing.T) {
		t.Parallel()
		b := newBench(t, redistest.Start(t))
		busy := sync.Map{}
		b.receiver.Answer = func(_ http.ResponseWriter, _ *http.Request, e ledger.Event) {
			if _, other := busy.LoadOrStore(e.OutOrderNo, true); other {
				t.Errorf("two deliveries at once for %s", e.OutOrderNo)
			}
			<-time.After(rand.N(20 * time.Millisecond))
			busy.Delete(e.OutOrderNo)
		}
		b.work()
		b.another()
		const lives = 4
		nos := numbers("N", 30)
		var billing sync.WaitGroup
		for _, part := range slices.Collect(slices.Chunk(nos, 10)) {
			billing.Go(func() {
				for range lives {
					rand.Shuffle(len(part), func(i, j int) { part[i], part[j] = part[j], part[i] })
					b.end(part...)
				}
			})
		}
		billing.Wait()
		for _, no := range nos {
			b.pay(no)
		}
		b.allDelivered((lives + 1) * len(nos))
		b.complete(false)
	})

	t.Run("a receiver that fails now and then gets each order's ends in their order", func(t *testing.T) {
		t.Parallel()
		b := newBench(t, redistest.Start(t))
		b.receiver.Answer = func(w http.ResponseWriter, _ *http.Request, _ ledger.Event) {
			switch rand.N(4) {
			case 0:
				w.WriteHeader(http.StatusBadGateway)
			case 1:
				panic(http.ErrAbortHandler)
			}
		}
		b.work()
		b.another()
		nos := numbers("F", 20)
		b.end(nos...)
		b.end(nos...)
		for _, no := range nos {
			b.pay(no)
		}
		b.allDelivered(3 * len(nos))
		b.complete(false)
		_, once := perOrder(b.receiver.Got())
		_, want := perOrder(b.ends())
		if diff := cmp.Diff(want, once); diff != "" {
			t.Errorf("an end was sent before the one before it was taken: %s", diff)
		}
	})

	t.Run("orders that the receiver hangs on hold no others up", func(t *testing.T) {
		t.Parallel()
		b := newBench(t, redistest.Start(t), func(s *Settings) { s.Timeout = 5 * time.Minute })
		held := make(chan struct{})
		release := sync.OnceFunc(func() { close(held) })
		t.Cleanup(release) // the receiver waits for its requests, whatever becomes of the test
		b.receiver.Answer = func(_ http.ResponseWriter, r *http.Request, e ledger.Event) {
			if strings.HasPrefix(e.OutOrderNo, "HANG") {
				<-held
			}
		}
		b.work()
		hanging := numbers("HANG", 5)
		b.end(hanging...)
		b.until(30*time.Second, "the receiver to hang", func() bool { return len(b.receiver.Got()) == len(hanging) })
		free := numbers("FREE", 200)
		b.end(free...)
		b.until(time.Minute, "the others to be delivered", func() bool {
			return len(b.receiver.Taken()) == len(free)
		})
		release()
		b.allDelivered(len(free) + len(hanging))
		b.complete(false)
	})

	t.Run("a merchant whose ends are not taken holds no other up", func(t *testing.T) {
		t.Parallel()
		srv := redistest.Start(t)
		stuck, free := newBench(t, srv, func(s *Settings) { s.Timeout = 5 * time.Minute }), newBench(t, srv)
		held := make(chan struct{})
		release := sync.OnceFunc(func() { close(held) })
		t.Cleanup(release) // the receiver waits for its requests, whatever becomes of the test
		stuck.receiver.Answer = func(http.ResponseWriter, *http.Request, ledger.Event) { <-held }
		stuck.work()
		free.work()
		stuck.end(numbers("S", 100)...)
		stuck.until(30*time.Second, "the receiver to hang", func() bool { return len(stuck.receiver.Got()) == Concurrency })
		free.end(numbers("F", 100)...)
		free.allDelivered(100)
		release()
		stuck.allDelivered(100)
	})

	t.Run("the queue lost midway loses nothing", func(t *testing.T) {
		t.Parallel()
		b := newBench(t, redistest.Start(t))
		b.receiver.Answer = func(http.ResponseWriter, *http.Request, ledger.Event) { <-time.After(10 * time.Millisecond) }
		b.work()
		b.another()
		nos := numbers("Q", 200)
		b.end(nos[:100]...)
		b.until(30*time.Second, "some to be delivered", func() bool { return len(b.receiver.Got()) > 20 })
		keys := b.rdb.Keys(t.Context(), "asynq:*").Val()
		if len(keys) == 0 {
			t.Fatal("there is no queue")
		}
		if err := b.rdb.Del(t.Context(), keys...).Err(); err != nil {
			t.Fatal(err)
		}
		b.end(nos[100:]...)
		b.allDelivered(len(nos))
		b.complete(false)
	})

	t.Run("a receiver that is away for a while gets everything when it is back", func(t *testing.T) {
		t.Parallel()
		b := newBench(t, redistest.Start(t))
		addr := b.receiver.Server.Listener.Addr().String()
		b.receiver.Server.Close()
		b.work()
		nos := numbers("D", 50)
		b.end(nos...)
		b.until(30*time.Second, "every order to have failed", func() bool { return b.counted(failed) >= float64(2*len(nos)) })
		if n := b.waiting(); n != int64(len(nos)) {
			t.Errorf("%d wait", n)
		}
		l, err := net.Listen("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		back := &http.Server{Handler: b.receiver, ReadHeaderTimeout: time.Minute}
		go func() { _ = back.Serve(l) }()
		defer back.Close()
		b.allDelivered(len(nos))
		b.complete(false)
		if line := b.logs.Events("webhook_failed")[0]; line["reason"] != "the connection was refused" || line["http_status"] != 0.0 || line["due"] == nil {
			t.Errorf("%v", line)
		}
	})

	t.Run("a worker that stops finishes what it is at and leaves the rest", func(t *testing.T) {
		t.Parallel()
		b := newBench(t, redistest.Start(t))
		b.receiver.Answer = func(http.ResponseWriter, *http.Request, ledger.Event) { <-time.After(50 * time.Millisecond) }
		stop := b.work()
		nos := numbers("S", 100)
		b.end(nos...)
		for _, no := range nos {
			b.pay(no)
		}
		b.until(30*time.Second, "deliveries to be under way", func() bool { return len(b.receiver.Got()) >= Concurrency })
		stop()
		got, taken := b.receiver.Got(), b.receiver.Taken()
		if len(got) != len(taken) || len(taken) == 2*len(nos) {
			t.Errorf("%d sent, %d taken", len(got), len(taken))
		}
		b.another()
		b.allDelivered(2 * len(nos))
		b.complete(false)
	})
}

func TestRelay(t *testing.T) {
	t.Parallel()
	srv := redistest.Start(t)

	t.Run("puts no more into the queue than is worked on soon", func(t *testing.T) {
		b := newBench(t, srv)
		b.end(numbers("M", 3*queued)...)
		for more := true; more; {
			var err error
			if more, err = b.Relay(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		queue := queue.WebhookName(b.ledger.MchID())
		info, err := asynq.NewInspectorFromRedisClient(b.rdb).GetQueueInfo(queue)
		if err != nil || info.Pending != queued {
			t.Errorf("%+v %v", info, err)
		}
		if n := b.waiting(); n != 3*queued {
			t.Errorf("%d wait: the rest was not taken from the stream", n)
		}
	})

	t.Run("tasks have IDs that no collecting task has", func(t *testing.T) {
		b := newBench(t, srv)
		b.end("A")
		if _, err := b.Relay(t.Context()); err != nil {
			t.Fatal(err)
		}
		list, err := asynq.NewInspectorFromRedisClient(b.rdb).ListPendingTasks(queue.WebhookName(b.ledger.MchID()))
		if err != nil || len(list) != 1 || list[0].ID != "webhook:"+b.ledger.MchID()+":A:1" || list[0].Type != "payscore:webhook" {
			t.Errorf("%+v %v", list, err)
		}
	})

	t.Run("says what calls itself an end and is none", func(t *testing.T) {
		b := newBench(t, srv)
		if err := b.rdb.Do(t.Context(), "XADD", b.keys.Outcomes(), "*", "type", "order.paid").Err(); err != nil {
			t.Fatal(err)
		}
		if _, err := b.Relay(t.Context()); err != nil || len(b.logs.Events("webhook_events_malformed")) != 1 {
			t.Errorf("%v %s", err, b.logs)
		}
	})

	t.Run("a paused queue is told of, and registered again", func(t *testing.T) {
		b := newBench(t, srv)
		b.end("A")
		if _, err := b.Relay(t.Context()); err != nil {
			t.Fatal(err)
		}
		queue := queue.WebhookName(b.ledger.MchID())
		if err := asynq.NewInspectorFromRedisClient(b.rdb).PauseQueue(queue); err != nil {
			t.Fatal(err)
		}
		b.rdb.SRem(t.Context(), "asynq:queues", queue)
		b.housekeeping(t.Context())
		if !b.rdb.SIsMember(t.Context(), "asynq:queues", queue).Val() {
			t.Error("the queue is not registered")
		}
		if len(b.logs.Events("webhook_queue_paused")) != 1 {
			t.Errorf("the log: %s", b.logs)
		}
		_, command, _ := strings.Cut(b.logs.String(), "redis-cli DEL '")
		key, _, _ := strings.Cut(command, "'")
		if n := b.rdb.Del(t.Context(), key).Val(); n != 1 {
			t.Errorf("the command that is shown does not help: %q", key)
		}
	})

	t.Run("Redis in trouble is said, not too often, and gone on from", func(t *testing.T) {
		b := newBench(t, srv)
		b.faults.Fail("hooks", 2)
		b.work()
		b.end("A")
		b.allDelivered(1)
		if n := len(b.logs.Events("webhook_relay_failed")); n != 2 {
			t.Errorf("%d lines", n)
		}
	})
}

// What docs/runbook.md has, word for word but for the mchid.
func TestTryAllAgainAtOnce(t *testing.T) {
	t.Parallel()
	b := newBench(t, redistest.Start(t), func(s *Settings) { s.Backoff = []time.Duration{time.Hour} })
	b.receiver.Answer = func(w http.ResponseWriter, _ *http.Request, _ ledger.Event) {
		if len(b.receiver.Got()) <= 3 {
			w.WriteHeader(http.StatusInternalServerError)
		}
	}
	b.work()
	b.end("A", "B", "C")
	b.until(30*time.Second, "every order to have failed, and that to be written down", func() bool {
		fields := strings.Join(b.rdb.HKeys(t.Context(), b.keys.Hooks()).Val(), " ")
		return strings.Count(fields, "try:") == 3 && !strings.Contains(fields, "lease:")
	})
	const command = "ZUNIONSTORE payscore:{MCHID}:hookdue 1 payscore:{MCHID}:hookwaiting WEIGHTS 0"
	var args []any
	for word := range strings.FieldsSeq(strings.ReplaceAll(command, "MCHID", b.ledger.MchID())) {
		args = append(args, word)
	}
	if err := b.rdb.Do(t.Context(), args...).Err(); err != nil {
		t.Fatal(err)
	}
	b.allDelivered(3)
	b.complete(false)
}

// The delivery of many by a few workers that are killed again and again: every
// end arrives, in order, and nothing but what was under way comes twice.
func TestKilledWorkers(t *testing.T) {
	t.Parallel()
	b := newBench(t, redistest.Start(t), func(s *Settings) { s.Grace = 300 * time.Millisecond })
	var requests atomic.Int64
	b.receiver.Answer = func(http.ResponseWriter, *http.Request, ledger.Event) { requests.Add(1) }
	nos := numbers("K", 60)
	b.end(nos...)
	for _, no := range nos {
		b.pay(no)
	}
	killed := 0
	for round := 0; b.waiting() != 0 || round == 0; round++ {
		if round > 2000 {
			t.Fatalf("%d orders still wait", b.waiting())
		}
		for _, o := range b.relay() {
			d := delivery{Sender: b.Sender, no: o.OutOrderNo, token: ledger.NewToken()}
			claim, err := b.ledger.ClaimHook(t.Context(), d.no, d.token, o.Round, 30*time.Millisecond)
			if err != nil {
				t.Fatal(err)
			}
			if claim.Code != ledger.Granted {
				continue
			}
			// Dies before the request, after it, or not at all.
			switch rand.N(3) {
			case 0:
				killed++
				continue
			case 1:
				killed++
				d.one(t.Context(), claim, time.Now())
				continue
			}
			set := d.one(t.Context(), claim, time.Now())
			set.OutOrderNo, set.Token, set.EntryID = d.no, d.token, claim.EntryID
			if _, err := b.ledger.SettleHook(t.Context(), set); err != nil {
				t.Fatal(err)
			}
		}
		<-time.After(5 * time.Millisecond)
	}
	b.complete(true)
	if killed == 0 || requests.Load() <= int64(2*len(nos)) {
		t.Errorf("%d killed, %d requests: the test shows nothing", killed, requests.Load())
	}
}
