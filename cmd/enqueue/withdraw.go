package main

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
	"time"

	"payscore-collector/internal/config"
	"payscore-collector/internal/intake"
	"payscore-collector/tasks"
)

type withdrawCommand struct {
	MchID string `name:"mchid" placeholder:"NUMBER" help:"Merchant number (default $WECHATPAY_MCHID)."`
	JSON  bool   `name:"json" help:"One JSON object a line on standard output."`

	Numbers numbers `arg:"" optional:"" name:"no ..." help:"out_order_no of each order; those that begin with a dash behind --."`
	Reason  string  `required:"" placeholder:"TEXT" help:"Why, in your own words, for whoever asks later; at most 200 characters."`
	PaidAt  *string `placeholder:"TIME" help:"The user has paid elsewhere, at this time, and WeChat Pay is to be told: 2006-01-02T15:04:05+08:00, or \"2006-01-02 15:04\" (Asia/Shanghai)."`
}

// Help is what "enqueue withdraw --help" says in full.
func (withdrawCommand) Help() string {
	return `Stops the collection of orders at once: billing has been paid elsewhere, or waives what is owed. Prints one line an order: its number, and what became of it.

    enqueue withdraw BIKE-1001 --reason "paid at the counter" --paid-at "2025-12-24 10:00"
    enqueue withdraw BIKE-1002 BIKE-1003 --reason "waived by the manager"
    enqueue withdraw --reason "paid in cash" --paid-at 2025-12-24T10:00:00+08:00 BIKE-1004 -- -ODD-NUMBER

accepted: the order is withdrawn. duplicate: it was before, and nothing changed. ended STATE: it has ended otherwise. invalid WHY: it cannot be an order, or is not in the ledger.

With --paid-at WeChat Pay is told by a worker, and stops deducting; outcomes get shows how that went. Without it WeChat Pay goes on deducting by itself. An order that was withdrawn without it can be withdrawn once more with it, and so can one of which WeChat Pay could not be told; otherwise the first reason and time stand. An order that is exhausted, and was then paid elsewhere, is opened again first, for later, so that nothing is collected in between:

    enqueue order BIKE-1005 --reopen --at 1h
    enqueue withdraw BIKE-1005 --reason "paid at the counter" --paid-at "2025-12-24 10:00"

A withdrawn order can be taken up again: enqueue order NO --reopen.`
}

// untold is what billing must know of orders that were withdrawn without
// --paid-at.
const untold = "WeChat Pay has not been told: it goes on deducting by itself, and the user can still pay. " +
	"Where the user has paid elsewhere, run the same command with --paid-at TIME as well: that tells it"

// reopenFirst is for exhausted orders, which cannot be withdrawn as they are.
const reopenFirst = "an exhausted order that was paid elsewhere: first enqueue order NO --reopen --at 1h, then withdraw it"

func (c withdrawCommand) run(ctx context.Context, p process, s config.ClientSettings) int {
	if len(c.Numbers) == 0 {
		return p.complain(config.ExitUsage, errors.New("write at least one order number: enqueue withdraw NO … --reason TEXT"))
	}
	cfg, err := p.load(s, true)
	if err != nil {
		return p.complain(config.ExitUsage, err)
	}
	d, err := commonFlags{MchID: c.MchID}.defaults(cfg.Order)
	if err != nil {
		return p.complain(config.ExitUsage, err)
	}
	if names := missing(d, func(name string) bool { return name != "mchid" }); len(names) > 0 {
		return p.complain(config.ExitUsage, fmt.Errorf("missing: %s", strings.Join(names, ", ")))
	}
	w, err := c.withdrawal()
	if err != nil {
		return p.complain(config.ExitUsage, err)
	}
	items := make([]item, len(c.Numbers))
	for i, no := range c.Numbers {
		items[i] = item{order: tasks.Order{Payload: tasks.Payload{MchID: d.MchID, OutOrderNo: no}}}
	}

	r := newReporter(p, c.JSON)
	client, err := connect(ctx, p, cfg, "withdrawn")
	if err != nil {
		return r.unreachable(items, err)
	}
	defer client.Close()
	exhausted := false
	whole := r.handOverAll(ctx, withdrawer{tasks.NewProducer(client), w}, items, func(_ item, res tasks.Result) {
		exhausted = exhausted || res.Status == tasks.Ended && res.State == tasks.Exhausted
	})
	if exhausted {
		r.say("%s", reopenFirst)
	}
	if w.PaidAt.IsZero() && r.counts[tasks.Accepted] > 0 {
		r.say("%s", untold)
	}
	if !whole {
		return exitFailed
	}
	return r.status()
}

// withdrawal is what all orders of the command line have in common, judged.
func (c withdrawCommand) withdrawal() (tasks.Withdrawal, error) {
	// A merchant and an order that are in order leave only what is asked here.
	w := tasks.Withdrawal{MchID: "1", OutOrderNo: "1", Reason: c.Reason}
	if c.PaidAt != nil {
		text := strings.TrimSpace(*c.PaidAt)
		if text == "" {
			return w, errors.New("--paid-at is empty: leave it out where WeChat Pay is not to be told")
		}
		at, err := intake.ParseTime(text)
		if err != nil {
			return w, fmt.Errorf("--paid-at %w", err)
		}
		if at.IsZero() { // which would stand for none
			at = at.Add(time.Second)
		}
		w.PaidAt = at
	}
	var field *tasks.FieldError
	if errors.As(w.Validate(), &field) {
		return w, fmt.Errorf("--%s %s", strings.ReplaceAll(field.Field, "_", "-"), field.Problem)
	}
	return w, nil
}

// withdrawer withdraws the orders that it is handed.
type withdrawer struct {
	producer *tasks.Producer
	common   tasks.Withdrawal
}

func (w withdrawer) Enqueue(ctx context.Context, o tasks.Order) (tasks.Result, error) {
	all := w.common
	all.MchID, all.OutOrderNo = o.MchID, o.OutOrderNo
	res, err := w.producer.Withdraw(ctx, all)
	if res.Status == tasks.Absent {
		res = tasks.Result{Status: tasks.Invalid, Err: fmt.Errorf(
			"there is no such order in the ledger of merchant %s; --mchid names another merchant", o.MchID)}
	}
	return res, err
}

func (w withdrawer) EnqueueAll(ctx context.Context, orders iter.Seq[tasks.Order]) iter.Seq2[tasks.Order, tasks.Result] {
	return oneByOne(ctx, w, orders)
}
