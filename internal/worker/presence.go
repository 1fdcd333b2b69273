package worker

import (
	"context"
	"fmt"
	"maps"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"
	"github.com/rs/zerolog"

	"payscore-collector/internal/config"
	"payscore-collector/internal/explain"
	"payscore-collector/internal/ledger"
	"payscore-collector/internal/logging"
	"payscore-collector/internal/metrics"
	"payscore-collector/internal/status"
)

// presence reports to the ledger that this process works for its merchants, and by
// which settings, so that other commands can show it. It also finds out why a
// merchant's orders are not collected, for the log, readiness and the metrics.
type presence struct {
	id       string
	every    time.Duration
	settings atomic.Pointer[ledger.Settings]
	rdb      redis.UniversalClient
	serves   func() bool // whether Redis does; while it does not, other lines say so
	teller   explain.Teller
	log      zerolog.Logger

	mu     sync.Mutex
	causes map[string][]explain.Cause // of each merchant, as read last
	seen   map[string]seen

	zeros, shown                 *metrics.Set
	stopped, limit, rate, window *prometheus.GaugeVec
}

// seen is a merchant's situation as it was read last, and when.
type seen struct {
	situation explain.Situation
	at        time.Time
}

// Bounds of the time between two reports. Another command notices a worker's death
// after a few missing reports.
const (
	reportAtLeast = time.Second
	reportAtMost  = 10 * time.Second
)

func newPresence(cfg config.Worker, rdb redis.UniversalClient, serves func() bool, log zerolog.Logger, reg prometheus.Registerer) *presence {
	host, _ := os.Hostname()
	zeros, shown := metrics.New(reg), metrics.New(reg)
	p := &presence{
		id:    fmt.Sprintf("%s/%d/%s", host, os.Getpid(), ledger.NewToken()),
		every: min(max(cfg.SweepEvery, reportAtLeast), reportAtMost),
		rdb:   rdb, serves: serves, teller: explain.Teller{Zone: cfg.Location}, log: log,
		causes: map[string][]explain.Cause{}, seen: map[string]seen{}, zeros: zeros, shown: shown,
		stopped: zeros.Gauge("payscore_collecting_stopped", "1 while the cause keeps the merchant's orders, or some of them, from being collected as they should.",
			metrics.Known("cause", explain.Codes...)),
		limit:  shown.Gauge("payscore_rate_limit", "Calls a second that COLLECT_RATE allows the merchant."),
		rate:   shown.Gauge("payscore_rate_now", "Calls a second that the merchant has now; less than payscore_rate_limit while WeChat Pay throttles."),
		window: shown.Gauge("payscore_window_open", "1 while collect calls are allowed by COLLECT_WINDOW."),
	}
	p.setSettings(published(cfg))
	return p
}

// setSettings changes what the next reports say of the settings.
func (p *presence) setSettings(s ledger.Settings) { p.settings.Store(&s) }

// introduce gives a merchant's metrics their zeros.
func (p *presence) introduce(mchid string) { p.zeros.Introduce(mchid) }

// published returns the settings that other commands show.
func published(w config.Worker) ledger.Settings {
	named, defaults := publishedSchedules(w)
	return ledger.Settings{
		Schedules: named, Defaults: defaults,
		Rate: w.Rate, CollectWindow: w.Window.String(), Timezone: w.Location.String(),
		CollectSchedule: w.CollectSchedule.String(), ConfirmSchedule: w.ConfirmSchedule.String(),
		MinGap: w.MinGap.String(), GiveUpAfter: w.GiveUpAfter.String(), SweepEvery: w.SweepEvery.String(),
		Webhooks: w.Webhook.On(), BooksAt: w.BooksAt.String(),
	}
}

// publishedSchedules returns the schedules as other commands show them.
func publishedSchedules(cfg config.Worker) (list []ledger.NamedSchedule, defaults []ledger.DefaultSchedule) {
	for _, name := range cfg.Schedules.Names() {
		w := cfg.Schedules.Named[name].In(cfg.Work)
		list = append(list, ledger.NamedSchedule{
			Name: name, CollectSchedule: w.CollectSchedule.String(), CollectWindow: w.Window.String(),
			MinGap: w.MinGap.String(), GiveUpAfter: w.GiveUpAfter.String(),
		})
	}
	for _, d := range cfg.Schedules.Defaults {
		defaults = append(defaults, ledger.DefaultSchedule(d))
	}
	return list, defaults
}

