package worker

import (
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"payscore-collector/internal/asynqx"
	"payscore-collector/internal/ledger"
	"payscore-collector/internal/testkit/redistest"
	"payscore-collector/tasks"
)

func TestBefore(t *testing.T) {
	for _, tt := range []struct {
		a, b string
		want bool
	}{
		{"", "0-0", false}, {"", "5-0", true}, {"5-1", "5-2", true}, {"5-2", "5-2", false}, {"5-10", "5-9", false}, {"10-0", "9-9", false},
	} {
		if got := before(tt.a, tt.b); got != tt.want {
			t.Errorf("before(%q, %q) = %v, want %v", tt.a, tt.b, got, tt.want)
		}
	}
}

func TestGCPercent(t *testing.T) {
	for live, want := range map[uint64]int{0: 300, 8 << 20: 300, 20 << 20: 150, 30 << 20: 100, 1 << 30: 50} {
		if got := gcPercent(live); got != want {
			t.Errorf("with %d bytes in use: %d, want %d", live, got, want)
		}
	}
}

// In a Redis Cluster no command of a look names keys of two slots, and what stirs is found
// as in a single Redis.
func TestLook_Cluster(t *testing.T) {
	t.Parallel()
	srv := redistest.StartCluster(t)
	rdb := redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{srv.Client.Options().Addr}})
	defer rdb.Close()
	l := newLooker(rdb, true, time.Minute)
	mchids, tips := []string{"1", "2", "3", "4", "5"}, make([]string, 5)
	found, now := l.examine(t.Context(), mchids)
	for i, f := range found {
		if tips[i] = f.tip; !f.known || f.busy(now) {
			t.Errorf("merchant %s of an empty Cluster: %+v", mchids[i], f)
		}
	}
	// A task, an order that is due, an event, orders that a pause has put off.
	rdb.LPush(t.Context(), asynqx.KeysOf(tasks.QueueName("1")).Pending, "id")
	rdb.ZAdd(t.Context(), ledger.KeysOf("2").Due(), redis.Z{Score: 1, Member: "A"})
	rdb.XAdd(t.Context(), &redis.XAddArgs{Stream: ledger.KeysOf("3").Outcomes(), Values: []string{"type", "order.withdrawn"}})
	rdb.ZAdd(t.Context(), ledger.KeysOf("4").Paused(), redis.Z{Score: 1, Member: "A"})
	found, now = l.examine(t.Context(), mchids)
	for i, f := range found {
		if !f.known || f.busy(now) != (i < 4) {
			t.Errorf("examine: merchant %s: %+v", mchids[i], f)
		}
	}
	for _, events := range []bool{true, false} {
		found, now = l.scan(t.Context(), mchids, tips, events)
		for i, f := range found {
			if want := i < 2 || i < 4 && events; !f.known || f.busy(now) != want {
				t.Errorf("scan, events %v: merchant %s: %+v", events, mchids[i], f)
			}
		}
	}
}

// A killed worker's orders stand later in the due index while the queue carries their tasks.
// If the queue was lost too, a look finds them all the same. It leaves merchants alone whose
// queue is there, or never had its mark, or carried no order that is due soon.
func TestLook_LostQueue(t *testing.T) {
	t.Parallel()
	rdb := redistest.Start(t).Client
	l := newLooker(rdb, false, time.Minute)
	mchids := []string{"LOST", "THERE", "NEW", "LATER", "EMPTY"}
	for _, mchid := range mchids {
		in := 40 * time.Second
		if mchid == "LATER" {
			in = time.Hour
		}
		if mchid != "EMPTY" {
			rdb.ZAdd(t.Context(), ledger.KeysOf(mchid).Due(), redis.Z{Score: float64(time.Now().Add(in).UnixMilli()), Member: "A"})
		}
		if mchid != "NEW" {
			rdb.HSet(t.Context(), ledger.KeysOf(mchid).Sweep(), "queue", 1)
		}
	}
	rdb.Set(t.Context(), asynqx.KeysOf(tasks.QueueName("THERE")).Mark, 1, 0)
	found, now := l.examine(t.Context(), mchids)
	for i, f := range found {
		if !f.known || f.busy(now) != (mchids[i] == "LOST") {
			t.Errorf("%s: busy %v, %+v", mchids[i], f.busy(now), f)
		}
	}
}
