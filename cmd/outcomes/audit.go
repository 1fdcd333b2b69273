package main

import (
	"context"
	"fmt"

	"payscore-collector/internal/config"
	"payscore-collector/internal/ledger"
)

type auditCommand struct {
	Limit *int `name:"limit" placeholder:"N" help:"So many actions at most, 0 for all (default 100)."`
	JSON  bool `name:"json" help:"One JSON object a line."`
}

func (a *auditCommand) judge(c *config.Collector) {
	judgeLimit(c, a.Limit, "actions")
}

// auditPage is how many entries one command reads of a trail.
const auditPage = 500

func (a *auditCommand) run(ctx context.Context, s *session) error {
	ledgers, err := s.ledgers(ctx)
	if err != nil {
		return err
	}
	if !a.JSON {
		if err := s.byTheirZone(ctx, ledgers...); err != nil {
			return err
		}
	}
	left := limitOf(a.Limit, true)
	endless, cursor := left == 0, ""
	list := listing[ledger.Audited]{w: s.out, asJSON: a.JSON, heads: s.people.AuditHeads(), row: s.people.AuditRow}
	for endless || left > 0 {
		page := auditPage
		if !endless {
			page = min(left, auditPage)
		}
		actions, next, err := ledger.Audit(ctx, ledgers, page, cursor)
		if err != nil {
			return err
		}
		for _, e := range actions {
			if err := list.add(e); err != nil {
				return fmt.Errorf("write the trail: %w", err)
			}
		}
		left -= len(actions)
		if cursor = next; next == "" {
			break
		}
	}
	if cursor != "" && a.Limit == nil {
		fmt.Fprintln(s.errOut, s.people.MoreActions(limitForPeople))
	}
	if err := list.close(s.people.NoActions()); err != nil {
		return fmt.Errorf("write the trail: %w", err)
	}
	return nil
}
