package worker_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"go.uber.org/goleak"

	"payscore-collector/internal/config"
	"payscore-collector/internal/ledger"
	"payscore-collector/internal/queue"
	"payscore-collector/internal/redisconn"
	"payscore-collector/internal/simulator"
	"payscore-collector/internal/testkit"
	"payscore-collector/internal/testkit/hooktest"
	"payscore-collector/internal/testkit/redistest"
	"payscore-collector/internal/testkit/workertest"
	"payscore-collector/tasks"
)

// gauge returns the value of a metric without labels, or with exactly those given; -1
// where there is none.
func gauge(t *testing.T, r *workertest.Rig, name string) float64 {
	t.Helper()
	for line := range strings.Lines(admin(t, r, "/metrics")) {
		if value, ok := strings.CutPrefix(strings.TrimSpace(line), name+" "); ok {
			n, err := strconv.ParseFloat(value, 64)
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
	}
	return -1
}

// allAsleep waits until the rig's merchant does not work.
func allAsleep(t *testing.T, r *workertest.Rig) {
	t.Helper()
	r.Eventually("the merchant to sleep", func() bool {
		// Read in this order: one that is woken in between counts as awake.
		asleep := len(r.Logs.Events("merchant_asleep"))
		return asleep == len(r.Logs.Events("merchant_awake"))
	})
}

// A merchant sleeps when it has nothing to do, and a producer's message wakes it: long
// before the next look.
func TestSleep_ProducerWakes(t *testing.T) {
	t.Parallel()
	r := workertest.New(t, onAdminAddr(t), func(c *config.Worker) { c.SweepEvery = time.Second })
	r.Work()
	byMessage := func() float64 { return gauge(t, r, `payscore_wakeups_total{by="message"}`) }
	r.Eventually("the worker to have looked", func() bool { return byMessage() == 0 })
	// The look that ends its falling asleep may find an order before its message arrives.
	const tries = 5
	for i, no := range workertest.Numbers("WAKE", tries) {
		allAsleep(t, r)
		r.Eventually("its asynq servers to stop", func() bool { return r.Redis.Client.ZCard(t.Context(), "asynq:servers").Val() == 0 })
		r.Add(simulator.Order{OutOrderNo: no, Fate: "pays"})
		before := time.Now()
		if res, err := r.Producer.Enqueue(t.Context(), r.Order(no)); err != nil || res.Status != tasks.Accepted {
			t.Fatal(res, err)
		}
		r.Eventually("the call", func() bool { return r.Get(no).CollectCalls > 0 })
		t.Logf("called after %v", time.Since(before).Round(time.Millisecond))
		<-time.After(1100 * time.Millisecond) // scrapes are shared within a second
		if byMessage() > 0 {
			break
		}
		if i == tries-1 {
			t.Errorf("no message has woken the merchant in %d tries", tries)
		}
	}
	r.AllEnded()
	r.Audit()
}

// A wake-up that was lost costs one look: an order of a producer that publishes nothing,
// and a task that another asynq client has enqueued.
func TestSleep_LostWakeUpCostsOneLook(t *testing.T) {
	t.Parallel()
	r := workertest.New(t, onAdminAddr(t))
	mchid := r.Sim.Merchant().MchID
	r.Add(simulator.Order{OutOrderNo: "LOST", Fate: "pays"}, simulator.Order{OutOrderNo: "FOREIGN", Fate: "pays"}, simulator.Order{OutOrderNo: "DUE", Fate: "pays"})
	r.Work()
	push := queue.New(r.Redis.Client)
	enqueuers := map[string]func(no string){
		"LOST": func(no string) { // as an earlier release's producer: into ledger and queue
			o := r.Order(no)
			opened, err := r.Ledger.Open(t.Context(), ledger.Opening{Owner: o.Owner(), OutOrderNo: no, Grace: tasks.EnqueueGrace})
			if err != nil {
				t.Fatal(err)
			}
			if err := push.Push(t.Context(), queue.Task{Type: queue.TypeCollect, MchID: mchid, OutOrderNo: no, Round: opened.Round, Payload: o.Payload}); err != nil {
				t.Fatal(err)
			}
		},
		"FOREIGN": func(no string) {
			body := fmt.Sprintf(`{"mchid":%q,"out_order_no":%q,"appid":%q,"service_id":%q}`, mchid, no, r.Order(no).AppID, r.Order(no).ServiceID)
			if _, err := asynq.NewClientFromRedisClient(r.Redis.Client).Enqueue(asynq.NewTask(tasks.TypeCollect, []byte(body)), asynq.Queue(queue.Name(mchid))); err != nil {
				t.Fatal(err)
			}
		},
		"DUE": func(no string) { // into the ledger only
			o := r.Order(no)
			if _, err := r.Ledger.Open(t.Context(), ledger.Opening{Owner: o.Owner(), OutOrderNo: no}); err != nil {
				t.Fatal(err)
			}
		},
	}
	for no, enqueue := range enqueuers {
		allAsleep(t, r)
		enqueue(no)
		r.Eventually(no+" to be paid", func() bool {
			o, err := r.Ledger.Get(t.Context(), no)
			return err == nil && o.State == tasks.Paid
		})
	}
	r.Eventually("a metric to say that looks have woken it", func() bool {
		return gauge(t, r, `payscore_wakeups_total{by="look"}`) >= 3 && gauge(t, r, `payscore_wakeups_total{by="message"}`) == 0
	})
	r.Audit()
}

// What arrives in the moments in which a merchant falls asleep is not left behind, with a
// message or without one.
func TestSleep_TasksDuringFallingAsleep(t *testing.T) {
	t.Parallel()
	r := workertest.New(t, func(c *config.Worker) {
		c.SweepEvery = 150 * time.Millisecond // it falls asleep after 600 ms, in the next look
		c.CallTimeout = 30 * time.Second      // a call that a busy machine gives up is made again
		c.CollectSchedule = []time.Duration{time.Hour}
	})
	nos := workertest.Numbers("DOZE", testkit.Form(12, 50))
	for _, no := range nos {
		r.Add(simulator.Order{OutOrderNo: no, Fate: "never"})
	}
	r.Work()
	for i, no := range nos {
		if _, err := r.Producer.Enqueue(t.Context(), r.Order(no)); err != nil {
			t.Fatal(err)
		}
		r.Eventually("the call for "+no, func() bool { return r.Get(no).Attempts == 1 })
		<-time.After(560*time.Millisecond + time.Duration(i*20%240)*time.Millisecond)
	}
	for _, no := range nos {
		if n := r.Report(no).CollectCalls; n != 1 {
			t.Errorf("%s: %d collect calls, want 1", no, n)
		}
	}
	if len(r.Logs.Events("merchant_asleep")) == 0 {
		t.Error("the merchant has never slept")
	}
}

// The end of an order of a sleeping merchant is delivered to billing, and so is what a
// notification brings.
func TestSleep_WithdrawalAndNotificationReachBilling(t *testing.T) {
	t.Parallel()
	billing := hooktest.New(t)
	r := workertest.New(t, onAdminAddr(t), func(c *config.Worker) {
		c.Webhook = config.Webhook{URL: config.NewSecret(billing.Server.URL), Host: billing.Server.URL, Secret: config.NewSecret(hooktest.Secret)}
		c.SweepEvery, c.CollectSchedule, c.ConfirmSchedule = time.Second, []time.Duration{time.Hour}, []time.Duration{time.Hour}
	})
	r.Listen()
	r.Add(simulator.Order{OutOrderNo: "WAIVED", Fate: "never"}, simulator.Order{OutOrderNo: "LATER", Fate: "never", TotalAmount: 100})
	r.Work()
	r.Notify(simulator.Notifications{})
	r.Enqueue("WAIVED", "LATER")
	r.Eventually("an attempt at each", func() bool { return r.Get("WAIVED").CollectCalls > 0 && r.Get("LATER").CollectCalls > 0 })
	allAsleep(t, r)
	r.Withdraw("WAIVED", time.Time{})
	r.Eventually("billing to know of the withdrawal", func() bool { return len(billing.Taken()) == 1 })
	allAsleep(t, r)
	if err := r.Sim.Pay("LATER", 100, "NEWTON"); err != nil {
		t.Fatal(err)
	}
	r.Eventually("billing to know of the payment", func() bool { return len(billing.Taken()) == 2 })
}

// A sleeping merchant is served: other commands see its worker, and its numbers are among
// the metrics. A stopped worker is seen to be gone at once.
func TestSleep_IsSeenAsServed(t *testing.T) {
	t.Parallel()
	r := workertest.New(t, onAdminAddr(t))
	stop := r.Work()
	mchid := r.Sim.Merchant().MchID
	alive := func() int {
		workers, now, err := r.Ledger.Workers(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for _, w := range workers {
			if w.Alive(now) && w.Settings.Rate == r.Cfg.Rate && w.Settings.BooksAt == r.Cfg.BooksAt.String() {
				n++
			}
		}
		return n
	}
	r.Add(simulator.Order{OutOrderNo: "PAYS", Fate: "pays", TotalAmount: 100})
	r.Enqueue("PAYS")
	r.AllEnded()
	allAsleep(t, r)
	r.Eventually("a report that lasts for minutes", func() bool {
		workers, _, err := r.Ledger.Workers(t.Context())
		return err == nil && len(workers) == 1 && workers[0].Every >= time.Minute
	})
	if n := alive(); n != 1 {
		t.Errorf("%d workers, want 1", n)
	}
	text := admin(t, r, "/metrics")
	for _, want := range []string{
		`payscore_orders{mchid="` + mchid + `",state="paid"} 1`, `payscore_rate_limit{mchid="` + mchid + `"} 500`,
		`payscore_asynq_tasks{mchid="` + mchid + `",state="pending"} 0`, `payscore_window_open{mchid="` + mchid + `"} 1`,
	} {
		if !strings.Contains(text, want+"\n") {
			t.Errorf("the metrics lack %s", want)
		}
	}
	stop()
	if n := alive(); n != 0 {
		t.Errorf("%d workers after the only one has stopped", n)
	}
}

// All merchants are known as soon as the worker is ready, although their housekeeping is
// spread: an operator may pause each of them.
func TestSleep_IsKnownAtOnce(t *testing.T) {
	t.Parallel()
	r := workertest.New(t, onAdminAddr(t))
	many(t, r, 20)
	r.Work()
	r.Eventually("readiness", func() bool { return strings.HasPrefix(admin(t, r, "/readyz"), "200 ") })
	if known, err := ledger.Merchants(t.Context(), r.Redis.Client); err != nil || len(known) != 21 {
		t.Errorf("%d merchants of 21 are known, %v", len(known), err)
	}
}

// many adds n merchants with the keys of the rig's to its worker; their calls go to a
// platform of their own, which sees an order's first call.
func many(t *testing.T, r *workertest.Rig, n int) (mchids []string, called func(no string) bool) {
	var mu sync.Mutex
	seen := map[string]bool{}
	platform := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		mu.Lock()
		for part := range strings.SplitSeq(req.URL.Path, "/") {
			seen[part] = true
		}
		mu.Unlock()
		w.WriteHeader(http.StatusServiceUnavailable)
	}))
	t.Cleanup(platform.Close)
	first := r.Cfg.Merchants[0]
	for i := range n {
		m := first
		m.MchID, m.BaseURL = strconv.Itoa(1900200000+i), platform.URL
		r.Cfg.Merchants = append(r.Cfg.Merchants, m)
		mchids = append(mchids, m.MchID)
	}
	return mchids, func(no string) bool {
		mu.Lock()
		defer mu.Unlock()
		return seen[no]
	}
}

