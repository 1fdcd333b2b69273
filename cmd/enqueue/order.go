package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"payscore-collector/internal/config"
	"payscore-collector/internal/intake"
	"payscore-collector/tasks"
)

type orderCommand struct {
	commonFlags

	Numbers   numbers  `arg:"" optional:"" name:"no ..." help:"out_order_no of each order; those that begin with a dash behind --."`
	At        *string  `placeholder:"TIME" help:"Start time: 2006-01-02T15:04:05+08:00, \"2006-01-02 15:04\" (Asia/Shanghai), or from now on, as 2h or +90m."`
	Amount    *string  `placeholder:"FEN" help:"What billing says is owed, in fen: 1250 for 12.50 yuan. Shown until WeChat Pay has signed a total; changes how the order is collected only if a default of SCHEDULES_FILE goes by it."`
	OwedSince *string  `name:"owed-since" placeholder:"TIME" help:"Since when it is owed, as billing says; the time has the forms of --at, and lies in the past."`
	Schedule  *string  `placeholder:"NAME" help:"The schedule of the workers' SCHEDULES_FILE by which the order is collected (default: that file's default, or the workers' settings)."`
	Wait      waitFlag `help:"Wait until each order has ended, and print how. With --wait=TIMEOUT, such as --wait=30s, wait at most that long."`
}

// Help is what "enqueue order --help" says in full.
func (orderCommand) Help() string {
	return `Prints one line for each order: its number and its result.

    enqueue order BIKE-1001 BIKE-1002
    enqueue order BIKE-1001 --at "2026-12-24 10:00"
    enqueue order BIKE-1001 --wait=5m --json
    enqueue order BIKE-1001 --amount 1250 --owed-since "2026-11-01 10:00"
    enqueue order BIKE-1001 --schedule gentle
    enqueue order --reopen BIKE-1001
    enqueue order BIKE-1002 -- -ODD-NUMBER

With --wait, a second line for each order says how it ended, such as "BIKE-1001 paid" or "BIKE-1001 rejected REASON". Orders that are still open when the time is up are named, and the exit status is 1; their collection continues. The status says nothing about how orders ended.`
}

func (c orderCommand) run(ctx context.Context, p process, load loader) (int, error) {
	cfg, order, err := c.parse(load, time.Now())
	if err != nil {
		return config.ExitUsage, err
	}
	r := newReporter(p, c.JSON)
	if warning := intake.FarAhead(order.At, time.Now()); warning != "" {
		r.say("warning: --at: %s", warning)
	}
	client, err := connect(ctx, p, cfg)
	if err != nil {
		return r.unreachable(c.Numbers, order.Payload, fmt.Errorf("%w; nothing was enqueued", err))
	}
	defer client.Close()
	var wait []tasks.Payload
	items := func(yield func(intake.Item) bool) {
		for _, no := range c.Numbers {
			order.OutOrderNo = no
			if !yield(intake.Item{Order: order}) {
				return
			}
		}
	}
	for it, res := range p.submitter(client, cfg.Schedules, r.say).Submit(ctx, items) {
		r.result(it, res)
		waits := res.Status == tasks.Accepted || res.Status == tasks.Duplicate || res.Status == tasks.Ended
		if waits && !slices.Contains(wait, it.Order.Payload) {
			wait = append(wait, it.Order.Payload)
		}
	}
	status, whole := r.end(len(c.Numbers))
	if !whole {
		return exitFailed, nil
	}
	if c.Wait.on {
		w := newWaiter(r, c.Wait.limit, client)
		if !w.run(ctx, wait) {
			status = exitFailed
		}
	}
	return status, nil
}

// parse checks the command line and the settings. The order has everything but its
// number.
func (c orderCommand) parse(load loader, now time.Time) (config.Client, tasks.Order, error) {
	var o tasks.Order
	c.reopening(&o)
	if len(c.Numbers) == 0 {
		return config.Client{}, o, errors.New("write at least one order number: enqueue order NO …")
	}
	cfg, err := load(true)
	if err != nil {
		return cfg, o, err
	}
	owner, err := c.owner(cfg.Order)
	if err != nil {
		return cfg, o, err
	}
	if err := missing(owner, func(string) bool { return false }); err != nil {
		return cfg, o, err
	}
	o.MchID, o.AppID, o.ServiceID = owner.MchID, owner.AppID, owner.ServiceID
	if no := c.strayTimeout(); no != "" {
		return cfg, o, fmt.Errorf("%s would be an order number here: write --wait=%[1]s for the time-out", no)
	}
	if o.At, err = parseAt(c.At, now); err != nil {
		return cfg, o, err
	}
	if c.Amount != nil {
		if o.Amount, err = intake.ParseAmount(strings.TrimSpace(*c.Amount)); err != nil {
			return cfg, o, fmt.Errorf("--amount %w", err)
		}
	}
	if c.OwedSince != nil {
		if o.OwedSince, err = intake.ParseTime(strings.TrimSpace(*c.OwedSince)); err != nil {
			return cfg, o, fmt.Errorf("--owed-since %w", err)
		}
	}
	if c.Schedule != nil {
		if o.Schedule = strings.TrimSpace(*c.Schedule); o.Schedule == "" {
			return cfg, o, errors.New("--schedule is empty: leave it out for the default")
		}
		if err := cfg.Schedules.Check(o.Schedule); err != nil {
			return cfg, o, fmt.Errorf("--schedule %w", err)
		}
	}
	check := tasks.Order{Payload: sample("", "", ""), Amount: o.Amount, OwedSince: o.OwedSince}
	check.Schedule = o.Schedule
	return cfg, o, flagError(check.Validate())
}

// strayTimeout finds the timeout of a user who wrote "--wait 30s".
func (c orderCommand) strayTimeout() string {
	if c.Wait.on && c.Wait.limit == 0 {
		for _, no := range c.Numbers {
			if d, err := time.ParseDuration(no); err == nil && d > 0 {
				return no
			}
		}
	}
	return ""
}

// parseAt reads --at: a point in time, or a duration from now on. Without the flag it
// is the zero time, at once. An empty one usually means an unset shell variable;
// refuse it rather than collect immediately.
func parseAt(flag *string, now time.Time) (time.Time, error) {
	if flag == nil {
		return time.Time{}, nil
	}
	s := strings.TrimSpace(*flag)
	if s == "" {
		return time.Time{}, errors.New("--at is empty: leave it out to start at once")
	}
	if d, err := time.ParseDuration(s); err == nil {
		if d < 0 {
			return time.Time{}, fmt.Errorf("--at is %s, which is in the past: leave it out to start at once", s)
		}
		return now.Add(d), nil
	}
	at, err := intake.ParseTime(s)
	if err != nil {
		return time.Time{}, fmt.Errorf("--at %w, or a duration such as 2h", err)
	}
	return at, nil
}
