package worker

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"sync"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
	"github.com/rs/zerolog"

	"payscore-collector/internal/asynqx"
	"payscore-collector/internal/collect"
	"payscore-collector/internal/config"
	"payscore-collector/internal/ledger"
	"payscore-collector/internal/payscore"
	"payscore-collector/tasks"
)

// merchant is one merchant's part of the process. Each has asynq servers of its
// own: a server asks its queues in turn, so that on a shared one a merchant would
// pay for another's empty queue, and wait for another's stuck platform.
type merchant struct {
	ledger    *ledger.Ledger
	client    *payscore.Client
	collector *collect.Collector
	sweeper   *collect.Sweeper
	servers   []*asynq.Server
	hands     *hands

	sweeping  sync.WaitGroup
	stopSweep context.CancelFunc
}

func newMerchant(cfg config.Worker, m config.Merchant, rdb, queue redis.UniversalClient, producer *tasks.Producer,
	metrics *collect.Metrics, complaints *asynqx.Complaints, log zerolog.Logger,
) (*merchant, error) {
	client, err := NewClient(cfg.Work, m)
	if err != nil {
		return nil, err
	}
	l := ledger.New(rdb, m.MchID)
	c := collect.New(collect.Settings{
		AppID: m.AppID, ServiceID: m.ServiceID, BaseURL: m.BaseURL,
		Policy: collect.Policy{
			Schedule: cfg.CollectSchedule,
			Confirm:  cfg.ConfirmSchedule,
			Window: collect.Window{
				Always: cfg.Window.Always, From: cfg.Window.From, To: cfg.Window.To, Location: cfg.Location,
			},
			MinGap: cfg.MinGap,
			GiveUp: cfg.GiveUpAfter,
			Rand:   rand.Float64,
		},
		Rate:        cfg.Rate,
		CallTimeout: cfg.CallTimeout,
		SweepEvery:  cfg.SweepEvery,
		Retention:   cfg.Retention,
		Concurrency: cfg.Concurrency,
	}, l, client, producer, log, metrics)
	started := &merchant{ledger: l, client: client, collector: c, sweeper: collect.NewSweeper(c, rdb), hands: newHands(cfg.Concurrency, c.Process)}
	asynqLog := complaints.Logger(m.MchID)
	for _, concurrency := range fetchers(cfg.Work) {
		started.servers = append(started.servers, asynqx.NewServer(queue, tasks.QueueName(m.MchID), concurrency, c, asynqLog))
	}
	return started, nil
}

// perFetcher is how many calls a second one asynq server is there for. It fetches
// a task a round trip, one after the other, and stops at 376 a second with a
// Redis that is 2 ms away.
const perFetcher = 200

// fetchers returns the concurrency of each asynq server that a merchant has.
// One is enough at the default COLLECT_RATE, and each costs an idle Redis ten
// polls a second.
func fetchers(w config.Work) []int {
	n := min(int(math.Ceil(w.Rate/perFetcher)), w.Concurrency, 8)
	each := make([]int, max(1, n))
	for i := range each {
		each[i] = (w.Concurrency + i) / len(each)
	}
	return each
}

// NewClient returns the client of a merchant.
func NewClient(w config.Work, m config.Merchant) (*payscore.Client, error) {
	key := ""
	if m.APIV3Key.IsSet() {
		key = m.APIV3Key.Reveal()
	}
	return payscore.New(payscore.Config{
		MchID: m.MchID, SerialNo: m.SerialNo, PrivateKey: m.PrivateKey,
		PublicKeyID: m.PublicKeyID, PublicKey: m.PublicKey, APIV3Key: key,
		BaseURL: m.BaseURL, BackupURL: m.BackupURL,
		Timeout: w.CallTimeout, Connections: w.Concurrency, Rate: w.Rate,
	})
}

func (m *merchant) start() error {
	ctx, cancel := context.WithCancel(context.Background())
	m.stopSweep = cancel
	m.sweeping.Go(func() { m.sweeper.Run(ctx) })
	for _, server := range m.servers {
		if err := server.Start(m.hands); err != nil {
			return fmt.Errorf("start the queue's server: %w", err)
		}
	}
	return nil
}

// shutdown lets steps under way finish. It is also for a merchant that was not
// started, or could not be.
func (m *merchant) shutdown() {
	if m.stopSweep != nil {
		m.stopSweep()
	}
	m.sweeping.Wait()
	m.collector.Stop()
	var stopping sync.WaitGroup
	for _, server := range m.servers {
		stopping.Go(server.Shutdown)
	}
	stopping.Wait()
	m.hands.close()
	m.client.Close()
}
