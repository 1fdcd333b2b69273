package main

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"payscore-collector/internal/control"
	"payscore-collector/internal/ledger"
	"payscore-collector/internal/testkit"
	"payscore-collector/internal/testkit/redistest"
	"payscore-collector/internal/testkit/workertest"
	"payscore-collector/tasks"
)

// A bulk action survives workers that are killed while they count its orders, and when they
// have acted on orders and not counted them, and the loss of the queue: every order is
// withdrawn, stands in the trail and is counted once. It waits for leases. The short form
// is TestBulk_SurvivesAWorkersDeathAtEachCommand of package control.
func TestBulkSurvivesKilledWorkers(t *testing.T) {
	testkit.NeedLong(t)
	t.Parallel()
	r := workertest.New(t)
	mchid := r.Sim.Merchant().MchID
	const n = 500
	orders := make([]tasks.Order, n)
	for i := range orders {
		orders[i] = r.Order(fmt.Sprintf("BULK-%03d", i))
		orders[i].At = time.Now().Add(time.Hour)
	}
	for o, res := range r.Producer.EnqueueAll(t.Context(), slices.Values(orders)) {
		if res.Status != tasks.Accepted {
			t.Fatal(o.OutOrderNo, res)
		}
	}
	id, err := control.StartBulk(t.Context(), r.Redis.Client, control.BulkRequest{
		Action: ledger.ActWithdraw, MchIDs: []string{mchid}, Query: ledger.Query{Prefix: "BULK-"}, By: "cli:anna", Reason: "a storm",
	})
	if err != nil {
		t.Fatal(err)
	}
	progress := func() ledger.BulkProgress {
		p, err := ledger.ProgressOfBulk(t.Context(), r.Redis.Client, []string{mchid}, id)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	loseQueue := func() {
		for _, key := range r.Redis.Client.Keys(t.Context(), "asynq:*").Val() {
			r.Redis.Client.Del(t.Context(), key)
		}
	}
	for _, script := range []string{"bulkcount", "bulktick"} {
		// The worker's second call of the script, and all that follow, are kept back until
		// the worker is dead.
		var calls atomic.Int64
		var arrived sync.Once
		waits, dead := make(chan struct{}), make(chan struct{})
		proxy := redistest.StartProxy(t, r.Redis.Client.Options().Addr, func(args []string) string {
			if strings.EqualFold(args[0], "evalsha") && ledger.ScriptName(args[1]) == script && calls.Add(1) >= 2 {
				arrived.Do(func() { close(waits) })
				select {
				case <-dead:
				case <-t.Context().Done():
				}
				return "ERR the worker is dead"
			}
			return ""
		})
		p := start(t, r, nil, "REDIS_URL=redis://"+proxy.Addr+"/0")
		r.Eventually("a worker to come to the second call of "+script, func() bool {
			select {
			case <-waits:
				return true
			default:
				return false
			}
		})
		p.Kill()
		close(dead)
		loseQueue()
		if p := progress(); script == "bulktick" && (p.Done == 0 || p.Left == 0) || script == "bulkcount" && (p.Matched == 0 || p.Matched == n) {
			t.Fatalf("the worker was not killed midway in %s: %+v", script, p)
		}
	}
	start(t, r, nil)
	r.Eventually("another worker to finish the bulk action", func() bool { return progress().Stage == ledger.BulkDone })
	if got, want := progress().BulkCounts, (ledger.BulkCounts{Matched: n, Done: n}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	list, next, err := ledger.Audit(t.Context(), []*ledger.Ledger{r.Ledger}, n+10, "")
	if err != nil || next != "" {
		t.Fatal(next, err)
	}
	acted := map[string]int{}
	for _, a := range list {
		acted[a.OutOrderNo]++
	}
	if len(acted) != n+1 || len(list) != n+1 { // the bulk action itself has no order
		t.Errorf("the trail has %d deeds to %d orders, want %d", len(list)-1, len(acted)-1, n)
	}
	for _, o := range orders {
		if got := r.Get(o.OutOrderNo); got.State != tasks.Withdrawn || len(got.Actions) != 1 {
			t.Errorf("%s is %s with the actions %v", o.OutOrderNo, got.State, got.Actions)
		}
	}
	r.Eventually("the bulk action to leave the directory", func() bool {
		return r.Redis.Client.SCard(t.Context(), ledger.BulksKey).Val() == 0
	})
}
