package worker_test

import (
	"bytes"
	"context"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"payscore-collector/internal/config"
	"payscore-collector/internal/eventstream"
	"payscore-collector/internal/ledger"
	"payscore-collector/internal/redisconn"
	"payscore-collector/internal/simulator"
	"payscore-collector/internal/testkit/hooktest"
	"payscore-collector/internal/testkit/redistest"
	"payscore-collector/internal/testkit/workertest"
	"payscore-collector/internal/worker"
	"payscore-collector/tasks"
)

// The rights that the documentation gives a user suffice for everything: orders
// are enqueued, collected, notified, withdrawn, read back, and told to billing by
// webhook and by a reader of the stream. Redis has denied nothing.
func TestACLSuffices(t *testing.T) {
	t.Parallel()
	redistest.NeedReal(t)
	docs, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(docs), "ACL SETUSER payscore on >PASSWORD "+redisconn.ACL+"\n") {
		t.Errorf("docs/operations.md does not give the rights %q", redisconn.ACL)
	}

	billing := hooktest.New(t)
	r := workertest.New(t, func(c *config.Worker) {
		c.Webhook = config.Webhook{URL: config.NewSecret(billing.Server.URL), Host: billing.Server.URL, Secret: config.NewSecret(hooktest.Secret)}
		c.AdminAddr = "127.0.0.1:0"
		c.Retention = time.Hour
	})
	r.Listen()
	url := aclUser(t, r.Redis, append([]string{"resetchannels"}, strings.Fields(redisconn.ACL)...)...)
	o, err := redisconn.Parse(url)
	if err != nil {
		t.Fatal(err)
	}
	r.Cfg.Redis = o
	rdb := o.Open(redisconn.Pool{Size: eventstream.Connections, Name: "payscore-outcomes"})
	defer rdb.Close()
	r.Producer = tasks.NewProducer(rdb)
	do(t, r.Redis.Client, "ACL", "LOG", "RESET")

	var out bytes.Buffer
	if status := worker.Check(t.Context(), r.Cfg, nil, &out); status != config.ExitOK || strings.Contains(out.String(), "channel") {
		t.Errorf("worker check ends with %d:\n%s", status, out.String())
	}
	r.Work()
	r.Notify(simulator.Notifications{})
	ctx, cancel := context.WithCancel(t.Context())
	var reading sync.WaitGroup
	var mu sync.Mutex
	read := map[string]bool{} // types of events
	reading.Go(func() {
		reader := eventstream.NewReader(rdb, eventstream.Options{Group: "billing", Consumer: "c1"}, zerolog.Nop())
		if err := reader.Run(ctx, func(_ context.Context, events []ledger.Event) error {
			mu.Lock()
			defer mu.Unlock()
			for _, e := range events {
				read[string(e.Type)] = true
			}
			return nil
		}); err != nil {
			t.Error(err)
		}
	})
	r.Add(simulator.Order{OutOrderNo: "PAYS", Fate: "pays"}, simulator.Order{OutOrderNo: "DECLINES", Fate: "declines:1"},
		simulator.Order{OutOrderNo: "REVOKED", Fate: "revoked"}, simulator.Order{OutOrderNo: "NEVER", Fate: "never"})
	r.Enqueue("PAYS", "DECLINES", "REVOKED", "NEVER")
	r.Eventually("an attempt at the order that will be withdrawn", func() bool { return r.Get("NEVER").CollectCalls > 0 })
	never := r.Order("NEVER")
	if res, err := r.Producer.Withdraw(t.Context(), tasks.Withdrawal{MchID: never.MchID, OutOrderNo: never.OutOrderNo, Reason: "paid at the counter"}); err != nil || res.Err != nil {
		t.Fatal(res, err)
	}
	r.AllEnded()
	r.Eventually("billing to be notified of four final states", func() bool { return len(billing.Taken()) >= 4 })
	r.Eventually("the reader to have the events", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return read["order.opened"] && read["order.paid"] && read["order.withdrawn"] && read["order.closed"]
	})
	cancel()
	reading.Wait()
	l := ledger.New(rdb, r.Sim.Merchant().MchID)
	if _, err := l.Get(t.Context(), "PAYS"); err != nil {
		t.Error(err)
	}
	if _, err := l.Stats(t.Context()); err != nil {
		t.Error(err)
	}
	if ids, err := ledger.Merchants(t.Context(), rdb); err != nil || len(ids) != 1 {
		t.Error(ids, err)
	}
	if log, err := r.Redis.Client.Do(t.Context(), "ACL", "LOG").Slice(); err != nil || len(log) != 0 {
		t.Errorf("Redis has denied: %v, %v", log, err)
	}
	if strings.Contains(r.Logs.String(), "NOPERM") || strings.Contains(r.Logs.String(), "redis_") {
		t.Errorf("the log speaks of refusals:\n%s", r.Logs.String())
	}
}
