package chaos

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"payscore-collector/internal/asynqx"
	"payscore-collector/internal/ledger"
	"payscore-collector/internal/queue"
	"payscore-collector/internal/simulator"
	"payscore-collector/internal/testkit"
	"payscore-collector/internal/testkit/hooktest"
	"payscore-collector/internal/testkit/redistest"
	"payscore-collector/tasks"
)

// world is one run: a Redis, a platform, a crew of workers, and what billing
// does.
type world struct {
	t    *testing.T
	form form
	seed uint64
	dir  string // logs and traces of the workers

	sim      *simulator.Simulator
	platform *httptest.Server
	post     *post
	receiver *hooktest.Receiver // billing's, of webhooks
	hooked   books              // what billing books from them
	store    store
	rdb      redis.UniversalClient // the harness's own way to Redis, past all proxies
	producer *tasks.Producer
	ledger   *ledger.Ledger
	crew     []*worker
	env      []string
	aheadBin string // a worker with a wrong clock

	started  time.Time
	shut     [2]time.Time // the collection window is shut from and to
	book     book
	billing  billing
	callsMu  sync.Mutex
	calls    []simulator.Seen
	nemesis  *nemesis
	pausing  sync.Mutex // held while CLIENT PAUSE is in effect
	finished time.Time
}

// store is Redis in one topology.
type store interface {
	// client is the harness's own connection.
	client() redis.UniversalClient
	// urlOf is Redis as one worker sees it, through a proxy where there is one.
	urlOf(t *testing.T, worker int) (url string, p *proxy)
	// deeds are what the nemesis can do to it.
	deeds(w *world) []deed
	// heal undoes whatever may be left of them.
	heal() error
}

// standalone is one redis-server, whose clock can be set where there is gcc.
type standalone struct {
	*node
	clock *redistest.WallClock // nil: it goes by the machine's
}

func newStandalone(t *testing.T) standalone {
	port := testkit.FreePort(t)
	if why := redistest.NoWallClock(); why != "" {
		t.Logf("Redis's clock stays right: %s", why)
		return standalone{node: newNode(t, port)}
	}
	clock := redistest.NewWallClock(t)
	return standalone{newServer(t, clock.Environment(), port, t.TempDir(), persistent()...), clock}
}

func (s standalone) client() redis.UniversalClient { return s.rdb }

func (s standalone) deeds(w *world) []deed { return storeDeeds(w, s) }

func (s standalone) heal() error { return startAgain([]*node{s.node}) }

func (s standalone) urlOf(t *testing.T, _ int) (string, *proxy) {
	p := newProxy(t, s.addr())
	return "redis://" + p.addr() + "/0", p
}

// newWorld puts up everything but the workers.
func newWorld(t *testing.T, f form, seed uint64) *world {
	t.Helper()
	redistest.NeedReal(t)
	w := &world{t: t, form: f, seed: seed}
	w.dir = t.TempDir()
	if *keepFlag {
		w.dir, _ = os.MkdirTemp("", "chaos-run-")
		t.Logf("logs and traces: %s", w.dir)
	}
	var err error
	if w.sim, err = simulator.New(simulator.Options{KeyBits: 1024, Seed: seed, Watch: w.saw}); err != nil {
		t.Fatal(err)
	}
	w.platform = httptest.NewServer(w.sim.Handler())
	t.Cleanup(w.platform.Close)
	t.Cleanup(w.sim.Close)
	w.post = newPost(t, f, w.random("post"))
	if err := w.sim.SetNotifications(f.notifications(w.post, w.sim.Merchant().MchID)); err != nil {
		t.Fatal(err)
	}
	if f.newStore != nil {
		w.store = f.newStore(t)
	} else {
		w.store = newStandalone(t)
	}
	w.rdb = w.store.client()
	mchid := w.sim.Merchant().MchID
	w.producer, w.ledger = tasks.NewProducer(w.rdb), ledger.New(w.rdb, mchid)

	if err := w.sim.WriteMerchantDir(w.dir, w.platform.URL); err != nil {
		t.Fatal(err)
	}
	merchant, err := os.ReadFile(filepath.Join(w.dir, "merchant.env"))
	if err != nil {
		t.Fatal(err)
	}
	w.receiver = newReceiver(w, w.random("receiver"))
	w.env = append(f.environment(), strings.Fields(string(merchant))...)
	w.env = append(w.env, "BILLING_WEBHOOK_URL="+w.receiver.Server.URL, "BILLING_WEBHOOK_SECRET="+hooktest.Secret)

	if f.wrongClock {
		w.aheadBin = build(t, "ahead", overlay(t, map[string]string{clockFile(t): clockAhead(t)}))
	}
	var bin string
	if f.binary != nil {
		bin = f.binary(t)
	} else {
		bin = build(t, "plain", "")
	}
	for i := range f.workers {
		k := &worker{w: w, no: i, bin: bin, env: []string{"PUBLIC_ADDR=" + w.post.workers[i]}}
		k.url, k.proxy = w.store.urlOf(t, i)
		w.crew = append(w.crew, k)
	}
	t.Cleanup(func() {
		for _, k := range w.crew {
			if k.now != nil {
				k.now.kill()
			}
		}
	})
	return w
}

