// Package worker puts the collection together: for each merchant a client, a ledger,
// a collector, asynq servers, a sweep and webhooks; beside them it watches Redis,
// receives notifications, and serves health and metrics. The worker command, the demo
// and the tests all run it.
package worker

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"payscore-collector/internal/api"
	"payscore-collector/internal/asynqx"
	"payscore-collector/internal/collect"
	"payscore-collector/internal/config"
	"payscore-collector/internal/eventstream/webhook"
	"payscore-collector/internal/logging"
	"payscore-collector/internal/signer"
	"payscore-collector/internal/tracing/export"
	"payscore-collector/internal/version"
	"payscore-collector/tasks"
)

// RefusedError says that Redis would lose what it is given. The operator must change
// its settings: a restart of the worker does not help.
type RefusedError struct{ Problems error }

func (e *RefusedError) Error() string {
	return "this Redis is refused:\n" + e.Problems.Error()
}

// ExitCode returns the exit status of the process.
func (e *RefusedError) ExitCode() int { return config.ExitUsage }

// ExitCode returns the exit status that an error of this package or of the
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

// Run collects until ctx ends; then steps under way finish, and everything else stays
// queued. It returns nil after an orderly end, and an error if it could not start.
// While Redis does not serve, it waits. What go-redis logs by itself is the process's
// affair: see [redisconn.RedirectLog].
func Run(ctx context.Context, cfg config.Worker, log zerolog.Logger) error {
	for _, w := range cfg.Warnings {
		log.Warn().Str(logging.FieldEvent, "setting_doubtful").Msg(w)
	}
	build, signs := version.Read(), chooseSigner(cfg, log)
	if signs == signer.Go {
		cfg.Signer = signs
	} // else auto stays auto: a key that MERCHANTS_FILE adds later may be one that OpenSSL refuses
	flush, err := export.Start(ctx, "payscore-worker", log)
	if err != nil {
		return fmt.Errorf("OTEL_*: spans cannot be sent: %w", err)
	}
	defer flush()
	w := newWorker(cfg, newRegistry(build, signs), log)
	defer w.close()
	if err := w.listen(); err != nil {
		return err
	}
	if err := w.watch.await(ctx); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	w.trusted.Store(true)
	if err := w.start(); err != nil {
		return err
	}
	log.Info().Int("merchants", len(cfg.Merchants)).Int("concurrency", cfg.Concurrency).
		Str("admin", w.admin.address()).Str("signer", signs).Str(logging.FieldVersion, build.Version).Str(logging.FieldRevision, build.Revision).
		Str(logging.FieldEvent, "worker_started").Msg("worker started")

	<-ctx.Done()
	log.Info().Str(logging.FieldEvent, "worker_stopping").Msg("worker stopping: steps under way finish, the rest stays queued")
	w.stop()
	log.Info().Str(logging.FieldEvent, "worker_stopped").Msg("worker stopped")
	return nil
}

// worker is everything that one process runs.
type worker struct {
	cfg      config.Worker
	log      zerolog.Logger
	registry *prometheus.Registry

	conns    connections
	watch    *redisWatch
	presence *presence
	roster   *roster
	bulks    *bulks
	admin    *httpServer // health, metrics and the API
	public   *public

	trusted  atomic.Bool // Redis was found fit at the start
	stop     func()      // ends all work, once
	watching sync.WaitGroup
}

// newWorker opens the connections to Redis. close ends what it and the methods
// started.
func newWorker(cfg config.Worker, registry *prometheus.Registry, log zerolog.Logger) *worker {
	w := &worker{cfg: cfg, log: log, registry: registry, public: &public{}}
	w.watch = newRedisWatch(cfg, log, registry)
	w.conns = openRedis(cfg, poolSize(cfg), commandHook(w.watch.notice))
	w.watch.conns = w.conns
	w.presence = newPresence(cfg, w.conns.Ledger, w.watch.serves, log, registry)
	w.bulks = newBulks(cfg.SweepEvery, w.conns, w.watch.serves, log, registry)
	w.roster = newRoster(cfg, w.conns, w.watch.serves, log, registry)
	w.roster.heardBulk = w.bulks.kick
	w.stop = sync.OnceFunc(w.stopWork)
	return w
}

