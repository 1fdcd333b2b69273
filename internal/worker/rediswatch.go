package worker

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"
	"github.com/rs/zerolog"

	"payscore-collector/internal/config"
	"payscore-collector/internal/logging"
	"payscore-collector/internal/redisconn"
	"payscore-collector/internal/redisprobe"
)

// redisWatch knows whether Redis serves, logs from time to time that it does not, and
// warns before its memory is full. Meanwhile asynq's complaints are not shown, see
// asynqx.Complaints.
//
// It sends a PING each second, and probes (redisprobe) at the start, while Redis
// refuses, after an error of Redis in the worker's commands, and otherwise one merchant
// every probeEvery.
type redisWatch struct {
	redis redisconn.Options
	log   zerolog.Logger

	merchants atomic.Pointer[[]string]

	conns   connections
	next    int         // which merchant is probed next
	probed  time.Time   // when one was probed last
	suspect atomic.Bool // the worker's commands have met an error of Redis since then

	refusal atomic.Pointer[redisconn.Refusal] // nil while Redis serves
	ready   atomic.Bool                       // the worker has started and is not stopping
	since   time.Time                         // of the refusal
	logged  time.Time                         // when it was logged last

	ctx     context.Context
	stop    context.CancelFunc
	memory  *prometheus.GaugeVec
	upness  prometheus.Gauge
	refused *prometheus.GaugeVec
}

func newRedisWatch(cfg config.Worker, log zerolog.Logger, reg prometheus.Registerer) *redisWatch {
	w := &redisWatch{
		redis: cfg.Redis, log: log,
		memory: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "payscore_redis_memory_bytes", Help: "Memory of Redis: used, and the limit (0 for none).",
		}, []string{"kind"}),
		upness: prometheus.NewGauge(prometheus.GaugeOpts{Name: "payscore_redis_up", Help: "1 while Redis answers."}),
		refused: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "payscore_redis_refused", Help: "1 while Redis answers and refuses what work needs, by kind; nothing is collected.",
		}, []string{"kind"}),
	}
	var mchids []string
	for _, m := range cfg.Merchants {
		mchids = append(mchids, m.MchID)
	}
	w.merchants.Store(&mchids)
	for _, kind := range redisconn.Kinds {
		if kind.Answers() {
			w.refused.WithLabelValues(string(kind)).Set(0)
		}
	}
	reg.MustRegister(w.memory, w.upness, w.refused)
	w.ctx, w.stop = context.WithCancel(context.Background())
	return w
}

const (
	pingEvery   = time.Second
	pingTimeout = time.Second
	// probeEvery is how often one merchant is probed while all is well: a
	// thousandth of what asynq asks an idle Redis.
	probeEvery = 10 * time.Second
	// mostProbed is how many merchants are probed for a reason. With more the next probe
	// continues behind them.
	mostProbed = 100
	// probeAgain is the least time between probes for a reason.
	probeAgain = 2 * time.Second
	// probeTimeout is for one merchant. A Redis that takes longer for a dozen small
	// commands does not serve.
	probeTimeout = 6 * time.Second
)

