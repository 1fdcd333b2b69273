package main

import (
	"context"
	"fmt"

	"payscore-collector/internal/config"
	"payscore-collector/internal/control"
	"payscore-collector/internal/ledger"
	"payscore-collector/tasks"
)

type collectNowCommand struct{ deedFlags }

// Help is what "enqueue collect-now --help" says in full.
func (collectNowCommand) Help() string {
	return `Brings the next attempt of open orders forward to now, as far as MIN_GAP and the collection window allow; the rate, holds and a pause of the merchant apply as always. It uses up no step of COLLECT_SCHEDULE. Prints one line for each order: its number and its result.

    enqueue collect-now BIKE-1001 BIKE-1002 --reason "the user has topped up"

accepted: the next attempt comes sooner; outcomes get shows when. duplicate: it comes as soon as it may already, or is under way, and nothing changed. ended STATE: there is nothing to collect. invalid WHY: it cannot be an order, or is not in the ledger.`
}

func (c collectNowCommand) run(ctx context.Context, p process, load loader) (int, error) {
	cfg, mchid, err := c.settings("collect-now", load)
	if err == nil {
		err = flagError(tasks.ValidateReason(c.Reason))
	}
	if err != nil {
		return config.ExitUsage, err
	}
	r := newReporter(p, c.JSON)
	of := tasks.Payload{MchID: mchid}
	client, err := connect(ctx, p, cfg)
	if err != nil {
		return r.unreachable(c.Numbers, of, fmt.Errorf("%w; nothing was changed", err))
	}
	defer client.Close()
	h, err := control.NewHastener(ctx, client, mchid)
	if err != nil {
		return r.unreachable(c.Numbers, of, fmt.Errorf("%w; nothing was changed", err))
	}
	return c.each(ctx, r, p.submitter(client, cfg.Schedules, r.say), mchid, func(ctx context.Context, no, token string) (tasks.Result, error) {
		return h.CollectNow(ctx, no, ledger.Deed{By: config.By(), Reason: c.Reason, Token: token})
	}), nil
}
