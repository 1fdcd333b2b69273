package worker

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"golang.org/x/sync/errgroup"

	"payscore-collector/internal/collect"
	"payscore-collector/internal/config"
	"payscore-collector/internal/ledger"
	"payscore-collector/internal/logging"
	"payscore-collector/internal/queue"
)

// roster has the merchants of the process. All sleep at first. A wake-up (Redis brings it
// over a channel), a notification, or a look that finds something to do wakes a merchant;
// one that has had nothing to do for a while, and for which a look finds nothing, sleeps
// again. Every SWEEP_EVERY there is one look for all of them: a wake-up that was lost costs
// that much. What must be done for merchants that sleep (reports, retention, metrics) is
// done for all of them together, and rarely.
type roster struct {
	cfg    config.Worker // without the merchants
	deps   dependencies  // set by start
	conns  connections
	look   looker
	serves func() bool
	log    zerolog.Logger

	changing sync.Mutex // held by put
	mu       sync.Mutex
	all      map[string]*merchant
	configs  []config.Merchant // of all, also before start
	named    config.Schedules  // as SCHEDULES_FILE was read last

	deaf    atomic.Bool   // Redis refuses the wake-ups, so no merchant may sleep
	kicked  chan struct{} // asks for a look at once
	looks   int
	numbers *ledgerMetrics
	before  reading // Redis's clock, as the last look has read it
	books   *bookkeeper

	heardBulk func() // an operator has begun a bulk action

	ctx     context.Context
	cancel  context.CancelFunc
	running sync.WaitGroup // the loops, and what they have begun
	leaving sync.WaitGroup // merchants that were taken out, while their steps finish

	wakeups *prometheus.CounterVec
}

// reading is a reading of Redis's clock beside this process's, which does not jump.
type reading struct{ redis, own time.Time }

// What wakes a merchant: the label of payscore_wakeups_total.
const (
	byMessage      = "message"
	byLook         = "look"
	byNotification = "notification"
)

func newRoster(cfg config.Worker, conns connections, serves func() bool, log zerolog.Logger, reg prometheus.Registerer) *roster {
	r := &roster{
		cfg: cfg, conns: conns, serves: serves, log: log, look: newLooker(conns.Ledger, cfg.Webhook.On(), collect.Carried(cfg.SweepEvery)),
		all: map[string]*merchant{}, configs: cfg.Merchants, named: cfg.Schedules, kicked: make(chan struct{}, 1),
		wakeups: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "payscore_wakeups_total", Help: "Sleeping merchants that were woken, by what woke them.",
		}, []string{"by"}),
	}
	r.cfg.Merchants = nil
	for _, by := range []string{byMessage, byLook, byNotification} {
		r.wakeups.WithLabelValues(by)
	}
	reg.MustRegister(r.wakeups,
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "payscore_merchants", Help: "Merchants that this worker serves.",
		}, func() float64 { return float64(len(r.merchants())) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "payscore_merchants_awake", Help: "Merchants of them for which fetchers run; the others have nothing to do.",
		}, func() (n float64) {
			for _, m := range r.merchants() {
				if !m.asleep() {
					n++
				}
			}
			return n
		}))
	r.numbers = newLedgerMetrics(conns.Ledger, cfg.Webhook.On(), r.merchants)
	reg.MustRegister(r.numbers)
	r.books = newBookkeeper(r, reg)
	r.ctx, r.cancel = context.WithCancel(context.Background())
	return r
}

// merchants returns all of them, by mchid.
func (r *roster) merchants() []*merchant {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.SortedFunc(maps.Values(r.all), func(a, b *merchant) int {
		if a.config.MchID < b.config.MchID {
			return -1
		}
		return 1
	})
}

// configured returns the settings of all merchants, also before start.
func (r *roster) configured() []config.Merchant {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.configs
}

// schedules returns the schedules that orders may name, also before start.
func (r *roster) schedules() config.Schedules {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.named
}

// setSchedules changes the schedules of all merchants' orders, and what other commands are
// told of them. Merchants that sleep report it soon.
func (r *roster) setSchedules(s config.Schedules) {
	r.changing.Lock()
	defer r.changing.Unlock()
	r.mu.Lock()
	r.named = s
	r.mu.Unlock()
	worker := r.cfg
	worker.Schedules = s
	r.deps.presence.setSettings(published(worker))
	for i, m := range r.merchants() {
		m.collector.SetSchedules(collect.SchedulesOf(worker.Schedules, worker.Work, m.config.MchID))
		m.keepBy(time.Now().Add(time.Duration(i) * keepApart))
	}
}

