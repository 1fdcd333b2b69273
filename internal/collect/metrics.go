package collect

import (
	"github.com/hibiken/asynq"
	"github.com/prometheus/client_golang/prometheus"

	"payscore-collector/internal/ledger"
	"payscore-collector/internal/metrics"
	"payscore-collector/internal/payscore"
)

// Metrics are what the workers of this process count, each by mchid and the further
// labels that its declaration names. Orders by state and fen collected are not among
// them: they are read from the ledger.
type Metrics struct {
	set *metrics.Set

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
	Compacted    *prometheus.CounterVec
	Foreign      *prometheus.CounterVec
	ClockJumps   *prometheus.CounterVec

	UnknownSchedule *prometheus.CounterVec
	Paused          *prometheus.GaugeVec
}

// NewMetrics registers the metrics with reg.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	s := metrics.New(reg)
	return &Metrics{
		set:          s,
		Calls:        s.Counter("payscore_calls_total", "Calls to WeChat Pay by verdict.", metrics.Open("call"), metrics.Open("verdict")),
		CallSeconds:  s.Histogram("payscore_call_seconds", "Seconds from sending a call to its verdict.", 0.005, 2, 13, metrics.Open("call")),
		Ended:        s.Counter("payscore_orders_ended_total", "Orders that this process brought to a final state.", metrics.Open("state")),
		DueLag:       s.Histogram("payscore_due_lag_seconds", "Seconds from an order's due time to its step.", 0.01, 2.5, 14),
		GateClosings: s.Counter("payscore_gate_closings_total", "Times that this process's calls began a hold."),
		Unusable:     s.Counter("payscore_unusable_tasks_total", "Tasks that can never be worked on, put into asynq's archive."),
		Panics:       s.Counter("payscore_step_panics_total", "Steps that panicked."),
		StepErrors:   s.Counter("payscore_step_errors_total", "Steps that failed on our side, mostly because Redis was unavailable."),
		Swept:        s.Counter("payscore_swept_total", "Orders that the sweep enqueued again."),
		Stuck:        s.Counter("payscore_stuck_tasks_total", "Tasks that were stuck in asynq and given a new round."),
		SweepErrors:  s.Counter("payscore_sweep_errors_total", "Sweeps that failed."),
		Syncs: s.Counter("payscore_syncs_total", "Withdrawn orders by the outcome of their sync.",
			metrics.Known("outcome", ledger.SyncDone, ledger.SyncNoNeed, ledger.SyncFailed)),
		News: s.Counter("payscore_payment_news_total", "Payments that a person must look at: late (of an order that had ended otherwise), differs (in its amounts).",
			metrics.Known("kind", ledger.Late, ledger.Differs)),
		Removed:   s.Counter("payscore_orders_removed_total", "Ended orders that left the ledger after RETENTION."),
		Compacted: s.Counter("payscore_orders_compacted_total", "Ended orders of which the calls are no longer kept, and the record is compact."),
		Foreign: s.Counter("payscore_foreign_tasks_total", "Tasks of other asynq clients that no worker would have met, by the asynq state from which their orders were enqueued.",
			metrics.Known("state", asynq.TaskStateAggregating.String(), asynq.TaskStateArchived.String(), asynq.TaskStateRetry.String())),
		ClockJumps: s.Counter("payscore_redis_clock_jumps_total", "Jumps of Redis's clock, back or ahead, that this process has noticed."),
		UnknownSchedule: s.Counter("payscore_unknown_schedule_steps_total",
			"Steps on orders that name a schedule which this worker's SCHEDULES_FILE does not have; they are collected by the worker's settings."),
		Paused: s.Gauge("payscore_queue_paused", "1 while the merchant's asynq queue is paused."),
	}
}

// Forget takes the metrics of a merchant away that is no longer served.
func (m *Metrics) Forget(mchid string) { m.set.Forget(mchid) }

func (m *Metrics) observeCall(mchid string, r payscore.Reply) {
	m.Calls.WithLabelValues(mchid, string(r.Call), string(r.Verdict)).Inc()
	m.CallSeconds.WithLabelValues(mchid, string(r.Call)).Observe(r.Elapsed.Seconds())
}

func (m *Metrics) observeLag(mchid string, c ledger.Claim) {
	if !c.Order.Due.IsZero() {
		m.DueLag.WithLabelValues(mchid).Observe(c.Now.Sub(c.Order.Due).Seconds())
	}
}
