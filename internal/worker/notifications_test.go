package worker_test

import (
	"bytes"
	"context"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"payscore-collector/internal/config"
	"payscore-collector/internal/ledger"
	"payscore-collector/internal/redisconn"
	"payscore-collector/internal/simulator"
	"payscore-collector/internal/testkit/workertest"
	"payscore-collector/internal/worker"
	"payscore-collector/tasks"
)

// soonAgain makes the platform send again at once what a busy machine answers too late.
var soonAgain = slices.Repeat([]simulator.Duration{simulator.Duration(200 * time.Millisecond)}, 20)

// callsAnOrder lets orders be paid that pay at once, and returns how many calls
// to WeChat Pay each took.
func callsAnOrder(t *testing.T, notifications bool) float64 {
	t.Helper()
	// The confirming query waits for ten seconds by default; here for three, and for six where
	// a busy machine must take the notification before it.
	confirm := 3 * time.Second
	if notifications {
		confirm = 6 * time.Second
	}
	r := workertest.New(t, func(c *config.Worker) { c.ConfirmSchedule = []time.Duration{confirm, time.Second} })
	if notifications {
		r.Listen()
	}
	r.Work()
	if notifications {
		r.Notify(simulator.Notifications{Retry: soonAgain})
	}
	nos := workertest.Numbers("ATONCE", 20)
	for _, no := range nos {
		r.Add(simulator.Order{OutOrderNo: no, Fate: "pays"})
	}
	r.Enqueue(nos...)
	r.AllEnded()
	// The queue carries a task to the confirming query's due time all the same:
	// it must find the end.
	r.Eventually("the confirming queries' due times to pass", func() bool { return r.Queued() == 0 })
	r.Audit()
	for _, no := range nos {
		if o := r.Get(no); o.State != tasks.Paid || o.CollectCalls != 1 || notifications && o.QueryCalls != 0 {
			t.Errorf("%s: %s after %d collects and %d queries", no, o.State, o.CollectCalls, o.QueryCalls)
		}
	}
	return float64(r.Sim.Report().Calls) / float64(len(nos))
}

// With notifications on, an order that pays at once costs one WeChat Pay call:
// the confirming query is overtaken.
func TestAnOrderThatPaysAtOnceCostsOneCall(t *testing.T) {
	t.Parallel()
	with, without := callsAnOrder(t, true), callsAnOrder(t, false)
	t.Logf("calls an order: %v with notifications, %v without", with, without)
	if with != 1 || without != 2 {
		t.Errorf("calls an order: %v with notifications, want 1; %v without, want 2", with, without)
	}
}

// An order in flight copes when its end arrives from the other side.
func TestAnOrderInFlightWhenItsEndArrives(t *testing.T) {
	t.Parallel()
	r := workertest.New(t, func(c *config.Worker) { c.CallTimeout = 30 * time.Second })
	r.Listen()
	r.Work()
	r.Notify(simulator.Notifications{Retry: soonAgain})
	// The money moves, and is notified, three seconds before the collect is answered.
	if err := r.Sim.SetFaults(simulator.Faults{Latency: simulator.Duration(3 * time.Second)}); err != nil {
		t.Fatal(err)
	}
	r.Add(simulator.Order{OutOrderNo: "FLIGHT", Fate: "pays"})
	r.Enqueue("FLIGHT")
	r.Eventually("the notification to end it", func() bool { return r.Get("FLIGHT").State == tasks.Paid })
	r.Eventually("its own settle to find the end", func() bool {
		return r.Logs.HasEvent("order_paid_during_step")
	})
	r.Eventually("the queue to be empty", func() bool { return r.Queued() == 0 })
	r.Audit()
	o := r.Get("FLIGHT")
	if o.CollectCalls != 1 || o.QueryCalls != 0 || len(o.Log) != 2 {
		t.Errorf("%+v", o)
	}
	if calls := r.Sim.Report().Calls; calls != 1 {
		t.Errorf("%d calls", calls)
	}
	if r.Logs.HasEvent("order_ended_during_step") || len(r.Logs.Events("order_ended")) != 1 {
		t.Errorf("want one order_ended and no order_ended_during_step: %s", r.Logs)
	}
}

