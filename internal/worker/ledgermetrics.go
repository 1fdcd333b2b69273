package worker

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"

	"payscore-collector/internal/asynqx"
	"payscore-collector/internal/ledger"
	"payscore-collector/tasks"
)

// ledgerMetrics reads a merchant's counters, gate, due index and queue when
// they are asked for. Each is one key's own number: nothing is scanned,
// however many orders there are. All workers report the same numbers.
type ledgerMetrics struct {
	ledger *ledger.Ledger
	rdb    redis.UniversalClient

	orders, collected, gate, closedServices, oldest, tasks, behind *prometheus.Desc
}

// scrapeTimeout bounds a scrape while Redis is away.
const scrapeTimeout = 2 * time.Second

func newLedgerMetrics(l *ledger.Ledger, rdb redis.UniversalClient) *ledgerMetrics {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("payscore_"+name, help, labels, prometheus.Labels{"mchid": l.MchID()})
	}
	return &ledgerMetrics{
		ledger: l, rdb: rdb,
		orders:         desc("orders", "Orders in the ledger by state.", "state"),
		collected:      desc("collected_fen_total", "Fen of the orders that were paid."),
		gate:           desc("gate_closed", "1 while the merchant's calls are stopped but for probes: by its own fault, because the platform is down, or because it throttles everything.", "kind"),
		closedServices: desc("gate_closed_services", "Pairs of appid and service_id whose calls are stopped but for probes."),
		oldest:         desc("due_oldest_seconds", "How long the order that is first in the due index has been due without the sweep having taken it."),
		behind:         desc("outcomes_behind_seconds", "Age of the oldest event that a reader of the stream of outcomes has not done with; 0 for none.", "group"),
		tasks:          desc("asynq_tasks", "Tasks in the merchant's asynq queue by state; active_unleased are held by nobody and recovered by nobody.", "state"),
	}
}

// Describe implements prometheus.Collector.
func (m *ledgerMetrics) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{m.orders, m.collected, m.gate, m.closedServices, m.oldest, m.tasks, m.behind} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (m *ledgerMetrics) Collect(ch chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), scrapeTimeout)
	defer cancel()
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	stats, err := m.ledger.Stats(ctx)
	if err != nil {
		ch <- prometheus.NewInvalidMetric(m.orders, err)
		return
	}
	for state, n := range stats.Orders {
		gauge(m.orders, float64(n), string(state))
	}
	ch <- prometheus.MustNewConstMetric(m.collected, prometheus.CounterValue, float64(stats.PaidAmount+stats.PaidLeft))

	if g, err := m.ledger.Gate(ctx); err == nil {
		for _, kind := range []string{"fault", "down", "throttled"} {
			closed := 0.0
			if g.Kind == kind {
				closed = 1
			}
			gauge(m.gate, closed, kind)
		}
		gauge(m.closedServices, float64(len(g.Services)))
	}
	if lag, err := m.ledger.Lag(ctx); err == nil {
		gauge(m.oldest, lag.Seconds())
	}
	if readers, err := m.ledger.Trim(ctx, 0); err == nil {
		for _, r := range readers {
			gauge(m.behind, r.Behind.Seconds(), r.Group)
		}
	}
	if sizes, err := asynqx.Sizes(ctx, m.rdb, tasks.QueueName(m.ledger.MchID())); err == nil {
		for state, n := range sizes {
			gauge(m.tasks, float64(n), state)
		}
	}
}
