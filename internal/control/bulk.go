package control

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"golang.org/x/sync/errgroup"

	"payscore-collector/internal/ledger"
	"payscore-collector/internal/queue"
	"payscore-collector/internal/textsafe"
	"payscore-collector/tasks"
)

// BulkActions are what can be done to many orders at once.
var BulkActions = []string{ledger.ActWithdraw, ledger.ActReopen, ledger.ActCollectNow}

// BulkRequest asks for an action on every order of some merchants that matches a query.
type BulkRequest struct {
	Action string
	MchIDs []string
	Query  ledger.Query
	By     string
	Reason string
	PaidAt time.Time // of withdrawals, optional; see tasks.Withdrawal
}

// Validate reports what is wrong with the request, as a tasks.FieldError.
func (r BulkRequest) Validate() error {
	if !slices.Contains(BulkActions, r.Action) {
		return &tasks.FieldError{Field: "action", Problem: fmt.Sprintf("is %q: write %s", textsafe.Clip(r.Action, 40), strings.Join(BulkActions, ", "))}
	}
	if r.Action != ledger.ActWithdraw && !r.PaidAt.IsZero() {
		return &tasks.FieldError{Field: "paid_at", Problem: "belongs to withdrawals: leave it out"}
	}
	// What is allowed of one withdrawal is allowed of many.
	return tasks.Withdrawal{MchID: "1", OutOrderNo: "1", Reason: r.Reason, PaidAt: r.PaidAt}.Validate()
}

// Preview is what a bulk action would be about.
type Preview struct {
	Matched int64 `json:"matched" doc:"How many orders match."`
	Total   int64 `json:"total_amount" doc:"What they come to, in fen: by WeChat Pay's signed word, else by billing's."`
}

// previewPage is how many orders a preview reads at once.
const previewPage = 200

// PreviewBulk counts the orders that match, and changes nothing.
func PreviewBulk(ctx context.Context, rdb redis.UniversalClient, mchids []string, q ledger.Query) (p Preview, err error) {
	for _, mchid := range mchids {
		l := ledger.New(rdb, mchid)
		for place := new(ledger.Place); place != nil; {
			var orders []ledger.Order
			if orders, place, err = l.Page(ctx, q, *place, previewPage); err != nil {
				return p, err
			}
			for _, o := range orders {
				p.Matched, p.Total = p.Matched+1, p.Total+o.Amount()
			}
		}
	}
	return p, nil
}

// StartBulk begins a bulk action and returns its id. Workers do it, any of them, and it
// survives them. After an error it may have begun for some merchants. Asked for again, it
// is another one, which leaves alone what the first one has done.
func StartBulk(ctx context.Context, rdb redis.UniversalClient, r BulkRequest) (id string, err error) {
	if err := r.Validate(); err != nil {
		return "", err
	}
	b := ledger.Bulk{ID: ledger.NewToken(), Action: r.Action, Query: r.Query, By: textsafe.Clip(r.By, tasks.MaxBy), Reason: r.Reason, PaidAt: r.PaidAt}
	parts := make([]ledger.BulkPart, len(r.MchIDs))
	for i, mchid := range r.MchIDs {
		if err := ledger.New(rdb, mchid).OpenBulk(ctx, b); err != nil {
			return "", err
		}
		parts[i] = ledger.BulkPart{MchID: mchid, ID: b.ID}
	}
	if err := ledger.ListBulk(ctx, rdb, parts...); err != nil {
		return "", err
	}
	_ = queue.Wake(ctx, rdb, queue.WakeBulk) // a lost one costs a worker's SWEEP_EVERY
	return b.ID, nil
}

