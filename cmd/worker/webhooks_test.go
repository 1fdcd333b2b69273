package main

import (
	"context"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"payscore-collector/internal/config"
	"payscore-collector/internal/ledger"
	"payscore-collector/internal/simulator"
	"payscore-collector/internal/testkit"
	"payscore-collector/internal/testkit/hooktest"
	"payscore-collector/internal/testkit/workertest"
	"payscore-collector/tasks"
)

// Workers that are killed in their deliveries lose no end and change no order's
// ends in their order. What was under way may come twice, by the same webhook-id. It waits
// for asynq's leases, 30 s. The short form is TestKilledWorkers of package webhook.
func TestWebhooksSurviveKilledWorkers(t *testing.T) {
	testkit.NeedLong(t)
	t.Parallel()
	billing := hooktest.New(t)
	billing.Answer = func(http.ResponseWriter, *http.Request, ledger.Event) { <-time.After(50 * time.Millisecond) }
	r := workertest.New(t, func(c *config.Worker) { c.Rate = 200 })
	r.WorkersDie = true
	env := []string{"BILLING_WEBHOOK_URL=" + billing.Server.URL + "/hooks", "BILLING_WEBHOOK_SECRET=" + hooktest.Secret}
	nos := workertest.Numbers("HOOK", 120)
	for i, no := range nos {
		r.Add(simulator.Order{OutOrderNo: no, TotalAmount: 1000, Fate: []simulator.Fate{"pays", "revoked"}[i%2]})
	}
	r.Enqueue(nos...)
	// Two ends of each: withdrawn, and what the platform says after a reopening.
	mchid := r.Sim.Merchant().MchID
	for _, no := range nos {
		if res, err := r.Producer.Withdraw(t.Context(), tasks.Withdrawal{MchID: mchid, OutOrderNo: no, Reason: "by mistake"}); err != nil || res.Status != tasks.Accepted {
			t.Fatalf("%+v %v", res, err)
		}
		again := r.Order(no)
		again.Reopen = true
		if res, err := r.Producer.Enqueue(t.Context(), again); err != nil || res.Status != tasks.Accepted {
			t.Fatalf("%+v %v", res, err)
		}
	}
	for range 4 {
		p := start(t, r, nil, env...)
		got := len(billing.Got())
		r.Eventually("the worker to be in its deliveries", func() bool { return len(billing.Got()) > got+10 })
		p.Kill()
	}
	start(t, r, nil, env...)
	start(t, r, nil, env...)
	r.AllEnded()
	r.Until(90*time.Second, "billing to be notified", func() bool {
		n, _, err := r.Ledger.HooksWaiting(context.Background())
		return err == nil && n == 0 && told(billing.Taken()) == 2*len(nos)
	})
	entries, err := r.Redis.Client.XRange(t.Context(), ledger.KeysOf(mchid).Outcomes(), "-", "+").Result()
	if err != nil {
		t.Fatal(err)
	}
	want := map[string][]string{}
	for _, entry := range entries {
		e, err := ledger.DecodeEvent(mchid, entry.ID, entry.Values)
		if err != nil {
			t.Fatal(err)
		}
		if e.End() {
			want[e.OutOrderNo] = append(want[e.OutOrderNo], e.ID)
		}
	}
	once := map[string][]string{}
	for _, e := range billing.Got() {
		if !slices.Contains(once[e.OutOrderNo], e.ID) {
			once[e.OutOrderNo] = append(once[e.OutOrderNo], e.ID)
		}
	}
	if diff := cmp.Diff(want, once); diff != "" {
		t.Errorf("the stream and the webhooks that billing received differ (-stream +webhooks):\n%s", diff)
	}
	t.Logf("%d ends, told %d times", 2*len(nos), len(billing.Got()))
}

// told counts the events, each once.
func told(events []ledger.Event) int {
	ids := map[string]bool{}
	for _, e := range events {
		ids[e.ID] = true
	}
	return len(ids)
}
