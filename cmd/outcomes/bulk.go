package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"payscore-collector/internal/config"
	"payscore-collector/internal/control"
	"payscore-collector/internal/intake"
	"payscore-collector/internal/ledger"
	"payscore-collector/tasks"
)

// exitRefused is the exit status if some orders of a bulk action were refused; enqueue has
// the same.
const exitRefused = 3

type bulkFlags struct {
	States      []string `name:"state" placeholder:"S" help:"Only orders in this state: queued, awaiting, paid, closed, rejected, withdrawn or exhausted; several times, or with commas between, for several."`
	Since       string   `name:"since" placeholder:"TIME" help:"Only orders that ended at TIME or later; open ones, that were opened then. 2006-01-02, \"2006-01-02 15:04\" (Asia/Shanghai), 2006-01-02T15:04:05+08:00, or how long ago, such as 24h."`
	Until       string   `name:"until" placeholder:"TIME" help:"Only orders that ended (or were opened) before TIME, written as for --since."`
	OpenedFrom  string   `name:"opened-from" placeholder:"TIME" help:"Only orders that were opened at TIME or later, written as for --since."`
	OpenedTo    string   `name:"opened-to" placeholder:"TIME" help:"Only orders that were opened before TIME."`
	ServiceID   string   `name:"service-id" placeholder:"ID" help:"Only orders of this service_id."`
	Prefix      string   `name:"prefix" placeholder:"NO" help:"Only orders whose number begins so."`
	OrderReason string   `name:"order-reason" placeholder:"CODE" help:"Only orders with exactly this reason, as outcomes list --json shows it, such as ORDER_EXPIRED."`

	Reason string `name:"reason" required:"" placeholder:"TEXT" help:"Why, in your own words; it is recorded with each order."`
	DryRun bool   `name:"dry-run" help:"Only count the orders that match, and what they come to."`
	NoWait bool   `name:"no-wait" help:"Do not wait until it is done."`
	JSON   bool   `name:"json" help:"One JSON object on standard output."`

	request control.BulkRequest
}

type bulkWithdrawCommand struct {
	bulkFlags
	PaidAt string `name:"paid-at" placeholder:"TIME" help:"The users have paid elsewhere, at this time, and a worker tells WeChat Pay: 2006-01-02T15:04:05+08:00, or \"2006-01-02 15:04\" (Asia/Shanghai)."`
}

type bulkReopenCommand struct{ bulkFlags }

type bulkCollectNowCommand struct{ bulkFlags }

// Help is what "outcomes bulk withdraw --help" says in full.
func (bulkWithdrawCommand) Help() string {
	return `Withdraws every order that matches the flags, of the merchant of --mchid or of all. Look first what that is:

    outcomes bulk withdraw --state awaiting --until 2025-12-01 --reason "waived after the storm" --dry-run
    outcomes bulk withdraw --state awaiting --until 2025-12-01 --reason "waived after the storm"

Workers do it, however often one of them dies, and act on each order once; the output shows how far they are. Ctrl-C ends the output only. Exit status: 0 done, 1 failed, 2 wrong usage, 3 some orders were refused.`
}

func (b *bulkWithdrawCommand) judge(c *config.Collector) {
	if b.PaidAt != "" {
		var err error
		if b.request.PaidAt, err = intake.ParseTime(b.PaidAt); err != nil {
			c.Problem("--paid-at", "%v", err)
		}
	}
	b.judged(c, ledger.ActWithdraw)
}

func (b *bulkReopenCommand) judge(c *config.Collector) { b.judged(c, ledger.ActReopen) }

func (b *bulkCollectNowCommand) judge(c *config.Collector) { b.judged(c, ledger.ActCollectNow) }

// waits implements reading: Ctrl-C ends the output, and Redis must be there.
func (*bulkFlags) waits() bool { return false }

// judged checks the flags and fills the request.
func (b *bulkFlags) judged(c *config.Collector, action string) {
	r := &b.request
	r.Action, r.Reason, r.By = action, b.Reason, config.By()
	if field, ok := errors.AsType[*tasks.FieldError](r.Validate()); ok {
		c.Problem("--"+strings.ReplaceAll(field.Field, "_", "-"), "%s", field.Problem)
	}
	r.Query = ledger.Query{States: statesOf(b.States), Reason: b.OrderReason, Prefix: b.Prefix, ServiceID: b.ServiceID}
	judgeStates(c, b.States)
	judgeTimes(c, timeFlag{"--since", b.Since, &r.Query.Since}, timeFlag{"--until", b.Until, &r.Query.Until},
		timeFlag{"--opened-from", b.OpenedFrom, &r.Query.OpenedFrom}, timeFlag{"--opened-to", b.OpenedTo, &r.Query.OpenedTo})
	if b.Prefix != "" && tasks.ValidateOutOrderNo(b.Prefix) != nil {
		c.Problem("--prefix", "cannot begin an out_order_no, which has 1 to 32 digits, letters and _ | * -")
	}
}