// mchids returns the numbers of all merchants, also before start.
func (r *roster) mchids() (all []string) {
	for _, m := range r.configured() {
		all = append(all, m.MchID)
	}
	return all
}

// start begins to serve merchants.
func (r *roster) start(list []config.Merchant, deps dependencies) error {
	r.deps = deps
	if _, err := r.put(list); err != nil {
		return err
	}
	r.running.Go(r.lookOut)
	r.running.Go(r.listen)
	r.running.Go(func() { r.every(time.Second, r.keepHouse) })
	r.running.Go(func() { r.every(time.Second, r.report) })
	r.running.Go(func() { r.every(r.books.every(), r.books.keep) })
	return nil
}

// started reports whether there are merchants.
func (r *roster) started() bool { return len(r.merchants()) > 0 }

// every calls do until the roster stops.
func (r *roster) every(d time.Duration, do func()) {
	tick := time.NewTicker(d)
	defer tick.Stop()
	for {
		if r.serves() {
			do()
		}
		select {
		case <-r.ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// stop lets steps and deliveries under way finish, of all merchants.
func (r *roster) stop() {
	r.cancel()
	r.running.Wait()
	for _, m := range r.merchants() {
		r.leaving.Go(m.shutdown)
	}
	r.leaving.Wait()
}

// change is what a new list of merchants brought.
type change struct{ added, changed, removed []*merchant }

// put makes the list the merchants of the process. A merchant that is not in it, or
// differs, finishes its steps under way; one that differs works on at once as it is now.
// With an error, nothing has changed.
func (r *roster) put(list []config.Merchant) (c change, err error) {
	r.changing.Lock()
	defer r.changing.Unlock()
	old := r.merchants()
	known := map[string]*merchant{}
	for _, m := range old {
		known[m.config.MchID] = m
	}
	next := map[string]*merchant{}
	for _, cfg := range list {
		before := known[cfg.MchID]
		if before != nil && before.config.Equal(cfg) {
			next[cfg.MchID] = before
			continue
		}
		worker := r.cfg
		worker.Schedules = r.schedules()
		m, err := newMerchant(worker, cfg, r.deps)
		if err != nil {
			for _, m := range slices.Concat(c.added, c.changed) {
				m.shutdown()
				r.forget(m)
			}
			return change{}, fmt.Errorf("merchant %s: %w", cfg.MchID, err)
		}
		if next[cfg.MchID] = m; before == nil {
			c.added = append(c.added, m)
		} else {
			c.changed = append(c.changed, m)
		}
	}
	r.introduce(list)
	// At a start with a thousand merchants their housekeeping is spread.
	for i, m := range slices.Concat(c.added, c.changed) {
		m.keepAt = time.Now().Add(time.Duration(i) * keepApart)
		m.beatAt = m.keepAt.Add(asleepEvery)
	}
	r.mu.Lock()
	r.all, r.configs = next, list
	r.mu.Unlock()
	for _, m := range old {
		now := next[m.config.MchID]
		if now == m {
			continue
		}
		if now == nil {
			c.removed = append(c.removed, m)
		}
		r.leaving.Go(func() {
			m.shutdown()
			r.changing.Lock()
			defer r.changing.Unlock()
			r.forget(m)
		})
	}
	r.kick()
	return c, nil
}

// introduce makes merchants known, so that operators can pause them at once. If that
// fails, their housekeeping repeats it.
func (r *roster) introduce(list []config.Merchant) {
	mchids := make([]any, len(list))
	for i, m := range list {
		mchids[i] = m.MchID
	}
	ctx, cancel := context.WithTimeout(r.ctx, introduceWithin)
	defer cancel()
	_ = ledger.Introduce(ctx, r.conns.Ledger, mchids...)
}

// forget takes back what was published of a merchant that was taken out, unless it is
// served again. It is called with r.changing held.
func (r *roster) forget(m *merchant) {
	if r.find(m.config.MchID) != nil {
		return
	}
	r.deps.presence.forget(m.config.MchID)
	r.deps.metrics.Forget(m.config.MchID)
	r.deps.complaints.Forget(m.config.MchID)
	r.books.metrics.Forget(m.config.MchID)
	if r.deps.hookMetrics != nil {
		r.deps.hookMetrics.Forget(m.config.MchID)
	}
}

func (r *roster) find(mchid string) *merchant {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.all[mchid]
}

// wake wakes a merchant, if it is one of these and sleeps.
func (r *roster) wake(mchid, by string) {
	if m := r.find(mchid); m != nil && m.wake() {
		r.wakeups.WithLabelValues(by).Inc()
	}
}

// noticed wakes a merchant that a notification has brought news of, so that billing hears
// of them, and the other workers: their numbers change too.
func (r *roster) noticed(mchid string) {
	m := r.find(mchid)
	if m == nil || !m.wake() {
		return
	}
	r.wakeups.WithLabelValues(byNotification).Inc()
	ctx, cancel := context.WithTimeout(r.ctx, wakeWithin)
	defer cancel()
	_ = queue.Wake(ctx, r.conns.Queue, mchid) // they look for themselves
}

// wakeWithin is the time for waking other workers: WeChat Pay waits for its answer.
const wakeWithin = 200 * time.Millisecond

// quietFor is how long a merchant must have had nothing to do before it sleeps: a minute
// at the default SWEEP_EVERY. Several sweeps fall into it.
func quietFor(cfg config.Worker) time.Duration { return min(4*cfg.SweepEvery, time.Minute) }

// kick asks for a look at once.
func (r *roster) kick() {
	select {
	case r.kicked <- struct{}{}:
	default:
	}
}

// lookOut looks every SWEEP_EVERY, and when it is asked to.
func (r *roster) lookOut() {
	for {
		if r.serves() {
			r.lookAtAll()
		}
		select {
		case <-r.ctx.Done():
			return
		case <-r.kicked:
		case <-time.After(r.cfg.SweepEvery*9/10 + rand.N(r.cfg.SweepEvery/5+1)):
		}
	}
}

// clusterEvents is which look in a cluster asks for new events too.
const clusterEvents = 4

func (r *roster) lookAtAll() {
	quiet := quietFor(r.cfg)
	var scanned, examined []*merchant
	for _, m := range r.merchants() {
		switch slept, tip := m.sleeping(); {
		case slept && r.deaf.Load():
			r.wake(m.config.MchID, byLook)
		case slept && tip != "":
			scanned = append(scanned, m)
		case slept, !r.deaf.Load() && m.quiet(quiet):
			examined = append(examined, m)
		}
	}
	r.watchClock()
	r.looks++
	for page := range slices.Chunk(scanned, lookTogether) {
		examined = append(examined, r.scan(page, r.looks%clusterEvents == 0)...)
	}
	for page := range slices.Chunk(examined, lookTogether) {
		r.examine(page)
	}
}

// scan wakes those that have something to do, of merchants that sleep. Those of which it
// cannot tell must be examined.
func (r *roster) scan(page []*merchant, events bool) (unsure []*merchant) {
	var mchids, tips []string
	for _, m := range page {
		_, tip := m.sleeping()
		if tip == "" {
			tip = firstEvent // it has just been woken
		}
		mchids, tips = append(mchids, m.config.MchID), append(tips, tip)
	}
	found, now := r.look.scan(r.ctx, mchids, tips, events)
	for i, f := range found {
		switch {
		case !f.known:
		case f.stirs: // outside a cluster this is one answer for the whole page
			unsure = append(unsure, page[i])
		case f.busy(now):
			r.wake(mchids[i], byLook)
		}
	}
	return unsure
}

// examine wakes those of the merchants that have something to do, and lets those sleep
// that have not.
func (r *roster) examine(page []*merchant) {
	var mchids []string
	for _, m := range page {
		mchids = append(mchids, m.config.MchID)
	}
	asked := time.Now()
	found, now := r.look.examine(r.ctx, mchids)
	for i, f := range found {
		m := page[i]
		slept, tip := m.sleeping()
		switch {
		case !f.known:
		case slept && (f.busy(now) || tip != "" && tip != f.tip):
			r.wake(mchids[i], byLook)
		case slept:
			m.rest(f.tip)
		case !f.busy(now.Add(quietFor(r.cfg))):
			m.doze(asked, f.tip, func() {
				if r.ctx.Err() == nil {
					r.examine([]*merchant{m}) // what arrived while it fell asleep
				}
			})
		}
	}
}

// clockTolerance is by how much Redis's clock may have moved without having jumped.
const clockTolerance = 5 * time.Second

// watchClock has the sleeping merchants swept soon after a jump of Redis's clock: their
// due times may have to be moved. The nodes of a cluster have clocks of their own, and
// there the next housekeeping must do.
func (r *roster) watchClock() {
	if r.look.cluster {
		return
	}
	theirs, err := r.conns.Ledger.Time(r.ctx).Result()
	if err != nil {
		return
	}
	now := reading{theirs, time.Now()}
	jump := now.redis.Sub(r.before.redis) - now.own.Sub(r.before.own)
	if !r.before.own.IsZero() && jump.Abs() > clockTolerance {
		for i, m := range r.merchants() {
			m.keepBy(time.Now().Add(time.Duration(i) * keepApart))
		}
	}
	r.before = now
}

const (
	// asleepEvery is the time between two reports for a merchant that sleeps.
	asleepEvery = time.Minute
	// keepAtMost is the time between two housekeepings for a merchant that sleeps.
	keepAtMost = 30 * time.Minute
	// keepApart spreads the first housekeepings.
	keepApart = 20 * time.Millisecond
	// keepWithin is the time for one.
	keepWithin = 30 * time.Second
	// keepTogether is for how many merchants at once.
	keepTogether = 4
	// introduceWithin is the time to make merchants known, for which a new MERCHANTS_FILE
	// waits.
	introduceWithin = 3 * time.Second
)

// keepEvery is the time between two housekeepings for a merchant that sleeps: with a short
// RETENTION they are more frequent.
func keepEvery(cfg config.Worker) time.Duration {
	d := keepAtMost
	if cfg.Retention > 0 {
		d = min(d, max(cfg.SweepEvery, cfg.Retention/10))
	}
	return d*9/10 + rand.N(d/5+1)
}

// keepHouse does for merchants that sleep what their sweeps and reports did: retention,
// the settings and the situation that other commands and the metrics show.
func (r *roster) keepHouse() {
	var keeping errgroup.Group
	keeping.SetLimit(keepTogether)
	for _, m := range r.merchants() {
		if m.isTime(&m.keepAt, keepEvery(r.cfg)) {
			keeping.Go(func() error {
				m.whileServed(func() { r.keep(m) })
				return nil
			})
		}
	}
	_ = keeping.Wait()
}

func (r *roster) keep(m *merchant) {
	ctx, cancel := context.WithTimeout(r.ctx, keepWithin)
	defer cancel()
	if m.sweeper.Try(ctx) {
		m.keepBy(time.Now().Add(r.cfg.SweepEvery))
	}
	if m.sender != nil {
		// With nothing to relay it only sets the relay's position.
		_, _ = m.sender.Relay(ctx)
		m.sender.Housekeep(ctx)
	}
	r.deps.presence.report(ctx, m.ledger, asleepEvery)
	m.setNumbers(r.numbers.read(ctx, m.ledger))
}

// report reports that the process is alive to the ledgers of merchants that sleep.
func (r *roster) report() {
	var mchids []string
	for _, m := range r.merchants() {
		if m.isTime(&m.beatAt, asleepEvery) {
			mchids = append(mchids, m.config.MchID)
			r.deps.presence.showAgain(m.config.MchID)
		}
	}
	for page := range slices.Chunk(mchids, lookTogether) {
		// The next reports retry; what keeps Redis from taking them is logged elsewhere.
		_ = ledger.BeatAll(r.ctx, r.conns.Ledger, page, r.deps.presence.id, asleepEvery, false)
	}
}

// changed logs what a new list of merchants brought.
func (c change) log(log zerolog.Logger) {
	names := func(ms []*merchant) (mchids []string) {
		for _, m := range ms {
			mchids = append(mchids, m.config.MchID)
		}
		return mchids
	}
	log.Info().Str(logging.FieldEvent, "merchants_changed").
		Strs("added", names(c.added)).Strs("changed", names(c.changed)).Strs("removed", names(c.removed)).
		Msg("MERCHANTS_FILE read again")
}
