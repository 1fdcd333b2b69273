package worker

import (
	"context"
	"fmt"
	"maps"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"
	"github.com/rs/zerolog"

	"payscore-collector/internal/config"
	"payscore-collector/internal/explain"
	"payscore-collector/internal/ledger"
	"payscore-collector/internal/logging"
	"payscore-collector/internal/status"
)

// presence reports to the ledger that this process works for its merchants, and by
// which settings, so that other commands can tell; and it finds out why a merchant's
// orders are not collected, for the log, readiness and metrics.
type presence struct {
	id       string
	every    time.Duration
	settings ledger.Settings
	rdb      redis.UniversalClient
	serves   func() bool // whether Redis does; while it does not, other lines say so
	teller   explain.Teller
	log      zerolog.Logger

	mu     sync.Mutex
	causes map[string][]explain.Cause // of each merchant, as of the last look

	stopped, limit, rate, window *prometheus.GaugeVec
}

// Bounds of the time between two reports and looks. At most so much later than a worker's
// death it is known, by a few reports that are missing.
const (
	reportAtLeast = time.Second
	reportAtMost  = 10 * time.Second
)

func newPresence(cfg config.Worker, rdb redis.UniversalClient, serves func() bool, log zerolog.Logger, reg prometheus.Registerer) *presence {
	host, _ := os.Hostname()
	gauge := func(name, help string, labels ...string) *prometheus.GaugeVec {
		v := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "payscore_" + name, Help: help}, append([]string{"mchid"}, labels...))
		reg.MustRegister(v)
		return v
	}
	p := &presence{
		id:    fmt.Sprintf("%s/%d/%s", host, os.Getpid(), ledger.NewToken()),
		every: min(max(cfg.SweepEvery, reportAtLeast), reportAtMost), settings: published(cfg.Work),
		rdb: rdb, serves: serves, teller: explain.Teller{Zone: cfg.Location}, log: log,
		causes:  map[string][]explain.Cause{},
		stopped: gauge("collecting_stopped", "1 while the cause keeps the merchant's orders, or some of them, from being collected as they should.", "cause"),
		limit:   gauge("rate_limit", "Calls a second that COLLECT_RATE allows the merchant."),
		rate:    gauge("rate_now", "Calls a second that the merchant has now; less than payscore_rate_limit while WeChat Pay throttles."),
		window:  gauge("window_open", "1 while collect calls are allowed by COLLECT_WINDOW."),
	}
	for _, m := range cfg.Merchants {
		for _, code := range explain.Codes {
			p.stopped.WithLabelValues(m.MchID, string(code))
		}
	}
	return p
}

// published are the settings that other commands tell.
func published(w config.Work) ledger.Settings {
	return ledger.Settings{
		Rate: w.Rate, CollectWindow: w.Window.String(), Timezone: w.Location.String(),
		CollectSchedule: w.CollectSchedule.String(), ConfirmSchedule: w.ConfirmSchedule.String(),
		MinGap: w.MinGap.String(), GiveUpAfter: w.GiveUpAfter.String(), SweepEvery: w.SweepEvery.String(),
		Webhooks: w.Webhook.On(),
	}
}

// run reports and looks until ctx ends.
func (p *presence) run(ctx context.Context, l *ledger.Ledger) {
	tick := time.NewTicker(p.every)
	defer tick.Stop()
	for {
		p.once(ctx, l)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// once makes one report and one look. What fails is tried again by the next one:
// whatever makes Redis fail is told elsewhere.
func (p *presence) once(ctx context.Context, l *ledger.Ledger) {
	ctx, cancel := context.WithTimeout(ctx, p.every)
	defer cancel()
	if !p.serves() {
		return
	}
	if err := l.Beat(ctx, p.id, p.every, p.settings, false); err != nil {
		return
	}
	s, err := status.Read(ctx, p.rdb, l, explain.Memory{})
	if err != nil {
		return
	}
	p.show(s)
}

// show takes over a situation: into the metrics, for readiness, and where a cause has
// begun or ended, into the log.
func (p *presence) show(s explain.Situation) {
	now := p.teller.Why(s)
	p.mu.Lock()
	before := p.causes[s.MchID]
	p.causes[s.MchID] = now
	p.mu.Unlock()

	for _, code := range explain.Codes {
		p.stopped.WithLabelValues(s.MchID, string(code)).Set(gaugeOf(slices.ContainsFunc(now, func(c explain.Cause) bool { return c.Code == code })))
	}
	p.limit.WithLabelValues(s.MchID).Set(s.Rate)
	p.rate.WithLabelValues(s.MchID).Set(s.Rate * s.Holds.Share)
	p.window.WithLabelValues(s.MchID).Set(gaugeOf(s.Window.Location == nil || s.Window.Contains(s.Holds.Now)))

	log := p.log.With().Str(logging.FieldMchID, s.MchID).Logger()
	for _, c := range unlike(now, before) {
		event := "collecting_stopped"
		if !c.Stops {
			event = "merchant_trouble_began"
		}
		line := log.Warn()
		if c.Code == explain.OutsideWindow {
			line = log.Info() // as every night
		}
		line.Str(logging.FieldEvent, event).Str(logging.FieldCause, string(c.Code)).Msg(p.teller.Nothing(c))
	}
	for _, c := range unlike(before, now) {
		event, msg := "collecting_resumed", "the cause has ended, and orders are collected again"
		switch {
		case !c.Stops:
			event, msg = "merchant_trouble_ended", "the cause has ended"
		case slices.ContainsFunc(now, func(c explain.Cause) bool { return c.Stops && c.Code != explain.NotDue }):
			msg = "the cause has ended; orders are not collected for another one"
		}
		log.Info().Str(logging.FieldEvent, event).Str(logging.FieldCause, string(c.Code)).Msg(msg)
	}
}

// unlike are the causes of a that b has not. That no order is due comes and goes all
// the time, and is left out.
func unlike(a, b []explain.Cause) (list []explain.Cause) {
	for _, c := range a {
		same := func(other explain.Cause) bool { return c.Code == other.Code && c.Service == other.Service }
		if c.Code != explain.NotDue && !slices.ContainsFunc(b, same) {
			list = append(list, c)
		}
	}
	return list
}

func gaugeOf(is bool) float64 {
	if is {
		return 1
	}
	return 0
}

// leaveWithin is the time for the last reports of all merchants.
const leaveWithin = 2 * time.Second

// leave reports that this process stops working for a merchant.
func (p *presence) leave(ctx context.Context, l *ledger.Ledger) {
	_ = l.Beat(ctx, p.id, p.every, p.settings, true) // else its reports stop coming
}

// lines are what readiness tells beside "ok": every cause of every merchant.
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
