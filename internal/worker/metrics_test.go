package worker

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"

	"payscore-collector/internal/version"
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
func TestBuildInfo(t *testing.T) {
	families, err := newRegistry(version.Info{Version: "v0.2.0", Revision: "0b883cd", Go: "go1.26.0"}, "openssl").Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != "payscore_build_info" {
			continue
		}
		labels := map[string]string{}
		for _, l := range f.GetMetric()[0].GetLabel() {
			labels[l.GetName()] = l.GetValue()
		}
		if f.GetMetric()[0].GetGauge().GetValue() != 1 || labels["version"] != "v0.2.0" || labels["revision"] != "0b883cd" || labels["goversion"] != "go1.26.0" || labels["signer"] != "openssl" {
			t.Errorf("the metric is %v", f)
		}
		return
	}
	t.Error("there is no payscore_build_info")
}
