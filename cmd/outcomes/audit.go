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
	left := limitOf(a.Limit, true)
	endless, found, cursor := left == 0, false, ""
	var table grid
	if !a.JSON {
		table.add(s.people.AuditHeads()...)
	}
	for endless || left > 0 {
		page := auditPage
		if !endless {
			page = min(left, auditPage)
		}
		list, next, err := ledger.Audit(ctx, ledgers, page, cursor)
		if err != nil {
			return err
		}
		for _, e := range list {
			found = true
			if !a.JSON {
				table.add(s.people.AuditRow(e)...)
			} else if err := writeJSON(s.out, e); err != nil {
				return fmt.Errorf("write the trail: %w", err)
			}
		}
		if found && !a.JSON {
			if err := table.write(s.out); err != nil {
				return fmt.Errorf("write the trail: %w", err)
			}
		}
		left -= len(list)
		if cursor = next; next == "" {
			break
		}
	}
	if !found && !a.JSON {
		_, err = fmt.Fprintln(s.out, s.people.NoActions())
	}
	if cursor != "" && a.Limit == nil {
		fmt.Fprintln(s.errOut, s.people.MoreActions(limitForPeople))
	}
	return err
}
