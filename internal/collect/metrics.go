package collect

import (
	"github.com/hibiken/asynq"
	"github.com/prometheus/client_golang/prometheus"

	"payscore-collector/internal/ledger"
	"payscore-collector/internal/payscore"
)

// Metrics are what the workers of this process count. Those that are the
// ledger's (orders by state, fen collected) are read from it when asked for.
type Metrics struct {
	Calls        *prometheus.CounterVec   // mchid, call, verdict
	CallSeconds  *prometheus.HistogramVec // mchid, call
	Ended        *prometheus.CounterVec   // mchid, state
	DueLag       *prometheus.HistogramVec // mchid
	GateClosings *prometheus.CounterVec   // mchid
	Unusable     *prometheus.CounterVec   // mchid
	Panics       *prometheus.CounterVec   // mchid
	StepErrors   *prometheus.CounterVec   // mchid
	Swept        *prometheus.CounterVec   // mchid
	Stuck        *prometheus.CounterVec   // mchid
	SweepErrors  *prometheus.CounterVec   // mchid
	Syncs        *prometheus.CounterVec   // mchid, outcome
	News         *prometheus.CounterVec   // mchid, kind
	Removed      *prometheus.CounterVec   // mchid
	Foreign      *prometheus.CounterVec   // mchid, state
	ClockJumps   *prometheus.CounterVec   // mchid
	Paused       *prometheus.GaugeVec     // mchid
}

// NewMetrics registers the metrics with reg.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		v := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "payscore_" + name, Help: help}, append([]string{"mchid"}, labels...))
		reg.MustRegister(v)
		return v
	}
	histogram := func(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
		v := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "payscore_" + name, Help: help, Buckets: buckets}, append([]string{"mchid"}, labels...))
		reg.MustRegister(v)
		return v
	}
	gauge := func(name, help string, labels ...string) *prometheus.GaugeVec {
		v := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "payscore_" + name, Help: help}, append([]string{"mchid"}, labels...))
		reg.MustRegister(v)
		return v
	}
	return &Metrics{
		Calls:        counter("calls_total", "Calls to WeChat Pay by verdict.", "call", "verdict"),
		CallSeconds:  histogram("call_seconds", "Seconds from sending a call to its verdict.", prometheus.ExponentialBuckets(0.005, 2, 13), "call"),
		Ended:        counter("orders_ended_total", "Orders that this process brought to an end.", "state"),
		DueLag:       histogram("due_lag_seconds", "Seconds from an order's due time to its step.", prometheus.ExponentialBuckets(0.01, 2.5, 14)),
		GateClosings: counter("gate_closings_total", "Times that this process's calls closed the merchant's gate."),
		Unusable:     counter("unusable_tasks_total", "Tasks that can never be worked on, put into asynq's archive."),
		Panics:       counter("step_panics_total", "Steps that panicked."),
		StepErrors:   counter("step_errors_total", "Steps that failed on our side, mostly for want of Redis."),
		Swept:        counter("swept_total", "Orders that the sweep put back into the queue."),
		Stuck:        counter("stuck_tasks_total", "Tasks that were stuck in asynq and given a new round."),
		SweepErrors:  counter("sweep_errors_total", "Sweeps that failed."),
		Syncs:        counter("syncs_total", "Withdrawn orders by what became of telling WeChat Pay: done, not_needed, failed.", "outcome"),
		News:         counter("payment_news_total", "Payments that somebody must look at: late (of an order that had ended otherwise), differs (in its amounts).", "kind"),
		Removed:      counter("orders_removed_total", "Ended orders that left the ledger after RETENTION."),
		Foreign:      counter("foreign_tasks_total", "Tasks of other asynq clients that no worker would have met, by the asynq state (aggregating, archived, retry) from which their orders were enqueued.", "state"),
		ClockJumps:   counter("redis_clock_jumps_total", "Jumps of Redis's clock, back or ahead, that this process has noticed."),
		Paused:       gauge("queue_paused", "1 while somebody has paused the merchant's asynq queue."),
	}
}

// introduce gives a merchant's counters their zeros: an alert on a rise cannot
// see the first of a counter that was not there before.
func (m *Metrics) introduce(mchid string) {
	for _, v := range []*prometheus.CounterVec{m.GateClosings, m.Unusable, m.Panics, m.StepErrors, m.Swept, m.Stuck, m.SweepErrors, m.Removed} {
		v.WithLabelValues(mchid)
	}
	m.ClockJumps.WithLabelValues(mchid)
	m.Paused.WithLabelValues(mchid)
	for _, state := range []asynq.TaskState{asynq.TaskStateAggregating, asynq.TaskStateArchived, asynq.TaskStateRetry} {
		m.Foreign.WithLabelValues(mchid, state.String())
	}
	for _, kind := range []ledger.News{ledger.Late, ledger.Differs} {
		m.News.WithLabelValues(mchid, string(kind))
	}
	for _, outcome := range []ledger.SyncState{ledger.SyncDone, ledger.SyncNoNeed, ledger.SyncFailed} {
		m.Syncs.WithLabelValues(mchid, string(outcome))
	}
}

func (m *Metrics) observeCall(mchid string, r payscore.Reply) {
	m.Calls.WithLabelValues(mchid, string(r.Call), string(r.Verdict)).Inc()
	m.CallSeconds.WithLabelValues(mchid, string(r.Call)).Observe(r.Elapsed.Seconds())
}

func (m *Metrics) observeLag(mchid string, c ledger.Claim) {
	if !c.Order.Due.IsZero() {
		m.DueLag.WithLabelValues(mchid).Observe(c.Now.Sub(c.Order.Due).Seconds())
	}
}
