package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"payscore-collector/internal/config"
	"payscore-collector/internal/intake"
	"payscore-collector/tasks"
)

type withdrawCommand struct {
	deedFlags
	PaidAt *string `placeholder:"TIME" help:"The user has paid elsewhere, at this time, and a worker tells WeChat Pay: 2006-01-02T15:04:05+08:00, or \"2006-01-02 15:04\" (Asia/Shanghai)."`
}

// Help is what "enqueue withdraw --help" says in full.
func (withdrawCommand) Help() string {
	return `Stops the collection of orders at once: billing has been paid elsewhere, or waives what is owed. Prints one line for each order: its number and its result.

    enqueue withdraw BIKE-1001 --reason "paid at the counter" --paid-at "2025-12-24 10:00"
    enqueue withdraw BIKE-1002 BIKE-1003 --reason "waived by the manager"
    enqueue withdraw --reason "paid in cash" --paid-at 2025-12-24T10:00:00+08:00 BIKE-1004 -- -ODD-NUMBER

accepted: the order is withdrawn. duplicate: it was withdrawn before, and nothing changed. ended STATE: it has ended in another way. invalid WHY: it cannot be an order, or is not in the ledger.

With --paid-at a worker tells WeChat Pay, which then stops deducting; outcomes get shows the result. Without it WeChat Pay keeps deducting by itself. An order that was withdrawn without --paid-at can be withdrawn again with it, and so can one that WeChat Pay could not be told about; otherwise the first reason and time remain. Reopen an exhausted order that was paid elsewhere first, for later, so that nothing is collected in between:

    enqueue order BIKE-1005 --reopen --at 1h
    enqueue withdraw BIKE-1005 --reason "paid at the counter" --paid-at "2025-12-24 10:00"

To collect a withdrawn order again: enqueue order NO --reopen.`
}

// untold is what billing must know about orders that were withdrawn without --paid-at.
const untold = "WeChat Pay has not been told: it keeps deducting by itself, and the user can still pay. " +
	"If the user has paid elsewhere, run the same command again with --paid-at TIME"

// reopenFirst is for exhausted orders, which cannot be withdrawn as they are.
const reopenFirst = "an exhausted order that was paid elsewhere: first enqueue order NO --reopen --at 1h, then withdraw it"

func (c withdrawCommand) run(ctx context.Context, p process, load loader) (int, error) {
	cfg, w, err := c.parse(load)
	if err != nil {
		return config.ExitUsage, err
	}
	r := newReporter(p, c.JSON)
	client, err := connect(ctx, p, cfg)
	if err != nil {
		return r.unreachable(c.Numbers, tasks.Payload{MchID: w.MchID}, fmt.Errorf("%w; nothing was withdrawn", err))
	}
	defer client.Close()
	return c.withdraw(ctx, r, p.submitter(client, cfg.Schedules, r.say), w), nil
}

// withdraw withdraws the orders one by one, and returns the exit status.
func (c withdrawCommand) withdraw(ctx context.Context, r *reporter, s intake.Submitter, w tasks.Withdrawal) int {
	exhausted := false
	w.By = config.By()
	status := c.each(ctx, r, s, w.MchID, func(ctx context.Context, no, token string) (tasks.Result, error) {
		w.OutOrderNo, w.Token = no, token
		res, err := s.Producer.Withdraw(ctx, w)
		exhausted = exhausted || res.Status == tasks.Ended && res.State == tasks.Exhausted
		return res, err
	})
	if exhausted {
		r.say("%s", reopenFirst)
	}
	if w.PaidAt.IsZero() && r.counts[tasks.Accepted] > 0 {
		r.say("%s", untold)
	}
	return status
}

// parse checks the command line and the settings. The withdrawal has everything but
// the order's number.
func (c withdrawCommand) parse(load loader) (config.Client, tasks.Withdrawal, error) {
	w := tasks.Withdrawal{Reason: c.Reason}
	cfg, mchid, err := c.settings("withdraw", load)
	if err != nil {
		return cfg, w, err
	}
	w.MchID = mchid
	if c.PaidAt != nil {
		text := strings.TrimSpace(*c.PaidAt)
		if text == "" {
			return cfg, w, errors.New("--paid-at is empty: leave it out if WeChat Pay must not be notified")
		}
		if w.PaidAt, err = intake.ParseTime(text); err != nil {
			return cfg, w, fmt.Errorf("--paid-at %w", err)
		}
		if w.PaidAt.IsZero() { // which would mean no time
			w.PaidAt = w.PaidAt.Add(time.Second)
		}
	}
	check := w
	check.OutOrderNo = sample("", "", "").OutOrderNo
	return cfg, w, flagError(check.Validate())
}
