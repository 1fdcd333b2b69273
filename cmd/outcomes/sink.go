package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/rs/zerolog"

	"payscore-collector/internal/config"
	"payscore-collector/internal/eventstream"
	"payscore-collector/internal/eventstream/pgsink"
	"payscore-collector/internal/logging"
)

type postgresCommand struct {
	config.DatabaseFlags
	Group string `name:"group" default:"postgres" placeholder:"NAME" help:"Whose place in the stream to go on from. Instances that write into one database use one name, and share the work; a new name begins with the oldest event (default ${default})."`
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

func (pc *postgresCommand) stays() bool { return !pc.Once }

// progressEvery is how often the sink says what it has done, if it has done
// anything.
const progressEvery = time.Minute

func (pc *postgresCommand) run(ctx context.Context, s *session) error {
	log := s.log.With().Str(logging.FieldDatabase, pc.db.String()).Logger()
	if s.mchid != "" { // easily set without a thought, in the environment
		log = log.With().Str(logging.FieldMchID, s.mchid).Logger()
	}
	sink, err := pgsink.New(ctx, pc.db, log)
	if err != nil {
		return err
	}
	defer sink.Close()
	sink.Once = pc.Once
	fresh, err := sink.Prepare(ctx)
	var refused *pgsink.Refused
	switch {
	case errors.As(err, &refused):
		return &statusError{config.ExitUsage, refused.Error()}
	case ctx.Err() != nil:
		return nil
	case err != nil:
		return err
	}
	consumer := eventstream.UniqueConsumer()
	reader := eventstream.NewReader(s.rdb, eventstream.Options{
		Group: pc.Group, Consumer: consumer, MchID: s.mchid, Once: pc.Once,
	}, log)
	if fresh {
		if had, err := reader.HasRead(ctx); err == nil && had {
			log.Warn().Str(logging.FieldGroup, pc.Group).
				Msg("the tables are new, but the group has read before, and what it has read does not come again: to have all that Redis still holds, start with another --group")
		}
	}
	log.Info().Str(logging.FieldGroup, pc.Group).Str(logging.FieldConsumer, consumer).Msg("events go into PostgreSQL from now on")
	stop := tellProgress(ctx, log, sink)
	err = reader.Run(ctx, sink.Write)
	stop()
	done := sink.Totals()
	switch {
	case err == nil && pc.Once && done.LeftOut > 0:
		err = fmt.Errorf("the tables lack %d events, which they refuse; the lines EVENT LEFT OUT name them", done.LeftOut)
	case err == nil && pc.Once && ctx.Err() != nil:
		err = errors.New("stopped before every event was written")
	}
	message := "events have gone into PostgreSQL; this is the end"
	if err != nil {
		message = "not every event has gone into PostgreSQL"
	}
	totals(log.Info(), done).Msg(message)
	return err
}

// tellProgress logs what the sink has done, now and then, until ctx ends or stop
// is called.
func tellProgress(ctx context.Context, log zerolog.Logger, sink *pgsink.Sink) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	over := make(chan struct{})
	go func() {
		defer close(over)
		var said pgsink.Totals
		for {
			eventstream.Pause(ctx, progressEvery)
			if ctx.Err() != nil {
				return
			}
			if now := sink.Totals(); now != said {
				totals(log.Info(), now).Msg("events go into PostgreSQL")
				said = now
			}
		}
	}()
	return func() {
		cancel()
		<-over
	}
}

func totals(e *zerolog.Event, t pgsink.Totals) *zerolog.Event {
	return e.Int64(logging.FieldEvents, t.Events).Int64(logging.FieldKnown, t.Known).
		Int64(logging.FieldOrders, t.Orders).Int64(logging.FieldLeftOut, t.LeftOut)
}
