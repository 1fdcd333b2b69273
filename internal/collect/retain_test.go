package collect

import (
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"payscore-collector/internal/testkit/redistest"
	"payscore-collector/tasks"
)

// The sweep keeps orders compact that ended 25 hours ago, and leaves younger ones whole.
func TestSweepKeepsEndedOrdersCompact(t *testing.T) {
	b := parallel(t, redistest.Start(t))
	sweeper := NewSweeper(b.Collector, b.rdb)
	for no, ago := range map[string]time.Duration{"YOUNG": 25*hour - 30*minute, "OLD": 25*hour + minute} {
		b.open(no)
		if _, err := b.producer.Withdraw(t.Context(), tasks.Withdrawal{MchID: b.mchid, OutOrderNo: no, Reason: "waived"}); err != nil {
			t.Fatal(err)
		}
		ended := time.Now().Add(-ago).UnixMilli()
		b.rdb.HSet(t.Context(), b.keys.Order(no), "ended", ended, "opened", ended)
		b.rdb.ZAdd(t.Context(), b.keys.Ended(tasks.Withdrawn), redis.Z{Score: float64(ended), Member: no})
	}
	was := b.get("OLD")
	for range 2 {
		b.rdb.HDel(t.Context(), b.keys.Sweep(), "at")
		if err := sweeper.Sweep(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	for no, want := range map[string]bool{"YOUNG": false, "OLD": true} {
		if compact := b.rdb.HExists(t.Context(), b.keys.Order(no), "k").Val(); compact != want {
			t.Errorf("%s is compact: %t", no, compact)
		}
	}
	if o := b.get("OLD"); o.State != was.State || o.Reason != was.Reason || !o.EndedAt.Equal(was.EndedAt) || o.AppID != was.AppID {
		t.Errorf("%+v, was %+v", o, was)
	}
	if n := b.count(b.metrics.Compacted); n != 1 {
		t.Errorf("payscore_orders_compacted_total is %v", n)
	}
}
