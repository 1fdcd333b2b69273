package worker_test

import (
	"context"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"payscore-collector/internal/config"
	"payscore-collector/internal/redisconn"
	"payscore-collector/internal/simulator"
	"payscore-collector/internal/testkit"
	"payscore-collector/internal/testkit/hooktest"
	"payscore-collector/internal/testkit/redistest"
	"payscore-collector/internal/testkit/workertest"
	"payscore-collector/internal/worker"
)

// What a worker leaves behind when it stops matters where the process continues, as the
// demo does. These tests do not run beside others, whose goroutines they would see.

// connections are those to Redis of workers.
func connections(t *testing.T, r *workertest.Rig) []string {
	t.Helper()
	if !r.Redis.Real { // the embedded one cannot list them
		return nil
	}
	list, err := r.Redis.Client.ClientList(t.Context()).Result()
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for line := range strings.Lines(list) {
		if strings.Contains(line, " name=payscore-worker") {
			found = append(found, line)
		}
	}
	return found
}

// noConnections fails the test if connections of stopped workers stay open. Redis may
// notice a little later that one was closed.
func noConnections(t *testing.T, r *workertest.Rig) {
	t.Helper()
	r.Eventually("the workers' connections to Redis to be closed", func() bool { return len(connections(t, r)) == 0 })
}

// A worker that is stopped in the middle of calls, notifications and webhooks
// leaves neither goroutines nor connections, however often it is started again.
// A connection over HTTP that is left open shows by its goroutines.
func TestStoppedWorkerLeavesNothingBehind(t *testing.T) {
	billing := hooktest.New(t)
	r := workertest.New(t, func(c *config.Worker) {
		c.AdminAddr = "127.0.0.1:0"
		c.Webhook = config.Webhook{
			URL: config.NewSecret(billing.Server.URL), Host: billing.Server.URL, Secret: config.NewSecret(hooktest.Secret),
		}
	})
	r.Listen()
	if err := r.Sim.SetFaults(simulator.Faults{Latency: simulator.Duration(100 * time.Millisecond), Error5xx: 0.1, Hang: 0.02}); err != nil {
		t.Fatal(err)
	}
	nos := workertest.Numbers("LEAK", 300)
	for i, no := range nos {
		r.Add(simulator.Order{OutOrderNo: no, Fate: []simulator.Fate{"pays", "declines:1", "never"}[i%3]})
	}
	before := goleak.IgnoreCurrent()
	for round := range testkit.Form(2, 3) {
		stop := r.Work()
		urls := r.NotifyURLs()
		if err := r.Sim.SetNotifications(simulator.Notifications{URL: urls[len(urls)-1]}); err != nil {
			t.Fatal(err)
		}
		calls, hooks, told := r.Sim.Report().Calls, len(billing.Got()), r.Sim.Report().Notifications.Deliveries
		r.Enqueue(nos[round*100 : (round+1)*100]...)
		r.Eventually("calls, notifications and webhooks", func() bool {
			now := r.Sim.Report()
			return now.Calls > calls+20 && now.Notifications.Deliveries > told && len(billing.Got()) > hooks
		})
		if r.Redis.Real && len(connections(t, r)) == 0 {
			t.Fatal("a worker at work is not among the clients of its Redis")
		}
		stop()
		noConnections(t, r)
	}
	r.Sim.Close() // no more notifications
	redistest.NoLeaks(t, before)
}

// Nor does one that could not start, or that was stopped while it waited for its
// Redis.
func TestWorkerThatDidNotStartLeavesNothingBehind(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for name, change := range map[string]func(*config.Worker){
		"its address for notifications is taken": func(c *config.Worker) { c.PublicAddr = taken.Addr().String() },
		"a merchant's settings are of no use":    func(c *config.Worker) { c.Merchants[1].BaseURL = "nowhere" },
		"the webhooks' secret is of no use": func(c *config.Worker) {
			c.Webhook = config.Webhook{URL: config.NewSecret("http://127.0.0.1:1"), Secret: config.NewSecret("whsec_!")}
		},
		"stopped while it waits for Redis": nil,
	} {
		t.Run(name, func(t *testing.T) {
			r := workertest.New(t, func(c *config.Worker) {
				c.AdminAddr = "127.0.0.1:0"
				second := c.Merchants[0]
				second.MchID = "1900000777"
				c.Merchants = append(c.Merchants, second)
			})
			before := goleak.IgnoreCurrent()
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			if change == nil {
				nowhere, err := redisconn.Parse("redis://127.0.0.1:1/0")
				if err != nil {
					t.Fatal(err)
				}
				r.Cfg.Redis = nowhere
				time.AfterFunc(300*time.Millisecond, cancel)
			} else {
				change(&r.Cfg)
			}
			err := worker.Run(ctx, r.Cfg, zerolog.New(io.Discard))
			if (err == nil) != (change == nil) {
				t.Fatalf("it ended with %v", err)
			}
			noConnections(t, r)
			redistest.NoLeaks(t, before)
		})
	}
}

// The scripts of a worker at work, its ledger's and asynq's, all go by the
// connections of its bundler. Those that are questions go in a pipeline of their own: the
// merchant's loop asks how the merchant stands, with one at a time.
func TestScriptsGoTogether(t *testing.T) {
	r := workertest.New(t)
	if !r.Redis.Real {
		t.Skip("the embedded Redis cannot list its clients")
	}
	nos := workertest.Numbers("TOGETHER", 50)
	for _, no := range nos {
		r.Add(simulator.Order{OutOrderNo: no, Fate: simulator.FatePays})
	}
	defer r.Work()()
	r.Enqueue(nos...)
	r.Eventually("calls", func() bool { return r.Sim.Report().Calls >= 50 })
	together, alone := 0, []string(nil)
	for _, line := range connections(t, r) {
		if !strings.Contains(line, " cmd=evalsha ") {
			continue
		}
		if strings.Contains(line, " name=payscore-worker-scripts ") {
			together++
		} else {
			alone = append(alone, line)
		}
	}
	if len(alone) > 2 {
		t.Errorf("scripts went alone:\n%s", strings.Join(alone, ""))
	}
	if together == 0 {
		t.Error("no connection for scripts was used")
	}
}
