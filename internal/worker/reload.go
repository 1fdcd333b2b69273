package worker

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"payscore-collector/internal/config"
	"payscore-collector/internal/logging"
)

// pollEvery is the time between two looks at a file. It is read when two looks have
// found it in the same new state: it is not being written then.
const pollEvery = 2 * time.Second

// fileWatch tells when a file is read again: it has changed, or there is a SIGHUP.
type fileWatch struct {
	state func() string
	used  string // the state of the file that was read last
	seen  string // as the last poll has found it
}

func watchFile(state func() string) fileWatch {
	now := state()
	return fileWatch{state, now, now}
}

// run calls load when the file must be read, until ctx ends.
func (w *fileWatch) run(ctx context.Context, load func()) {
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	defer signal.Stop(hangup)
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-hangup:
			load()
		case <-tick.C:
			now := w.state()
			stable := now == w.seen
			if w.seen = now; stable && now != w.used {
				load()
			}
		}
	}
}

// read calls read until what was read is what is there, also of files that the file did
// not name before.
func (w *fileWatch) read(read func()) {
	for range 3 {
		before := w.state()
		read()
		w.used = w.state()
		if w.seen = w.used; before == w.used {
			return
		}
	}
}

// problemsOf returns what is wrong with the file of a setting, for a line of log each.
func problemsOf(setting string, err error) config.Problems {
	if problems, ok := errors.AsType[config.Problems](err); ok {
		return problems
	}
	return config.Problems{{Setting: setting, Text: "cannot be used: " + err.Error()}}
}

// reloader reads MERCHANTS_FILE again when it has changed, or on a SIGHUP, and hands the
// merchants to the roster. A faulty file changes nothing.
type reloader struct {
	worker *worker
	file   *config.MerchantsFile
	watch  fileWatch
	faulty prometheus.Gauge
}

func newReloader(w *worker) *reloader {
	r := &reloader{worker: w, file: w.cfg.MerchantsFile, watch: watchFile(w.cfg.MerchantsFile.State), faulty: prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "payscore_merchants_file_faulty", Help: "1 while MERCHANTS_FILE has changed and cannot be used; the merchants are those of before.",
	})}
	w.registry.MustRegister(r.faulty)
	return r
}

// run polls until the worker stops.
func (r *reloader) run() { r.watch.run(r.worker.roster.ctx, r.load) }

// load reads the file and serves the merchants in it.
func (r *reloader) load() {
	log := r.worker.log
	var merchants []config.Merchant
	var warnings []string
	var err error
	r.watch.read(func() { merchants, warnings, err = r.file.Load() })
	for _, text := range warnings {
		log.Warn().Str(logging.FieldEvent, "setting_doubtful").Msg(text)
	}
	var changed change
	if err == nil {
		changed, err = r.worker.roster.put(merchants)
	}
	r.faulty.Set(gaugeOf(err != nil))
	if err != nil {
		for _, p := range problemsOf("MERCHANTS_FILE", err) {
			log.Error().Str(logging.FieldEvent, "merchants_file_refused").Str(logging.FieldSetting, p.Setting).
				Msg("MERCHANTS_FILE cannot be used; the merchants stay as they were: " + p.String())
		}
		return
	}
	r.worker.public.follow(r.worker.roster, changed)
	mchids := r.worker.roster.mchids()
	r.worker.watch.merchants.Store(&mchids)
	changed.log(log)
}

// schedulesReloader reads SCHEDULES_FILE again when it has changed, or on a SIGHUP. Orders
// keep the names of their schedules, and what stands behind the names holds from their next
// step on. A faulty file changes nothing.
type schedulesReloader struct {
	worker *worker
	watch  fileWatch
	faulty prometheus.Gauge
}

func newSchedulesReloader(w *worker) *schedulesReloader {
	r := &schedulesReloader{worker: w, watch: watchFile(w.cfg.SchedulesFile.State), faulty: prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "payscore_schedules_file_faulty", Help: "1 while SCHEDULES_FILE has changed and cannot be used; the schedules are those of before.",
	})}
	w.registry.MustRegister(r.faulty)
	return r
}

func (r *schedulesReloader) run() { r.watch.run(r.worker.roster.ctx, r.load) }

func (r *schedulesReloader) load() {
	log := r.worker.log
	var s config.Schedules
	var err error
	r.watch.read(func() { s, err = r.worker.cfg.SchedulesFile.Load() })
	r.faulty.Set(gaugeOf(err != nil))
	if err != nil {
		for _, p := range problemsOf("SCHEDULES_FILE", err) {
			log.Error().Str(logging.FieldEvent, "schedules_file_refused").Str(logging.FieldSetting, p.Setting).
				Msg("SCHEDULES_FILE cannot be used; the schedules stay as they were: " + p.String())
		}
		return
	}
	r.worker.roster.setSchedules(s)
	log.Info().Str(logging.FieldEvent, "schedules_changed").Strs("schedules", s.Names()).Int("defaults", len(s.Defaults)).Msg("SCHEDULES_FILE read again")
}
