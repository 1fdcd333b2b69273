package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"payscore-collector/internal/config"
	"payscore-collector/internal/intake"
	"payscore-collector/internal/ledger"
	"payscore-collector/tasks"
)

type orderCommand struct {
	commonFlags

	Numbers numbers  `arg:"" optional:"" name:"no ..." help:"out_order_no of each order; those that begin with a dash behind --."`
	At      *string  `placeholder:"TIME" help:"Not before: 2006-01-02T15:04:05+08:00, \"2006-01-02 15:04\" (Asia/Shanghai), or from now on, as 2h or +90m."`
	Wait    waitFlag `help:"Wait until each order has ended, and print how. With --wait=TIMEOUT, such as --wait=30s, at most so long."`
}

// Help is what "enqueue order --help" says in full.
func (orderCommand) Help() string {
	return `Prints one line an order: its number, and what became of it.

    enqueue order BIKE-1001 BIKE-1002
    enqueue order BIKE-1001 --at "2026-12-24 10:00"
    enqueue order BIKE-1001 --wait=5m --json
    enqueue order --reopen BIKE-1001
    enqueue order BIKE-1002 -- -ODD-NUMBER

With --wait, a second line an order says how it ended, such as "BIKE-1001 paid" or "BIKE-1001 rejected REASON". Orders that are still open when the time is up are named, and the exit status is 1; they go on being collected. The status says nothing of how orders ended.`
}

func (c orderCommand) run(ctx context.Context, p process, s config.ClientSettings) int {
	if len(c.Numbers) == 0 {
		return p.complain(config.ExitUsage, errors.New("write at least one order number: enqueue order NO …"))
	}
	cfg, err := p.load(s, true)
	if err != nil {
		return p.complain(config.ExitUsage, err)
	}
	d, err := c.defaults(cfg.Order)
	if err != nil {
		return p.complain(config.ExitUsage, err)
	}
	if names := missing(d, func(string) bool { return false }); len(names) > 0 {
		return p.complain(config.ExitUsage, fmt.Errorf("missing: %s", strings.Join(names, ", ")))
	}
	if no := c.strayTimeout(); no != "" {
		return p.complain(config.ExitUsage, fmt.Errorf("%s would be an order number here: write --wait=%[1]s for the time-out", no))
	}
	at, err := parseAt(c.At, time.Now())
	if err != nil {
		return p.complain(config.ExitUsage, err)
	}

	items := make([]item, len(c.Numbers))
	for i, no := range c.Numbers {
		items[i] = c.item(no, at, d)
	}

	r := newReporter(p, c.JSON)
	client, err := connect(ctx, p, cfg, "handed over")
	if err != nil {
		return r.unreachable(items, err)
	}
	defer client.Close()
	var wait []tasks.Payload
	if !r.handOverAll(ctx, tasks.NewProducer(client), items, func(it item, res tasks.Result) {
		if res.Status == tasks.Accepted || res.Status == tasks.Duplicate || res.Status == tasks.Ended {
			wait = append(wait, it.order.Payload)
		}
	}) {
		return exitFailed
	}
	status := r.status()
	if c.Wait.on {
		w := waiter{r: r, limit: c.Wait.limit, get: func(ctx context.Context, pl tasks.Payload) (ledger.Order, error) {
			return ledger.New(client, pl.MchID).Get(ctx, pl.OutOrderNo)
		}}
		if !w.run(ctx, wait) {
			status = exitFailed
		}
	}
	return status
}

func (c orderCommand) item(no string, at time.Time, d config.Order) item {
	return item{order: tasks.Order{
		Payload: tasks.Payload{MchID: d.MchID, OutOrderNo: no, AppID: d.AppID, ServiceID: d.ServiceID},
		At:      at,
		Reopen:  c.Reopen,
	}}
}

// strayTimeout finds the time-out of somebody who wrote "--wait 30s".
func (c orderCommand) strayTimeout() string {
	if !c.Wait.on || c.Wait.limit > 0 {
		return ""
	}
	for _, no := range c.Numbers {
		if d, err := time.ParseDuration(no); err == nil && d > 0 {
			return no
		}
	}
	return ""
}

// parseAt reads --at: a point in time, or a duration from now on. Without the
// flag it is the zero time, at once. An empty one is a mistake, as of a script
// whose variable is not set, and not to be paid for by a user at night.
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
