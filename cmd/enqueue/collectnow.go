package main

import (
	"context"
	"errors"
	"fmt"

	"payscore-collector/internal/config"
	"payscore-collector/internal/control"
	"payscore-collector/internal/intake"
	"payscore-collector/internal/ledger"
	"payscore-collector/tasks"
)

type collectNowCommand struct {
	MchID string `name:"mchid" placeholder:"NUMBER" help:"Merchant number (default $WECHATPAY_MCHID)."`
	JSON  bool   `name:"json" help:"One JSON object a line on standard output."`

	Numbers numbers `arg:"" optional:"" name:"no ..." help:"out_order_no of each order; those that begin with a dash behind --."`
	Reason  string  `required:"" placeholder:"TEXT" help:"Why, in your own words, for those who ask later; at most 200 characters."`
}

// Help is what "enqueue collect-now --help" says in full.
func (collectNowCommand) Help() string {
	return `Brings the next attempt of open orders forward to now, as far as MIN_GAP and the collection window allow; the rate, holds and a pause of the merchant apply as always. It uses up no step of COLLECT_SCHEDULE. Prints one line for each order: its number and its result.

    enqueue collect-now BIKE-1001 BIKE-1002 --reason "the user has topped up"

accepted: the next attempt comes sooner; outcomes get shows when. duplicate: it comes as soon as it may already, or is under way, and nothing changed. ended STATE: there is nothing to collect. invalid WHY: it cannot be an order, or is not in the ledger.`
}

func (c collectNowCommand) run(ctx context.Context, p process, load loader) (int, error) {
	if len(c.Numbers) == 0 {
		return config.ExitUsage, errors.New("write at least one order number: enqueue collect-now NO … --reason TEXT")
	}
	cfg, err := load(true)
	if err != nil {
		return config.ExitUsage, err
	}
	owner, err := commonFlags{MchID: c.MchID}.owner(cfg.Order)
	if err == nil {
		err = missing(owner, func(name string) bool { return name != "mchid" })
	}
	if err == nil {
		err = flagError(tasks.ValidateReason(c.Reason))
	}
	if err != nil {
		return config.ExitUsage, err
	}
	r := newReporter(p, c.JSON)
	of := tasks.Payload{MchID: owner.MchID}
	client, err := connect(ctx, p, cfg)
	if err != nil {
		return r.unreachable(c.Numbers, of, fmt.Errorf("%w; nothing was changed", err))
	}
	defer client.Close()
	h, err := control.NewHastener(ctx, client, owner.MchID)
	if err != nil {
		return r.unreachable(c.Numbers, of, fmt.Errorf("%w; nothing was changed", err))
	}
	s := p.submitter(client, cfg.Schedules, r.say)
	d := ledger.Deed{By: config.By(), Reason: c.Reason}
	for _, no := range c.Numbers {
		if ctx.Err() != nil || r.failed != nil {
			break
		}
		d.Token = ledger.NewToken()
		res := s.Do(ctx, func(ctx context.Context) (tasks.Result, error) { return h.CollectNow(ctx, no, d) })
		if res.Status == tasks.Absent {
			res = noSuchOrder(owner.MchID)
		}
		of.OutOrderNo = no
		r.result(intake.Item{Order: tasks.Order{Payload: of}}, res)
	}
	status, _ := r.end(len(c.Numbers))
	return status, nil
}

// noSuchOrder is the result of an order that the ledger does not have.
func noSuchOrder(mchid string) tasks.Result {
	return tasks.Result{Status: tasks.Invalid, Err: fmt.Errorf(
		"there is no such order in the ledger of merchant %s; --mchid names another merchant", mchid)}
}
