package eventstream

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"payscore-collector/internal/ledger"
	"payscore-collector/internal/logging"
	"payscore-collector/internal/redisconn"
)

//go:embed prune.lua
var pruneSource string

var pruneScript = redis.NewScript(pruneSource)

const (
	// ackGrace is how long acknowledging may take after the end of ctx.
	ackGrace = 5 * time.Second
	// forgetAfter is after how many times Options.Idle a silent member is removed. By
	// then others have taken over what it held.
	forgetAfter = 20
)

// stream is one merchant's stream, read by one member of the group.
type stream struct {
	*Reader
	mchid  string
	key    string
	handle Handler

	found      bool      // the group has existed before
	takeOverAt time.Time // when to look next for dead members
}

// handlerError is an error of the Handler. It ends the reading.
type handlerError struct{ error }

func (e handlerError) Unwrap() error { return e.error }

// run reads until ctx ends, or the handler fails; with Options.Once until
// everything was read.
func (s *stream) run(ctx context.Context) error {
	defer s.leave(ctx)
	for {
		err := s.read(ctx)
		if isNoGroup(err) {
			err = s.makeGroup(ctx)
			if err == nil {
				continue
			}
		}
		var failed handlerError
		switch {
		case err == nil || ctx.Err() != nil:
			return nil
		case errors.As(err, &failed):
			return failed.error
		case s.opt.Once:
			return fmt.Errorf("read the outcomes of merchant %s: %w", s.mchid, err)
		}
		s.outage.Failed(fmt.Errorf("the outcomes of merchant %s: %w", s.mchid, redisconn.Explain(err)))
		Pause(ctx, s.opt.Pause)
	}
}

