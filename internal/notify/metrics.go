package notify

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Metrics are what the receiver counts.
type Metrics struct {
	Notifications *prometheus.CounterVec   // mchid, outcome
	Seconds       *prometheus.HistogramVec // mchid
}

// nobody is the mchid of requests to no merchant of this worker: what stands in
// a stranger's path must not make a new label.
const nobody = "unknown"

// NewMetrics registers the metrics with reg.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	m := &Metrics{
		Notifications: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "payscore_notifications_total", Help: "Notifications received, by what became of them.",
		}, []string{"mchid", "outcome"}),
		Seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "payscore_notification_seconds", Help: "Seconds from a notification's last byte to its answer.",
			Buckets: prometheus.ExponentialBuckets(0.0005, 2, 12),
		}, []string{"mchid"}),
	}
	reg.MustRegister(m.Notifications, m.Seconds)
	m.Notifications.WithLabelValues(nobody, string(NotFound))
	return m
}

// introduce gives a merchant's counters their zeros.
func (m *Metrics) introduce(mchid string) {
	for outcome := range answers {
		if outcome != NotFound {
			m.Notifications.WithLabelValues(mchid, string(outcome))
		}
	}
	m.Seconds.WithLabelValues(mchid)
}

func (m *Metrics) observe(mchid string, took time.Duration) {
	m.Seconds.WithLabelValues(mchid).Observe(took.Seconds())
}