// Notifications that are lost, late, out of order, twice, between others, and
// tested with wrong signatures, to two workers: every order ends as the platform
// knows it, once.
func TestNotificationsOfEveryKind(t *testing.T) {
	t.Parallel()
	r := workertest.New(t, func(c *config.Worker) {
		c.GiveUpAfter = 10 * time.Second
		c.ConfirmSchedule = []time.Duration{300 * time.Millisecond, time.Second}
	})
	r.Listen()
	r.Work()
	r.Work()
	r.Notify(simulator.Notifications{
		Delay: simulator.Duration(20 * time.Millisecond), DelayJitter: simulator.Duration(400 * time.Millisecond),
		Lose: 0.1, Duplicate: 0.3, Late: 0.2, LateBy: simulator.Duration(1500 * time.Millisecond), SignTest: 0.3, OtherEvents: 0.3,
		Retry: []simulator.Duration{simulator.Duration(100 * time.Millisecond)},
	})
	nos := workertest.Numbers("EVERY", 60)
	fates := []simulator.Fate{"pays", "declines:1", "user_pays:1s", "partial:10", "userpaying:500ms", "revoked"}
	for i, no := range nos {
		r.Add(simulator.Order{OutOrderNo: no, TotalAmount: 1000, Fate: fates[i%len(fates)]})
	}
	r.Enqueue(nos...)
	r.AllEnded()
	r.Eventually("the platform to have told everything", func() bool { return r.Sim.Report().Notifications.Pending == 0 })
	r.Eventually("the queue to be empty", func() bool { return r.Queued() == 0 })
	r.Audit()

	ends, seqs := map[string]int{}, map[string]int64{}
	for _, m := range r.Redis.Client.XRange(t.Context(), ledger.KeysOf(r.Sim.Merchant().MchID).Outcomes(), "-", "+").Val() {
		e, err := ledger.DecodeEvent(r.Sim.Merchant().MchID, m.ID, m.Values)
		if err != nil {
			t.Fatal(err)
		}
		if e.End() {
			ends[e.OutOrderNo]++
		}
		if seqs[e.OutOrderNo]++; e.Seq != seqs[e.OutOrderNo] {
			t.Errorf("%s: event %d has seq %d", e.OutOrderNo, seqs[e.OutOrderNo], e.Seq)
		}
	}
	byNotification := 0
	for _, no := range nos {
		if ends[no] != 1 {
			t.Errorf("%s ended %d times", no, ends[no])
		}
		for _, entry := range r.Get(no).Log {
			if entry.Call == "notification" {
				byNotification++
			}
		}
	}
	if byNotification < 10 {
		t.Errorf("%d notifications changed something; the test is not what it says", byNotification)
	}
	log, m := r.Logs.String(), r.Sim.Merchant()
	for what, secret := range map[string]string{
		"an openid": "openid", "the user's openid": "oUpF8uMuAJO", "the APIv3 key": m.APIv3Key, "plaintext": "collection\\",
		"SIGNTEST": "SIGNTEST", "an attach": "attach", "ciphertext": "ciphertext",
	} {
		if strings.Contains(log, secret) {
			t.Errorf("the log has %s", what)
		}
	}
	if n := strings.Count(log, "AMOUNTS DIFFER") + strings.Count(log, "PAID AFTER ITS END"); n != 0 {
		t.Errorf("%d false alarms", n)
	}
}

// PUBLIC_ADDR is served from before Redis is up until the worker stops.
func TestNotificationsFromStartToStop(t *testing.T) {
	t.Parallel()
	r := workertest.New(t)
	r.Listen()
	r.Add(simulator.Order{OutOrderNo: "LIFE", Fate: "never", TotalAmount: 1250})
	r.Enqueue("LIFE")
	n, err := r.Sim.Notification("LIFE", simulator.NotificationOptions{Entity: func(e *simulator.Entity) {
		e.State, e.StateDescription = "DONE", ""
		e.Collection = &simulator.Collection{State: "USER_PAID", TotalAmount: 1250, PaidAmount: 1250}
	}})
	if err != nil {
		t.Fatal(err)
	}
	// Redis is behind a door that is shut at first: connections wait for it.
	target := r.Redis.Client.Options().Addr
	door, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer door.Close()
	if r.Cfg.Redis, err = redisconn.Parse("redis://" + door.Addr().String() + "/0"); err != nil {
		t.Fatal(err)
	}
	stop := r.Work()
	url := r.NotifyURLs()[0]
	if status := r.Post(n); status != 503 {
		t.Errorf("before Redis is up: %d", status)
	}
	go forward(door, target)
	r.Eventually("notifications to be taken", func() bool { return r.Post(n) == 200 })
	if o := r.Get("LIFE"); o.State != tasks.Paid {
		t.Errorf("%+v", o)
	}
	stop()
	if status := workertest.PostTo(url, n); status != 0 {
		t.Errorf("after the stop: %d", status)
	}
	if log := r.Logs.String(); strings.Contains(log, "notifications_failed") {
		t.Errorf("%s", log)
	}
}

