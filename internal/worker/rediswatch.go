package worker

import (
	"context"
	"errors"
	"net"
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

// redisWatch knows whether Redis does what work needs, says so once a while when
// it does not, and warns before it is full. What asynq says meanwhile is left
// out of the log, see asynqx.Complaints.
//
// It asks with a PING each second, which costs nothing, and probes (redisprobe)
// at the start, while Redis refuses, when work has met an error of Redis's, and
// otherwise one merchant every probeEvery.
type redisWatch struct {
	redis     redisconn.Options
	merchants []string
	log       zerolog.Logger

	conns   connections
	next    int         // which merchant is probed next
	probed  time.Time   // when one was probed last
	suspect atomic.Bool // work has met an error of Redis's since then

	refusal atomic.Pointer[redisconn.Refusal] // nil while Redis serves
	ready   atomic.Bool                       // the worker has started and is not stopping
	since   time.Time                         // of the refusal
	said    time.Time                         // when it was said last

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
			Name: "payscore_redis_memory_bytes", Help: "Redis's memory: used, and the limit (0 for none).",
		}, []string{"kind"}),
		upness: prometheus.NewGauge(prometheus.GaugeOpts{Name: "payscore_redis_up", Help: "1 while Redis answers."}),
		refused: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "payscore_redis_refused", Help: "1 while Redis answers and refuses what work needs, by kind; nothing is collected.",
		}, []string{"kind"}),
	}
	for _, m := range cfg.Merchants {
		w.merchants = append(w.merchants, m.MchID)
	}
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
	// probeAgain is the least time between probes for a reason.
	probeAgain = 2 * time.Second
	// probeTimeout is for one merchant's. A Redis that takes longer for a dozen
	// small commands does not serve.
	probeTimeout = 6 * time.Second
)

// await returns nil when Redis can be trusted and serves every merchant, ctx's
// error where ctx ends before, and a *RefusedError where Redis would lose what it
// is given. A refusal is waited for, whatever it is: it is mended outside, and
// leaving would only be a restart loop.
func (w *redisWatch) await(ctx context.Context) error {
	for {
		refusal, err := w.examine(ctx)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil:
			return err
		}
		w.note(ctx, refusal)
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

// examine looks at all that matters at the start.
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
	if refusal := w.probe(ctx, len(w.merchants)); refusal != nil {
		return refusal, nil
	}
	for _, f := range report.Warnings() {
		w.log.Warn().Msg("redis " + f.String())
	}
	return nil, nil
}

func (w *redisWatch) ping(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, pingTimeout)
	defer cancel()
	return w.conns.Ledger.Ping(ctx).Err()
}

// probe probes n merchants, those whose turn it is, up to the first refusal. That
// one is the next to be asked.
func (w *redisWatch) probe(ctx context.Context, n int) *redisconn.Refusal {
	for range n {
		probing, cancel := context.WithTimeout(ctx, probeTimeout)
		refusal := redisprobe.Run(probing, w.conns.Clients, w.merchants[w.next])
		cancel()
		if refusal != nil {
			if refusal.Kind == redisconn.Away {
				refusal.Problem = "Redis answers a PING, but a script or a write does not come back"
				refusal.Remedy = "look for what holds Redis up (CLIENT PAUSE, slow commands, its disk)"
			}
			return refusal
		}
		w.next = (w.next + 1) % len(w.merchants)
	}
	return nil
}

// run watches until stop.
func (w *redisWatch) run() {
	var remembered time.Time
	for {
		refusal := w.look(w.ctx)
		if w.ctx.Err() != nil {
			return
		}
		w.note(w.ctx, refusal)
		if refusal == nil && time.Since(remembered) > memoryEvery {
			remembered = time.Now()
			w.lookAtMemory()
		}
		select {
		case <-w.ctx.Done():
			return
		case <-time.After(pingEvery):
		}
	}
}

// look asks Redis whether it is there, and probes where that is due.
func (w *redisWatch) look(ctx context.Context) *redisconn.Refusal {
	if err := w.ping(ctx); err != nil {
		return redisconn.Explain(err)
	}
	before, since := w.refusal.Load(), time.Since(w.probed)
	n, due := 1, since >= probeEvery
	if before != nil || w.suspect.Load() {
		n, due = len(w.merchants), since >= probeAgain || before != nil && before.Kind == redisconn.Away
	}
	if !due {
		return before
	}
	w.suspect.Store(false)
	w.probed = time.Now()
	return w.probe(ctx, n)
}

// note keeps what was found, and says so: at once when it begins or changes, then
// every sayEvery, and when it is over.
func (w *redisWatch) note(ctx context.Context, refusal *redisconn.Refusal) {
	before := w.refusal.Load()
	if refusal != nil && refusal.Kind == redisconn.Away {
		switch {
		case before == nil || time.Since(w.said) >= sayEvery:
			refusal = w.redis.Explain(ctx, refusal)
		case before.Kind == redisconn.TLS:
			refusal = before // that was found out by Explain
		}
	}
	w.refusal.Store(refusal)
	w.show(refusal)
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
	if before != nil && before.Kind == refusal.Kind && time.Since(w.said) < sayEvery {
		return
	}
	w.said = time.Now()
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

func (w *redisWatch) show(refusal *redisconn.Refusal) {
	number := map[bool]float64{true: 1}
	for _, kind := range redisconn.Kinds {
		if kind.Answers() {
			w.refused.WithLabelValues(string(kind)).Set(number[refusal != nil && refusal.Kind == kind])
		}
	}
	w.upness.Set(number[refusal == nil || refusal.Kind.Answers()])
}

// serves reports whether Redis does what work needs, as far as is known.
func (w *redisWatch) serves() bool { return w.refusal.Load() == nil }

// DialHook is for redis.Hook.
func (w *redisWatch) DialHook(next redis.DialHook) redis.DialHook {
	return func(ctx context.Context, network, addr string) (net.Conn, error) { return next(ctx, network, addr) }
}

// ProcessHook is for redis.Hook.
func (w *redisWatch) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		err := next(ctx, cmd)
		if err != nil && !errors.Is(err, redis.Nil) && !errors.Is(err, context.Canceled) && !strings.HasPrefix(err.Error(), "NOSCRIPT") {
			switch cmd.Name() {
			case "client", "hello", "info", "ping": // comforts, and what the watch asks itself
			default:
				// A script's own errors are of no kind that is known.
				if redisconn.Explain(err).Kind != redisconn.Refused {
					w.suspect.Store(true)
				}
			}
		}
		return err
	}
}

// ProcessPipelineHook is for redis.Hook.
func (w *redisWatch) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error { return next(ctx, cmds) }
}

// full is the part of its memory from which on Redis is warned about. At the
// limit it refuses every write: nothing is lost, and nothing goes on.
const full = 0.6

func (w *redisWatch) lookAtMemory() {
	used, limit, err := redisconn.Memory(w.ctx, w.conns.Ledger)
	if err != nil {
		return // a Redis that forbids INFO was warned about at the start
	}
	w.memory.WithLabelValues("used").Set(float64(used))
	w.memory.WithLabelValues("limit").Set(float64(limit))
	if limit > 0 && float64(used) >= full*float64(limit) {
		w.log.Warn().Str(logging.FieldEvent, "redis_filling").Int64("used_bytes", used).Int64("limit_bytes", limit).
			Msgf("Redis is %.0f %% full; at its limit collecting stops: raise maxmemory", 100*float64(used)/float64(limit))
	}
}
