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
// survives them. After an error it may have begun for some merchants, and is done for those. Asked for again, it
// is another one, which leaves alone what the first one has done.
func StartBulk(ctx context.Context, rdb redis.UniversalClient, r BulkRequest) (id string, err error) {
	if err := r.Validate(); err != nil {
		return "", err
	}
	b := ledger.Bulk{ID: ledger.NewToken(), Action: r.Action, Query: r.Query, By: textsafe.Clip(r.By, tasks.MaxBy), Reason: r.Reason, PaidAt: r.PaidAt}
	parts := make([]ledger.BulkPart, len(r.MchIDs))
	for i, mchid := range r.MchIDs {
		parts[i] = ledger.BulkPart{MchID: mchid, ID: b.ID}
	}
	// Listed before they are written, so that a caller that dies leaves no part that the
	// trail has and no worker finds; and after, because a worker may have taken what was not
	// there yet out of the list.
	if err := ledger.ListBulk(ctx, rdb, parts...); err != nil {
		return "", err
	}
	for _, mchid := range r.MchIDs {
		if err := ledger.New(rdb, mchid).OpenBulk(ctx, b); err != nil {
			return "", err
		}
	}
	if err := ledger.ListBulk(ctx, rdb, parts...); err != nil {
		return "", err
	}
	_ = queue.Wake(ctx, rdb, queue.WakeBulk) // a lost one costs a worker's SWEEP_EVERY
	return b.ID, nil
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
