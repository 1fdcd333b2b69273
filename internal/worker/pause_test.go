package worker_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"payscore-collector/internal/control"
	"payscore-collector/internal/explain"
	"payscore-collector/internal/ledger"
	"payscore-collector/internal/simulator"
	"payscore-collector/internal/testkit/workertest"
)

// Nothing is collected while the merchant is paused, whatever worker runs and however its
// queue fares; what is paid in the meantime is learnt, and after the pause all is collected
// as if it had not been.
func TestPromisePoliteWhilePaused(t *testing.T) {
	t.Parallel()
	r := workertest.New(t, onAdminAddr(t))
	mchid := r.Sim.Merchant().MchID
	nos := workertest.Numbers("PAUSED", 40)
	for _, no := range nos {
		r.Add(simulator.Order{OutOrderNo: no, Fate: "pays"})
	}
	d := ledger.Deed{By: "cli:anna", Reason: "wrong amounts"}
	if _, err := control.Pause(t.Context(), r.Redis.Client, mchid, d, 0); err != nil {
		t.Fatal(err)
	}
	r.Enqueue(nos...)
	stop := r.Work()
	parked := func(n int64) func() bool {
		return func() bool {
			return r.Redis.Client.ZCard(t.Context(), ledger.KeysOf(mchid).Paused()).Val() == n
		}
	}
	r.Eventually("all orders to be put off", parked(int64(len(nos))))
	r.Eventually("readiness to name the pause", func() bool {
		return strings.Contains(admin(t, r, "/readyz"), mchid+": nothing is collected: collect calls are paused since ")
	})
	if got, want := admin(t, r, "/metrics"), `payscore_paused{mchid="`+mchid+`"} 1`; !strings.Contains(got, want+"\n") {
		t.Errorf("the metrics lack %s", want)
	}
	if words := admin(t, r, "/readyz"); !strings.Contains(words, `by cli:anna: "wrong amounts"`) || !strings.Contains(words, "worker resume --mchid "+mchid) {
		t.Errorf("%s", words)
	}
	// Another worker, and a queue that has lost everything.
	stop()
	for _, key := range r.Redis.Client.Keys(t.Context(), "asynq:*").Val() {
		r.Redis.Client.Del(t.Context(), key)
	}
	r.Work()
	swept := func() string { return r.Redis.Client.HGet(t.Context(), ledger.KeysOf(mchid).Sweep(), "at").Val() }
	for range 3 {
		before := swept()
		r.Eventually("another sweep", func() bool { return swept() != before })
	}
	r.Add(simulator.Order{OutOrderNo: "LATER", Fate: "pays"})
	r.Enqueue("LATER")
	r.Eventually("the new order to be put off", parked(int64(len(nos)+1)))
	if n := r.Sim.Report().CollectCalls; n != 0 {
		t.Errorf("%d collect calls during the pause", n)
	}
	if o := r.Get(nos[0]); o.Attempts != 0 || o.CollectCalls != 0 || o.State != ledger.Queued {
		t.Errorf("%+v", o)
	}
	if was, err := control.Resume(t.Context(), r.Redis.Client, mchid, ledger.Deed{By: "cli:anna", Reason: "amounts corrected"}); err != nil || !was {
		t.Fatal(was, err)
	}
	r.AllEnded()
	r.Audit()
	r.Eventually("readiness to be as usual", func() bool { return admin(t, r, "/readyz") == "200 ok\n" })
	events := causesLogged(r, explain.Paused)
	if diff := cmp.Diff([]string{"merchant_paused", "merchant_resumed"}, events[max(0, len(events)-2):]); diff != "" {
		t.Errorf("the log has (-want +got)\n%s", diff)
	}
	var actions []string
	list, _, err := ledger.Audit(t.Context(), []*ledger.Ledger{r.Ledger}, 10, "")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range list {
		actions = append(actions, e.Action.Action+" "+e.By+" "+e.Reason)
	}
	if diff := cmp.Diff([]string{"resume cli:anna amounts corrected", "pause cli:anna wrong amounts"}, actions); diff != "" {
		t.Error(diff)
	}
}