// BulkProgress is a bulk action of some merchants, and how far it is.
type BulkProgress struct {
	ID        string           `json:"id" doc:"Its id."`
	Action    string           `json:"action" doc:"What is done to each order: withdraw, reopen or collect-now."`
	Filter    ledger.Query     `json:"filter" doc:"Which orders are meant."`
	Reason    string           `json:"reason" doc:"Why, in the operator's own words."`
	By        string           `json:"by" doc:"Who has begun it: api:NAME, console:NAME or cli:USER."`
	PaidAt    time.Time        `json:"paid_at,omitzero" doc:"When the users paid elsewhere; absent if they did not."`
	Stage     ledger.BulkStage `json:"state" enum:"counting,running,done" doc:"counting: a worker looks for the orders that match. running: it acts on them. done: all are done."`
	CreatedAt time.Time        `json:"created_at" doc:"When it was begun."`
	Finished  time.Time        `json:"finished_at,omitzero" doc:"When it was done; absent before."`
	Counts
	Merchants []MerchantBulk `json:"merchants" doc:"The same for each merchant."`
}

// Counts say what became of the orders of a bulk action.
type Counts struct {
	Matched   int64 `json:"matched" doc:"How many orders match; it grows while they are counted."`
	Total     int64 `json:"total_amount" doc:"What they come to, in fen: by WeChat Pay's signed word, else by billing's."`
	Done      int64 `json:"done" doc:"Orders to which it was done."`
	Duplicate int64 `json:"duplicate" doc:"Orders to which nothing was left to do."`
	Refused   int64 `json:"refused" doc:"Orders whose state forbids it, or that do not match any more."`
	Left      int64 `json:"left" doc:"Orders whose turn is still to come."`
}

// MerchantBulk is a merchant's part of a bulk action.
type MerchantBulk struct {
	MchID string           `json:"mchid" doc:"Merchant number."`
	Stage ledger.BulkStage `json:"state" enum:"counting,running,done" doc:"How far it is."`
	Counts
}

// ProgressOfBulk returns how far a bulk action is, as far as it concerns some merchants;
// ledger.ErrNotFound if it does not.
func ProgressOfBulk(ctx context.Context, rdb redis.UniversalClient, mchids []string, id string) (p BulkProgress, err error) {
	parts, err := ledger.Bulks(ctx, rdb, mchids, id)
	if err != nil {
		return p, err
	}
	if len(parts) == 0 {
		return p, ledger.ErrNotFound
	}
	first := parts[0]
	p = BulkProgress{
		ID: id, Action: first.Action, Filter: first.Query, Reason: first.Reason, By: first.By, PaidAt: first.PaidAt,
		Stage: ledger.BulkDone, CreatedAt: first.Created,
	}
	stages := []ledger.BulkStage{ledger.BulkCounting, ledger.BulkRunning, ledger.BulkDone}
	for _, b := range parts {
		c := Counts{b.Matched, b.Total, b.Done, b.Duplicate, b.Refused, b.Matched - b.Done - b.Duplicate - b.Refused}
		p.Merchants = append(p.Merchants, MerchantBulk{b.MchID, b.Stage, c})
		p.Counts = p.Counts.plus(c)
		if slices.Index(stages, b.Stage) < slices.Index(stages, p.Stage) {
			p.Stage = b.Stage
		}
		if b.Finished.After(p.Finished) {
			p.Finished = b.Finished
		}
	}
	if p.Stage != ledger.BulkDone {
		p.Finished = time.Time{}
	}
	return p, nil
}

func (c Counts) plus(d Counts) Counts {
	return Counts{c.Matched + d.Matched, c.Total + d.Total, c.Done + d.Done, c.Duplicate + d.Duplicate, c.Refused + d.Refused, c.Left + d.Left}
}

// bulkTogether is how many deeds of a bulk action are under way at once.
const bulkTogether = 4

