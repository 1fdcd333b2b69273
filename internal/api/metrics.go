package api

import (
	"cmp"
	"net/http"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/prometheus/client_golang/prometheus"
)

// metrics are of the requests to operations, by the operation's id.
type metrics struct {
	requests *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
}

func newMetrics(reg prometheus.Registerer) *metrics {
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "payscore_api_requests_total", Help: "Requests to the HTTP API by operation and the status of their answer.",
		}, []string{"operation", "status"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "payscore_api_request_seconds", Help: "Seconds from a request to the end of its answer. Streams, which last as long as their callers like, are left out.",
			Buckets: prometheus.ExponentialBuckets(0.001, 2.5, 11),
		}, []string{"operation"}),
	}
	if reg != nil {
		reg.MustRegister(m.requests, m.seconds)
	}
	return m
}

// measure does the work of a request and counts it. Work that panics was not answered, or
// its caller has left.
func (m *metrics) measure(ctx huma.Context, o op, work func() (status int)) {
	begun, status := time.Now(), 0
	defer func() {
		status = cmp.Or(status, ctx.Status(), http.StatusInternalServerError)
		m.requests.WithLabelValues(o.id, strconv.Itoa(status)).Inc()
		if !o.stream {
			m.seconds.WithLabelValues(o.id).Observe(time.Since(begun).Seconds())
		}
	}()
	status = work()
}
