package worker

import (
	"context"
	"fmt"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hibiken/asynq"
	"github.com/rs/zerolog"

	"payscore-collector/internal/asynqx"
	"payscore-collector/internal/collect"
	"payscore-collector/internal/config"
	"payscore-collector/internal/eventstream/webhook"
	"payscore-collector/internal/ledger"
	"payscore-collector/internal/logging"
	"payscore-collector/internal/payscore"
	"payscore-collector/internal/queue"
	"payscore-collector/internal/signer"
	"payscore-collector/tasks"
)

// merchant is one merchant's part of the process. While it sleeps, it is hardly more than
// its keys; what works for it while it is awake is its work.
type merchant struct {
	cfg       config.Worker
	config    config.Merchant // what it was made from
	deps      dependencies
	ledger    *ledger.Ledger
	client    *payscore.Client
	collector *collect.Collector // never stopped; each work has one of its own
	sweeper   *collect.Sweeper
	sender    *webhook.Sender // nil without BILLING_WEBHOOK_URL; see collector
	log       zerolog.Logger

	mu       sync.Mutex
	work     *work // nil while it sleeps
	left     bool  // it was shut down
	woken    time.Time
	stopping sync.WaitGroup // works of times past

	// While it sleeps:
	tip     string    // the newest event of its stream; "" before the first look
	keepAt  time.Time // when the roster does its housekeeping next
	beatAt  time.Time // when the roster reports for it next
	numbers *numbers  // for the metrics; nil before they were read
}

// dependencies are what the merchants of a process share.
type dependencies struct {
	conns       connections
	producer    *tasks.Producer
	metrics     *collect.Metrics
	hookMetrics *webhook.Metrics // nil without BILLING_WEBHOOK_URL
	complaints  *asynqx.Complaints
	presence    *presence
	log         zerolog.Logger
}

// newMerchant returns a merchant that sleeps.
func newMerchant(cfg config.Worker, m config.Merchant, deps dependencies) (*merchant, error) {
	l := ledger.New(deps.conns.Ledger, m.MchID)
	sender, err := newSender(cfg, l, deps)
	if err != nil {
		return nil, fmt.Errorf("webhooks: %w", err)
	}
	client, err := NewClient(cfg.Work, m)
	if err != nil {
		return nil, err
	}
	c := collect.New(collect.Settings{
		AppID: m.AppID, ServiceID: m.ServiceID, BaseURL: m.BaseURL,
		Policy: collect.PolicyOf(cfg.Work), Schedules: collect.SchedulesOf(cfg.Schedules, cfg.Work, m.MchID), Work: cfg.Work,
	}, l, client, deps.producer, deps.log, deps.metrics)
	deps.presence.introduce(m.MchID)
	return &merchant{
		cfg: cfg, config: m, deps: deps, ledger: l, client: client, collector: c, sender: sender,
		sweeper: collect.NewSweeper(c, deps.conns.Ledger),
		log:     deps.log.With().Str(logging.FieldMchID, m.MchID).Logger(),
	}, nil
}

// perFetcher is how many calls a second justify an asynq server. A server fetches one
// task in each round trip, at most 376 a second from a Redis that is 2 ms away.
const perFetcher = 200

// fetchers returns the concurrency of each asynq server of a merchant. One server is
// enough at the default COLLECT_RATE, and each costs an idle Redis ten polls a second.
func fetchers(w config.Work) []int {
	n := min(int(math.Ceil(w.Rate/perFetcher)), w.Concurrency, 8)
	each := make([]int, max(1, n))
	for i := range each {
		each[i] = (w.Concurrency + i) / len(each)
	}
	return each
}

// NewClient returns the client of a merchant.
func NewClient(w config.Work, m config.Merchant) (*payscore.Client, error) {
	s, err := signer.New(w.Signer, m.PrivateKey)
	if err != nil {
		return nil, err
	}
	return payscore.New(payscore.Config{
		MchID: m.MchID, SerialNo: m.SerialNo, Signer: s,
		PublicKeyID: m.PublicKeyID, PublicKey: m.PublicKey, APIV3Key: m.APIV3Key.Reveal(),
		BaseURL: m.BaseURL, BackupURL: m.BackupURL,
		Timeout: w.CallTimeout, Connections: w.Concurrency, Rate: w.Rate,
	})
}

// wake makes the merchant work, unless it does or was shut down. It reports whether it
// slept.
func (m *merchant) wake() (slept bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.woken = time.Now()
	if m.left || m.work != nil {
		return false
	}
	m.work, m.tip, m.numbers = m.startWork(), "", nil
	m.log.Debug().Str(logging.FieldEvent, "merchant_awake").Msg("merchant has something to do: its fetchers run")
	return true
}

// doze makes a merchant sleep for which a look, begun at asked, has found nothing to do;
// tip is the newest event of its stream. after runs when its work has stopped. A task that
// arrives meanwhile stays in the queue: a wake-up starts new work at once, beside the work
// that stops, and without one the caller has to look again.
func (m *merchant) doze(asked time.Time, tip string, after func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	w := m.work
	if w == nil || m.left || !m.woken.Before(asked) || w.used.since(asked) {
		return
	}
	m.work, m.tip, m.keepAt, m.beatAt = nil, tip, time.Now().Add(keepEvery(m.cfg)), time.Time{}
	m.log.Debug().Str(logging.FieldEvent, "merchant_asleep").Msg("merchant has nothing to do: its fetchers stop")
	m.stopping.Go(func() {
		w.stop()
		m.mu.Lock()
		m.beatAt = time.Time{} // the reports of its work promise the next one too soon
		m.mu.Unlock()
		after()
	})
}

