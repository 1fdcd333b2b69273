package collect

import (
	"testing"
	"time"

	"payscore-collector/internal/ledger"
	"payscore-collector/internal/testkit/redistest"
	"payscore-collector/tasks"
)

// A pause costs an order neither an attempt nor its place in the schedule, and its task
// does not turn in the queue; at its end the sweep enqueues the order.
func TestPausedMerchant(t *testing.T) {
	srv := redistest.Start(t)
	deed := ledger.Deed{By: "cli:anna", Reason: "wrong amounts"}
	pause := func(t *testing.T, b *fixture) {
		t.Helper()
		if _, err := b.ledger.Pause(t.Context(), deed, 0); err != nil {
			t.Fatal(err)
		}
	}
	// resumed ends the pause as its length does, and sweeps.
	resumed := func(t *testing.T, b *fixture) {
		t.Helper()
		if err := b.rdb.HDel(t.Context(), b.keys.Hold(), "pause", "pausewhy").Err(); err != nil {
			t.Fatal(err)
		}
		if err := NewSweeper(b.Collector, b.rdb).Sweep(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	t.Run("before the first collect", func(t *testing.T) {
		b := parallelWithA(t, srv)
		pause(t, b)
		if err := b.run("A"); err != nil {
			t.Errorf("the task comes back: %v", err)
		}
		b.wants("A", tasks.Queued, ledger.Collect, "")
		if due := b.get("A").NextDueAt; time.Until(due) < 59*time.Minute {
			t.Errorf("due %s", due)
		}
		resumed(t, b)
		if b.task("A", b.num("A", "round")) == nil {
			t.Error("the sweep after the pause has not enqueued it")
		}
		if err := b.run("A"); err == nil {
			t.Error("the accepted collect is not confirmed")
		}
		b.wants("A", tasks.Awaiting, ledger.Confirm, "collect")
	})
	t.Run("when the schedule brings the next attempt", func(t *testing.T) {
		b := parallelWithA(t, srv)
		b.set("A", "next", string(ledger.Recheck), "declines", 2, "attempts", 3, "state", "awaiting")
		if err := b.rdb.HIncrBy(t.Context(), b.keys.Stats(), "queued", -1).Err(); err != nil {
			t.Fatal(err)
		}
		pause(t, b)
		if err := b.run("A"); err != nil {
			t.Errorf("the task comes back: %v", err)
		}
		b.wants("A", tasks.Awaiting, ledger.Recheck, "query")
		if b.num("A", "declines") != 2 || b.num("A", "attempts") != 3 || b.num("A", "collects") != 0 {
			t.Errorf("declines %d, attempts %d, collect calls %d", b.num("A", "declines"), b.num("A", "attempts"), b.num("A", "collects"))
		}
		if due := b.get("A").NextDueAt; time.Until(due) < 59*time.Minute {
			t.Errorf("due %s", due)
		}
		resumed(t, b)
		round := b.num("A", "round")
		if b.task("A", round) == nil {
			t.Error("the sweep after the pause has not enqueued it")
		}
		_ = b.run("A")
		b.wants("A", tasks.Awaiting, ledger.Confirm, "query collect")
	})
}
