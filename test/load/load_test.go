// Package load has tests of what must hold when there is much to do: their
// thresholds are far from the usual figures, and tell working from not working.
package load

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"github.com/redis/go-redis/v9"
	"github.com/rs/zerolog"

	"payscore-collector/internal/collect"
	"payscore-collector/internal/config"
	"payscore-collector/internal/ledger"
	"payscore-collector/internal/queue"
	"payscore-collector/internal/redisconn"
	"payscore-collector/internal/simulator"
	"payscore-collector/internal/testkit"
	"payscore-collector/internal/testkit/redistest"
	"payscore-collector/internal/testkit/workertest"
	"payscore-collector/tasks"
)

func TestMain(m *testing.M) {
	redisconn.RedirectLog(zerolog.Nop()) // queues are lost here on purpose
	os.Exit(m.Run())
}

// Orders that come due at a steady pace are called about a sweep later, even
// while the calls of another merchant in the same worker hang. If the two shared
// their concurrency, each batch of the healthy merchant's orders would wait for
// the other's CALL_TIMEOUT. That is long here, so that the lateness of a busy machine is not
// mistaken for it.
func TestDueOrdersAreCalledInTimeBesideAHangingMerchant(t *testing.T) {
	const perSecond = 40
	seconds := testkit.Form(2, 4)
	neighbour, err := simulator.New(simulator.Options{MchID: "1900000110"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(neighbour.Close)
	if err := neighbour.SetFaults(simulator.Faults{Hang: 1}); err != nil {
		t.Fatal(err)
	}
	platform := httptest.NewServer(neighbour.Handler())
	t.Cleanup(platform.Close)
	r := workertest.New(t, func(c *config.Worker) {
		c.SweepEvery, c.CallTimeout = time.Second, 20*time.Second
		other := c.Merchants[0]
		m := neighbour.Merchant()
		other.MchID, other.SerialNo, other.PrivateKey = m.MchID, m.SerialNo, m.PrivateKey
		other.PublicKeyID, other.PublicKey, other.BaseURL = m.PublicKeyID, m.PublicKey, platform.URL
		c.Merchants = append(c.Merchants, other)
	})
	hanging := workertest.Numbers("HANGS", 200)
	var orders []tasks.Order
	for _, no := range hanging {
		if err := neighbour.AddOrders(simulator.Order{OutOrderNo: no}); err != nil {
			t.Fatal(err)
		}
		o := r.Order(no)
		o.MchID = neighbour.Merchant().MchID
		orders = append(orders, o)
	}
	first := time.Now().Add(2 * time.Second)
	due := map[string]time.Time{}
	for i, no := range workertest.Numbers("DUE", perSecond*seconds) {
		r.Add(simulator.Order{OutOrderNo: no})
		o := r.Order(no)
		o.At = first.Add(time.Duration(i) * time.Second / perSecond)
		due[no] = o.At
		orders = append(orders, o)
	}
	for o, res := range r.Producer.EnqueueAll(t.Context(), slices.Values(orders)) {
		if res.Status != tasks.Accepted {
			t.Fatalf("%s: %s %v", o.OutOrderNo, res.Status, res.Err)
		}
	}
	r.Work()
	r.AllEnded() // of the rig's own merchant
	if n := neighbour.Report().Calls; n < 32 {
		t.Errorf("%d calls of the other merchant: its concurrency of 32 was not used up", n)
	}
	var late []time.Duration
	for no, at := range due {
		late = append(late, r.Get(no).Log[0].At.Sub(at))
	}
	slices.Sort(late)
	p99, most := late[len(late)*99/100], min(r.Cfg.CallTimeout/2, r.Cfg.SweepEvery+time.Second+10*r.Late())
	t.Logf("99 %% of the orders were called within %s of their due time", p99)
	if p99 > most {
		t.Errorf("want within %s", most)
	}
	if err := neighbour.SetFaults(simulator.Faults{}); err != nil {
		t.Fatal(err)
	}
	platform.CloseClientConnections() // or the worker's end waits for the calls that hang
}

// Workers share a merchant's rate about equally, and none is left out.
func TestWorkersShareAMerchantsRate(t *testing.T) {
	const workers, rate = 4, 80
	calls := testkit.Form(160, 320)
	r := workertest.New(t, func(c *config.Worker) { c.Rate, c.Concurrency = rate, 8 })
	nos := workertest.Numbers("SHARE", 3*calls)
	for _, no := range nos {
		r.Add(simulator.Order{OutOrderNo: no, Fate: simulator.FateNever})
	}
	var admin []string
	for range workers {
		addr := testkit.FreeAddr(t)
		r.Cfg.AdminAddr = addr
		r.Work()
		testkit.Eventually(t, "a worker to answer on "+addr, func() bool {
			_, err := callsOf(addr)
			return err == nil
		}, r.Logs)
		admin = append(admin, addr)
	}
	r.Enqueue(nos...)
	testkit.Eventually(t, fmt.Sprintf("%d calls", calls), func() bool { return r.Sim.Report().Calls >= int64(calls) }, r.Logs)
	for _, addr := range admin {
		n, err := callsOf(addr)
		if want := float64(calls) / workers / 2; err != nil || n < want {
			t.Errorf("the worker on %s made %.0f of %d calls (%v), want %.0f at least", addr, n, calls, err, want)
		}
	}
	// On a busy machine calls that leave late meet those of the next second;
	// TestPromisePolite is exact about that.
	if most, late := r.Sim.Report().MostCallsInASecond, r.Late(); float64(most) > rate*(1.1+late.Seconds()) {
		t.Errorf("%d calls in a second, want %d at most (timers of this process were up to %s late)", most, rate*11/10, late)
	}
}

// callsOf reads from a worker's metrics how many calls it has made.
func callsOf(addr string) (sum float64, err error) {
	resp, err := http.Get("http://" + addr + "/metrics")
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, err
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(string(text)))
	if err != nil {
		return 0, err
	}
	for _, m := range families["payscore_calls_total"].GetMetric() {
		sum += m.GetCounter().GetValue()
	}
	return sum, nil
}

// A sweep, the counters, the metrics and a page of a listing cost as many Redis
// commands among many open orders as among few.
func TestWhatASweepCostsDoesNotGrowWithTheLedger(t *testing.T) {
	const due = 50
	cost := func(open int) map[string]int {
		rdb := redistest.StartReal(t).Client
		const mchid = "1900000109"
		led, producer := ledger.New(rdb, mchid), tasks.NewProducer(rdb)
		orders := make([]tasks.Order, due+open)
		for i := range orders {
			orders[i] = tasks.Order{Payload: tasks.Payload{MchID: mchid, OutOrderNo: fmt.Sprintf("OPEN-%06d", i), AppID: "wx", ServiceID: "s"}, At: time.Now().Add(time.Hour)}
		}
		for o, res := range producer.EnqueueAll(t.Context(), slices.Values(orders)) {
			if res.Status != tasks.Accepted {
				t.Fatalf("%s: %s %v", o.OutOrderNo, res.Status, res.Err)
			}
		}
		for _, o := range orders[:due] {
			// Due by the index, which is all that the sweep reads.
			if err := rdb.ZAdd(t.Context(), ledger.KeysOf(mchid).Due(), redis.Z{Score: 1, Member: o.OutOrderNo}).Err(); err != nil {
				t.Fatal(err)
			}
		}
		sweeper := collect.NewSweeper(collect.New(collect.Settings{
			Work: config.Work{Rate: 1000, SweepEvery: time.Second, Concurrency: 64, CallTimeout: time.Second},
		}, led, nil, producer, zerolog.Nop(), collect.NewMetrics(prometheus.NewRegistry())), rdb)
		if err := rdb.Do(t.Context(), "CONFIG", "RESETSTAT").Err(); err != nil {
			t.Fatal(err)
		}
		if err := sweeper.Sweep(t.Context()); err != nil {
			t.Fatal(err)
		}
		read(t, led)
		if n := rdb.LLen(t.Context(), queue.PendingKey(mchid)).Val(); n != due {
			t.Errorf("the sweep queued %d orders, want %d", n, due)
		}
		info, err := rdb.InfoMap(t.Context(), "commandstats").Result()
		if err != nil {
			t.Fatal(err)
		}
		commands := map[string]int{}
		for name, stat := range info["Commandstats"] {
			var n int
			if _, err := fmt.Sscanf(stat, "calls=%d", &n); err != nil {
				t.Fatalf("%s: %q: %v", name, stat, err)
			}
			commands[name] = n
		}
		return commands
	}
	const pushers = 8 // of a sweep, at the same time
	few, many := cost(100), cost(5000)
	for name, n := range many {
		// A script may be loaded once more, and asynq registers a queue once for each push
		// that has begun before the first one ended. What grows with the ledger has
		// thousands of calls.
		if n > few[name]+pushers {
			t.Errorf("%s: %d calls among 5,000 open orders, want the %d among 100", name, n, few[name])
		}
	}
}

// read does what a scrape and an operator's first page ask of the ledger.
func read(t *testing.T, led *ledger.Ledger) {
	t.Helper()
	ctx := context.Background()
	if _, err := led.Stats(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := led.Lag(ctx); err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, err := range led.Select(ctx, ledger.Filter{State: tasks.Queued}) {
		if err != nil {
			t.Fatal(err)
		}
		if n++; n == 100 {
			return
		}
	}
}

// After the whole queue was deleted, with most of the orders in it, they are collected
// in about the time that they take anyway. Without a look at what the queue has lost,
// they wait until the sweep gives their tasks up, and for the sweep after that. Both times
// are of this machine; what is added is one lease, after which an order of a worker that
// was killed would be called again.
func TestALostQueueIsNoLostTime(t *testing.T) {
	redistest.NeedReal(t)
	n := testkit.Form(600, 3000)
	const callTimeout, settling = 2 * time.Second, 5 * time.Second
	collected := func(lose bool) time.Duration {
		r := workertest.NewOn(t, redistest.StartReal(t), func(c *config.Worker) {
			c.Rate, c.Concurrency, c.CallTimeout = 500, 64, callTimeout
			c.SweepEvery, c.ConfirmSchedule = 15*time.Second, []time.Duration{time.Second}
		})
		nos := workertest.Numbers("LOST", n)
		for _, no := range nos {
			r.Add(simulator.Order{OutOrderNo: no, Fate: simulator.FatePays})
		}
		stop := r.Work()
		r.Eventually("the first sweep", func() bool {
			return r.Redis.Client.HExists(t.Context(), ledger.KeysOf(r.Sim.Merchant().MchID).Sweep(), "at").Val()
		})
		began := time.Now()
		r.Enqueue(nos...)
		if lose {
			r.Eventually("a third of the orders to be called", func() bool { return r.Sim.Report().Calls >= int64(n/3) })
			keys, err := r.Redis.Client.Keys(t.Context(), "asynq:*").Result()
			if err == nil {
				err = r.Redis.Client.Del(t.Context(), keys...).Err()
			}
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("%d of %d orders were called when the queue was deleted", r.Sim.Report().Calls, n)
		}
		r.AllEnded()
		took := time.Since(began)
		stop()
		r.Audit()
		return took
	}
	usual, lost := collected(false), collected(true)
	t.Logf("%d orders at 500 calls a second: %s undisturbed, %s with the queue deleted", n, usual.Round(10*time.Millisecond), lost.Round(10*time.Millisecond))
	if most := usual*12/10 + callTimeout + settling; lost > most {
		t.Errorf("it took %s with the queue deleted, want %s at most: 1.2 times the %s without, and a lease", lost, most, usual)
	}
}
