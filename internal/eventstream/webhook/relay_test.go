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

	"payscore-collector/internal/control"
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

// perOrder returns the IDs of events by order, as they stand in the list; once is the
// same without repetitions.
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

// complete checks that billing has accepted every final state in the stream, those of
// each order in their order, and none twice unless that is allowed.
func (f *fixture) complete(twice bool) {
	f.t.Helper()
	taken := f.receiver.Taken()
	all, once := perOrder(taken)
	_, want := perOrder(f.ends())
	if diff := cmp.Diff(want, once); diff != "" {
		f.t.Errorf("what billing accepted is not the stream (-want +got): %s", diff)
	}
	if diff := cmp.Diff(once, all); diff != "" && !twice {
		f.t.Errorf("delivered more than once: %s", diff)
	}
	f.clean()
}

func TestWorkers(t *testing.T) {
	t.Parallel()

	t.Run("two workers deliver every final state once, in order per order", func(t *testing.T) {
		t.Parallel()
		f := newFixture(t, redistest.Start(t))
		busy := sync.Map{}
		f.receiver.Answer = func(_ http.ResponseWriter, _ *http.Request, e ledger.Event) {
			if _, other := busy.LoadOrStore(e.OutOrderNo, true); other {
				t.Errorf("two deliveries at once for %s", e.OutOrderNo)
			}
			<-time.After(rand.N(20 * time.Millisecond))
			busy.Delete(e.OutOrderNo)
		}
		f.work()
		f.another()
		const lives = 4
		nos := numbers("N", 30)
		var billing sync.WaitGroup
		for _, part := range slices.Collect(slices.Chunk(nos, 10)) {
			billing.Go(func() {
				for range lives {
					rand.Shuffle(len(part), func(i, j int) { part[i], part[j] = part[j], part[i] })
					f.end(part...)
				}
			})
		}
		billing.Wait()
		for _, no := range nos {
			f.pay(no)
		}
		f.allDelivered((lives + 1) * len(nos))
		f.complete(false)
	})

	t.Run("a receiver that fails at times gets each order's final states in order", func(t *testing.T) {
		t.Parallel()
		f := newFixture(t, redistest.Start(t))
		f.receiver.Answer = func(w http.ResponseWriter, _ *http.Request, _ ledger.Event) {
			switch rand.N(4) {
			case 0:
				w.WriteHeader(http.StatusBadGateway)
			case 1:
				panic(http.ErrAbortHandler)
			}
		}
		f.work()
		f.another()
		nos := numbers("F", 20)
		f.end(nos...)
		f.end(nos...)
		for _, no := range nos {
			f.pay(no)
		}
		f.allDelivered(3 * len(nos))
		f.complete(false)
		_, once := perOrder(f.receiver.Got())
		_, want := perOrder(f.ends())
		if diff := cmp.Diff(want, once); diff != "" {
			t.Errorf("a final state was sent before billing had accepted the one before: %s", diff)
		}
	})

	t.Run("orders on which the receiver hangs delay no others", func(t *testing.T) {
		t.Parallel()
		f := newFixture(t, redistest.Start(t), func(s *Settings) { s.Timeout = 5 * time.Minute })
		held := make(chan struct{})
		release := sync.OnceFunc(func() { close(held) })
		t.Cleanup(release) // the receiver waits for its requests, also where the test fails
		f.receiver.Answer = func(_ http.ResponseWriter, r *http.Request, e ledger.Event) {
			if strings.HasPrefix(e.OutOrderNo, "HANG") {
				<-held
			}
		}
		f.work()
		hanging := numbers("HANG", 5)
		f.end(hanging...)
		f.until("the receiver to hang", func() bool { return len(f.receiver.Got()) == len(hanging) })
		free := numbers("FREE", 200)
		f.end(free...)
		f.until("the others to be delivered", func() bool {
			return len(f.receiver.Taken()) == len(free)
		})
		release()
		f.allDelivered(len(free) + len(hanging))
		f.complete(false)
	})

	t.Run("a merchant whose webhooks are not accepted delays no other", func(t *testing.T) {
		t.Parallel()
		srv := redistest.Start(t)
		stuck, free := newFixture(t, srv, func(s *Settings) { s.Timeout = 5 * time.Minute }), newFixture(t, srv)
		held := make(chan struct{})
		release := sync.OnceFunc(func() { close(held) })
		t.Cleanup(release) // the receiver waits for its requests, also where the test fails
		stuck.receiver.Answer = func(http.ResponseWriter, *http.Request, ledger.Event) { <-held }
		stuck.work()
		free.work()
		stuck.end(numbers("S", 100)...)
		stuck.until("the receiver to hang", func() bool { return len(stuck.receiver.Got()) == Concurrency })
		free.end(numbers("F", 100)...)
		free.allDelivered(100)
		release()
		stuck.allDelivered(100)
	})

	t.Run("a queue lost midway loses no webhook", func(t *testing.T) {
		t.Parallel()
		f := newFixture(t, redistest.Start(t))
		f.receiver.Answer = func(http.ResponseWriter, *http.Request, ledger.Event) { <-time.After(10 * time.Millisecond) }
		f.work()
		f.another()
		nos := numbers("Q", 200)
		f.end(nos[:100]...)
		f.until("some to be delivered", func() bool { return len(f.receiver.Got()) > 20 })
		keys := f.rdb.Keys(t.Context(), "asynq:*").Val()
		if len(keys) == 0 {
			t.Fatal("there is no queue")
		}
		if err := f.rdb.Del(t.Context(), keys...).Err(); err != nil {
			t.Fatal(err)
		}
		f.end(nos[100:]...)
		f.allDelivered(len(nos))
		f.complete(false)
	})

	t.Run("a receiver that was down gets everything afterwards", func(t *testing.T) {
		t.Parallel()
		f := newFixture(t, redistest.Start(t))
		addr := f.receiver.Server.Listener.Addr().String()
		f.receiver.Server.Close()
		f.work()
		nos := numbers("D", 50)
		f.end(nos...)
		// Those that the relay took first may have failed many times before it takes the last.
		f.until("every order to wait, and many to have failed", func() bool {
			return f.waiting() == int64(len(nos)) && f.counted(failed) >= float64(2*len(nos))
		})
		l, err := net.Listen("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		back := &http.Server{Handler: f.receiver, ReadHeaderTimeout: time.Minute}
		go func() { _ = back.Serve(l) }()
		defer back.Close()
		f.allDelivered(len(nos))
		f.complete(false)
		if line := f.logs.Events("webhook_failed")[0]; line["reason"] != "the connection was refused" || line["http_status"] != 0.0 || line["due"] == nil {
			t.Errorf("%v", line)
		}
	})

	t.Run("a worker that stops finishes its deliveries and leaves the rest", func(t *testing.T) {
		t.Parallel()
		f := newFixture(t, redistest.Start(t))
		f.receiver.Answer = func(http.ResponseWriter, *http.Request, ledger.Event) { <-time.After(50 * time.Millisecond) }
		stop := f.work()
		nos := numbers("S", 100)
		f.end(nos...)
		for _, no := range nos {
			f.pay(no)
		}
		f.until("deliveries to be under way", func() bool { return len(f.receiver.Got()) >= Concurrency })
		stop()
		got, taken := f.receiver.Got(), f.receiver.Taken()
		if len(got) != len(taken) || len(taken) == 2*len(nos) {
			t.Errorf("%d sent, %d accepted; want the same, and fewer than %d", len(got), len(taken), 2*len(nos))
		}
		f.another()
		f.allDelivered(2 * len(nos))
		f.complete(false)
	})
}

func TestRelay(t *testing.T) {
	t.Parallel()
	srv := redistest.Start(t)

	t.Run("the queue gets no more tasks than are processed soon", func(t *testing.T) {
		f := newFixture(t, srv)
		f.end(numbers("M", 3*queued)...)
		for more := true; more; {
			var err error
			if more, err = f.Relay(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		queue := queue.WebhookName(f.ledger.MchID())
		info, err := asynq.NewInspectorFromRedisClient(f.rdb).GetQueueInfo(queue)
		if err != nil || info.Pending != queued {
			t.Errorf("%+v %v", info, err)
		}
		if n := f.waiting(); n != 3*queued {
			t.Errorf("%d orders wait, want %d: the rest was not taken from the stream", n, 3*queued)
		}
	})

	t.Run("tasks have IDs that no collecting task has", func(t *testing.T) {
		f := newFixture(t, srv)
		f.end("A")
		if _, err := f.Relay(t.Context()); err != nil {
			t.Fatal(err)
		}
		list, err := asynq.NewInspectorFromRedisClient(f.rdb).ListPendingTasks(queue.WebhookName(f.ledger.MchID()))
		if err != nil || len(list) != 1 || list[0].ID != "webhook:"+f.ledger.MchID()+":A:1" || list[0].Type != "payscore:webhook" {
			t.Errorf("%+v %v", list, err)
		}
	})

	t.Run("closed books are delivered, those of a day one after another, and no order waits for them", func(t *testing.T) {
		f := newFixture(t, srv)
		first, later := `{"date":"2026-11-26","n":1}`, `{"date":"2026-11-26","n":2}`
		f.end("A")
		for _, text := range []string{first, first, later} {
			if _, err := f.ledger.CloseBook(t.Context(), "2026-11-26", []byte(text), []byte(text), nil, nil, ledger.BookPlan{}); err != nil {
				t.Fatal(err)
			}
		}
		f.work()
		var books []string
		f.until("three deliveries", func() bool { return len(f.receiver.Taken()) == 3 })
		for _, e := range f.receiver.Taken() {
			if e.Type == ledger.BooksClosed {
				books = append(books, e.OutOrderNo+string(e.State)+string(e.Books))
			}
		}
		if !slices.Equal(books, []string{first, later}) {
			t.Errorf("%q", books)
		}
		f.until("nothing to wait", func() bool { return f.waiting() == 0 })
	})

	t.Run("malformed events are skipped and logged", func(t *testing.T) {
		f := newFixture(t, srv)
		if err := f.rdb.Do(t.Context(), "XADD", f.keys.Outcomes(), "*", "type", "order.paid").Err(); err != nil {
			t.Fatal(err)
		}
		if _, err := f.Relay(t.Context()); err != nil || len(f.logs.Events("webhook_events_malformed")) != 1 {
			t.Errorf("%v %s", err, f.logs)
		}
	})

	t.Run("a paused queue is logged, and registered again", func(t *testing.T) {
		f := newFixture(t, srv)
		f.end("A")
		if _, err := f.Relay(t.Context()); err != nil {
			t.Fatal(err)
		}
		queue := queue.WebhookName(f.ledger.MchID())
		if err := asynq.NewInspectorFromRedisClient(f.rdb).PauseQueue(queue); err != nil {
			t.Fatal(err)
		}
		f.rdb.SRem(t.Context(), "asynq:queues", queue)
		f.Housekeep(t.Context())
		if !f.rdb.SIsMember(t.Context(), "asynq:queues", queue).Val() {
			t.Error("the queue is not registered")
		}
		if len(f.logs.Events("webhook_queue_paused")) != 1 {
			t.Errorf("the log: %s", f.logs)
		}
		if want := "worker resume --mchid " + f.ledger.MchID() + " "; !strings.Contains(f.logs.String(), want) {
			t.Errorf("the log lacks %q: %s", want, f.logs)
		}
		was, err := control.Resume(t.Context(), f.rdb, f.ledger.MchID(), ledger.Deed{By: "cli:anna", Reason: "deployed"})
		if err != nil || !was {
			t.Errorf("not resumed: %v", err)
		}
		if info, err := asynq.NewInspectorFromRedisClient(f.rdb).GetQueueInfo(queue); err != nil || info.Paused {
			t.Errorf("%+v %v", info, err)
		}
	})

	t.Run("a failing Redis is logged, and the relay continues", func(t *testing.T) {
		f := newFixture(t, srv)
		f.faults.Fail("hooks", 2)
		f.work()
		f.end("A")
		f.allDelivered(1)
		if n := len(f.logs.Events("webhook_relay_failed")); n != 2 {
			t.Errorf("%d lines, want 2", n)
		}
	})
}

// The command of docs/runbook.md, with this test's mchid.
func TestTryAllAgainAtOnce(t *testing.T) {
	t.Parallel()
	f := newFixture(t, redistest.Start(t), func(s *Settings) { s.Backoff = []time.Duration{time.Hour} })
	f.receiver.Answer = func(w http.ResponseWriter, _ *http.Request, _ ledger.Event) {
		if len(f.receiver.Got()) <= 3 {
			w.WriteHeader(http.StatusInternalServerError)
		}
	}
	f.work()
	f.end("A", "B", "C")
	f.until("every failure to be recorded", func() bool {
		fields := strings.Join(f.rdb.HKeys(t.Context(), f.keys.Hooks()).Val(), " ")
		return strings.Count(fields, "try:") == 3 && !strings.Contains(fields, "lease:")
	})
	const command = "ZUNIONSTORE payscore:{MCHID}:hookdue 1 payscore:{MCHID}:hookwaiting WEIGHTS 0"
	var args []any
	for word := range strings.FieldsSeq(strings.ReplaceAll(command, "MCHID", f.ledger.MchID())) {
		args = append(args, word)
	}
	if err := f.rdb.Do(t.Context(), args...).Err(); err != nil {
		t.Fatal(err)
	}
	f.allDelivered(3)
	f.complete(false)
}

// Workers that are killed at every place of a delivery: every final state arrives, in
// order, and only what was under way arrives twice.
func TestKilledWorkers(t *testing.T) {
	t.Parallel()
	f := newFixture(t, redistest.Start(t), func(s *Settings) { s.Grace = 300 * time.Millisecond })
	var requests atomic.Int64
	f.receiver.Answer = func(http.ResponseWriter, *http.Request, ledger.Event) { requests.Add(1) }
	nos := numbers("K", 60)
	f.end(nos...)
	for _, no := range nos {
		f.pay(no)
	}
	killed := 0
	for round := 0; f.waiting() != 0 || round == 0; round++ {
		if round > 2000 {
			t.Fatalf("%d orders still wait", f.waiting())
		}
		for _, o := range f.relay() {
			d := delivery{Sender: f.Sender, no: o.OutOrderNo, token: ledger.NewToken()}
			claim, err := f.ledger.ClaimHook(t.Context(), d.no, d.token, o.Round, 30*time.Millisecond)
			if err != nil {
				t.Fatal(err)
			}
			if claim.Code != ledger.Granted {
				continue
			}
			// The worker dies before the request, after it, or not at all.
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
			if _, err := f.ledger.SettleHook(t.Context(), set); err != nil {
				t.Fatal(err)
			}
		}
		<-time.After(5 * time.Millisecond)
	}
	f.complete(true)
	if killed == 0 || requests.Load() <= int64(2*len(nos)) {
		t.Errorf("%d killed, %d requests: the test shows nothing", killed, requests.Load())
	}
}