// WorkOnBulk does a part of a bulk action until it is done, ctx ends, or stop says so. It
// may be called again after any error, and by several workers at once: each order is acted
// on and counted once. left says that there is more to do, and that this caller had its
// lease; it is then reserved for the caller's next call for grace.
func WorkOnBulk(ctx context.Context, rdb redis.UniversalClient, part ledger.BulkPart, stop func() bool, grace time.Duration) (b ledger.Bulk, left bool, err error) {
	l, token := ledger.New(rdb, part.MchID), ledger.NewToken()
	b, code, err := l.ClaimBulk(ctx, part.ID, token)
	if err != nil {
		return b, false, err
	}
	if code != ledger.Granted {
		if code == ledger.HasEnded || code == ledger.Absent {
			err = ledger.UnlistBulk(ctx, rdb, part)
		}
		return b, false, err
	}
	var h *Hastener
	if b.Action == ledger.ActCollectNow {
		if h, err = NewHastener(ctx, rdb, part.MchID); err != nil {
			return b, false, err
		}
	}
	wake := queue.New(rdb)
	for held := true; held; {
		if stop() {
			return b, true, l.ReleaseBulk(ctx, part.ID, token, grace)
		}
		if b.Stage == ledger.BulkCounting {
			if held, err = l.CountBulk(ctx, &b, token); err != nil {
				return b, false, err
			}
			continue
		}
		orders, err := l.TodoOfBulk(ctx, part.ID)
		if err != nil {
			return b, false, err
		}
		became, err := act(ctx, rdb, l, h, b, orders)
		if err != nil {
			return b, false, err
		}
		_ = wake.Wake(ctx, part.MchID) // for what is due now, and for webhooks
		var rest int64
		if rest, held, err = l.TickBulk(ctx, part.ID, token, became); err != nil {
			return b, false, err
		}
		if rest == 0 {
			b.Stage = ledger.BulkDone
			return b, false, ledger.UnlistBulk(ctx, rdb, part)
		}
	}
	return b, false, nil // another worker has it
}

// act does the action of b to orders and returns what became of each. It enqueues nothing:
// the sweep does so as fast as the workers progress, so that the orders of a bulk action
// do not stand before all others in the queue.
func act(ctx context.Context, rdb redis.UniversalClient, l *ledger.Ledger, h *Hastener, b ledger.Bulk, orders []ledger.Order) (map[string]string, error) {
	became := make(map[string]string, len(orders))
	var wanted []ledger.Order
	for _, o := range orders {
		if became[o.OutOrderNo] = ledger.BulkRefused; b.Wants(o) {
			wanted = append(wanted, o)
		}
	}
	codes := make([]ledger.OpenCode, len(wanted))
	if b.Action == ledger.ActReopen {
		openings := make([]ledger.Opening, len(wanted))
		for i, o := range wanted {
			openings[i] = ledger.Opening{Owner: o.Owner(), OutOrderNo: o.OutOrderNo, Reopen: true, Deed: b.Deed()}
		}
		for i, opened := range ledger.Open(ctx, rdb, openings) {
			if opened.Err != nil {
				return nil, opened.Err
			}
			codes[i] = opened.Code
		}
	} else {
		var deeds errgroup.Group
		deeds.SetLimit(bulkTogether)
		for i, o := range wanted {
			deeds.Go(func() (err error) {
				if b.Action == ledger.ActWithdraw {
					var w ledger.Withdrawing
					w, err = l.Withdraw(ctx, o.OutOrderNo, b.Deed(), b.PaidAt, 0)
					codes[i] = w.Code
				} else {
					var hastened ledger.Hastened
					hastened, err = h.hasten(ctx, o.OutOrderNo, b.Deed(), 0)
					codes[i] = hastened.Code
				}
				return err
			})
		}
		if err := deeds.Wait(); err != nil {
			return nil, err
		}
	}
	for i, o := range wanted {
		switch codes[i] {
		case ledger.Accepted:
			became[o.OutOrderNo] = ledger.BulkDid
		case ledger.Duplicate:
			became[o.OutOrderNo] = ledger.BulkDuplicate
		}
	}
	return became, nil
}