// asleep reports whether it sleeps.
func (m *merchant) asleep() bool {
	slept, _ := m.sleeping()
	return slept
}

// sleeping reports whether it sleeps, and what was the newest event of its stream when a
// look found nothing to do; "" where there has been no look.
func (m *merchant) sleeping() (slept bool, tip string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.work != nil || m.left {
		return false, ""
	}
	return true, m.tip
}

// rest notes that a look has found nothing to do for a merchant that sleeps.
func (m *merchant) rest(tip string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.tip = tip
}

// isTime reports whether it sleeps and one of its times has come, and sets the next.
func (m *merchant) isTime(at *time.Time, every time.Duration) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	if m.work != nil || m.left || now.Before(*at) {
		return false
	}
	*at = now.Add(every)
	return true
}

// keepBy brings its housekeeping forward.
func (m *merchant) keepBy(at time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if at.Before(m.keepAt) {
		m.keepAt = at
	}
}

// quiet reports whether it is awake, and neither its work nor a wake-up came for so long.
func (m *merchant) quiet(d time.Duration) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	since := time.Now().Add(-d)
	return m.work != nil && m.woken.Before(since) && !m.work.used.since(since)
}

// whileServed calls do, and shutdown waits for it; nothing where it was shut down.
func (m *merchant) whileServed(do func()) {
	m.mu.Lock()
	left := m.left
	if !left {
		m.stopping.Add(1)
	}
	m.mu.Unlock()
	if !left {
		defer m.stopping.Done()
		do()
	}
}

// setNumbers keeps what was read for the metrics, for as long as it sleeps, if all of it
// could be read.
func (m *merchant) setNumbers(n *numbers) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.work == nil && n.err == nil && !n.partial {
		m.numbers = n
	}
}

// kept returns what setNumbers has kept; nil for a merchant that is awake.
func (m *merchant) kept() *numbers {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.numbers
}

// shutdown lets steps and deliveries under way finish.
func (m *merchant) shutdown() {
	m.mu.Lock()
	w := m.work
	m.work, m.left = nil, true
	m.mu.Unlock()
	if w != nil {
		w.stop()
	}
	m.stopping.Wait()
	if m.sender != nil {
		m.sender.Close()
	}
	m.client.Close()
}

// work is what runs for a merchant while it is awake. Each merchant has asynq servers of
// its own: a server asks its queues in turn, so that on a shared one a merchant would pay
// for another's empty queue, and wait while another's calls hang.
type work struct {
	collector *collect.Collector
	pool      *pool
	servers   []*asynq.Server
	sender    *webhook.Sender // nil without BILLING_WEBHOOK_URL
	used      usage

	presence, sweeping, relaying sync.WaitGroup
	leave, stopLoops             context.CancelFunc
}

// startWork is called with m.mu held.
func (m *merchant) startWork() *work {
	mchid, queues := m.ledger.MchID(), m.deps.conns.Queue
	w := &work{collector: m.collector.Again()}
	w.pool = newPool(m.cfg.Concurrency, w.used.during(w.collector.Process))
	logger := m.deps.complaints.Logger(mchid)
	handlers := map[*asynq.Server]asynq.Handler{}
	for _, concurrency := range fetchers(m.cfg.Work) {
		server := asynqx.NewServer(queues, tasks.QueueName(mchid), concurrency, w.collector, logger)
		w.servers, handlers[server] = append(w.servers, server), w.pool
	}
	if m.sender != nil {
		w.sender = m.sender.Again()
		server := asynqx.NewServer(queues, queue.WebhookName(mchid), webhook.Concurrency, nil, logger)
		w.servers, handlers[server] = append(w.servers, server), asynq.HandlerFunc(w.used.during(w.sender.Process))
	}
	var reporting, loops context.Context
	reporting, w.leave = context.WithCancel(context.Background())
	loops, w.stopLoops = context.WithCancel(context.Background())
	for _, server := range w.servers {
		if err := server.Start(handlers[server]); err != nil {
			panic(err) // cannot happen: it is new, and has a handler
		}
	}
	w.sweeping.Go(func() { m.sweeper.Run(loops) })
	if w.sender != nil {
		w.relaying.Go(func() { w.sender.Run(loops) })
	}
	w.presence.Go(func() { m.deps.presence.run(reporting, m.ledger) })
	return w
}

// stop lets steps and deliveries under way finish. The ledger has the rest.
func (w *work) stop() {
	w.stopLoops()
	w.sweeping.Wait()
	w.relaying.Wait()
	w.collector.Stop()
	if w.sender != nil {
		w.sender.Stop()
	}
	var stopping sync.WaitGroup
	for _, server := range w.servers {
		stopping.Go(server.Shutdown)
	}
	stopping.Wait()
	w.pool.close()
	w.leave()
	w.presence.Wait()
}

// usage is when work has had a task last.
type usage struct {
	running atomic.Int64
	last    atomic.Int64 // nanoseconds from began on
}

// began is a time from which others are counted, by the clock that does not jump.
var began = time.Now()

// during returns f with each of its calls counted.
func (u *usage) during(f func(context.Context, *asynq.Task) error) func(context.Context, *asynq.Task) error {
	return func(ctx context.Context, t *asynq.Task) error {
		u.running.Add(1)
		defer func() {
			u.last.Store(int64(time.Since(began)))
			u.running.Add(-1)
		}()
		return f(ctx, t)
	}
}

// since reports whether there has been a task since t.
func (u *usage) since(t time.Time) bool {
	return u.running.Load() > 0 || u.last.Load() > int64(t.Sub(began))
}
