// Package worker puts the collection together: for each merchant a client, a
// ledger, a collector, an asynq server and a sweep; beside them Redis is
// watched, and notifications, health and metrics are served. The worker command,
// the demo and the tests all run it.
package worker

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/rs/zerolog"

	"payscore-collector/internal/asynqx"
	"payscore-collector/internal/collect"
	"payscore-collector/internal/config"
	"payscore-collector/internal/logging"
	"payscore-collector/internal/redisconn"
	"payscore-collector/internal/version"
	"payscore-collector/tasks"
)

// RefusedError says that Redis is not to be trusted with what is owed. It is
// the operator's to mend, not a restart's.
type RefusedError struct{ Problems error }

func (e *RefusedError) Error() string {
	return "this Redis is refused:\n" + e.Problems.Error()
}

// ExitCode is the process's.
func (e *RefusedError) ExitCode() int { return config.ExitUsage }

// How often things are said while they last, and looked at.
const (
	sayEvery    = 10 * time.Second
	memoryEvery = time.Minute
)

// Run collects until ctx ends; then steps under way finish, and everything
// else stays queued. It returns nil after an orderly end, and an error where
// it could not start. While Redis is away it waits.
func Run(ctx context.Context, cfg config.Worker, log zerolog.Logger) error {
	for _, w := range cfg.Warnings {
		log.Warn().Str(logging.FieldEvent, "setting_doubtful").Msg(w)
	}
	redisconn.RedirectLog(log)
	// A connection for each step under way and each fetcher, and some for asynq's
	// and our own background work: so many where scripts do not go together.
	size := len(cfg.Merchants)*(cfg.Concurrency+len(fetchers(cfg.Work))) + hookConnections(cfg) + 16
	build := version.Read()
	registry := newRegistry(build)
	watch := newRedisWatch(cfg, log, registry)
	watch.conns = openRedis(cfg, size, watch)
	defer watch.conns.close()
	rdb, queue := watch.conns.Ledger, watch.conns.Queue
	presence := newPresence(cfg, rdb, watch.serves, log, registry)
	admin, err := serveAdmin(cfg, registry, watch, presence, log)
	if err != nil {
		return err
	}
	defer admin.close()
	public, err := servePublic(cfg, registry, log)
	if err != nil {
		return err
	}
	defer public.close()

	if err := watch.await(ctx); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	var background sync.WaitGroup
	defer background.Wait()
	defer watch.stop()
	background.Go(watch.run)

	metrics := collect.NewMetrics(registry)
	complaints := asynqx.NewComplaints(registry, watch.serves, log)
	producer := tasks.NewProducer(rdb)
	var merchants []*merchant
	shutdown := sync.OnceFunc(func() {
		var stopping sync.WaitGroup
		for _, m := range merchants {
			stopping.Go(m.shutdown)
		}
		stopping.Wait()
	})
	defer shutdown()
	for _, m := range cfg.Merchants {
		started, err := newMerchant(cfg, m, rdb, queue, producer, metrics, complaints, log)
		if err != nil {
			return fmt.Errorf("merchant %s: %w", m.MchID, err)
		}
		merchants = append(merchants, started)
		registry.MustRegister(newLedgerMetrics(started.ledger, rdb))
	}
	hooks, err := startWebhooks(cfg, rdb, queue, registry, complaints, log)
	if err != nil {
		return err
	}
	stopHooks := sync.OnceFunc(hooks.shutdown)
	defer stopHooks()
	for _, m := range merchants {
		if err := m.start(); err != nil {
			return fmt.Errorf("merchant %s: %w", m.ledger.MchID(), err)
		}
	}
	reporting, stopReporting := context.WithCancel(context.Background())
	var reports sync.WaitGroup
	for _, m := range merchants {
		reports.Go(func() { presence.run(reporting, m.ledger) })
	}
	leave := sync.OnceFunc(func() {
		stopReporting()
		reports.Wait()
		ctx, cancel := context.WithTimeout(context.Background(), leaveWithin)
		defer cancel()
		for _, m := range merchants {
			presence.leave(ctx, m.ledger)
		}
	})
	defer leave()
	if err := public.open(merchants); err != nil {
		return err
	}
	watch.ready.Store(true)
	log.Info().Int("merchants", len(merchants)).Int("concurrency", cfg.Concurrency).
		Str("admin", admin.addr()).Str(logging.FieldVersion, build.Version).Str(logging.FieldRevision, build.Revision).
		Str(logging.FieldEvent, "worker_started").Msg("collecting")

	<-ctx.Done()
	log.Info().Msg("stopping: steps under way finish, the rest stays queued")
	watch.ready.Store(false)
	var stopping sync.WaitGroup
	stopping.Go(public.close)
	stopping.Go(shutdown)
	stopping.Go(stopHooks)
	stopping.Wait()
	leave()
	log.Info().Msg("stopped")
	return nil
}

func newRegistry(build version.Info) *prometheus.Registry {
	r := prometheus.NewRegistry()
	r.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	r.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "payscore_build_info", Help: "Always 1; the labels say which build this worker is.",
		ConstLabels: prometheus.Labels{"version": build.Version, "revision": build.Revision, "goversion": build.Go},
	}, func() float64 { return 1 }))
	return r
}

// ExitCode is the exit status that an error of this package or of the
// configuration asks for.
func ExitCode(err error) int {
	var coded interface{ ExitCode() int }
	switch {
	case err == nil:
		return 0
	case errors.As(err, &coded):
		return coded.ExitCode()
	}
	return 1
}
