package worker

import (
	"context"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	dto "github.com/prometheus/client_model/go"
	"github.com/redis/go-redis/v9"

	"payscore-collector/internal/asynqx"
	"payscore-collector/internal/ledger"
	"payscore-collector/internal/metrics"
	"payscore-collector/internal/version"
	"payscore-collector/tasks"
)

func newRegistry(build version.Info, signs string) *prometheus.Registry {
	r := prometheus.NewRegistry()
	r.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	r.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "payscore_build_info", Help: "Always 1; the labels say which build this worker is, and what signs its calls.",
		ConstLabels: prometheus.Labels{"version": build.Version, "revision": build.Revision, "goversion": build.Go, "signer": signs},
	}, func() float64 { return 1 }))
	return r
}

// ledgerMetrics reads a merchant's counters, hold, due index and queue at each
// collection. Each number is that of one key: nothing is scanned, however many orders
// there are. All workers report the same numbers.
type ledgerMetrics struct {
	ledger *ledger.Ledger
	rdb    redis.UniversalClient

	orders, collected, gate, closedServices, oldest, tasks, behind, paused *prometheus.Desc
	hooksWaiting, hooksOldest                                              *prometheus.Desc // nil without webhooks
}

// scrapeTimeout bounds a collection while Redis is away.
const scrapeTimeout = 2 * time.Second

func newLedgerMetrics(l *ledger.Ledger, rdb redis.UniversalClient, webhooks bool) *ledgerMetrics {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return metrics.Desc(name, help, l.MchID(), labels...)
	}
	m := &ledgerMetrics{
		ledger: l, rdb: rdb,
		orders:         desc("payscore_orders", "Orders in the ledger by state.", "state"),
		collected:      desc("payscore_collected_fen_total", "Fen of the orders that were paid."),
		gate:           desc("payscore_gate_closed", "1 while the merchant's calls are stopped but for probes: by its own fault, because the platform is down, or because it throttles everything.", "kind"),
		paused:         desc("payscore_paused", "1 while a person has paused the merchant's collect calls."),
		closedServices: desc("payscore_gate_closed_services", "Pairs of appid and service_id whose calls are stopped but for probes."),
		oldest:         desc("payscore_due_oldest_seconds", "How long the first order of the due index has been due without the sweep having taken it."),
		behind:         desc("payscore_outcomes_behind_seconds", "Age of the oldest event that a reader of the stream of outcomes has not acknowledged; 0 for none.", "group"),
		tasks:          desc("payscore_asynq_tasks", "Tasks in the merchant's asynq queue by state; active_unleased are not held by a worker, and asynq does not recover them.", "state"),
	}
	if webhooks {
		m.hooksWaiting = desc("payscore_webhooks_waiting", "Orders with webhooks that billing has not taken.")
		m.hooksOldest = desc("payscore_webhooks_oldest_seconds", "Age of the oldest webhook that billing has not taken; 0 for none.")
	}
	return m
}

// Describe implements prometheus.Collector.
func (m *ledgerMetrics) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{m.orders, m.collected, m.gate, m.closedServices, m.paused, m.oldest, m.tasks, m.behind, m.hooksWaiting, m.hooksOldest} {
		if d != nil {
			ch <- d
		}
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

	if h, err := m.ledger.Holds(ctx); err == nil {
		for _, kind := range []ledger.HoldKind{ledger.HoldFault, ledger.HoldDown, ledger.HoldThrottled} {
			gauge(m.gate, gaugeOf(h.Merchant.Kind == kind), string(kind))
		}
		gauge(m.closedServices, float64(len(h.Services)))
		gauge(m.paused, gaugeOf(h.Pause != nil))
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
	if m.hooksWaiting == nil {
		return
	}
	if waiting, age, err := m.ledger.HooksWaiting(ctx); err == nil {
		gauge(m.hooksWaiting, float64(waiting))
		gauge(m.hooksOldest, age.Seconds())
	}
}

func gaugeOf(is bool) float64 {
	if is {
		return 1
	}
	return 0
}

// gatherEvery is the least time between two collections of the metrics: each runs
// scripts in Redis for every merchant, and any client of ADMIN_ADDR may ask.
const gatherEvery = time.Second

// sharedGatherer collects metrics for one request at a time. Requests that arrive
// meanwhile, and within gatherEvery, share the result.
type sharedGatherer struct {
	from prometheus.Gatherer

	mu       sync.Mutex
	at       time.Time
	families []*dto.MetricFamily
	err      error
}

// Gather implements prometheus.Gatherer. Callers only read its families.
func (g *sharedGatherer) Gather() ([]*dto.MetricFamily, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.at.IsZero() || time.Since(g.at) >= gatherEvery {
		g.families, g.err = g.from.Gather()
		g.at = time.Now()
	}
	return g.families, g.err
}
