package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"sync"
	"time"

	"payscore-collector/internal/config"
	"payscore-collector/internal/eventstream"
	"payscore-collector/internal/ledger"
)

type followCommand struct {
	Group string `name:"group" default:"follow" placeholder:"NAME" help:"Whose place in the stream to continue from; a new name begins with the oldest event. Readers that use one name at the same time share the events (default ${default})."`
}

func (f *followCommand) judge(c *config.Collector) { judgeGroup(c, f.Group, followGroup) }

func (*followCommand) waits() bool { return true }

const (
	// followConsumer is the same for every follower: the events that one was given when
	// it died are the first that the next one prints, so that each order's events stay
	// in their order.
	followConsumer = "follow"
	// followBatch is how many lines are repeated at most after a follower died.
	followBatch = 100
	// writeGrace is how long the reader of the output may take to accept it once the
	// command stops.
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

// write returns nil when the lines have left this process. Where the reader of the
// output takes nothing, it gives up soon after the end of ctx; the events are then
// printed by the next follower.
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

// groupForm is how a consumer group may be named: as what a shell takes without
// quotes.
var groupForm = regexp.MustCompile(`^[0-9A-Za-z_.:-]{1,64}$`)

// Groups that belong to one kind of reader. An event is given to one member of a group:
// a reader of another kind in it would take events away for good.
const (
	followGroup   = "follow"
	postgresGroup = "postgres"
	webhooksGroup = "webhooks" // the worker's, though not a group of Redis's
)

// judgeGroup reports what is wrong with the name of a group for a reader whose own group
// is own.
func judgeGroup(c *config.Collector, group, own string) {
	if !groupForm.MatchString(group) {
		c.Problem("--group", "is %q: write 1 to 64 characters of 0-9 A-Z a-z _ . : -", group)
		return
	}
	for _, taken := range []string{followGroup, postgresGroup, webhooksGroup} {
		if group == taken && group != own {
			c.Problem("--group", "is %s, which belongs to another reader: events that it is given would be lost to that one; use a name of your own", group)
		}
	}
}
