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

// world is one run: a Redis, a platform, a workers of workers, and what billing
// does.
type env struct {
	t       *testing.T
	profile profile
	seed    uint64
	dir     string // logs and traces of the workers

	sim      *simulator.Simulator
	platform *httptest.Server
	notify   *notificationProxy
	receiver *hooktest.Receiver // billing's, of webhooks
	hooked   books              // what billing books from them
	store    store
	rdb      redis.UniversalClient // the harness's own way to Redis, past all proxies
	producer *tasks.Producer
	ledger   *ledger.Ledger
	workers  []*worker
	env      []string
	aheadBin string // a worker with a wrong clock

	started  time.Time
	shut     [2]time.Time // the collection window is shut from and to
	journal  journal
	billing  billing
	operator operator
	callsMu  sync.Mutex
	calls    []simulator.Seen
	nemesis  *nemesis
	pausing  sync.Mutex // held while CLIENT PAUSE is in effect
	healed   time.Time  // when the faults had ended
	finished time.Time
}

// store is Redis in one topology.
type store interface {
	// client is the harness's own connection.
	client() redis.UniversalClient
	// urlOf is Redis as one worker sees it, through a proxy where there is one.
	urlOf(t *testing.T, worker int) (url string, p *proxy)
	// faults are what the nemesis can do to it.
	faults(e *env) []fault
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

func (s standalone) faults(e *env) []fault { return storeFaults(e, s) }

func (s standalone) heal() error { return startAgain([]*node{s.node}) }

func (s standalone) urlOf(t *testing.T, _ int) (string, *proxy) {
	p := newProxy(t, s.addr())
	return "redis://" + p.addr() + "/0", p
}

// newEnv puts up everything but the workers.
func newEnv(t *testing.T, f profile, seed uint64) *env {
	t.Helper()
	redistest.NeedReal(t)
	e := &env{t: t, profile: f, seed: seed}
	e.dir = t.TempDir()
	if *keepFlag {
		e.dir, _ = os.MkdirTemp("", "chaos-run-")
		t.Logf("logs and traces: %s", e.dir)
	}
	var err error
	if e.sim, err = simulator.New(simulator.Options{KeyBits: 1024, Seed: seed, Watch: e.saw}); err != nil {
		t.Fatal(err)
	}
	e.platform = httptest.NewServer(e.sim.Handler())
	t.Cleanup(e.platform.Close)
	t.Cleanup(e.sim.Close)
	e.notify = newNotificationProxy(t, f, e.random("post"))
	if err := e.sim.SetNotifications(f.notifications(e.notify, e.sim.Merchant().MchID)); err != nil {
		t.Fatal(err)
	}
	if f.newStore != nil {
		e.store = f.newStore(t)
	} else {
		e.store = newStandalone(t)
	}
	e.rdb = e.store.client()
	mchid := e.sim.Merchant().MchID
	e.producer, e.ledger = tasks.NewProducer(e.rdb), ledger.New(e.rdb, mchid)

	if err := e.sim.WriteMerchantDir(e.dir, e.platform.URL); err != nil {
		t.Fatal(err)
	}
	merchant, err := os.ReadFile(filepath.Join(e.dir, "merchant.env"))
	if err != nil {
		t.Fatal(err)
	}
	e.receiver = newReceiver(e, e.random("receiver"))
	e.env = append(f.environment(), strings.Fields(string(merchant))...)
	e.env = append(e.env, "BILLING_WEBHOOK_URL="+e.receiver.Server.URL, "BILLING_WEBHOOK_SECRET="+hooktest.Secret)

	if f.wrongClock {
		e.aheadBin = build(t, "ahead", overlay(t, map[string]string{clockFile(t): clockAhead(t)}))
	}
	var bin string
	if f.binary != nil {
		bin = f.binary(t)
	} else {
		bin = build(t, "plain", "")
	}
	for i := range f.workers {
		k := &worker{e: e, no: i, bin: bin, env: []string{"PUBLIC_ADDR=" + e.notify.workers[i]}}
		k.url, k.proxy = e.store.urlOf(t, i)
		e.workers = append(e.workers, k)
	}
	t.Cleanup(func() {
		for _, k := range e.workers {
			if k.now != nil {
				k.now.kill()
			}
		}
	})
	return e
}

// saw receives each call when it has ended.
func (e *env) saw(s simulator.Seen) {
	e.callsMu.Lock()
	defer e.callsMu.Unlock()
	e.calls = append(e.calls, s)
}

// random is a source of its own for each purpose, all from the one seed: what
// one part of the harness draws does not shift what another draws.
func (e *env) random(purpose string) *rand.Rand { return randomOf(e.seed, purpose) }

func randomOf(seed uint64, purpose string) *rand.Rand {
	var key [32]byte
	binary.BigEndian.PutUint64(key[:], seed)
	copy(key[8:], purpose)
	return rand.New(rand.NewChaCha8(key))
}

// run starts the workers, lets billing and the nemesis loose, heals everything
// and waits for every order to end.
func (e *env) run() {
	e.started = time.Now()
	e.correctClock()
	e.setWindow()
	e.setFaults(baseline())
	e.nemesis = newNemesis(e)
	e.t.Logf("the schedule:\n%s", e.nemesis)
	for _, k := range e.workers {
		if err := k.start(); err != nil {
			e.t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var all sync.WaitGroup
	all.Go(func() { e.bill(ctx) })
	all.Go(func() { e.nemesis.run() })
	progress := make(chan struct{})
	go e.progress(progress)
	all.Wait()
	e.heal()
	e.t.Logf("after %s: the faults are over; what is open ends now", e.age())
	e.healed = time.Now()
	e.awaitBulks()
	e.awaitEnds()
	e.awaitNotifications()
	e.awaitWebhooks()
	close(progress)
	e.stopWorkers()
	e.platform.Close()
	e.finished = time.Now()
}

func (e *env) age() time.Duration { return time.Since(e.started).Round(100 * time.Millisecond) }

// setWindow shuts the collection window for the minute before windowShut.
// Windows are in whole minutes of a clock; the workers' time zone is one in which
// such a minute ends just then.
func (e *env) setWindow() {
	if e.profile.windowShut == 0 {
		e.env = append(e.env, "COLLECT_WINDOW=always")
		return
	}
	opens := e.started.Add(e.profile.windowShut).Truncate(time.Second)
	e.shut = [2]time.Time{opens.Add(-time.Minute), opens}
	const noon = 12 * 60 * 60
	offset := int32(noon - opens.Unix()%(24*60*60))
	// RFC 8536: a file of version 1 with one local time type and no transition.
	zone := append([]byte("TZif"), make([]byte, 16)...)
	for _, count := range []uint32{0, 0, 0, 0, 1, 4} {
		zone = binary.BigEndian.AppendUint32(zone, count)
	}
	zone = binary.BigEndian.AppendUint32(zone, uint32(offset))
	zone = append(zone, 0, 0, 'R', 'U', 'N', 0)
	if err := os.WriteFile(filepath.Join(e.dir, "Run"), zone, 0o600); err != nil {
		e.t.Fatal(err)
	}
	e.env = append(e.env, "ZONEINFO="+e.dir, "COLLECT_TIMEZONE=Run", "COLLECT_WINDOW=12:00-11:59")
}

// heal undoes whatever may be left of a fault.
func (e *env) heal() {
	e.setFaults(simulator.Faults{Latency: simulator.Duration(5 * time.Millisecond)})
	for _, k := range e.workers {
		if k.proxy != nil {
			k.proxy.refuseAll(false)
			k.proxy.unplug(false)
		}
		_ = k.now.cmd.Process.Signal(syscall.SIGCONT)
	}
	if err := e.store.heal(); err != nil {
		e.journal.fail("Redis does not come back: %v", err)
	}
	e.correctClock()
	e.retry("resume the queue", func(ctx context.Context) error { return e.rdb.Del(ctx, e.queueKey("paused")).Err() })
	e.enqueueAgain()
}

func (e *env) setFaults(f simulator.Faults) {
	if err := e.sim.SetFaults(f); err != nil {
		e.journal.fail("the simulator refuses faults: %v", err)
	}
}

// queueKey is one of asynq's keys of the merchant's queue.
func (e *env) queueKey(name string) string {
	return "asynq:{" + tasks.QueueName(e.sim.Merchant().MchID) + "}:" + name
}

// retry repeats what the harness itself wants of Redis, for as long as Redis may
// be under attack.
func (e *env) retry(what string, do func(context.Context) error) bool {
	var err error
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); <-time.After(100 * time.Millisecond) {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		err = do(ctx)
		cancel()
		if err == nil {
			return true
		}
	}
	e.journal.fail("%s: %v", what, err)
	return false
}

// open is how many orders have something left to do.
func (e *env) open() (int64, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	return e.rdb.ZCard(ctx, ledger.KeysOf(e.sim.Merchant().MchID).Due()).Result()
}

// awaitEnds waits until every order has ended. Where Redis's clock was put back it
// waits for longer than an order may take, and leaves it to the judge to find out
// why one took longer.
func (e *env) awaitEnds() {
	patience := e.profile.settle
	if !e.journal.lastBack(e.started, time.Now()).IsZero() {
		patience += longestLease
	}
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); <-time.After(100 * time.Millisecond) {
		if n, err := e.open(); err == nil && n == 0 {
			return
		}
	}
	e.describe()
}

// progress says every so often how far the run is.
func (e *env) progress(done <-chan struct{}) {
	every := max(5*time.Second, e.profile.attack/40)
	for {
		select {
		case <-done:
			return
		case <-time.After(every):
		}
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		stats, err := e.ledger.Stats(ctx)
		cancel()
		e.callsMu.Lock()
		calls := len(e.calls)
		e.callsMu.Unlock()
		line := fmt.Sprintf("after %s: %d calls", e.age(), calls)
		if err != nil {
			e.t.Logf("%s; Redis: %v", line, err)
			continue
		}
		for _, s := range tasks.States {
			line += fmt.Sprintf(", %d %s", stats.Orders[s], s)
		}
		e.t.Log(line)
	}
}

// stopWorkers ends all workers in order.
func (e *env) stopWorkers() {
	for _, k := range e.workers {
		_ = k.now.cmd.Process.Signal(syscall.SIGTERM)
	}
	for _, k := range e.workers {
		if !k.now.exitsWithin(45 * time.Second) {
			e.journal.fail("%s did not end within 45 s of SIGTERM", k.now.name)
			k.now.kill()
		} else if k.now.status != nil {
			e.journal.fail("%s ended with %v after SIGTERM", k.now.name, k.now.status)
		}
	}
}

// describe says what Redis knows of the queue, the holds and some orders that
// have not ended, while the workers still run.
func (e *env) describe() {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	mchid := e.sim.Merchant().MchID
	sizes, err := asynqx.Sizes(ctx, e.rdb, tasks.QueueName(mchid))
	holds, _ := e.ledger.Holds(ctx)
	e.t.Logf("queue: %v %v; holds: %+v; paused: %v", sizes, err, holds, e.rdb.Get(ctx, e.queueKey("paused")).Val())
	due, _ := e.rdb.ZRangeWithScores(ctx, ledger.KeysOf(mchid).Due(), 0, 4).Result()
	for _, z := range due {
		no := z.Member.(string)
		record := e.rdb.HGetAll(ctx, ledger.KeysOf(mchid).Order(no)).Val()
		line := fmt.Sprintf("%s: looked at in %.1fs; %v", no, z.Score/1000-float64(time.Now().UnixMilli())/1000, record)
		keys, _ := e.scan(ctx, e.queueKey("t:"+queue.TaskID(mchid, no, 0)[:len(mchid)+1+len(no)+1]+"*"))
		for _, k := range keys {
			f := e.rdb.HMGet(ctx, k, "state", "pending_since").Val()
			id := k[len(e.queueKey("t:")):]
			line += fmt.Sprintf("\n   task %s: %v, lease %v, retry %v, in pending %v", id, f,
				e.rdb.ZScore(ctx, e.queueKey("lease"), id).Val(), e.rdb.ZScore(ctx, e.queueKey("retry"), id).Val(),
				e.rdb.LPos(ctx, e.queueKey("pending"), id, redis.LPosArgs{}).Val())
		}
		e.t.Log(line)
	}
}