// await returns nil when Redis can be trusted and serves every merchant, ctx's error if
// ctx ends before, and a *RefusedError if Redis would lose what it is given. It waits
// while Redis refuses anything else: the operator mends that outside of the worker, and
// to exit would only cause a restart loop.
func (w *redisWatch) await(ctx context.Context) error {
	for {
		refusal, err := w.examine(ctx)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil:
			return err
		}
		w.keep(ctx, refusal)
		if refusal == nil {
			return nil
		}
		select {
		case <-time.After(pingEvery / 2):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// examine checks everything that matters at the start.
func (w *redisWatch) examine(ctx context.Context) (*redisconn.Refusal, error) {
	if err := w.ping(ctx); err != nil {
		return redisconn.Explain(err), nil
	}
	asking, cancel := context.WithTimeout(ctx, checkRedisWithin)
	defer cancel()
	report := redisconn.Check(asking, w.conns.Ledger)
	switch {
	case report.Untrusted():
		return nil, &RefusedError{report.Err()}
	case report.Refusal() != nil:
		return report.Refusal(), nil
	}
	if refusal := w.probe(ctx, len(*w.merchants.Load())); refusal != nil {
		return refusal, nil
	}
	for _, f := range report.Warnings() {
		w.log.Warn().Str(logging.FieldEvent, "redis_warning").Msg("redis " + f.String())
	}
	return nil, nil
}

func (w *redisWatch) ping(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, pingTimeout)
	defer cancel()
	return w.conns.Ledger.Ping(ctx).Err()
}

// probe probes the next n merchants, up to the first refusal. The next probe begins with
// that merchant.
func (w *redisWatch) probe(ctx context.Context, n int) *redisconn.Refusal {
	merchants := *w.merchants.Load()
	for range min(n, len(merchants)) {
		w.next %= len(merchants)
		probing, cancel := context.WithTimeout(ctx, probeTimeout)
		refusal := redisprobe.Run(probing, w.conns.Clients, merchants[w.next])
		cancel()
		if refusal != nil {
			if refusal.Kind == redisconn.Away {
				refusal.Problem = "Redis answers a PING, but a script or a write does not come back"
				refusal.Remedy = "look for what holds Redis up (CLIENT PAUSE, slow commands, its disk)"
			}
			return refusal
		}
		w.next++
	}
	return nil
}

// run watches until stop.
func (w *redisWatch) run() {
	var remembered time.Time
	for {
		refusal := w.ask(w.ctx)
		if w.ctx.Err() != nil {
			return
		}
		w.keep(w.ctx, refusal)
		if refusal == nil && time.Since(remembered) > memoryEvery {
			remembered = time.Now()
			w.checkMemory()
		}
		select {
		case <-w.ctx.Done():
			return
		case <-time.After(pingEvery):
		}
	}
}

// ask sends a PING, and probes where that is due.
func (w *redisWatch) ask(ctx context.Context) *redisconn.Refusal {
	if err := w.ping(ctx); err != nil {
		return redisconn.Explain(err)
	}
	before, since := w.refusal.Load(), time.Since(w.probed)
	n, due := 1, since >= probeEvery
	if before != nil || w.suspect.Load() {
		n, due = mostProbed, since >= probeAgain || before != nil && before.Kind == redisconn.Away
	}
	if !due {
		return before
	}
	w.suspect.Store(false)
	w.probed = time.Now()
	return w.probe(ctx, n)
}

// keep stores what was found, and logs it: at once when a refusal begins or changes,
// then every logEvery, and when it ends.
func (w *redisWatch) keep(ctx context.Context, refusal *redisconn.Refusal) {
	before := w.refusal.Load()
	if refusal != nil && refusal.Kind == redisconn.Away {
		switch {
		case before == nil || time.Since(w.logged) >= logEvery:
			refusal = w.redis.Explain(ctx, refusal)
		case before.Kind == redisconn.TLS:
			refusal = before // Explain found that out
		}
	}
	w.refusal.Store(refusal)
	w.count(refusal)
	if refusal == nil {
		if before != nil {
			w.log.Info().Str(logging.FieldEvent, "redis_up").
				Int64(logging.FieldElapsedMS, time.Since(w.since).Milliseconds()).Msg("Redis is up")
		}
		return
	}
	if before == nil {
		w.since = time.Now()
	}
	if before != nil && before.Kind == refusal.Kind && time.Since(w.logged) < logEvery {
		return
	}
	w.logged = time.Now()
	line := w.log.Warn().Str(logging.FieldEvent, "redis_away")
	msg := "Redis does not answer; waiting for it: check REDIS_URL, and that Redis runs"
	if refusal.Kind != redisconn.Away {
		line = w.log.Error().Str(logging.FieldEvent, "redis_refuses")
		msg = "Redis refuses what collecting needs, and nothing is collected: " + refusal.Problem + ": " + refusal.Remedy
	}
	if refusal.MchID != "" {
		line = line.Str(logging.FieldMchID, refusal.MchID)
	}
	line.Str(logging.FieldReason, string(refusal.Kind)).Str(logging.FieldError, refusal.Said).
		Str(logging.FieldAddr, w.redis.String()).
		Int64(logging.FieldElapsedMS, time.Since(w.since).Milliseconds()).Msg(msg)
}

func (w *redisWatch) count(refusal *redisconn.Refusal) {
	for _, kind := range redisconn.Kinds {
		if kind.Answers() {
			w.refused.WithLabelValues(string(kind)).Set(gaugeOf(refusal != nil && refusal.Kind == kind))
		}
	}
	w.upness.Set(gaugeOf(refusal == nil || refusal.Kind.Answers()))
}

// serves reports whether Redis does what work needs, as far as is known.
func (w *redisWatch) serves() bool { return w.refusal.Load() == nil }

// notice is a commandHook: after the error of a command that may mean that Redis does not
// serve, ask probes.
func (w *redisWatch) notice(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		err := next(ctx, cmd)
		if err == nil || errors.Is(err, redis.Nil) || errors.Is(err, context.Canceled) || strings.HasPrefix(err.Error(), "NOSCRIPT") {
			return err
		}
		switch cmd.Name() {
		case "client", "hello", "info", "ping": // not needed for work, or sent by the watch
		default:
			// The errors of a script itself are of kind Refused.
			if redisconn.Explain(err).Kind != redisconn.Refused {
				w.suspect.Store(true)
			}
		}
		return err
	}
}

// full is the share of its memory from which on the worker warns. At the limit Redis
// refuses every write: nothing is lost, and nothing is collected.
const full = 0.6

func (w *redisWatch) checkMemory() {
	used, limit, err := redisconn.Memory(w.ctx, w.conns.Ledger)
	if err != nil {
		return // the worker has warned at its start of a Redis that forbids INFO
	}
	w.memory.WithLabelValues("used").Set(float64(used))
	w.memory.WithLabelValues("limit").Set(float64(limit))
	if limit > 0 && float64(used) >= full*float64(limit) {
		w.log.Warn().Str(logging.FieldEvent, "redis_filling").Int64("used_bytes", used).Int64("limit_bytes", limit).
			Msgf("Redis is %.0f %% full; at its limit collecting stops: raise maxmemory", 100*float64(used)/float64(limit))
	}
}
