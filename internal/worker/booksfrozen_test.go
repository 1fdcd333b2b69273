package worker

import (
	"context"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"
	"github.com/rs/zerolog"

	"payscore-collector/internal/collect"
	"payscore-collector/internal/config"
	"payscore-collector/internal/ledger"
	"payscore-collector/internal/redisprobe"
	"payscore-collector/internal/simulator"
	"payscore-collector/internal/testkit/redistest"
	"payscore-collector/tasks"
)

// A process that was frozen while it had the lease of an order in a final state does not
// query the order after the lease: another worker may have it by then.
func TestBooks_NoQueryAfterTheLease(t *testing.T) {
	t.Parallel()
	sim, err := simulator.New(simulator.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer sim.Close()
	platform := httptest.NewServer(sim.Handler())
	defer platform.Close()
	p := sim.Merchant()
	rdb := redis.NewClient(redistest.Start(t).Client.Options())
	defer rdb.Close()
	producer := tasks.NewProducer(rdb)
	for _, no := range []string{"IN-TIME", "LATE"} {
		if err := sim.AddOrders(simulator.Order{OutOrderNo: no, TotalAmount: 100, Fate: simulator.FateNever}); err != nil {
			t.Fatal(err)
		}
		o := tasks.Order{Payload: tasks.Payload{MchID: p.MchID, OutOrderNo: no, AppID: p.AppID, ServiceID: p.ServiceID}}
		if res, err := producer.Enqueue(t.Context(), o); err != nil || res.Status != tasks.Accepted {
			t.Fatal(res, err)
		}
		if res, err := producer.Withdraw(t.Context(), tasks.Withdrawal{MchID: p.MchID, OutOrderNo: no, Reason: "waived"}); err != nil || res.Status != tasks.Accepted {
			t.Fatal(res, err)
		}
	}
	work := config.Work{Concurrency: 1, CallTimeout: 30 * time.Second, Rate: 500}
	client, err := NewClient(work, config.Merchant{
		MchID: p.MchID, SerialNo: p.SerialNo, PrivateKey: p.PrivateKey, PublicKeyID: p.PublicKeyID, PublicKey: p.PublicKey, BaseURL: platform.URL,
	})
	if err != nil {
		t.Fatal(err)
	}
	l := ledger.New(rdb, p.MchID)
	m := &merchant{ledger: l, client: client, log: zerolog.Nop(), config: config.Merchant{MchID: p.MchID}}
	m.collector = collect.New(collect.Settings{Work: work}, l, client, producer, zerolog.Nop(), collect.NewMetrics(prometheus.NewRegistry()))
	k := &bookkeeper{r: &roster{conns: connections{Clients: redisprobe.Clients{Ledger: rdb, Queue: rdb}}}, rate: work.Rate, lease: collect.Lease(work.CallTimeout)}
	k.answer(t.Context(), m, ledger.NewToken(), []string{"IN-TIME"})
	if n := sim.Report().QueryCalls; n != 1 {
		t.Fatalf("%d queries, want 1", n)
	}
	rdb.AddHook(commandHook(func(next redis.ProcessHook) redis.ProcessHook {
		return func(ctx context.Context, cmd redis.Cmder) error {
			err := next(ctx, cmd)
			<-time.After(1200 * time.Millisecond) // frozen until after the call's last moment
			return err
		}
	}))
	k.lease = collect.Lease(0)
	k.answer(t.Context(), m, ledger.NewToken(), []string{"LATE"})
	if n := sim.Report().QueryCalls; n != 1 {
		t.Errorf("%d queries: one was sent after the lease", n)
	}
}
