package webhook

import "github.com/prometheus/client_golang/prometheus"

// The outcomes of Metrics.Total.
const (
	delivered = "delivered"
	failed    = "failed"   // it is tried again
	givenUp   = "given_up" // billing was not told, and will not be
)

// Metrics are what the workers of this process count. How much is waiting is the
// ledger's to say.
type Metrics struct {
	Total   *prometheus.CounterVec   // mchid, outcome
	Seconds *prometheus.HistogramVec // mchid
}

// NewMetrics registers the metrics with reg.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	m := &Metrics{
		Total: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "payscore_webhooks_total",
			Help: "Webhooks by what became of them: delivered, failed (each time; they are tried again), given_up after RETENTION.",
		}, []string{"mchid", "outcome"}),
		Seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "payscore_webhook_seconds", Help: "Seconds from sending a webhook to its answer.",
			Buckets: prometheus.ExponentialBuckets(0.005, 2, 12),
		}, []string{"mchid"}),
	}
	reg.MustRegister(m.Total, m.Seconds)
	return m
}

// introduce gives a merchant's counters their zeros: an alert on a rise cannot
// see the first of a counter that was not there before.
func (m *Metrics) introduce(mchid string) {
	for _, outcome := range []string{delivered, failed, givenUp} {
		m.Total.WithLabelValues(mchid, outcome)
	}
}