// Merchants without work cost little: by the looks, the reports and the housekeeping, two
// hundred commands a second for a thousand of them, and some connections. One of them
// works as soon as it has something to do. (tools/bench measures a thousand.)
func TestSleep_ManyMerchantsCostLittle(t *testing.T) {
	redistest.NeedReal(t)
	const each = 0.2 // commands a second
	n := testkit.Form(200, 500)
	r := workertest.New(t, onAdminAddr(t), func(c *config.Worker) {
		c.SweepEvery, c.Rate = 15*time.Second, 50
	})
	mchids, called := many(t, r, n)
	before := goleak.IgnoreCurrent()
	stop := r.Work()
	r.Eventually("the housekeeping after the start", func() bool {
		// Each merchant's situation is read, the last one's at the end.
		return strings.Contains(admin(t, r, "/metrics"), `payscore_window_open{mchid="`+mchids[n-1]+`"} 1`)
	})
	if awake := gauge(t, r, "payscore_merchants_awake"); awake != 0 {
		t.Fatalf("%v merchants are awake", awake)
	}
	info := func(section, title, field string) float64 {
		t.Helper()
		got, err := r.Redis.Client.InfoMap(t.Context(), section).Result()
		if err != nil {
			t.Fatal(err)
		}
		value, err := strconv.ParseFloat(got[title][field], 64)
		if err != nil {
			t.Fatal(err)
		}
		return value
	}
	if got := len(connections(t, r)); got > 100 {
		t.Errorf("%d connections, want at most 100", got)
	}
	// The rig's own pings are some 200 a second: they are counted apart.
	pings := func() float64 {
		got, err := r.Redis.Client.InfoMap(t.Context(), "commandstats").Result()
		if err != nil {
			t.Fatal(err)
		}
		var calls float64
		_, _ = fmt.Sscanf(got["Commandstats"]["cmdstat_ping"], "calls=%f", &calls)
		return calls
	}
	from := time.Now()
	commands, pinged := info("stats", "Stats", "total_commands_processed"), pings()
	<-time.After(20 * time.Second) // a measure, not a wait
	took := time.Since(from)
	spent := info("stats", "Stats", "total_commands_processed") - commands - (pings() - pinged)
	// At most one look more than the time has, and the reports of all at once.
	most := float64(n) * (each*took.Seconds() + 2 + 3)
	t.Logf("%d merchants: %.0f commands in %v", n, spent, took.Round(time.Second))
	if spent > most {
		t.Errorf("%.0f commands in %v, want at most %.0f", spent, took, most)
	}

	woken := func(by string) float64 { return gauge(t, r, `payscore_wakeups_total{by="`+by+`"}`) }
	// A look, every 15 s, may find an order before its message arrives.
	const tries = 5
	for i, no := range workertest.Numbers("WAKES", tries) {
		o := r.Order(no)
		o.MchID = mchids[n/2+i]
		if res, err := r.Producer.Enqueue(t.Context(), o); err != nil || res.Status != tasks.Accepted {
			t.Fatal(res, err)
		}
		r.Eventually("its call", func() bool { return called(no) })
		r.Eventually("the wake-up to be counted", func() bool { return woken("message")+woken("look") >= float64(i+1) })
		if awake := gauge(t, r, "payscore_merchants_awake"); awake > float64(i+1) {
			t.Errorf("%v merchants are awake", awake)
		}
		if woken("message") > 0 {
			break
		}
		if i == tries-1 {
			t.Errorf("no message has woken a merchant in %d tries", tries)
		}
	}
	stop()
	noConnections(t, r)
	redistest.NoLeaks(t, before)
}

