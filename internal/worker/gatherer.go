package worker

import (
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

// gatherEvery is how often metrics are collected at most: it runs scripts in Redis
// for each merchant, and whoever reaches ADMIN_ADDR may ask.
const gatherEvery = time.Second

// sharedGatherer collects metrics for one request at a time. Requests that come
// meanwhile, and within gatherEvery, share what it has collected.
type sharedGatherer struct {
	from prometheus.Gatherer

	mu       sync.Mutex
	at       time.Time
	families []*dto.MetricFamily
	err      error
}

// Gather implements prometheus.Gatherer. Its families are read and never changed.
func (g *sharedGatherer) Gather() ([]*dto.MetricFamily, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.at.IsZero() || time.Since(g.at) >= gatherEvery {
		g.families, g.err = g.from.Gather()
		g.at = time.Now()
	}
	return g.families, g.err
}