// forward accepts connections and carries them on, until l is closed.
func forward(l net.Listener, target string) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			far, err := net.Dial("tcp", target)
			if err != nil {
				return
			}
			defer far.Close()
			go func() { _, _ = io.Copy(c, far) }()
			_, _ = io.Copy(far, c)
		}()
	}
}

func TestPublicAddrThatIsTaken(t *testing.T) {
	t.Parallel()
	r := workertest.New(t)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	r.Cfg.PublicAddr = taken.Addr().String()
	err = worker.Run(t.Context(), r.Cfg, zerolog.Nop())
	if err == nil || !strings.Contains(err.Error(), "PUBLIC_ADDR "+r.Cfg.PublicAddr) || worker.ExitCode(err) != 1 {
		t.Errorf("%v", err)
	}
}

// 192.0.2.1 belongs to no machine: it is for documentation (RFC 5737).
func TestAddrOfAnotherMachine(t *testing.T) {
	t.Parallel()
	for setting, set := range map[string]func(*config.Worker, string){
		"PUBLIC_ADDR": func(w *config.Worker, addr string) { w.PublicAddr = addr },
		"ADMIN_ADDR":  func(w *config.Worker, addr string) { w.AdminAddr, w.AdminAddrSet = addr, true },
	} {
		r := workertest.New(t)
		set(&r.Cfg, "192.0.2.1:8081")
		err := worker.Run(t.Context(), r.Cfg, zerolog.Nop())
		if err == nil || !strings.Contains(err.Error(), setting+" 192.0.2.1:8081") ||
			!strings.Contains(err.Error(), "the host is not an address of this machine") || strings.Contains(err.Error(), "another port") {
			t.Errorf("%v", err)
		}
	}
}

// Notifications that are under way when the worker stops are answered.
func TestStopAnswersNotificationsUnderWay(t *testing.T) {
	t.Parallel()
	r := workertest.New(t)
	r.Listen()
	stop := r.Work()
	url := r.NotifyURLs()[0]
	nos := workertest.Numbers("STOP", 40)
	var raws []simulator.RawNotification
	for _, no := range nos {
		r.Add(simulator.Order{OutOrderNo: no, Fate: "never"})
		n, err := r.Sim.Notification(no, simulator.NotificationOptions{})
		if err != nil {
			t.Fatal(err)
		}
		raws = append(raws, n)
	}
	r.Eventually("notifications to be taken", func() bool { return workertest.PostTo(url, raws[0]) == 200 })
	var all sync.WaitGroup
	var mu sync.Mutex
	answers := map[int]int{}
	for range 8 {
		all.Go(func() {
			for _, n := range raws {
				status := workertest.PostTo(url, n)
				mu.Lock()
				answers[status]++
				mu.Unlock()
			}
		})
	}
	r.Eventually("some to be under way", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return answers[200] > 20
	})
	stop()
	all.Wait()
	for status, n := range answers {
		switch {
		case status == 200, status == 0: // 0: it arrived after the listener had closed
		case status == 503 && r.Late() > 100*time.Millisecond && strings.Contains(r.Logs.String(), "not done within"): // on a busy machine
		default:
			t.Errorf("%d were answered %d", n, status)
		}
	}
}

func TestCheckSaysWhetherNotificationsCanBeDecrypted(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		key    string
		public string
		want   string
		exit   int
	}{
		"the merchant's key":     {"", "127.0.0.1:0", "ok       notifications", 0},
		"another key":            {strings.Repeat("k", 32), "127.0.0.1:0", "problem  notifications", 1},
		"PUBLIC_ADDR is not set": {strings.Repeat("k", 32), "", "", 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := workertest.New(t)
			r.Cfg.PublicAddr = tt.public
			if tt.key != "" {
				r.Cfg.Merchants[0].APIV3Key = config.NewSecret(tt.key)
			}
			var out bytes.Buffer
			status := worker.Check(context.Background(), r.Cfg, nil, &out)
			text := out.String()
			if tt.want != "" && !strings.Contains(text, tt.want+" "+r.Sim.Merchant().MchID+": ") || strings.Contains(text, "notifications ") != (tt.want != "") {
				t.Errorf("%s", text)
			}
			if r.Redis.Real && status != tt.exit {
				t.Errorf("exit status %d, want %d:\n%s", status, tt.exit, text)
			}
			if strings.Contains(text, strings.Repeat("k", 32)) {
				t.Errorf("the key is in: %s", text)
			}
		})
	}
}