// A worker that may not hear wake-ups keeps its merchants awake, and enqueueing succeeds for
// a user who may not publish them.
func TestSleep_RefusedChannels(t *testing.T) {
	t.Parallel()
	redistest.NeedReal(t)
	r := workertest.New(t, onAdminAddr(t))
	url := aclUser(t, r.Redis, append([]string{"resetchannels"}, strings.Fields(strings.ReplaceAll(redisconn.ACL, "&asynq:*", ""))...)...)
	o, err := redisconn.Parse(url)
	if err != nil {
		t.Fatal(err)
	}
	r.Cfg.Redis = o
	rdb := o.Open(redisconn.Pool{Size: 2, Name: "deaf"})
	defer rdb.Close()
	r.Producer = tasks.NewProducer(rdb)
	r.Add(simulator.Order{OutOrderNo: "PAYS", Fate: "pays"})
	r.Work()
	r.Eventually("the merchant to be awake", func() bool { return gauge(t, r, "payscore_merchants_awake") == 1 })
	if res, err := r.Producer.Enqueue(t.Context(), r.Order("PAYS")); err != nil || res.Status != tasks.Accepted {
		t.Fatal(res, err)
	}
	r.AllEnded()
	<-time.After(6 * r.Cfg.SweepEvery) // longer than it would take to fall asleep
	if n := gauge(t, r, "payscore_merchants_awake"); n != 1 || len(r.Logs.Events("merchant_asleep")) > 0 {
		t.Errorf("the merchant sleeps, and cannot be woken: %v awake, %v", n, r.Logs.Events("merchant_asleep"))
	}
	if n := len(r.Logs.Events("wakeups_refused")); n != 1 {
		t.Errorf("the log says it %d times", n)
	}
	r.Audit()
}

// Wake-ups are heard again after the connection has broken, and what was published
// meanwhile is found by the look that follows.
func TestSleep_SubscriptionBreaks(t *testing.T) {
	t.Parallel()
	redistest.NeedReal(t)
	r := workertest.New(t, onAdminAddr(t), func(c *config.Worker) { c.SweepEvery = 2 * time.Minute }) // no look but those after a subscription comes in time
	r.Add(simulator.Order{OutOrderNo: "AFTER", Fate: "pays"})
	r.Work()
	subscribed := func() bool {
		n, err := r.Redis.Client.PubSubNumSub(context.Background(), queue.WakeChannel).Result()
		return err == nil && n[queue.WakeChannel] == 1
	}
	r.Eventually("the subscription", subscribed)
	allAsleep(t, r)
	do(t, r.Redis.Client, "CLIENT", "KILL", "TYPE", "pubsub")
	r.Eventually("the subscription again", subscribed)
	if _, err := r.Producer.Enqueue(t.Context(), r.Order("AFTER")); err != nil {
		t.Fatal(err)
	}
	r.Eventually("the call", func() bool { return r.Get("AFTER").CollectCalls > 0 })
}