// poolSize is a connection for each step under way, each fetcher and each webhook,
// and some for the background work of asynq and of this package. So many are in use
// where scripts are not sent in bundles. With very many merchants not all work at once, and
// merchants may be added.
func poolSize(cfg config.Worker) int {
	each := cfg.Concurrency + len(fetchers(cfg.Work))
	if cfg.Webhook.On() {
		each += webhook.Concurrency
	}
	merchants := len(cfg.Merchants)
	if cfg.MerchantsFile != nil {
		merchants = max(merchants, 32)
	}
	return min(merchants*each, 4096) + 16
}

// listen serves health, metrics, the API and notifications. Until Redis was found fit, the
// API is answered 503; until start has succeeded, readiness and notifications are.
func (w *worker) listen() (err error) {
	if w.admin, err = serveAdmin(w.cfg, w.registry, w.watch, w.presence, w.newAPI, w.log); err != nil {
		return err
	}
	w.public, err = servePublic(w.cfg, w.registry, w.log)
	return err
}

// newAPI returns the HTTP API. It needs no merchant of this process: the ledger has all.
func (w *worker) newAPI(loopback bool) *api.API {
	return api.New(api.Options{
		Redis: w.conns.API, Order: w.cfg.Order, Schedules: w.roster.schedules, AdminToken: w.cfg.AdminToken.Reveal(), TokensFile: w.cfg.APITokensFile,
		Loopback: loopback, Trusted: w.trusted.Load, Registry: w.registry, Log: w.log,
		Merchants: func() []config.Order {
			merchants := w.roster.configured()
			all := make([]config.Order, len(merchants))
			for i, m := range merchants {
				all[i] = config.Order{MchID: m.MchID, AppID: m.AppID, ServiceID: m.ServiceID}
			}
			return all
		},
	})
}

// start begins to work for every merchant.
func (w *worker) start() error {
	w.watching.Go(w.watch.run)
	deps := dependencies{
		conns: w.conns, producer: tasks.NewProducer(w.conns.Ledger), log: w.log,
		metrics: collect.NewMetrics(w.registry), complaints: asynqx.NewComplaints(w.registry, w.watch.serves, w.log),
		presence: w.presence,
	}
	if w.cfg.Webhook.On() {
		deps.hookMetrics = webhook.NewMetrics(w.registry)
		w.log.Info().Str(logging.FieldEvent, "webhooks_enabled").Str(logging.FieldAddr, w.cfg.Webhook.Host).Msg("webhooks enabled")
	}
	if err := w.roster.start(w.cfg.Merchants, deps); err != nil {
		return err
	}
	w.bulks.start(deps.complaints)
	if err := w.public.open(w.roster); err != nil {
		return err
	}
	if w.cfg.MerchantsFile != nil {
		w.roster.running.Go(newReloader(w).run)
	}
	if w.cfg.SchedulesFile != nil {
		w.roster.running.Go(newSchedulesReloader(w).run)
	}
	w.watch.ready.Store(true)
	return nil
}

// stopWork lets steps, deliveries and notifications under way finish.
func (w *worker) stopWork() {
	w.watch.ready.Store(false)
	var stopping sync.WaitGroup
	stopping.Go(w.public.close)
	stopping.Go(w.roster.stop)
	stopping.Go(w.bulks.stop)
	stopping.Wait()
	if w.roster.started() {
		w.presence.stop(w.roster.mchids())
	}
}

func (w *worker) close() {
	w.stop()
	w.watch.stop()
	w.watching.Wait()
	w.admin.close()
	w.conns.close()
}

// How often lasting trouble is logged, and how often the memory of Redis is checked.
const (
	logEvery    = 10 * time.Second
	memoryEvery = time.Minute
)