// run reports for a merchant that is awake until ctx ends.
func (p *presence) run(ctx context.Context, l *ledger.Ledger) {
	tick := time.NewTicker(p.every)
	defer tick.Stop()
	for {
		p.report(ctx, l, p.every)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// report reports once that the process works for the merchant and will report again after
// every, and reads the merchant's situation. The next report retries what fails; the cause
// of the failure is logged elsewhere.
func (p *presence) report(ctx context.Context, l *ledger.Ledger, every time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, p.every)
	defer cancel()
	if !p.serves() {
		return
	}
	if err := l.Beat(ctx, p.id, every, *p.settings.Load(), false); err != nil {
		return
	}
	s, err := status.Read(ctx, p.rdb, l, explain.Memory{})
	if err != nil {
		return
	}
	p.show(s)
}

// leaveWithin is the time for the last reports of all merchants.
const leaveWithin = 2 * time.Second

// stop reports that this process stops working for its merchants. If Redis does not
// take that, the reports are missing later.
func (p *presence) stop(mchids []string) {
	ctx, cancel := context.WithTimeout(context.Background(), leaveWithin)
	defer cancel()
	for page := range slices.Chunk(mchids, lookTogether) {
		_ = ledger.BeatAll(ctx, p.rdb, page, p.id, p.every, true)
	}
}

// forget is stop for one merchant, and takes away what was shown of it.
func (p *presence) forget(mchid string) {
	p.stop([]string{mchid})
	p.zeros.Forget(mchid)
	p.shown.Forget(mchid)
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.causes, mchid)
	delete(p.seen, mchid)
}

// showAgain shows the situation of a merchant that sleeps as time has changed it: its
// window opens and closes.
func (p *presence) showAgain(mchid string) {
	p.mu.Lock()
	last, ok := p.seen[mchid]
	p.mu.Unlock()
	if ok {
		last.situation.Holds.Now = last.situation.Holds.Now.Add(time.Since(last.at))
		p.show(last.situation)
	}
}

// show updates readiness and the metrics, and logs the causes that have begun or ended.
func (p *presence) show(s explain.Situation) {
	now := p.teller.Why(s)
	p.mu.Lock()
	before := p.causes[s.MchID]
	p.causes[s.MchID], p.seen[s.MchID] = now, seen{s, time.Now()}
	p.mu.Unlock()

	for _, code := range explain.Codes {
		p.stopped.WithLabelValues(s.MchID, string(code)).Set(gaugeOf(slices.ContainsFunc(now, func(c explain.Cause) bool { return c.Code == code })))
	}
	p.limit.WithLabelValues(s.MchID).Set(s.Rate)
	p.rate.WithLabelValues(s.MchID).Set(s.Rate * s.Holds.Share)
	p.window.WithLabelValues(s.MchID).Set(gaugeOf(s.Window.Location == nil || s.Window.Contains(s.Holds.Now)))

	log := p.log.With().Str(logging.FieldMchID, s.MchID).Logger()
	for _, c := range unlike(now, before) {
		event, line := "collecting_stopped", log.Warn()
		if !c.Stops {
			event = "merchant_trouble_began"
		}
		switch c.Code {
		case explain.OutsideWindow:
			line = log.Info() // every night
		case explain.Paused:
			event = "merchant_paused"
		}
		line.Str(logging.FieldEvent, event).Str(logging.FieldCause, string(c.Code)).Msg(p.teller.Nothing(c))
	}
	for _, c := range unlike(before, now) {
		event, msg := "collecting_resumed", "cause ended; orders are collected again"
		if c.Code == explain.Paused {
			event = "merchant_resumed"
		}
		switch {
		case !c.Stops:
			event, msg = "merchant_trouble_ended", "cause ended"
		case slices.ContainsFunc(now, func(c explain.Cause) bool { return c.Stops && c.Code != explain.NotDue }):
			msg = "cause ended; another one still stops collecting"
		}
		log.Info().Str(logging.FieldEvent, event).Str(logging.FieldCause, string(c.Code)).Msg(msg)
	}
}

// unlike returns the causes of a that b lacks, without the cause that no order is due,
// which begins and ends all the time.
func unlike(a, b []explain.Cause) (list []explain.Cause) {
	for _, c := range a {
		same := func(other explain.Cause) bool { return c.Code == other.Code && c.Service == other.Service }
		if c.Code != explain.NotDue && !slices.ContainsFunc(b, same) {
			list = append(list, c)
		}
	}
	return list
}

// lines returns the lines of readiness behind "ok": every cause of every merchant.
func (p *presence) lines() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var lines []string
	for _, mchid := range slices.Sorted(maps.Keys(p.causes)) {
		for _, c := range p.causes[mchid] {
			lines = append(lines, mchid+": "+p.teller.Nothing(c))
		}
	}
	return lines
}
