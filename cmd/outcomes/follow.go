package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"payscore-collector/internal/config"
	"payscore-collector/internal/eventstream"
	"payscore-collector/internal/ledger"
)

type followCommand struct {
	Group string `name:"group" default:"follow" placeholder:"NAME" help:"Whose place in the stream to go on from; a new name begins with the oldest event. Those who use one name at the same time share the events (default ${default})."`
}

func (f *followCommand) judge(c *config.Collector) { judgeGroup(c, f.Group, followGroup) }

func (*followCommand) stays() bool { return true }

const (
	// followConsumer is the same for every follower: what one was given when
	// it died is the first thing that the next one prints, so that each
	// order's events stay in their order.
	followConsumer = "follow"
	// followBatch is how many lines come again at most where a follower dies.
	followBatch = 100
	// writeGrace is how long whoever reads our output has to take it, after we
	// were told to stop.
	writeGrace = 2 * time.Second
)

func (f *followCommand) run(ctx context.Context, s *session) error {
	reader := eventstream.NewReader(s.rdb, eventstream.Options{
		Group: f.Group, Consumer: followConsumer, MchID: s.mchid, Batch: followBatch,
	}, s.log)
	return reader.Run(ctx, (&lineWriter{w: s.stdout}).write)
}

// lineWriter writes events as lines, one merchant's batch at a time.
type lineWriter struct {
	mu sync.Mutex
	w  io.Writer
}

// write returns nil when the lines have left this process. The end of ctx gets it
// away from a reader that takes nothing: the events then come again.
func (l *lineWriter) write(ctx context.Context, events []ledger.Event) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	var lines bytes.Buffer
	for _, e := range events {
		if err := writeJSON(&lines, e); err != nil {
			return fmt.Errorf("write event %s: %w", e.ID, err)
		}
	}
	written := make(chan error, 1)
	go func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		_, err := l.w.Write(lines.Bytes())
		written <- err
	}()
	late, cancel := eventstream.Grace(ctx, writeGrace)
	defer cancel()
	select {
	case err := <-written:
		if err != nil {
			return fmt.Errorf("write the output: %w", err)
		}
		return nil
	case <-late.Done():
		return errors.New("the reader of the output takes nothing")
	}
}
