package worker_test

import (
	"context"
	"net/http"
	"slices"
	"strings"
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

// ends returns the events of the stream that are final states.
func ends(r *workertest.Rig) []ledger.Event {
	return slices.DeleteFunc(r.Events(), func(e ledger.Event) bool { return !e.End() })
}

func byOrder(events []ledger.Event) map[string][]ledger.Event {
	m := map[string][]ledger.Event{}
	for _, e := range events {
		m[e.OutOrderNo] = append(m[e.OutOrderNo], e)
	}
	return m
}

// Billing gets every final state of every kind once, and those of one order in their
// order: what it got and the stream of outcomes are the same.
func TestWebhooksDeliverEveryFinalState(t *testing.T) {
	t.Parallel()
	billing := hooktest.New(t)
	billing.Answer = func(w http.ResponseWriter, _ *http.Request, e ledger.Event) {
		// Some deliveries must be retried.
		if e.Seq%2 == 0 && len(billing.Got())%5 == 0 {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}
	addr := testkit.FreeAddr(t)
	r := workertest.New(t, func(c *config.Worker) {
		c.GiveUpAfter = 3 * time.Second
		c.AdminAddr = addr // the second worker finds it taken, and goes without
		c.Webhook = config.Webhook{
			URL:  config.NewSecret(billing.Server.URL + "/hooks?token=xyzzy"),
			Host: billing.Server.URL, Secret: config.NewSecret(hooktest.Secret),
		}
	})
	fates := []simulator.Fate{"pays", "declines:1", "userpaying:500ms", "revoked", "expired", "not_completed", "never", "nothing_owed", "unknown"}
	for i, no := range workertest.Numbers("HOOK", 60) {
		o := simulator.Order{OutOrderNo: no, TotalAmount: 1000, Fate: fates[i%len(fates)]}
		if o.Fate == simulator.FateNothingOwed {
			o.TotalAmount = 0
		}
		r.Add(o)
		r.Enqueue(no)
	}
	r.Add(simulator.Order{OutOrderNo: "TWICE", TotalAmount: 1000, Fate: "never"}, simulator.Order{OutOrderNo: "WITHDRAWN", TotalAmount: 1000, Fate: "never"})
	r.Enqueue("TWICE", "WITHDRAWN")
	if res := r.Withdraw("WITHDRAWN", time.Time{}); res.Status != tasks.Accepted {
		t.Fatalf("withdrawn: %+v, want %s", res, tasks.Accepted)
	}
	r.Work()
	r.Work()
	r.AllEnded()
	// The user pays TWICE after it was given up; now billing has it queried.
	if err := r.Sim.Pay("TWICE", 1000, "NEWTON"); err != nil {
		t.Fatal(err)
	}
	r.Reopen("TWICE")
	r.AllEnded()
	r.Eventually("billing to be notified", func() bool {
		n, _, err := r.Ledger.HooksWaiting(context.Background())
		return err == nil && n == 0 && len(billing.Taken()) >= len(ends(r))
	})

	want, taken := ends(r), billing.Taken()
	// JSON has the seq of a payment only where it has no transaction_id.
	samePayment := cmp.Comparer(func(a, b ledger.Payment) bool {
		if a.TransactionID != "" && b.TransactionID != "" {
			a.Seq, b.Seq = 0, 0
		}
		at := a.PaidAt.Equal(b.PaidAt)
		a.PaidAt, b.PaidAt = time.Time{}, time.Time{}
		return at && a == b
	})
	if diff := cmp.Diff(byOrder(want), byOrder(taken), samePayment); diff != "" {
		t.Errorf("the stream of outcomes and what billing got differ (-stream +got):\n%s", diff)
	}
	var twice []string
	for _, e := range byOrder(taken)["TWICE"] {
		twice = append(twice, e.Type)
	}
	if diff := cmp.Diff([]string{"order.exhausted", "order.paid"}, twice); diff != "" {
		t.Error(diff)
	}
	for _, state := range []tasks.State{tasks.Paid, tasks.Closed, tasks.Rejected, tasks.Exhausted, tasks.Withdrawn} {
		if !slices.ContainsFunc(taken, func(e ledger.Event) bool { return e.State == state }) {
			t.Errorf("no order ended as %s; the test is not what it says", state)
		}
	}

	metrics := admin(t, r, "/metrics")
	mchid := r.Sim.Merchant().MchID
	for _, want := range []string{
		`payscore_webhooks_total{mchid="` + mchid + `",outcome="delivered"} `,
		`payscore_webhooks_total{mchid="` + mchid + `",outcome="given_up"} 0`,
		`payscore_webhook_seconds_count{mchid="` + mchid + `"} `,
		`payscore_webhooks_waiting{mchid="` + mchid + `"} 0`,
		`payscore_webhooks_oldest_seconds{mchid="` + mchid + `"} 0`,
	} {
		if !strings.Contains(metrics, want) {
			t.Errorf("the metrics do not have %s", want)
		}
	}
	for _, secret := range []string{"xyzzy", hooktest.Secret} {
		if strings.Contains(r.Logs.String(), secret) {
			t.Errorf("%s is in the log", secret)
		}
	}
}

// A stream is not kept for webhooks that are not set up.
func TestWithoutAURLThereAreNoWebhooks(t *testing.T) {
	t.Parallel()
	r := workertest.New(t)
	r.Add(simulator.Order{OutOrderNo: "QUIET", Fate: "revoked"})
	r.Enqueue("QUIET")
	stop := r.Work()
	r.AllEnded()
	stop()
	k := ledger.KeysOf(r.Sim.Merchant().MchID)
	if n := r.Redis.Client.Exists(t.Context(), k.Hooks(), k.HookDue(), k.HookWaiting()).Val(); n != 0 {
		t.Errorf("%d keys of webhooks", n)
	}
}
