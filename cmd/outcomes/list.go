package main

import (
	"context"
	"fmt"
	"strings"

	"payscore-collector/internal/config"
	"payscore-collector/tasks"
)

type listCommand struct {
	State string `name:"state" required:"" placeholder:"S" help:"queued, awaiting, paid, closed, rejected, withdrawn or exhausted."`
	Limit *int   `name:"limit" placeholder:"N" help:"So many orders at most, 0 for all (default 100; all with --json and --csv)."`
	JSON  bool   `name:"json" xor:"format" help:"One JSON object a line, without the log; amounts in fen."`
	CSV   bool   `name:"csv" xor:"format" help:"CSV with a header; amounts in fen."`
}

// limitForPeople is how many orders are listed for people who did not say.
const limitForPeople = 100

func (l *listCommand) judge(c *config.Collector) {
	if !tasks.State(l.State).Valid() {
		names := make([]string, len(tasks.States))
		for i, s := range tasks.States {
			names[i] = string(s)
		}
		last := len(names) - 1
		c.Problem("--state", "is %q: write %s or %s", l.State, strings.Join(names[:last], ", "), names[last])
	}
	if l.Limit != nil && *l.Limit < 0 {
		c.Problem("--limit", "is %d: write how many orders at most, or 0 for all", *l.Limit)
	}
}

func (l *listCommand) writer(s *session) orderWriter {
	switch {
	case l.JSON:
		return jsonLines{s.out}
	case l.CSV:
		return newCSVLines(s.out)
	}
	return newTable(s.out, s.teller(), tasks.State(l.State))
}

// limit is how many orders to write at most; 0 is no limit.
func (l *listCommand) limit() int {
	switch {
	case l.Limit != nil:
		return *l.Limit
	case l.JSON || l.CSV:
		return 0
	}
	return limitForPeople
}

func (l *listCommand) run(ctx context.Context, s *session) error {
	ledgers, err := s.ledgers(ctx)
	if err != nil {
		return err
	}
	w, left := l.writer(s), l.limit()
	if left == 0 {
		left = -1 // never reaches 0
	}
	for _, led := range ledgers {
		for o, err := range led.List(ctx, tasks.State(l.State)) {
			if err != nil {
				return fmt.Errorf("read the %s orders of merchant %s: %w", l.State, led.MchID(), err)
			}
			if left == 0 {
				if l.Limit == nil {
					fmt.Fprintf(s.errOut, "there are more than these %d; --limit 0 lists all\n", limitForPeople)
				}
				return w.close()
			}
			left--
			if err := w.write(o); err != nil {
				return fmt.Errorf("write the list: %w", err)
			}
		}
	}
	return w.close()
}
