package worker

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"
	"github.com/rs/zerolog"

	"payscore-collector/internal/redisconn"
)

// redisWatch knows whether Redis answers, says so once a while when it does
// not, and warns before it is full. What asynq says while Redis is away is left
// out of the log, see asynqTrouble.
type redisWatch struct {
	rdb    redis.UniversalClient
	log    zerolog.Logger
	up     atomic.Bool
	ready  atomic.Bool // the worker has started and is not stopping
	ctx    context.Context
	stop   context.CancelFunc
	memory *prometheus.GaugeVec
	upness prometheus.Gauge
}

func newRedisWatch(rdb redis.UniversalClient, log zerolog.Logger, reg prometheus.Registerer) *redisWatch {
	w := &redisWatch{
		rdb: rdb, log: log,
		memory: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "payscore_redis_memory_bytes", Help: "Redis's memory: used, and the limit (0 for none).",
		}, []string{"kind"}),
		upness: prometheus.NewGauge(prometheus.GaugeOpts{Name: "payscore_redis_up", Help: "1 while Redis answers."}),
	}
	reg.MustRegister(w.memory, w.upness)
	w.ctx, w.stop = context.WithCancel(context.Background())
	return w
}

const pingEvery = time.Second

// run watches until stop.
func (w *redisWatch) run() {
	var looked time.Time
	for {
		ctx, cancel := context.WithTimeout(w.ctx, pingEvery)
		err := w.rdb.Ping(ctx).Err()
		cancel()
		if err != nil && w.ctx.Err() == nil {
			w.set(false)
			if redisconn.WaitUp(w.ctx, w.rdb, w.log, sayEvery) != nil {
				return
			}
		}
		w.set(true)
		if time.Since(looked) > memoryEvery {
			looked = time.Now()
			w.lookAtMemory()
		}
		select {
		case <-w.ctx.Done():
			return
		case <-time.After(pingEvery):
		}
	}
}

func (w *redisWatch) set(up bool) {
	w.up.Store(up)
	if up {
		w.upness.Set(1)
	} else {
		w.upness.Set(0)
	}
}

// full is the part of its memory from which on Redis is warned about. At the
// limit it refuses every write: nothing is lost, and nothing goes on.
const full = 0.6

func (w *redisWatch) lookAtMemory() {
	used, limit, err := redisconn.Memory(w.ctx, w.rdb)
	if err != nil {
		return // a Redis that forbids INFO was warned about at the start
	}
	w.memory.WithLabelValues("used").Set(float64(used))
	w.memory.WithLabelValues("limit").Set(float64(limit))
	if limit > 0 && float64(used) >= full*float64(limit) {
		w.log.Warn().Int64("used_bytes", used).Int64("limit_bytes", limit).
			Msg("Redis is more than 60 % full; at its limit collecting stops: raise maxmemory")
	}
}
