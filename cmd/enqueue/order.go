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

	Numbers   numbers  `arg:"" optional:"" name:"no ..." help:"out_order_no of each order; those that begin with a dash behind --."`
	At        *string  `placeholder:"TIME" help:"Not before: 2006-01-02T15:04:05+08:00, \"2006-01-02 15:04\" (Asia/Shanghai), or from now on, as 2h or +90m."`
	Amount    *string  `placeholder:"FEN" help:"What billing says is owed, in fen: 1250 for 12.50 yuan. Shown until WeChat Pay has signed a total; changes nothing of how the order is collected."`
	OwedSince *string  `name:"owed-since" placeholder:"TIME" help:"Since when it is owed, as billing says; the time has the forms of --at, and lies in the past."`
	Wait      waitFlag `help:"Wait until each order has ended, and print how. With --wait=TIMEOUT, such as --wait=30s, at most so long."`
}

// Help is what "enqueue order --help" says in full.
func (orderCommand) Help() string {
	return `Prints one line an order: its number, and what became of it.

    enqueue order BIKE-1001 BIKE-1002
    enqueue order BIKE-1001 --at "2026-12-24 10:00"
    enqueue order BIKE-1001 --wait=5m --json
    enqueue order BIKE-1001 --amount 1250 --owed-since "2026-11-01 10:00"
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

	said, err := c.billing()
	if err != nil {
		return p.complain(config.ExitUsage, err)
	}
	items := make([]item, len(c.Numbers))
	for i, no := range c.Numbers {
		items[i] = item{order: said}
		items[i].order.Payload = tasks.Payload{MchID: d.MchID, OutOrderNo: no, AppID: d.AppID, ServiceID: d.ServiceID}
		items[i].order.At = at
	}

	r := newReporter(p, c.JSON)
	if warning := intake.FarAhead(at, time.Now()); warning != "" {
		r.say("warning: --at: %s", warning)
	}
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
		}, situation: situationIn(client)}
		if !w.run(ctx, wait) {
			status = exitFailed
		}
	}
	return status
}

// billing is an order with what the flags say of every order, number and start
// aside.
func (c orderCommand) billing() (tasks.Order, error) {
	o := tasks.Order{Reopen: c.Reopen}
	var err error
	if c.Amount != nil {
		if o.Amount, err = intake.ParseAmount(strings.TrimSpace(*c.Amount)); err != nil {
			return o, fmt.Errorf("--amount %w", err)
		}
	}
	if c.OwedSince != nil {
		if o.OwedSince, err = intake.ParseTime(strings.TrimSpace(*c.OwedSince)); err != nil {
			return o, fmt.Errorf("--owed-since %w", err)
		}
	}
	// A fault of the flags is reported once, and not for each number.
	check := o
	check.Payload = tasks.Payload{MchID: "1", OutOrderNo: "1", AppID: "a", ServiceID: "s"}
	if field := (*tasks.FieldError)(nil); errors.As(check.Validate(), &field) {
		return o, fmt.Errorf("--%s %s", strings.ReplaceAll(field.Field, "_", "-"), field.Problem)
	}
	return o, nil
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
