package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"payscore-collector/internal/config"
	"payscore-collector/internal/ledger"
	"payscore-collector/tasks"
)

type webhooksListCommand struct {
	Limit *int `name:"limit" placeholder:"N" help:"So many orders at most, 0 for all (default 100; all with --json)."`
	JSON  bool `name:"json" help:"One JSON object a line."`
}

func (l *webhooksListCommand) judge(c *config.Collector) {
	judgeLimit(c, l.Limit, "orders")
}

// hooksPage is how many orders are read at once.
const hooksPage = 200

func (l *webhooksListCommand) run(ctx context.Context, s *session) error {
	ledgers, err := s.ledgers(ctx)
	if err != nil {
		return err
	}
	situations, err := s.situations(ctx, ledgers...)
	if err != nil {
		return err
	}
	t, limit := s.teller(situations), limitOf(l.Limit, !l.JSON)
	list := listing[ledger.HookWait]{w: s.out, asJSON: l.JSON, heads: t.HookHeads(), row: t.HookRow, grid: grid{right: columns(2, 4)}}
	for _, led := range ledgers {
		for cursor := ""; ; {
			page, next, err := led.HookWaits(ctx, cursor, hooksPage)
			if err != nil {
				return fmt.Errorf("read the webhooks of merchant %s: %w", led.MchID(), err)
			}
			for _, w := range page {
				if limit > 0 && list.shown == limit {
					if l.Limit == nil {
						fmt.Fprintln(s.errOut, s.people.More(limit))
					}
					return list.close("")
				}
				if err := list.add(w); err != nil {
					return err
				}
			}
			if cursor = next; cursor == "" {
				break
			}
		}
	}
	return list.close(t.NoHooks())
}

type webhooksRetryCommand struct {
	Numbers []string `arg:"" optional:"" name:"no" help:"out_order_no of each order; without one, every order whose webhooks wait."`
	JSON    bool     `name:"json" help:"One JSON object."`
}

func (r *webhooksRetryCommand) judge(c *config.Collector) {
	for _, no := range r.Numbers {
		if !ledger.ValidHook(no) {
			judgeField(c, "out_order_no", tasks.ValidateOutOrderNo(no))
		}
	}
}

func (r *webhooksRetryCommand) run(ctx context.Context, s *session) error {
	l, err := s.one(ctx)
	if err != nil {
		return err
	}
	known, err := l.Known(ctx)
	if err != nil {
		return err
	}
	if !known {
		return &statusError{config.ExitUsage, fmt.Sprintf("--mchid is %s, and this Redis has no order and no worker of that merchant: check the number; outcomes stats lists the merchants", l.MchID())}
	}
	done, err := l.RetryHooks(ctx, ledger.Deed{By: config.By()}, r.Numbers)
	if err != nil {
		return fmt.Errorf("make the webhooks of merchant %s due: %w", l.MchID(), err)
	}
	for _, no := range done.NotWaiting {
		if !r.JSON {
			fmt.Fprintln(s.out, s.people.HookNotWaiting(no))
		}
	}
	return s.answer(r.JSON, done, s.people.HookRetry(done))
}

type webhooksReplayCommand struct {
	Since string `name:"since" required:"" placeholder:"TIME" help:"From this time on: 2006-01-02, \"2006-01-02 15:04\" (Asia/Shanghai), 2006-01-02T15:04:05+08:00, or how long ago, such as 24h."`
	Begin bool   `name:"begin" help:"Webhooks that have never run for the merchant will begin there, instead of with the oldest event."`
	JSON  bool   `name:"json" help:"One JSON object."`

	since time.Time
}

// Help is what "outcomes webhooks replay --help" says in full.
func (webhooksReplayCommand) Help() string {
	return `Delivers the final states since a time to billing's receiver once more, as far as Redis still has them: for billing that has lost a day. They have the ids that they had, so that a receiver that has kept some ignores those; the events of one order come in their order. Final states that are new come after them. A second replay begins again where it says.

    outcomes webhooks replay --since "2025-12-24 10:00"
    outcomes webhooks replay --since 0s --begin        before the first worker with BILLING_WEBHOOK_URL: nothing that is past is delivered`
}

func (r *webhooksReplayCommand) judge(c *config.Collector) {
	now := time.Now()
	var err error
	if r.since, err = moment(r.Since, now); err != nil {
		c.Problem("--since", "%v, a date, or how long ago, such as 24h", err)
	} else if r.since.After(now.Add(time.Minute)) {
		c.Problem("--since", "is in the future: write the time of the first event that billing must get again")
	}
}

func (r *webhooksReplayCommand) run(ctx context.Context, s *session) error {
	l, err := s.one(ctx)
	if err != nil {
		return err
	}
	if err := s.byTheirZone(ctx, l); err != nil {
		return err
	}
	done, err := l.ReplayHooks(ctx, ledger.Deed{By: config.By()}, r.since, r.Begin)
	if errors.Is(err, ledger.ErrNoHooks) {
		return fmt.Errorf("%w; to let them begin at that time, add --begin", err)
	}
	if err != nil {
		return fmt.Errorf("replay the webhooks of merchant %s: %w", l.MchID(), err)
	}
	return s.answer(r.JSON, done, s.people.HookReplay(done))
}
