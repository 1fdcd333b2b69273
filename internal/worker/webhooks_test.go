package worker_test

import (
	"context"
	"io"
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

// ends are the ends in the stream of outcomes, in their order.
func ends(t *testing.T, r *workertest.Rig) []ledger.Event {
	t.Helper()
	mchid := r.Sim.Merchant().MchID
	entries, err := r.Redis.Client.XRange(t.Context(), ledger.KeysOf(mchid).Outcomes(), "-", "+").Result()
	if err != nil {
		t.Fatal(err)
	}
	var ends []ledger.Event
	for _, entry := range entries {
		e, err := ledger.DecodeEvent(mchid, entry.ID, entry.Values)
		if err != nil {
			t.Fatal(err)
		}
		if e.End() {
			ends = append(ends, e)
		}
	}
	return ends
}

func byOrder(events []ledger.Event) map[string][]ledger.Event {
	m := map[string][]ledger.Event{}
	for _, e := range events {
		m[e.OutOrderNo] = append(m[e.OutOrderNo], e)
	}
	return m
}

// Billing is told of every end of every kind, once, and of an order's ends in
// their order: what it was told and the stream of outcomes are the same.
func TestWebhooksTellOfEveryEnd(t *testing.T) {
	t.Parallel()
	billing := hooktest.New(t)
	billing.Answer = func(w http.ResponseWriter, _ *http.Request, e ledger.Event) {
		// Now and then it has to be asked again.
		if e.Seq%2 == 0 && len(billing.Got())%5 == 0 {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}
	addr := testkit.FreeAddr(t)
	r := workertest.New(t, func(c *config.Worker) {
		c.GiveUpAfter = 4 * time.Second
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
	r.Add(simulator.Order{OutOrderNo: "TWICE", TotalAmount: 1000, Fate: "user_pays:15s"}, simulator.Order{OutOrderNo: "WITHDRAWN", TotalAmount: 1000, Fate: "never"})
	r.Enqueue("TWICE", "WITHDRAWN")
	if res, err := r.Producer.Withdraw(t.Context(), tasks.Withdrawal{MchID: r.Sim.Merchant().MchID, OutOrderNo: "WITHDRAWN", Reason: "paid in cash"}); err != nil || res.Status != tasks.Accepted {
		t.Fatalf("%+v %v", res, err)
	}
	r.Work()
	r.Work()
	r.AllEnded(60 * time.Second)
	// TWICE was given up before the user paid; now billing has it looked at.
	r.Until(30*time.Second, "the user to pay", func() bool { return r.Report("TWICE").MoneyMoved > 0 })
	again := r.Order("TWICE")
	again.Reopen = true
	if res, err := r.Producer.Enqueue(t.Context(), again); err != nil || res.Status != tasks.Accepted {
		t.Fatalf("%+v %v", res, err)
	}
	r.AllEnded(30 * time.Second)
	r.Until(60*time.Second, "billing to be told", func() bool {
		n, _, err := r.Ledger.HooksWaiting(context.Background())
		return err == nil && n == 0 && len(billing.Taken()) >= len(ends(t, r))
	})

	want, taken := ends(t, r), billing.Taken()
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
		t.Errorf("the stream of outcomes and what billing was told differ (-stream +told):\n%s", diff)
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

	resp, err := http.Get("http://" + addr + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(resp.Body)
	mchid := r.Sim.Merchant().MchID
	for _, want := range []string{
		`payscore_webhooks_total{mchid="` + mchid + `",outcome="delivered"} `,
		`payscore_webhooks_total{mchid="` + mchid + `",outcome="given_up"} 0`,
		`payscore_webhook_seconds_count{mchid="` + mchid + `"} `,
		`payscore_webhooks_waiting{mchid="` + mchid + `"} 0`,
		`payscore_webhooks_oldest_seconds{mchid="` + mchid + `"} 0`,
	} {
		if !strings.Contains(string(body), want) {
			t.Errorf("the metrics do not have %s", want)
		}
	}
	for _, secret := range []string{"xyzzy", hooktest.Secret} {
		if strings.Contains(r.Logs.String(), secret) {
			t.Errorf("%s is in the log", secret)
		}
	}
}

// A stream that nobody takes webhooks from must not be held back for them.
func TestWithoutAURLThereAreNoWebhooks(t *testing.T) {
	t.Parallel()
	r := workertest.New(t)
	r.Add(simulator.Order{OutOrderNo: "QUIET", Fate: "revoked"})
	r.Enqueue("QUIET")
	stop := r.Work()
	r.AllEnded(20 * time.Second)
	stop()
	k := ledger.KeysOf(r.Sim.Merchant().MchID)
	if n := r.Redis.Client.Exists(t.Context(), k.Hooks(), k.HookDue(), k.HookWaiting()).Val(); n != 0 {
		t.Errorf("%d keys of webhooks", n)
	}
}
