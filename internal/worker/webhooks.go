package worker

import (
	"context"
	"fmt"
	"sync"

	"github.com/hibiken/asynq"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"
	"github.com/rs/zerolog"

	"payscore-collector/internal/asynqx"
	"payscore-collector/internal/config"
	"payscore-collector/internal/eventstream/webhook"
	"payscore-collector/internal/ledger"
	"payscore-collector/internal/logging"
	taskqueue "payscore-collector/internal/queue"
)

// webhooks are the process's part in telling billing of the ends of orders: for
// each merchant a sender, and an asynq server with a queue of its own, so that
// neither a receiver in trouble nor another merchant's many ends hold anything
// up. Without BILLING_WEBHOOK_URL there are none.
type webhooks []*merchantHooks

type merchantHooks struct {
	sender *webhook.Sender
	server *asynq.Server

	relaying  sync.WaitGroup
	stopRelay context.CancelFunc
}

// hookConnections is how many connections to Redis the webhooks of all merchants
// need.
func hookConnections(cfg config.Worker) int {
	if !cfg.Webhook.On() {
		return 0
	}
	return len(cfg.Merchants) * webhook.Concurrency
}

func startWebhooks(cfg config.Worker, rdb, queue redis.UniversalClient, reg prometheus.Registerer,
	complaints *asynqx.Complaints, log zerolog.Logger,
) (webhooks, error) {
	if !cfg.Webhook.On() {
		return nil, nil
	}
	metrics := webhook.NewMetrics(reg)
	var all webhooks
	for _, m := range cfg.Merchants {
		h, err := startMerchantHooks(cfg, m.MchID, rdb, queue, reg, metrics, complaints, log)
		if err != nil {
			all.shutdown()
			return nil, fmt.Errorf("webhooks of merchant %s: %w", m.MchID, err)
		}
		all = append(all, h)
	}
	log.Info().Str(logging.FieldAddr, cfg.Webhook.Host).Msg("billing is told of the ends of orders")
	return all, nil
}

func startMerchantHooks(cfg config.Worker, mchid string, rdb, queue redis.UniversalClient, reg prometheus.Registerer,
	metrics *webhook.Metrics, complaints *asynqx.Complaints, log zerolog.Logger,
) (*merchantHooks, error) {
	l := ledger.New(rdb, mchid)
	sender, err := webhook.New(webhook.Settings{
		URL: cfg.Webhook.URL.Reveal(), Secret: cfg.Webhook.Secret.Reveal(), Retention: cfg.Retention,
	}, l, rdb, log, metrics)
	if err != nil {
		return nil, err
	}
	h := &merchantHooks{
		sender: sender,
		server: asynqx.NewServer(queue, taskqueue.WebhookName(mchid), webhook.Concurrency, nil, complaints.Logger(mchid)),
	}
	reg.MustRegister(newHookMetrics(l))
	ctx, cancel := context.WithCancel(context.Background())
	h.stopRelay = cancel
	h.relaying.Go(func() { h.sender.Run(ctx) })
	if err := h.server.Start(asynq.HandlerFunc(h.sender.Process)); err != nil {
		cancel()
		h.relaying.Wait()
		return nil, fmt.Errorf("start the queue's server: %w", err)
	}
	return h, nil
}

// shutdown lets deliveries under way finish. What is left is in the ledger.
func (all webhooks) shutdown() {
	var stopping sync.WaitGroup
	for _, h := range all {
		stopping.Go(func() {
			h.stopRelay()
			h.relaying.Wait()
			h.sender.Stop()
			h.server.Shutdown()
			h.sender.Close()
		})
	}
	stopping.Wait()
}

// hookMetrics reads from the ledger what is waiting, when it is asked for. All
// workers report the same numbers.
type hookMetrics struct {
	ledger          *ledger.Ledger
	waiting, oldest *prometheus.Desc
}

func newHookMetrics(l *ledger.Ledger) *hookMetrics {
	labels := prometheus.Labels{"mchid": l.MchID()}
	return &hookMetrics{
		ledger:  l,
		waiting: prometheus.NewDesc("payscore_webhooks_waiting", "Orders with ends that billing has not taken.", nil, labels),
		oldest:  prometheus.NewDesc("payscore_webhooks_oldest_seconds", "Age of the oldest end that billing has not taken; 0 for none.", nil, labels),
	}
}

// Describe implements prometheus.Collector.
func (m *hookMetrics) Describe(ch chan<- *prometheus.Desc) {
	ch <- m.waiting
	ch <- m.oldest
}

// Collect implements prometheus.Collector.
func (m *hookMetrics) Collect(ch chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), scrapeTimeout)
	defer cancel()
	orders, oldest, err := m.ledger.HooksWaiting(ctx)
	if err != nil {
		ch <- prometheus.NewInvalidMetric(m.waiting, err)
		return
	}
	ch <- prometheus.MustNewConstMetric(m.waiting, prometheus.GaugeValue, float64(orders))
	ch <- prometheus.MustNewConstMetric(m.oldest, prometheus.GaugeValue, oldest.Seconds())
}