// saw is told of each call when it is over.
func (w *world) saw(s simulator.Seen) {
	w.callsMu.Lock()
	defer w.callsMu.Unlock()
	w.calls = append(w.calls, s)
}

// random is a source of its own for each purpose, all from the one seed: what
// one part of the harness draws does not shift what another draws.
func (w *world) random(purpose string) *rand.Rand { return randomOf(w.seed, purpose) }

func randomOf(seed uint64, purpose string) *rand.Rand {
	var key [32]byte
	binary.BigEndian.PutUint64(key[:], seed)
	copy(key[8:], purpose)
	return rand.New(rand.NewChaCha8(key))
}

// run starts the workers, lets billing and the nemesis loose, heals everything
// and waits for every order to end.
func (w *world) run() {
	w.started = time.Now()
	w.rightClock()
	w.setWindow()
	w.setFaults(calm())
	w.nemesis = newNemesis(w)
	w.t.Logf("the schedule:\n%s", w.nemesis)
	for _, k := range w.crew {
		if err := k.start(); err != nil {
			w.t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var all sync.WaitGroup
	all.Go(func() { w.bill(ctx) })
	all.Go(func() { w.nemesis.run() })
	progress := make(chan struct{})
	go w.progress(progress)
	all.Wait()
	w.heal()
	w.t.Logf("after %s: the faults are over; what is open ends now", w.age())
	w.awaitEnds()
	w.awaitNotifications()
	w.awaitWebhooks()
	close(progress)
	w.stopCrew()
	w.platform.Close()
	w.finished = time.Now()
}

func (w *world) age() time.Duration { return time.Since(w.started).Round(100 * time.Millisecond) }

// setWindow shuts the collection window for the minute before windowShut.
// Windows are in whole minutes of a clock; the workers' time zone is one in which
// such a minute ends just then.
func (w *world) setWindow() {
	if w.form.windowShut == 0 {
		w.env = append(w.env, "COLLECT_WINDOW=always")
		return
	}
	opens := w.started.Add(w.form.windowShut).Truncate(time.Second)
	w.shut = [2]time.Time{opens.Add(-time.Minute), opens}
	const noon = 12 * 60 * 60
	offset := int32(noon - opens.Unix()%(24*60*60))
	// RFC 8536: a file of version 1 with one local time type and no transition.
	zone := append([]byte("TZif"), make([]byte, 16)...)
	for _, count := range []uint32{0, 0, 0, 0, 1, 4} {
		zone = binary.BigEndian.AppendUint32(zone, count)
	}
	zone = binary.BigEndian.AppendUint32(zone, uint32(offset))
	zone = append(zone, 0, 0, 'R', 'U', 'N', 0)
	if err := os.WriteFile(filepath.Join(w.dir, "Run"), zone, 0o600); err != nil {
		w.t.Fatal(err)
	}
	w.env = append(w.env, "ZONEINFO="+w.dir, "COLLECT_TIMEZONE=Run", "COLLECT_WINDOW=12:00-11:59")
}

// heal undoes whatever may be left of a fault.
func (w *world) heal() {
	w.setFaults(simulator.Faults{Latency: simulator.Duration(5 * time.Millisecond)})
	for _, k := range w.crew {
		if k.proxy != nil {
			k.proxy.refuseAll(false)
			k.proxy.unplug(false)
		}
		_ = k.now.cmd.Process.Signal(syscall.SIGCONT)
	}
	if err := w.store.heal(); err != nil {
		w.book.say("Redis does not come back: %v", err)
	}
	w.rightClock()
	w.insist("resume the queue", func(ctx context.Context) error { return w.rdb.Del(ctx, w.queueKey("paused")).Err() })
	w.handOverAgain()
}

func (w *world) setFaults(f simulator.Faults) {
	if err := w.sim.SetFaults(f); err != nil {
		w.book.say("the simulator refuses faults: %v", err)
	}
}

// queueKey is one of asynq's keys of the merchant's queue.
func (w *world) queueKey(name string) string {
	return "asynq:{" + tasks.QueueName(w.sim.Merchant().MchID) + "}:" + name
}

// insist repeats what the harness itself wants of Redis, for as long as Redis may
// be under attack.
func (w *world) insist(what string, do func(context.Context) error) bool {
	var err error
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); <-time.After(100 * time.Millisecond) {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		err = do(ctx)
		cancel()
		if err == nil {
			return true
		}
	}
	w.book.say("%s: %v", what, err)
	return false
}

// open is how many orders have something left to do.
func (w *world) open() (int64, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	return w.rdb.ZCard(ctx, ledger.KeysOf(w.sim.Merchant().MchID).Due()).Result()
}

func (w *world) awaitEnds() {
	for deadline := time.Now().Add(w.form.settle); time.Now().Before(deadline); <-time.After(100 * time.Millisecond) {
		if n, err := w.open(); err == nil && n == 0 {
			return
		}
	}
	w.describe()
}

// progress says every so often how far the run is.
func (w *world) progress(done <-chan struct{}) {
	every := max(5*time.Second, w.form.attack/40)
	for {
		select {
		case <-done:
			return
		case <-time.After(every):
		}
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		stats, err := w.ledger.Stats(ctx)
		cancel()
		w.callsMu.Lock()
		calls := len(w.calls)
		w.callsMu.Unlock()
		line := fmt.Sprintf("after %s: %d calls", w.age(), calls)
		if err != nil {
			w.t.Logf("%s; Redis: %v", line, err)
			continue
		}
		for _, s := range tasks.States {
			line += fmt.Sprintf(", %d %s", stats.Orders[s], s)
		}
		w.t.Log(line)
	}
}

// stopCrew ends all workers in order.
func (w *world) stopCrew() {
	for _, k := range w.crew {
		_ = k.now.cmd.Process.Signal(syscall.SIGTERM)
	}
	for _, k := range w.crew {
		if !k.now.exitsWithin(45 * time.Second) {
			w.book.say("%s did not end within 45 s of SIGTERM", k.now.name)
			k.now.kill()
		} else if k.now.status != nil {
			w.book.say("%s ended with %v after SIGTERM", k.now.name, k.now.status)
		}
	}
}

// describe says what Redis knows of the queue, the gate and some orders that
// have not ended, while the workers still run.
func (w *world) describe() {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	mchid := w.sim.Merchant().MchID
	sizes, err := asynqx.Sizes(ctx, w.rdb, tasks.QueueName(mchid))
	holds, _ := w.ledger.Holds(ctx)
	w.t.Logf("queue: %v %v; holds: %+v; paused: %v", sizes, err, holds, w.rdb.Get(ctx, w.queueKey("paused")).Val())
	due, _ := w.rdb.ZRangeWithScores(ctx, ledger.KeysOf(mchid).Due(), 0, 4).Result()
	for _, z := range due {
		no := z.Member.(string)
		record := w.rdb.HGetAll(ctx, ledger.KeysOf(mchid).Order(no)).Val()
		line := fmt.Sprintf("%s: looked at in %.1fs; %v", no, z.Score/1000-float64(time.Now().UnixMilli())/1000, record)
		keys, _ := w.scan(ctx, w.queueKey("t:"+queue.TaskID(mchid, no, 0)[:len(mchid)+1+len(no)+1]+"*"))
		for _, k := range keys {
			f := w.rdb.HMGet(ctx, k, "state", "pending_since").Val()
			id := k[len(w.queueKey("t:")):]
			line += fmt.Sprintf("\n   task %s: %v, lease %v, retry %v, in pending %v", id, f,
				w.rdb.ZScore(ctx, w.queueKey("lease"), id).Val(), w.rdb.ZScore(ctx, w.queueKey("retry"), id).Val(),
				w.rdb.LPos(ctx, w.queueKey("pending"), id, redis.LPosArgs{}).Val())
		}
		w.t.Log(line)
	}
}
