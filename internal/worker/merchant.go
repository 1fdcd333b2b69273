package worker

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"github.com/hibiken/asynq"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"
	"github.com/rs/zerolog"

	"payscore-collector/internal/collect"
	"payscore-collector/internal/config"
	"payscore-collector/internal/ledger"
	"payscore-collector/internal/logging"
	"payscore-collector/internal/payscore"
	"payscore-collector/internal/redisconn"
	"payscore-collector/tasks"
)

// merchant is one merchant's part of the process. Each has asynq servers of its
// own: a server asks its queues in turn, so that on a shared one a merchant would
// pay for another's empty queue, and wait for another's stuck platform.
type merchant struct {
	ledger    *ledger.Ledger
	client    *payscore.Client
	collector *collect.Collector
	sweeper   *collect.Sweeper
	servers   []*asynq.Server
	hands     *hands

	sweeping  sync.WaitGroup
	stopSweep context.CancelFunc
}

// inFlight is how long steps under way may take to finish at the end.
const inFlight = 30 * time.Second

func newMerchant(cfg config.Worker, m config.Merchant, rdb, queue redis.UniversalClient, producer *tasks.Producer,
	metrics *collect.Metrics, trouble *asynqTrouble, log zerolog.Logger,
) (*merchant, error) {
	client, err := NewClient(cfg.Work, m)
	if err != nil {
		return nil, err
	}
	l := ledger.New(rdb, m.MchID)
	c := collect.New(collect.Settings{
		AppID: m.AppID, ServiceID: m.ServiceID, BaseURL: m.BaseURL,
		Policy: collect.Policy{
			Schedule: cfg.CollectSchedule,
			Confirm:  cfg.ConfirmSchedule,
			Window: collect.Window{
				Always: cfg.Window.Always, From: cfg.Window.From, To: cfg.Window.To, Location: cfg.Location,
			},
			MinGap: cfg.MinGap,
			GiveUp: cfg.GiveUpAfter,
			Rand:   rand.Float64,
		},
		Rate:        cfg.Rate,
		CallTimeout: cfg.CallTimeout,
		SweepEvery:  cfg.SweepEvery,
		Retention:   cfg.Retention,
		Concurrency: cfg.Concurrency,
	}, l, client, producer, log, metrics)
	log = log.With().Str(logging.FieldMchID, m.MchID).Logger()
	started := &merchant{ledger: l, client: client, collector: c, sweeper: collect.NewSweeper(c, rdb), hands: newHands(cfg.Concurrency, c.Process)}
	asynqLog := trouble.logger(log, m.MchID)
	for _, concurrency := range fetchers(cfg.Work) {
		started.servers = append(started.servers, newServer(queue, c, m.MchID, concurrency, asynqLog))
	}
	return started, nil
}

// perFetcher is how many calls a second one asynq server is there for. It fetches
// a task a round trip, one after the other, and stops at 376 a second with a
// Redis that is 2 ms away.
const perFetcher = 200

// fetchers returns the concurrency of each asynq server that a merchant has.
// One is enough at the default COLLECT_RATE, and each costs an idle Redis ten
// polls a second.
func fetchers(w config.Work) []int {
	n := min(int(math.Ceil(w.Rate/perFetcher)), w.Concurrency, 8)
	each := make([]int, max(1, n))
	for i := range each {
		each[i] = (w.Concurrency + i) / len(each)
	}
	return each
}

func newServer(queue redis.UniversalClient, failed asynq.ErrorHandler, mchid string, concurrency int, log asynq.Logger) *asynq.Server {
	return asynq.NewServerFromRedisClient(queue, asynq.Config{
		Concurrency: concurrency,
		Queues:      map[string]int{tasks.QueueName(mchid): 1},
		// No BaseContext: were it the signal's, every queued task would be
		// burnt at shutdown.
		RetryDelayFunc: collect.RetryDelay,
		IsFailure:      collect.IsFailure,
		ErrorHandler:   failed,
		Logger:         log,
		LogLevel:       asynq.DebugLevel, // zerolog decides
		// Half a second on average between enqueueing and working would be
		// the default; these cost an idle worker ten polls a second.
		TaskCheckInterval:        100 * time.Millisecond,
		DelayedTaskCheckInterval: time.Second,
		ShutdownTimeout:          inFlight,
	})
}

