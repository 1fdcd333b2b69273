package worker

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
)

type gathererFunc func() ([]*dto.MetricFamily, error)

func (f gathererFunc) Gather() ([]*dto.MetricFamily, error) { return f() }

// However many scrape at once, Redis is asked once a second.
func TestScrapesShareACollection(t *testing.T) {
	t.Parallel()
	var collections, atOnce atomic.Int64
	g := &sharedGatherer{from: gathererFunc(func() ([]*dto.MetricFamily, error) {
		if atOnce.Add(1) > 1 {
			t.Error("two collections at once")
		}
		defer atOnce.Add(-1)
		collections.Add(1)
		return []*dto.MetricFamily{{}}, nil
	})}
	start := time.Now()
	var all sync.WaitGroup
	for range 50 {
		all.Go(func() {
			for range 50 {
				if families, err := g.Gather(); len(families) != 1 || err != nil {
					t.Error(families, err)
				}
			}
		})
	}
	all.Wait()
	if n, most := collections.Load(), 1+int64(time.Since(start)/gatherEvery); n > most {
		t.Errorf("%d collections, want at most %d", n, most)
	}
	g.mu.Lock()
	g.at = g.at.Add(-gatherEvery)
	g.mu.Unlock()
	before := collections.Load()
	if _, err := g.Gather(); err != nil || collections.Load() != before+1 {
		t.Errorf("not collected anew after a second: %v", err)
	}
}
