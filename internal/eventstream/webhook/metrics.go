package webhook

import (
	"github.com/prometheus/client_golang/prometheus"

	"payscore-collector/internal/metrics"
)

// The outcomes of Metrics.Total.
const (
	delivered = "delivered"
	failed    = "failed"   // it is retried
	givenUp   = "given_up" // billing was not told, and will not be
)

// Metrics are what the workers of this process count. How much is waiting is read
// from the ledger.
type Metrics struct {
	set     *metrics.Set
	Total   *prometheus.CounterVec
	Seconds *prometheus.HistogramVec
}

// NewMetrics registers the metrics with reg.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	set := metrics.New(reg)
	return &Metrics{
		set: set,
		Total: set.Counter("payscore_webhooks_total", "Webhooks by outcome: delivered, failed (each time; they are retried), given_up after RETENTION.",
			metrics.Known("outcome", delivered, failed, givenUp)),
		Seconds: set.Histogram("payscore_webhook_seconds", "Seconds from sending a webhook to its answer.", 0.005, 2, 12),
	}
}

// Forget takes the metrics of a merchant away that is no longer served.
func (m *Metrics) Forget(mchid string) { m.set.Forget(mchid) }
