package control_test

import (
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"payscore-collector/internal/control"
	"payscore-collector/internal/ledger"
	"payscore-collector/internal/testkit/redistest"
	"payscore-collector/tasks"
)

// In a Redis Cluster no command of a bulk action names keys of two slots.
func TestBulk_Cluster(t *testing.T) {
	t.Parallel()
	srv := redistest.StartCluster(t)
	rdb := redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{srv.Client.Options().Addr}})
	defer rdb.Close()
	mchids := []string{"1900000001", "1900000002", "1900000003"}
	for _, mchid := range mchids {
		p := tasks.Payload{MchID: mchid, OutOrderNo: "A", AppID: "wx1", ServiceID: "s1"}
		if res, err := tasks.NewProducer(rdb).Enqueue(t.Context(), tasks.Order{Payload: p, At: time.Now().Add(time.Hour)}); err != nil || res.Status != tasks.Accepted {
			t.Fatal(res, err)
		}
	}
	for _, action := range []string{ledger.ActCollectNow, ledger.ActWithdraw, ledger.ActReopen} {
		id, err := control.StartBulk(t.Context(), rdb, control.BulkRequest{Action: action, MchIDs: mchids, By: "cli:x", Reason: "x"})
		if err != nil {
			t.Fatal(err)
		}
		for _, mchid := range mchids {
			if _, _, err := control.WorkOnBulk(t.Context(), rdb, ledger.BulkPart{MchID: mchid, ID: id}, never, time.Second); err != nil {
				t.Fatal(err)
			}
		}
		if p, err := ledger.ProgressOfBulk(t.Context(), rdb, mchids, id); err != nil || p.Done != 3 || p.Stage != ledger.BulkDone {
			t.Errorf("%s: %+v, %v", action, p, err)
		}
	}
}