// NewClient returns the client of a merchant.
func NewClient(w config.Work, m config.Merchant) (*payscore.Client, error) {
	key := ""
	if m.APIV3Key.IsSet() {
		key = m.APIV3Key.Reveal()
	}
	return payscore.New(payscore.Config{
		MchID: m.MchID, SerialNo: m.SerialNo, PrivateKey: m.PrivateKey,
		PublicKeyID: m.PublicKeyID, PublicKey: m.PublicKey, APIV3Key: key,
		BaseURL: m.BaseURL, BackupURL: m.BackupURL,
		Timeout: w.CallTimeout, Connections: w.Concurrency, Rate: w.Rate,
	})
}

func (m *merchant) start() error {
	ctx, cancel := context.WithCancel(context.Background())
	m.stopSweep = cancel
	m.sweeping.Go(func() { m.sweeper.Run(ctx) })
	for _, server := range m.servers {
		if err := server.Start(m.hands); err != nil {
			return fmt.Errorf("start the queue's server: %w", err)
		}
	}
	return nil
}

// shutdown lets steps under way finish. It is also for a merchant that was not
// started, or could not be.
func (m *merchant) shutdown() {
	if m.stopSweep != nil {
		m.stopSweep()
	}
	m.sweeping.Wait()
	m.collector.Stop()
	var stopping sync.WaitGroup
	for _, server := range m.servers {
		stopping.Go(server.Shutdown)
	}
	stopping.Wait()
	m.hands.close()
	m.client.Close()
}

// asynqTrouble counts what asynq complains of. Some of its faults, such as a
// message that it cannot decode and that stops its recovery of lost tasks,
// show nowhere else; the sweep goes round them.
type asynqTrouble struct {
	total   *prometheus.CounterVec
	watch   *redisWatch
	channel sync.Once // asynq's channel was spoken of
}

func newAsynqTrouble(reg prometheus.Registerer, watch *redisWatch) *asynqTrouble {
	t := &asynqTrouble{watch: watch, total: prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "payscore_asynq_complaints_total",
		Help: "Warnings and errors of asynq; kind undecodable stops asynq's own recovery of lost tasks.",
	}, []string{"mchid", "kind"})}
	reg.MustRegister(t.total)
	return t
}

// logger is for the asynq server of a merchant. While Redis does not serve, the
// watch says so, and asynq's errors would only drown it.
func (t *asynqTrouble) logger(log zerolog.Logger, mchid string) asynq.Logger {
	return &withoutChannel{
		Logger: logging.AsynqLogger(log, t.of(mchid), func() bool { return !t.watch.serves() }),
		first:  &t.channel, log: t.watch.log,
	}
}

// withoutChannel says once in a process that Redis refuses asynq's channel of
// cancellations, which asynq says of each of its servers every five seconds.
// Nothing is lost by it: no step is ever cancelled that way.
type withoutChannel struct {
	asynq.Logger
	first *sync.Once
	log   zerolog.Logger
}

// Error implements asynq.Logger.
func (l *withoutChannel) Error(args ...any) {
	text := fmt.Sprint(args...)
	if _, said, ok := strings.Cut(text, "cannot subscribe to cancelation channel: "); ok {
		refusal := redisconn.ExplainText(said)
		if refusal != nil && (refusal.Kind == redisconn.Denied || refusal.Kind == redisconn.Unsupported || refusal.Kind == redisconn.Refused) {
			l.first.Do(func() {
				l.log.Warn().Str(logging.FieldEvent, "redis_channel_refused").Str(logging.FieldError, refusal.Said).
					Msg("Redis refuses a subscription that work can do without: " + refusal.Remedy)
			})
			return
		}
	}
	l.Logger.Error(args...)
}

func (t *asynqTrouble) of(mchid string) func(string) {
	undecodable := t.total.WithLabelValues(mchid, "undecodable")
	other := t.total.WithLabelValues(mchid, "other")
	return func(msg string) {
		if strings.Contains(msg, "cannot decode message") {
			undecodable.Inc()
			return
		}
		other.Inc()
	}
}