const (
	bulkLookEvery  = 500 * time.Millisecond
	bulkWaitsAfter = 30 * time.Second
)

func (b *bulkFlags) run(ctx context.Context, s *session) error {
	ledgers, err := s.ledgers(ctx)
	if err != nil {
		return err
	}
	r := b.request
	r.MchIDs = merchantsOf(ledgers)
	if err := s.byTheirZone(ctx, ledgers...); err != nil {
		return err
	}
	if b.DryRun {
		p, err := control.PreviewBulk(ctx, s.rdb, r.MchIDs, r.Query)
		if err != nil {
			return fmt.Errorf("count the orders: %w", err)
		}
		return s.answer(b.JSON, p, s.people.BulkPreview(p.Matched, p.Total))
	}
	all, err := ledger.Merchants(ctx, s.rdb)
	if err != nil {
		return fmt.Errorf("ask Redis which merchants there are: %w", err)
	}
	if len(r.MchIDs) == 0 || s.mchid != "" && !slices.Contains(all, s.mchid) {
		return &statusError{config.ExitUsage, "there are no such orders: this Redis has the ledgers of " + orNone(strings.Join(all, ", "))}
	}
	id, err := control.StartBulk(ctx, s.rdb, r)
	if err != nil {
		return fmt.Errorf("begin the bulk action: %w; it may have begun: outcomes audit shows it, and the same command again does no harm", err)
	}
	fmt.Fprintln(s.errOut, s.people.BulkBegun(id))
	return b.follow(ctx, s, r.MchIDs, id)
}

func merchantsOf(ledgers []*ledger.Ledger) []string {
	all := make([]string, len(ledgers))
	for i, l := range ledgers {
		all[i] = l.MchID()
	}
	return all
}

// follow shows how far a bulk action is, until it is done or ctx ends.
func (b *bulkFlags) follow(ctx context.Context, s *session, mchids []string, id string) error {
	said, moved, warned := "", time.Now(), false
	for {
		p, err := ledger.ProgressOfBulk(ctx, s.rdb, mchids, id)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			return fmt.Errorf("read how far the bulk action is: %w; workers go on with it: outcomes bulk show %s", err, id)
		case b.NoWait:
			return s.answer(b.JSON, p, s.people.BulkProgress(p))
		case p.Stage == ledger.BulkDone:
			if err := s.answer(b.JSON, p, s.people.BulkProgress(p)); err != nil || p.Refused == 0 {
				return err
			}
			return &statusError{exitRefused, s.people.BulkRefused(p.Refused)}
		}
		if line := s.people.BulkProgress(p); line != said {
			_, _ = io.WriteString(s.errOut, line+"\n")
			said, moved, warned = line, time.Now(), false
		} else if d := time.Since(moved); d > bulkWaitsAfter && !warned {
			fmt.Fprintln(s.errOut, s.people.BulkWaits(d.Round(time.Second)))
			warned = true
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(bulkLookEvery):
		}
	}
}

type bulkShowCommand struct {
	ID   string `arg:"" name:"id" help:"The id that the start of the bulk action has printed; outcomes audit has it too."`
	JSON bool   `name:"json" help:"One JSON object."`
}

func (*bulkShowCommand) judge(*config.Collector) {}

func (b *bulkShowCommand) run(ctx context.Context, s *session) error {
	ledgers, err := s.ledgers(ctx)
	if err != nil {
		return err
	}
	if !b.JSON {
		if err := s.byTheirZone(ctx, ledgers...); err != nil {
			return err
		}
	}
	p, err := ledger.ProgressOfBulk(ctx, s.rdb, merchantsOf(ledgers), b.ID)
	if errors.Is(err, ledger.ErrNotFound) {
		return &statusError{exitNoOrder, fmt.Sprintf("there is no bulk action %q: outcomes audit lists those of RETENTION; they are kept for 30 days after they are done", b.ID)}
	}
	if err != nil {
		return err
	}
	if err := s.answer(b.JSON, p, s.people.BulkProgress(p)); err != nil || b.JSON {
		return err
	}
	_, err = fmt.Fprintln(s.out, s.people.BulkStory(p))
	return err
}
