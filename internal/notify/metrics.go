package notify

import (
	"slices"

	"github.com/prometheus/client_golang/prometheus"

	"payscore-collector/internal/metrics"
)

// Metrics are what the receiver counts.
type Metrics struct {
	set           *metrics.Set
	Notifications *prometheus.CounterVec
	Seconds       *prometheus.HistogramVec
}

// noMerchant is the mchid of requests to no merchant of this worker: what a stranger
// writes into a path must not make a new label.
const noMerchant = "unknown"

// NewMetrics registers the metrics with reg.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	var ofMerchants []Result
	for result := range answers {
		if result != NotFound {
			ofMerchants = append(ofMerchants, result)
		}
	}
	slices.Sort(ofMerchants)
	set := metrics.New(reg)
	m := &Metrics{
		set:           set,
		Notifications: set.Counter("payscore_notifications_total", "Notifications received by their result.", metrics.Known("outcome", ofMerchants...)),
		Seconds:       set.Histogram("payscore_notification_seconds", "Seconds from a notification's last byte to its answer.", 0.0005, 2, 12),
	}
	m.Notifications.WithLabelValues(noMerchant, string(NotFound))
	return m
}
