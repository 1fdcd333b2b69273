package main

import (
	"context"
	"fmt"

	"payscore-collector/internal/config"
	"payscore-collector/internal/eventstream"
	"payscore-collector/internal/ledger"
	"payscore-collector/tasks"
)

type readersListCommand struct {
	JSON bool `name:"json" help:"One JSON object a line."`
}

func (*readersListCommand) judge(*config.Collector) {}

func (r *readersListCommand) run(ctx context.Context, s *session) error {
	ledgers, err := s.ledgers(ctx)
	if err != nil {
		return err
	}
	situations, err := s.situations(ctx, ledgers...)
	if err != nil {
		return err
	}
	t := s.teller(situations)
	list := listing[eventstream.Standing]{w: s.out, asJSON: r.JSON, heads: t.ReaderHeads(), row: t.ReaderRow, grid: grid{right: columns(2, 3, 4)}}
	for _, l := range ledgers {
		readers, err := eventstream.Readers(ctx, s.rdb, l)
		if err != nil {
			return fmt.Errorf("read the readers of merchant %s: %w", l.MchID(), err)
		}
		for _, reader := range readers {
			if err := list.add(reader); err != nil {
				return err
			}
		}
	}
	return list.close(t.NoReaders())
}

type readersDestroyCommand struct {
	Group  string `arg:"" name:"group" help:"The reader, as outcomes readers lists it; webhooks switches them off for good."`
	Reason string `name:"reason" placeholder:"TEXT" help:"Why, in your own words, for those who ask later; at most 200 characters."`
	JSON   bool   `name:"json" help:"One JSON object: where the reader stood."`
}

// Help is what "outcomes readers destroy --help" says in full.
func (readersDestroyCommand) Help() string {
	return `Forgets a reader's place in the stream of outcomes, for a reader that is no longer used: it keeps every event that it has not read in Redis. A reader of the same name that starts later begins with the oldest event. The command refuses a reader that runs.

    outcomes readers destroy old-dashboard --reason "replaced by the sink"
    outcomes readers destroy webhooks --reason "billing reads PostgreSQL now"        after BILLING_WEBHOOK_URL was removed from the workers`
}

func (d *readersDestroyCommand) judge(c *config.Collector) {
	if d.Reason != "" {
		judgeField(c, "--reason", tasks.ValidateReason(d.Reason))
	}
}

func (d *readersDestroyCommand) run(ctx context.Context, s *session) error {
	l, err := s.one(ctx)
	if err != nil {
		return err
	}
	gone, err := eventstream.Destroy(ctx, s.rdb, l, d.Group, ledger.Deed{By: config.By(), Reason: d.Reason})
	if err != nil {
		return err
	}
	return s.answer(d.JSON, gone, s.people.ReaderDestroyed(gone))
}

// one returns the ledger of the only merchant in question, for commands that change
// something.
func (s *session) one(ctx context.Context) (*ledger.Ledger, error) {
	ledgers, err := s.ledgers(ctx)
	if err != nil {
		return nil, err
	}
	if len(ledgers) != 1 {
		return nil, &statusError{config.ExitUsage, fmt.Sprintf("say which merchant with --mchid: this Redis has the ledgers of %s", orNone(mchids(ledgers)))}
	}
	return ledgers[0], nil
}
