package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"payscore-collector/internal/config"
	"payscore-collector/internal/eventstream"
	"payscore-collector/internal/eventstream/pgsink"
	"payscore-collector/internal/logging"
)

type postgresCommand struct {
	config.DatabaseFlags
	Group string `name:"group" default:"postgres" placeholder:"NAME" help:"Whose place in the stream to continue from. Instances that write into one database use one name, and share the work; a new name begins with the oldest event (default ${default})."`
	Once  bool   `name:"once" help:"Write what is there, and end; fail where Redis or PostgreSQL is away. For cron."`

	db pgsink.Database
}

func (pc *postgresCommand) judge(c *config.Collector) {
	judgeGroup(c, pc.Group, postgresGroup)
	pc.DatabaseFlags.Resolve(c, func(url string) (err error) {
		pc.db, err = pgsink.Parse(url)
		return err
	})
}

func (pc *postgresCommand) waits() bool { return !pc.Once }

// progressEvery is how often the sink logs what it has written, if it has written
// anything.
const progressEvery = time.Minute

func (pc *postgresCommand) run(ctx context.Context, s *session) error {
	log := s.log.With().Str(logging.FieldDatabase, pc.db.String()).Logger()
	if s.mchid != "" { // the environment may set it, unnoticed
		log = log.With().Str(logging.FieldMchID, s.mchid).Logger()
	}
	sink, err := pgsink.New(ctx, pc.db, log)
	if err != nil {
		return err
	}
	defer sink.Close()
	sink.Once, sink.Books = pc.Once, pgsink.BooksIn(s.rdb)
	fresh, err := sink.Prepare(ctx)
	switch refused, is := errors.AsType[*pgsink.Refused](err); {
	case is:
		return &statusError{config.ExitUsage, refused.Error()}
	case ctx.Err() != nil:
		return nil
	case err != nil:
		return err
	}
	consumer := eventstream.UniqueConsumer()
	reader := eventstream.NewReader(s.rdb, pgsink.Reading(eventstream.Options{
		Group: pc.Group, Consumer: consumer, MchID: s.mchid, Once: pc.Once,
	}), log)
	if fresh {
		if had, err := reader.HasRead(ctx); err == nil && had {
			log.Warn().Str(logging.FieldEvent, "sink_tables_lack_events").Str(logging.FieldGroup, pc.Group).
				Msg("the tables are new, and the group has read events before: to write all that Redis still holds, start with another --group")
		}
	}
	log.Info().Str(logging.FieldEvent, "sink_started").Str(logging.FieldGroup, pc.Group).Str(logging.FieldConsumer, consumer).Msg("sink started")
	trail := sink.NewTrail(s.rdb, s.mchid)
	stop := logProgress(ctx, log, sink)
	stopTrail := func() {}
	if !pc.Once {
		stopTrail = beside(ctx, trail.Run)
	}
	err = reader.Run(ctx, sink.Write)
	stopTrail()
	stop()
	if pc.Once && err == nil && ctx.Err() == nil {
		err = trail.Copy(ctx)
	}
	done := sink.Totals()
	switch {
	case err == nil && pc.Once && done.LeftOut > 0:
		err = fmt.Errorf("the tables lack %d events, which they refuse: the log lines with the event event_left_out name them", done.LeftOut)
	case err == nil && pc.Once && ctx.Err() != nil:
		err = errors.New("stopped before every event was written")
	}
	log.Info().Str(logging.FieldEvent, "sink_stopped").EmbedObject(totals(done)).Msg("sink stopped")
	return err
}

// logProgress logs what the sink has written, now and then, until ctx ends or stop is
// called.
func logProgress(ctx context.Context, log zerolog.Logger, sink *pgsink.Sink) (stop func()) {
	return beside(ctx, func(ctx context.Context) {
		var said pgsink.Totals
		for {
			eventstream.Pause(ctx, progressEvery)
			if ctx.Err() != nil {
				return
			}
			if now := sink.Totals(); now != said {
				log.Info().Str(logging.FieldEvent, "sink_progress").EmbedObject(totals(now)).Msg("events written")
				said = now
			}
		}
	})
}

// beside runs work in the background until stop is called, which waits for its end.
func beside(ctx context.Context, work func(context.Context)) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	running.Go(func() { work(ctx) })
	return func() {
		cancel()
		running.Wait()
	}
}

type totals pgsink.Totals

// MarshalZerologObject implements zerolog.LogObjectMarshaler.
func (t totals) MarshalZerologObject(e *zerolog.Event) {
	e.Int64(logging.FieldEvents, t.Events).Int64(logging.FieldKnown, t.Known).
		Int64(logging.FieldOrders, t.Orders).Int64(logging.FieldLeftOut, t.LeftOut)
}
