package worker

import (
	"context"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	dto "github.com/prometheus/client_model/go"
	"github.com/redis/go-redis/v9"
	"golang.org/x/sync/errgroup"

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

// ledgerMetrics reads the merchants' counters, holds, due indexes and queues at each
// collection. Each number is that of one key: nothing is scanned, however many orders
// there are. All workers report the same numbers. Those of a merchant that sleeps do not
// change, or another worker wakes it: they are read when it falls asleep, and at each of
// its housekeepings.
type ledgerMetrics struct {
	rdb       redis.UniversalClient
	merchants func() []*merchant

	orders, collected, gate, closedServices, oldest, tasks, behind, paused *prometheus.Desc
	hooksWaiting, hooksOldest                                              *prometheus.Desc // nil without webhooks
}

// numbers are one merchant's.
type numbers struct {
	metrics []prometheus.Metric
	readers []ledger.StreamReader // apart from the metrics, since their lag grows
	at      time.Time
	err     error // of the first read
	partial bool  // another read failed, and its metrics are left out
}

const (
	// scrapeTimeout bounds a collection while Redis is away.
	scrapeTimeout = 2 * time.Second
	// readTogether is for how many merchants numbers are read at once.
	readTogether = 32
)

func newLedgerMetrics(rdb redis.UniversalClient, webhooks bool, merchants func() []*merchant) *ledgerMetrics {
	m := &ledgerMetrics{
		rdb: rdb, merchants: merchants,
		orders:         metrics.Desc("payscore_orders", "Orders in the ledger by state.", "state"),
		collected:      metrics.Desc("payscore_collected_fen_total", "Fen of the orders that were paid."),
		gate:           metrics.Desc("payscore_gate_closed", "1 while the merchant's calls are stopped but for probes: by its own fault, because the platform is down, or because it throttles everything.", "kind"),
		paused:         metrics.Desc("payscore_paused", "1 while a person has paused the merchant's collect calls."),
		closedServices: metrics.Desc("payscore_gate_closed_services", "Pairs of appid and service_id whose calls are stopped but for probes."),
		oldest:         metrics.Desc("payscore_due_oldest_seconds", "How long the first order of the due index has been due without the sweep having taken it."),
		behind:         metrics.Desc("payscore_outcomes_behind_seconds", "Age of the oldest event that a reader of the stream of outcomes has not acknowledged; 0 for none.", "group"),
		tasks:          metrics.Desc("payscore_asynq_tasks", "Tasks in the merchant's asynq queue by state; active_unleased are not held by a worker, and asynq does not recover them.", "state"),
	}
	if webhooks {
		m.hooksWaiting = metrics.Desc("payscore_webhooks_waiting", "Orders with webhooks that billing has not taken.")
		m.hooksOldest = metrics.Desc("payscore_webhooks_oldest_seconds", "Age of the oldest webhook that billing has not taken; 0 for none.")
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
	var reading errgroup.Group
	reading.SetLimit(readTogether)
	for _, of := range m.merchants() {
		if kept := of.kept(); kept != nil {
			m.send(ch, of.config.MchID, kept)
			continue
		}
		reading.Go(func() error {
			n := m.read(ctx, of.ledger)
			of.setNumbers(n)
			m.send(ch, of.config.MchID, n)
			return nil
		})
	}
	_ = reading.Wait()
}

func (m *ledgerMetrics) send(ch chan<- prometheus.Metric, mchid string, n *numbers) {
	if n.err != nil {
		ch <- prometheus.NewInvalidMetric(m.orders, n.err)
		return
	}
	for _, metric := range n.metrics {
		ch <- metric
	}
	for _, r := range n.readers {
		age := r.Behind
		if age > 0 {
			age += time.Since(n.at)
		}
		ch <- prometheus.MustNewConstMetric(m.behind, prometheus.GaugeValue, age.Seconds(), mchid, r.Group)
	}
}

func (m *ledgerMetrics) read(ctx context.Context, l *ledger.Ledger) *numbers {
	n := &numbers{at: time.Now()}
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		n.metrics = append(n.metrics, prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, append([]string{l.MchID()}, labels...)...))
	}
	answered := func(err error) bool {
		n.partial = n.partial || err != nil
		return err == nil
	}
	stats, err := l.Stats(ctx)
	if err != nil {
		n.err = err
		return n
	}
	for state, count := range stats.Orders {
		gauge(m.orders, float64(count), string(state))
	}
	n.metrics = append(n.metrics, prometheus.MustNewConstMetric(m.collected, prometheus.CounterValue, float64(stats.PaidAmount+stats.PaidLeft), l.MchID()))

	if h, err := l.Holds(ctx); answered(err) {
		for _, kind := range []ledger.HoldKind{ledger.HoldFault, ledger.HoldDown, ledger.HoldThrottled} {
			gauge(m.gate, gaugeOf(h.Merchant.Kind == kind), string(kind))
		}
		gauge(m.closedServices, float64(len(h.Services)))
		gauge(m.paused, gaugeOf(h.Pause != nil))
	}
	if lag, err := l.Lag(ctx); answered(err) {
		gauge(m.oldest, lag.Seconds())
	}
	if readers, err := l.Trim(ctx, 0); answered(err) {
		n.readers = readers
	}
	if sizes, err := asynqx.Sizes(ctx, m.rdb, tasks.QueueName(l.MchID())); answered(err) {
		for state, size := range sizes {
			gauge(m.tasks, float64(size), state)
		}
	}
	if m.hooksWaiting == nil {
		return n
	}
	if waiting, age, err := l.HooksWaiting(ctx); answered(err) {
		gauge(m.hooksWaiting, float64(waiting))
		gauge(m.hooksOldest, age.Seconds())
	}
	return n
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
	if g.families == nil || time.Since(g.at) >= gatherEvery {
		g.families, g.err = g.from.Gather()
		g.at = time.Now()
		time.AfterFunc(gatherEvery, g.release)
	}
	return g.families, g.err
}

// release frees the memory of a result that is no longer shared: with a thousand merchants
// it is some dozens of megabytes.
func (g *sharedGatherer) release() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if time.Since(g.at) >= gatherEvery {
		g.families = nil
	}
}
