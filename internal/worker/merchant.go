package worker

import (
	"context"
	"fmt"
	"math"
	"sync"

	"github.com/hibiken/asynq"
	"github.com/rs/zerolog"

	"payscore-collector/internal/asynqx"
	"payscore-collector/internal/collect"
	"payscore-collector/internal/config"
	"payscore-collector/internal/eventstream/webhook"
	"payscore-collector/internal/ledger"
	"payscore-collector/internal/payscore"
	"payscore-collector/internal/signer"
	"payscore-collector/tasks"
)

// merchant is one merchant's part of the process. Each has asynq servers of its own: a
// server asks its queues in turn, so that on a shared one a merchant would pay for
// another's empty queue, and wait while another's calls hang.
type merchant struct {
	ledger    *ledger.Ledger
	client    *payscore.Client
	collector *collect.Collector
	sweeper   *collect.Sweeper
	pool      *pool
	servers   []*asynq.Server
	hooks     *hooks // nil without BILLING_WEBHOOK_URL

	sweeping  sync.WaitGroup
	stopSweep context.CancelFunc // nil before start
}

// dependencies are what the merchants of a process share.
type dependencies struct {
	conns       connections
	producer    *tasks.Producer
	metrics     *collect.Metrics
	hookMetrics *webhook.Metrics // nil without BILLING_WEBHOOK_URL
	complaints  *asynqx.Complaints
	log         zerolog.Logger
}

func newMerchant(cfg config.Worker, m config.Merchant, deps dependencies) (*merchant, error) {
	l := ledger.New(deps.conns.Ledger, m.MchID)
	hooks, err := newHooks(cfg, l, deps)
	if err != nil {
		return nil, fmt.Errorf("webhooks: %w", err)
	}
	client, err := NewClient(cfg.Work, m)
	if err != nil {
		return nil, err
	}
	c := collect.New(collect.Settings{
		AppID: m.AppID, ServiceID: m.ServiceID, BaseURL: m.BaseURL,
		Policy: policy(cfg.Work), Schedules: schedules(cfg, m.MchID),
		Rate:        cfg.Rate,
		CallTimeout: cfg.CallTimeout,
		SweepEvery:  cfg.SweepEvery,
		Retention:   cfg.Retention,
		Concurrency: cfg.Concurrency,
	}, l, client, deps.producer, deps.log, deps.metrics)
	made := &merchant{
		ledger: l, client: client, collector: c, sweeper: collect.NewSweeper(c, deps.conns.Ledger),
		pool: newPool(cfg.Concurrency, c.Process), hooks: hooks,
	}
	for _, concurrency := range fetchers(cfg.Work) {
		made.servers = append(made.servers,
			asynqx.NewServer(deps.conns.Queue, tasks.QueueName(m.MchID), concurrency, c, deps.complaints.Logger(m.MchID)))
	}
	return made, nil
}

// perFetcher is how many calls a second justify an asynq server. A server fetches one
// task in each round trip, at most 376 a second from a Redis that is 2 ms away.
const perFetcher = 200

// fetchers returns the concurrency of each asynq server of a merchant. One server is
// enough at the default COLLECT_RATE, and each costs an idle Redis ten polls a second.
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
	s, err := signer.New(w.Signer, m.PrivateKey)
	if err != nil {
		return nil, err
	}
	return payscore.New(payscore.Config{
		MchID: m.MchID, SerialNo: m.SerialNo, Signer: s,
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
		if err := server.Start(m.pool); err != nil {
			return fmt.Errorf("start the queue's server: %w", err)
		}
	}
	return m.hooks.start()
}

// shutdown lets steps and deliveries under way finish. It also ends a merchant that was
// not started, or only in part.
func (m *merchant) shutdown() {
	var stopping sync.WaitGroup
	stopping.Go(m.hooks.shutdown)
	if m.stopSweep != nil {
		m.stopSweep()
	}
	m.sweeping.Wait()
	m.collector.Stop()
	for _, server := range m.servers {
		stopping.Go(server.Shutdown)
	}
	stopping.Wait()
	m.pool.close()
	m.client.Close()
}
