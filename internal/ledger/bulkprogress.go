package ledger

import (
	"context"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"
)

// BulkProgress is a bulk action of some merchants, and how far it is.
type BulkProgress struct {
	ID        string    `json:"id" doc:"Its id."`
	Action    string    `json:"action" doc:"What is done to each order: withdraw, reopen or collect-now."`
	Filter    Query     `json:"filter" doc:"Which orders are meant."`
	Reason    string    `json:"reason" doc:"Why, in the operator's own words."`
	By        string    `json:"by" doc:"Who has begun it: api:NAME, console:NAME or cli:USER."`
	PaidAt    time.Time `json:"paid_at,omitzero" doc:"When the users paid elsewhere; absent if they did not."`
	Stage     BulkStage `json:"state" enum:"counting,running,done" doc:"counting: a worker looks for the orders that match. running: it acts on them. done: all are done."`
	CreatedAt time.Time `json:"created_at" doc:"When it was begun."`
	Finished  time.Time `json:"finished_at,omitzero" doc:"When it was done; absent before."`
	BulkCounts
	Merchants []MerchantBulk `json:"merchants" doc:"The same for each merchant."`
}

// BulkCounts say what became of the orders of a bulk action.
type BulkCounts struct {
	Matched   int64 `json:"matched" doc:"How many orders match; it grows while they are counted."`
	Total     int64 `json:"total_amount" doc:"What they come to, in fen: by WeChat Pay's signed word, else by billing's."`
	Done      int64 `json:"done" doc:"Orders to which it was done."`
	Duplicate int64 `json:"duplicate" doc:"Orders to which nothing was left to do."`
	Refused   int64 `json:"refused" doc:"Orders whose state forbids it, or that do not match any more."`
	Left      int64 `json:"left" doc:"Orders whose turn is still to come."`
}

// MerchantBulk is a merchant's part of a bulk action.
type MerchantBulk struct {
	MchID string    `json:"mchid" doc:"Merchant number."`
	Stage BulkStage `json:"state" enum:"counting,running,done" doc:"How far it is."`
	BulkCounts
}

// ProgressOfBulk returns how far a bulk action is, as far as it concerns some merchants;
// ErrNotFound if it does not.
func ProgressOfBulk(ctx context.Context, rdb redis.UniversalClient, mchids []string, id string) (p BulkProgress, err error) {
	parts, err := Bulks(ctx, rdb, mchids, id)
	if err != nil {
		return p, err
	}
	if len(parts) == 0 {
		return p, ErrNotFound
	}
	first := parts[0]
	p = BulkProgress{
		ID: id, Action: first.Action, Filter: first.Query, Reason: first.Reason, By: first.By, PaidAt: first.PaidAt,
		Stage: BulkDone, CreatedAt: first.Created,
	}
	stages := []BulkStage{BulkCounting, BulkRunning, BulkDone}
	for _, b := range parts {
		p.Merchants = append(p.Merchants, MerchantBulk{b.MchID, b.Stage, b.BulkCounts})
		p.BulkCounts = p.BulkCounts.plus(b.BulkCounts)
		if slices.Index(stages, b.Stage) < slices.Index(stages, p.Stage) {
			p.Stage = b.Stage
		}
		if b.Finished.After(p.Finished) {
			p.Finished = b.Finished
		}
	}
	if p.Stage != BulkDone {
		p.Finished = time.Time{}
	}
	return p, nil
}

func (c BulkCounts) plus(d BulkCounts) BulkCounts {
	return BulkCounts{c.Matched + d.Matched, c.Total + d.Total, c.Done + d.Done, c.Duplicate + d.Duplicate, c.Refused + d.Refused, c.Left + d.Left}
}
