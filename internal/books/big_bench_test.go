package books_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"payscore-collector/internal/books"
	"payscore-collector/internal/ledger"
	"payscore-collector/internal/testkit/redistest"
)

// BenchmarkCompare_Redis compares a bill of 100,000 payments with a ledger in Redis.
func BenchmarkCompare_Redis(b *testing.B) {
	const n = 100_000
	rdb := redistest.Start(b).Client
	l := ledger.New(rdb, mchid)
	keys := ledger.KeysOf(mchid)
	at := pay("", 0, "10:33:12").PaidAt
	pipe := rdb.Pipeline()
	for i := range n {
		no := fmt.Sprintf("RENT-%d", i)
		pipe.HSet(b.Context(), keys.Order(no), "state", "paid", "appid", "wxd678efh567hg6787", "svc", "500001", "oid", fmt.Sprint(i), "total", 100, "paid", 100,
			"pays", fmt.Sprintf("1|100|NEWTON|%d|42000012342026112%011d", at.Unix(), i), "ended", at.UnixMilli())
		pipe.ZAdd(b.Context(), keys.Ended("paid"), redis.Z{Score: float64(at.UnixMilli() + int64(i)), Member: no})
		if pipe.Len() > 5000 {
			if _, err := pipe.Exec(b.Context()); err != nil {
				b.Fatal(err)
			}
		}
	}
	if _, err := pipe.Exec(b.Context()); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		r, err := books.Compare(b.Context(), l, day, of(bigBill(n)))
		if err != nil {
			b.Fatal(err)
		}
		if r.Matched.Orders != n {
			b.Fatalf("matched %+v of %+v", r.Matched, r.Ledger)
		}
	}
	b.ReportMetric(float64(b.Elapsed())/float64(b.N)/float64(n)*float64(1_000_000)/float64(time.Second), "s/million")
}
