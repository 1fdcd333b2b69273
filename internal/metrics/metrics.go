// Package metrics declares the metrics of a merchant: the name in full, the help and
// the labels with their values, each in one place. docs/metrics.md has the same
// names, and a test compares the two.
package metrics

import (
	"slices"

	"github.com/prometheus/client_golang/prometheus"
)

// Label is a label beside mchid.
type Label struct {
	name   string
	values []string
}

// Known is a label whose values are known: Introduce gives each a zero.
func Known[T ~string](name string, values ...T) Label {
	l := Label{name: name}
	for _, v := range values {
		l.values = append(l.values, string(v))
	}
	return l
}

// Open is a label whose values are found while the worker runs.
func Open(name string) Label { return Label{name: name} }

// Set registers metrics whose first label is mchid.
type Set struct {
	reg   prometheus.Registerer
	all   []vec
	zeros []func(mchid string)
}

type vec interface {
	prometheus.Collector
	DeletePartialMatch(prometheus.Labels) int
}

// New returns a set that registers with reg.
func New(reg prometheus.Registerer) *Set { return &Set{reg: reg} }

// Introduce gives a merchant's metrics their zeros, for every value of labels that
// are all Known: an alert on a rise cannot see the first of a counter that did not
// exist before.
func (s *Set) Introduce(mchid string) {
	for _, zero := range s.zeros {
		zero(mchid)
	}
}

// Forget takes the metrics of a merchant away that is no longer served.
func (s *Set) Forget(mchid string) {
	for _, v := range s.all {
		v.DeletePartialMatch(prometheus.Labels{"mchid": mchid})
	}
}

// Counter declares a counter.
func (s *Set) Counter(name, help string, labels ...Label) *prometheus.CounterVec {
	v := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, names(labels))
	s.add(v, labels, func(values []string) { v.WithLabelValues(values...) })
	return v
}

// Gauge declares a gauge.
func (s *Set) Gauge(name, help string, labels ...Label) *prometheus.GaugeVec {
	v := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: name, Help: help}, names(labels))
	s.add(v, labels, func(values []string) { v.WithLabelValues(values...) })
	return v
}

// Histogram declares a histogram with n buckets, the first up to from seconds and
// each further one factor times as wide.
func (s *Set) Histogram(name, help string, from, factor float64, n int, labels ...Label) *prometheus.HistogramVec {
	v := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: name, Help: help, Buckets: prometheus.ExponentialBuckets(from, factor, n),
	}, names(labels))
	s.add(v, labels, func(values []string) { v.WithLabelValues(values...) })
	return v
}

func names(labels []Label) []string {
	all := []string{"mchid"}
	for _, l := range labels {
		all = append(all, l.name)
	}
	return all
}

func (s *Set) add(v vec, labels []Label, zero func(values []string)) {
	s.reg.MustRegister(v)
	s.all = append(s.all, v)
	if slices.ContainsFunc(labels, func(l Label) bool { return l.values == nil }) {
		return
	}
	s.zeros = append(s.zeros, func(mchid string) { each([]string{mchid}, labels, zero) })
}

// each calls do with every combination of the labels' values behind those given.
func each(values []string, labels []Label, do func([]string)) {
	if len(labels) == 0 {
		do(values)
		return
	}
	for _, v := range labels[0].values {
		each(append(slices.Clone(values), v), labels[1:], do)
	}
}

// Desc declares a metric of merchants for a prometheus.Collector, which reads its value
// when it is asked. The mchid is the first label's value.
func Desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(name, help, append([]string{"mchid"}, labels...), nil)
}
