package collect

import (
	"github.com/hibiken/asynq"
	"github.com/prometheus/client_golang/prometheus"

	"payscore-collector/internal/ledger"
	"payscore-collector/internal/payscore"
)

// Metrics are what the workers of this process count, each by mchid and the further
// labels that its declaration names. Orders by state and fen collected are not among
// them: they are read from the ledger.
type Metrics struct {
	Calls        *prometheus.CounterVec
	CallSeconds  *prometheus.HistogramVec
	Ended        *prometheus.CounterVec
	DueLag       *prometheus.HistogramVec
	GateClosings *prometheus.CounterVec
	Unusable     *prometheus.CounterVec
	Panics       *prometheus.CounterVec
	StepErrors   *prometheus.CounterVec
	Swept        *prometheus.CounterVec
	Stuck        *prometheus.CounterVec
	SweepErrors  *prometheus.CounterVec
	Syncs        *prometheus.CounterVec
	News         *prometheus.CounterVec
	Removed      *prometheus.CounterVec
	Foreign      *prometheus.CounterVec
	ClockJumps   *prometheus.CounterVec
	Paused       *prometheus.GaugeVec

	zeros []func(mchid string)
}

// NewMetrics registers the metrics with reg.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	m := &Metrics{}
	labelled := func(name, help string, labels ...string) *prometheus.CounterVec {
		v := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "payscore_" + name, Help: help}, append([]string{"mchid"}, labels...))
		reg.MustRegister(v)
		return v
	}
	// A counter with a known set of values of its label, or without one, has its
	// zeros from the start: an alert on a rise cannot see the first of a counter that
	// did not exist before.
	counter := func(name, help string) *prometheus.CounterVec {
		v := labelled(name, help)
		m.zeros = append(m.zeros, func(mchid string) { v.WithLabelValues(mchid) })
		return v
	}
	counterBy := func(name, help, label string, values ...string) *prometheus.CounterVec {
		v := labelled(name, help, label)
		m.zeros = append(m.zeros, func(mchid string) {
			for _, value := range values {
				v.WithLabelValues(mchid, value)
			}
		})
		return v
	}
	histogram := func(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
		v := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "payscore_" + name, Help: help, Buckets: buckets}, append([]string{"mchid"}, labels...))
		reg.MustRegister(v)
		return v
	}
	m.Calls = labelled("calls_total", "Calls to WeChat Pay by verdict.", "call", "verdict")
	m.CallSeconds = histogram("call_seconds", "Seconds from sending a call to its verdict.", prometheus.ExponentialBuckets(0.005, 2, 13), "call")
	m.Ended = labelled("orders_ended_total", "Orders that this process brought to a final state.", "state")
	m.DueLag = histogram("due_lag_seconds", "Seconds from an order's due time to its step.", prometheus.ExponentialBuckets(0.01, 2.5, 14))
	m.GateClosings = counter("gate_closings_total", "Times that this process's calls began a hold.")
	m.Unusable = counter("unusable_tasks_total", "Tasks that can never be worked on, put into asynq's archive.")
	m.Panics = counter("step_panics_total", "Steps that panicked.")
	m.StepErrors = counter("step_errors_total", "Steps that failed on our side, mostly because Redis was unavailable.")
	m.Swept = counter("swept_total", "Orders that the sweep enqueued again.")
	m.Stuck = counter("stuck_tasks_total", "Tasks that were stuck in asynq and given a new round.")
	m.SweepErrors = counter("sweep_errors_total", "Sweeps that failed.")
	m.Syncs = counterBy("syncs_total", "Withdrawn orders by the outcome of their sync.", "outcome",
		string(ledger.SyncDone), string(ledger.SyncNoNeed), string(ledger.SyncFailed))
	m.News = counterBy("payment_news_total", "Payments that a person must look at: late (of an order that had ended otherwise), differs (in its amounts).", "kind",
		string(ledger.Late), string(ledger.Differs))
	m.Removed = counter("orders_removed_total", "Ended orders that left the ledger after RETENTION.")
	m.Foreign = counterBy("foreign_tasks_total", "Tasks of other asynq clients that no worker would have met, by the asynq state from which their orders were enqueued.", "state",
		asynq.TaskStateAggregating.String(), asynq.TaskStateArchived.String(), asynq.TaskStateRetry.String())
	m.ClockJumps = counter("redis_clock_jumps_total", "Jumps of Redis's clock, back or ahead, that this process has noticed.")
	m.Paused = prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "payscore_queue_paused", Help: "1 while the merchant's asynq queue is paused."}, []string{"mchid"})
	reg.MustRegister(m.Paused)
	m.zeros = append(m.zeros, func(mchid string) { m.Paused.WithLabelValues(mchid) })
	return m
}

// introduce gives a merchant's counters their zeros.
func (m *Metrics) introduce(mchid string) {
	for _, zero := range m.zeros {
		zero(mchid)
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
