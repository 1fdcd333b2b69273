package worker

import (
	"errors"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"payscore-collector/internal/config"
	"payscore-collector/internal/logging"
)

// reloader reads MERCHANTS_FILE again when it has changed, or on a SIGHUP, and hands the
// merchants to the roster. A faulty file changes nothing.
type reloader struct {
	worker *worker
	file   *config.MerchantsFile
	faulty prometheus.Gauge

	used string // the state of the file that was read last
	seen string // as the last poll has found it
}

// pollEvery is the time between two looks at the file. It is read when two looks have
// found it in the same new state: it is not being written then.
const pollEvery = 2 * time.Second

func newReloader(w *worker) *reloader {
	r := &reloader{worker: w, file: w.cfg.MerchantsFile, faulty: prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "payscore_merchants_file_faulty", Help: "1 while MERCHANTS_FILE has changed and cannot be used; the merchants are those of before.",
	})}
	w.registry.MustRegister(r.faulty)
	r.used = r.file.State()
	r.seen = r.used
	return r
}

// run polls until the worker stops.
func (r *reloader) run() {
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	defer signal.Stop(hangup)
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		select {
		case <-r.worker.roster.ctx.Done():
			return
		case <-hangup:
			r.load()
		case <-tick.C:
			now := r.file.State()
			stable := now == r.seen
			if r.seen = now; stable && now != r.used {
				r.load()
			}
		}
	}
}

// load reads the file and serves the merchants in it.
func (r *reloader) load() {
	log := r.worker.log
	var merchants []config.Merchant
	var warnings []string
	var err error
	for range 3 { // until what was read is what is there, also of files that it did not name before
		before := r.file.State()
		merchants, warnings, err = r.file.Load()
		r.used = r.file.State()
		if r.seen = r.used; before == r.used {
			break
		}
	}
	for _, text := range warnings {
		log.Warn().Str(logging.FieldEvent, "setting_doubtful").Msg(text)
	}
	var changed change
	if err == nil {
		changed, err = r.worker.roster.put(merchants)
	}
	r.faulty.Set(gaugeOf(err != nil))
	if err == nil {
		r.worker.public.follow(r.worker.roster, changed)
		mchids := r.worker.roster.mchids()
		r.worker.watch.merchants.Store(&mchids)
		changed.log(log)
		return
	}
	const kept = "MERCHANTS_FILE cannot be used; the merchants stay as they were: "
	var problems config.Problems
	if !errors.As(err, &problems) {
		log.Error().Str(logging.FieldEvent, "merchants_file_refused").Err(err).Msg(kept + err.Error())
		return
	}
	for _, p := range problems {
		log.Error().Str(logging.FieldEvent, "merchants_file_refused").Str(logging.FieldSetting, p.Setting).Msg(kept + p.String())
	}
}