// read delivers everything in its order: what this member holds already, then what dead
// members hold, then what is new. It returns at the first failure; with Options.Once it
// returns nil when nothing is left.
func (s *stream) read(ctx context.Context) error {
	if err := s.readOwn(ctx); err != nil {
		return err
	}
	block := s.opt.Block
	if s.opt.Once {
		block = -1 // no BLOCK
	}
	for ctx.Err() == nil {
		if !time.Now().Before(s.takeOverAt) {
			if err := s.takeOver(ctx); err != nil {
				return err
			}
			s.takeOverAt = time.Now().Add(s.opt.Idle / 2)
		}
		msgs, err := s.group(ctx, ">", block)
		if err != nil {
			return err
		}
		if len(msgs) == 0 && s.opt.Once {
			return s.awaitOthers(ctx)
		}
		b := s.decode(msgs)
		if s.full(b) {
			select {
			case s.behind <- struct{}{}:
				b, err = s.catchUp(ctx, b)
				<-s.behind
				if err != nil {
					return err
				}
			default:
			}
		}
		if err := s.deliver(ctx, b); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// group reads events behind a position: those that this member holds, or with ">" new
// ones.
func (s *stream) group(ctx context.Context, after string, block time.Duration) ([]redis.XMessage, error) {
	streams, err := s.rdb.XReadGroup(ctx, &redis.XReadGroupArgs{
		Group: s.opt.Group, Consumer: s.opt.Consumer, Streams: []string{s.key, after},
		Count: s.opt.Batch, Block: block,
	}).Result()
	if err != nil && !errors.Is(err, redis.Nil) {
		return nil, err
	}
	s.found = true
	s.outage.Over()
	if len(streams) == 0 {
		return nil, nil
	}
	return streams[0].Messages, nil
}

// full reports whether there are usually more events behind a batch.
func (s *stream) full(b batch) bool { return int64(len(b.ids)) == s.opt.Batch }

// readOwn delivers what this member was given and has not acknowledged.
func (s *stream) readOwn(ctx context.Context) error {
	for after := "0"; ctx.Err() == nil; {
		msgs, err := s.group(ctx, after, -1)
		if err != nil || len(msgs) == 0 {
			return err
		}
		after = msgs[len(msgs)-1].ID
		if err := s.deliver(ctx, s.decode(msgs)); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// takeOver delivers what silent members hold, and removes those that hold nothing.
func (s *stream) takeOver(ctx context.Context) error {
	for start := "0-0"; ctx.Err() == nil; {
		msgs, next, err := s.rdb.XAutoClaim(ctx, &redis.XAutoClaimArgs{
			Stream: s.key, Group: s.opt.Group, Consumer: s.opt.Consumer,
			MinIdle: s.opt.Idle, Start: start, Count: s.opt.Batch,
		}).Result()
		if errors.Is(err, redis.Nil) {
			// This is Redis 6's answer where one of the events was trimmed. All of
			// them belong to this member now.
			return s.readOwn(ctx)
		}
		if err != nil {
			return err
		}
		if err := s.deliver(ctx, s.decode(msgs)); err != nil {
			return err
		}
		if next == "0-0" {
			return s.prune(ctx, forgetAfter*s.opt.Idle, "")
		}
		start = next
	}
	return ctx.Err()
}

// batch is what is delivered and acknowledged together.
type batch struct {
	ids    []string // also of entries that are not events
	events []ledger.Event
}

// decode reads the events of a stream's entries.
func (s *stream) decode(msgs []redis.XMessage) batch {
	b := batch{make([]string, len(msgs)), make([]ledger.Event, 0, len(msgs))}
	trimmed := 0
	for i, m := range msgs {
		b.ids[i] = m.ID
		if m.Values == nil {
			trimmed++
			continue
		}
		e, err := ledger.DecodeEvent(s.mchid, m.ID, m.Values)
		if errors.Is(err, ledger.ErrNewer) {
			s.log.Info().Str(logging.FieldEvent, "event_of_newer_release").Str(logging.FieldMchID, s.mchid).Err(err).Msg("event of a newer release passed over")
			continue
		}
		if err != nil {
			s.log.Error().Str(logging.FieldEvent, "event_unreadable").Str(logging.FieldMchID, s.mchid).Err(err).Msg("unreadable event skipped")
			continue
		}
		b.events = append(b.events, e)
	}
	if trimmed > 0 {
		s.log.Error().Str(logging.FieldEvent, "events_trimmed_unread").Str(logging.FieldMchID, s.mchid).Int(logging.FieldCount, trimmed).
			Msg("events were trimmed from the stream before this group has handled them; they are lost to it")
	}
	return b
}

// deliver passes events to the handler, and acknowledges them.
func (s *stream) deliver(ctx context.Context, b batch) error {
	if len(b.ids) == 0 {
		return nil
	}
	if len(b.events) > 0 {
		if err := s.handle(ctx, b.events); err != nil {
			s.giveBack(ctx, b.ids)
			return handlerError{err}
		}
	}
	return s.acknowledge(ctx, b.ids)
}

// awaitOthers is for Options.Once, when every event has been given out: it waits
// until no other member of the group holds any of them. Those that a member does
// not acknowledge within Options.Idle are taken over.
func (s *stream) awaitOthers(ctx context.Context) error {
	held, err := s.rdb.XPending(ctx, s.key, s.opt.Group).Result()
	if err != nil || held.Count == 0 {
		return err
	}
	s.log.Info().Str(logging.FieldEvent, "waiting_for_other_readers").Str(logging.FieldMchID, s.mchid).
		Int64(logging.FieldCount, held.Count).Int("readers", len(held.Consumers)).Dur("at_most", s.opt.Idle).
		Msg("other readers of the group hold events; waiting until they have acknowledged them, or the events can be taken over")
	for ctx.Err() == nil {
		if err := s.takeOver(ctx); err != nil {
			return err
		}
		// Later events do not count: another reader could hold some of them at any
		// time.
		rest, err := s.rdb.XPendingExt(ctx, &redis.XPendingExtArgs{
			Stream: s.key, Group: s.opt.Group, Start: "-", End: held.Higher, Count: 1,
		}).Result()
		if err != nil || len(rest) == 0 {
			return err
		}
		Pause(ctx, min(s.opt.Pause, s.opt.Idle))
	}
	return ctx.Err()
}

// givenBack is the idle time, in ms, of events that were given back: more than any
// reader's Options.Idle.
const givenBack = int64(24 * time.Hour / time.Millisecond)

// giveBack lets another member take over at once what this one could not handle;
// otherwise it would wait for Options.Idle. A failure only costs that time.
func (s *stream) giveBack(ctx context.Context, ids []string) {
	if len(ids) == 0 {
		return
	}
	late, cancel := context.WithTimeout(context.WithoutCancel(ctx), ackGrace)
	defer cancel()
	// Another member may have taken some over in the meantime.
	mine, err := s.rdb.XPendingExt(late, &redis.XPendingExtArgs{
		Stream: s.key, Group: s.opt.Group, Start: ids[0], End: ids[len(ids)-1], Count: int64(len(ids)), Consumer: s.opt.Consumer,
	}).Result()
	if err == nil && len(mine) > 0 {
		args := []any{"XCLAIM", s.key, s.opt.Group, s.opt.Consumer, 0}
		for _, e := range mine {
			args = append(args, e.ID)
		}
		err = s.rdb.Do(late, append(args, "IDLE", givenBack, "JUSTID")...).Err()
	}
	if err != nil {
		s.log.Debug().Str(logging.FieldEvent, "events_not_given_back").Err(err).Msg("events not given back; others take them over later")
	}
}

// acknowledge tries until Redis accepts it, also for a moment after the end of ctx:
// events that are not acknowledged are delivered again.
func (s *stream) acknowledge(ctx context.Context, ids []string) error {
	late, cancel := Grace(ctx, ackGrace)
	defer cancel()
	for {
		err := s.rdb.XAck(late, s.key, s.opt.Group, ids...).Err()
		if err == nil {
			s.outage.Over()
			return nil
		}
		if s.opt.Once || late.Err() != nil {
			s.log.Warn().Str(logging.FieldEvent, "events_not_acknowledged").Str(logging.FieldMchID, s.mchid).Int(logging.FieldCount, len(ids)).Err(err).
				Msg("events handled and not acknowledged; they are delivered again")
			return err
		}
		s.outage.Failed(redisconn.Explain(err))
		Pause(late, s.opt.Pause)
	}
}

// makeGroup creates the group, at the beginning of the stream.
func (s *stream) makeGroup(ctx context.Context) error {
	err := s.rdb.XGroupCreateMkStream(ctx, s.key, s.opt.Group, "0").Err()
	if err != nil {
		if strings.HasPrefix(err.Error(), "BUSYGROUP") {
			return nil // another member was quicker
		}
		return err
	}
	if s.found {
		s.log.Warn().Str(logging.FieldEvent, "reader_group_lost").Str(logging.FieldMchID, s.mchid).
			Msg("consumer group missing: Redis lost it, or it was destroyed; created anew, so that every event that Redis still has is delivered again")
	}
	return nil
}

// leave removes this member from the group if it holds nothing. Otherwise others take
// over what it holds, or its next start does.
func (s *stream) leave(ctx context.Context) {
	late, cancel := context.WithTimeout(context.WithoutCancel(ctx), ackGrace)
	defer cancel()
	if err := s.prune(late, 0, s.opt.Consumer); err != nil {
		s.log.Debug().Str(logging.FieldEvent, "reader_not_removed").Err(err).Msg("the group keeps a member that has left; others remove it")
	}
}

func (s *stream) prune(ctx context.Context, unseen time.Duration, name string) error {
	err := pruneScript.Run(ctx, s.rdb, []string{s.key}, s.opt.Group, unseen.Milliseconds(), name).Err()
	if isNoGroup(err) || errors.Is(err, redis.Nil) {
		return nil
	}
	return err
}

// isNoGroup reports whether err says that the group or the stream does not exist.
func isNoGroup(err error) bool {
	return err != nil && strings.Contains(err.Error(), "NOGROUP")
}
