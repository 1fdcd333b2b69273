package ledger

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// BulkStage is how far a bulk action is.
type BulkStage string

// The stages, in their order.
const (
	BulkCounting BulkStage = "counting" // a worker looks for the orders that match
	BulkRunning  BulkStage = "running"  // the orders are known, and a worker acts on each
	BulkDone     BulkStage = "done"
)

// What became of an order of a bulk action. The words are stored.
const (
	BulkDid       = "done"      // the action was done
	BulkDuplicate = "duplicate" // nothing was left to do
	BulkRefused   = "refused"   // its state forbids it, or it does not match any more
)

// Bulk is a merchant's part of a bulk action: the same deed, done to every order that
// matches a query when a worker begins with it.
type Bulk struct {
	ID     string // the token of its deeds too; see NewToken
	MchID  string
	Action string // ActWithdraw, ActReopen or ActCollectNow
	Query  Query
	By     string
	Reason string
	PaidAt time.Time // of withdrawals; zero for none

	Stage BulkStage
	BulkCounts
	Created  time.Time
	Finished time.Time // zero until it is done

	place string
}

// Deed is what is recorded with each order. Its token makes a deed that is repeated, after
// a worker has died, the same deed.
func (b Bulk) Deed() Deed { return Deed{By: b.By, Reason: b.Reason, Token: b.ID} }

// Amount is what an order comes to, in fen: by WeChat Pay's signed word, else by
// billing's; 0 where neither has said it.
func (o Order) Amount() int64 {
	if fen := cmp.Or(o.TotalAmount, o.BillingAmount); fen != nil {
		return *fen
	}
	return 0
}

const (
	// bulkKeep is how long a bulk action is kept after it is done, or unless a worker
	// begins it.
	bulkKeep = 30 * 24 * time.Hour
	// bulkPage is how many orders one call of bulkcount.lua counts: few enough not to
	// block Redis.
	bulkPage = 200
	// bulkBatch is how many orders one round of deeds is for.
	bulkBatch = 50
)

// OpenBulk writes a bulk action of this merchant, once for its ID, and its entry of the
// trail. ListBulk makes it known to the workers.
func (l *Ledger) OpenBulk(ctx context.Context, b Bulk) error {
	filter, err := json.Marshal(b.Query)
	if err != nil {
		return err
	}
	paidAt := ""
	if !b.PaidAt.IsZero() {
		paidAt = b.PaidAt.UTC().Format(time.RFC3339)
	}
	args, err := json.Marshal(map[string]any{
		"deed": b.Deed().args(), "action": b.Action, "filter": string(filter), "paidat": paidAt,
		"detail": b.ID + ": " + b.Action + " " + string(filter), "keep": bulkKeep.Milliseconds(),
	})
	if err != nil {
		return err
	}
	return bulkOpenScript.Run(ctx, l.rdb, []string{l.keys.Bulk(b.ID), l.keys.Audit()}, args).Err()
}

// ValidBulkID reports whether a text can be the ID of a bulk action.
func ValidBulkID(id string) bool {
	n, err := strconv.ParseUint(id, 10, 63)
	return err == nil && strconv.FormatUint(n, 10) == id
}

// BulkPart names a merchant's part of a bulk action.
type BulkPart struct{ MchID, ID string }

func (p BulkPart) member() string { return p.MchID + " " + p.ID }

// ListBulk enters parts of a bulk action in the directory of those that are not done.
func ListBulk(ctx context.Context, rdb redis.UniversalClient, parts ...BulkPart) error {
	members := make([]any, len(parts))
	for i, p := range parts {
		members[i] = p.member()
	}
	return rdb.SAdd(ctx, BulksKey, members...).Err()
}

// UnlistBulk takes a part out of the directory that is done, or gone.
func UnlistBulk(ctx context.Context, rdb redis.UniversalClient, p BulkPart) error {
	return rdb.SRem(ctx, BulksKey, p.member()).Err()
}

// ListedBulks returns the parts in the directory.
func ListedBulks(ctx context.Context, rdb redis.UniversalClient) ([]BulkPart, error) {
	members, err := rdb.SMembers(ctx, BulksKey).Result()
	slices.Sort(members)
	var parts []BulkPart
	for _, m := range members {
		if mchid, id, ok := strings.Cut(m, " "); ok {
			parts = append(parts, BulkPart{mchid, id})
		}
	}
	return parts, err
}

// Bulks returns the parts of a bulk action that some ledgers have, in their order.
func Bulks(ctx context.Context, rdb redis.UniversalClient, mchids []string, id string) ([]Bulk, error) {
	pipe := rdb.Pipeline()
	read := make([]*redis.MapStringStringCmd, len(mchids))
	for i, mchid := range mchids {
		read[i] = pipe.HGetAll(ctx, KeysOf(mchid).Bulk(id))
	}
	if len(mchids) == 0 {
		return nil, nil
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return nil, fmt.Errorf("ledger: %w", err)
	}
	var list []Bulk
	for i, mchid := range mchids {
		if fields := read[i].Val(); len(fields) > 0 {
			b, err := readBulk(mchid, id, fields)
			if err != nil {
				return nil, err
			}
			list = append(list, b)
		}
	}
	return list, nil
}

func readBulk(mchid, id string, f values) (Bulk, error) {
	b := Bulk{
		ID: id, MchID: mchid, Action: f["action"], By: readable(f["by"]), Reason: readable(f["reason"]),
		Stage: BulkStage(f["stage"]), Created: f.time("created").UTC(), place: f["place"],
		BulkCounts: BulkCounts{
			Matched: f.int("matched"), Total: f.int("total"), Done: f.int(BulkDid), Duplicate: f.int(BulkDuplicate), Refused: f.int(BulkRefused),
		},
	}
	b.Left = b.Matched - b.Done - b.Duplicate - b.Refused
	if f["finished"] != "" {
		b.Finished = f.time("finished").UTC()
	}
	err := json.Unmarshal([]byte(f["filter"]), &b.Query)
	if err == nil && f["paidat"] != "" {
		b.PaidAt, err = time.Parse(time.RFC3339, f["paidat"])
	}
	if err != nil {
		return b, errReply
	}
	return b, nil
}

// BulkLease is how long a worker has a bulk action for itself, from each of its batches
// on.
const BulkLease = 10 * time.Second

// ReserveBulk reserves a bulk action for a task that the caller enqueues, for grace; round
// is that task's. The code is Granted, Leased (a worker has it, or a task brings it),
// HasEnded or Absent.
func (l *Ledger) ReserveBulk(ctx context.Context, id string, grace time.Duration) (round int64, code Code, err error) {
	_, round, code, err = l.claimBulk(ctx, id, "", "", grace)
	return round, code, err
}

// ClaimBulk takes the lease of a bulk action. The codes are those of ReserveBulk.
func (l *Ledger) ClaimBulk(ctx context.Context, id, token string) (Bulk, Code, error) {
	b, _, code, err := l.claimBulk(ctx, id, token, token, BulkLease)
	return b, code, err
}

// ReleaseBulk gives the lease back, to the task that asynq retries within grace.
func (l *Ledger) ReleaseBulk(ctx context.Context, id, token string, grace time.Duration) error {
	_, _, _, err := l.claimBulk(ctx, id, token, "", grace)
	return err
}

func (l *Ledger) claimBulk(ctx context.Context, id, token, holder string, length time.Duration) (b Bulk, round int64, code Code, err error) {
	r := run(ctx, l.rdb, bulkClaimScript, []string{l.keys.Bulk(id)}, map[string]any{
		"token": token, "holder": holder, "length": length.Milliseconds(),
	})
	code, round = Code(r.str()), r.int()
	fields := r.list()
	if r.err != nil || code != Granted {
		return Bulk{}, 0, code, r.err
	}
	b, err = readBulk(l.mchid, id, pairs(fields))
	return b, round, code, err
}

// CountBulk adds the next page of the orders that match to a bulk action in the stage of
// counting. It reports whether the token still has the lease.
func (l *Ledger) CountBulk(ctx context.Context, b *Bulk, token string) (held bool, err error) {
	var from Place
	if b.place != "" {
		if err := json.Unmarshal([]byte(b.place), &from); err != nil {
			return false, errReply
		}
	}
	orders, next, err := l.Page(ctx, b.Query, from, bulkPage)
	if err != nil {
		return false, err
	}
	place := ""
	if next != nil {
		text, err := json.Marshal(next)
		if err != nil {
			return false, err
		}
		place = string(text)
	}
	nos, results, amounts := make([]string, len(orders)), make([]string, len(orders)), make([]int64, len(orders))
	for i, o := range orders {
		nos[i], results[i], amounts[i] = o.OutOrderNo, b.foregone(o), o.Amount()
	}
	r := run(ctx, l.rdb, bulkCountScript, []string{l.keys.Bulk(b.ID), l.keys.BulkTodo(b.ID)}, map[string]any{
		"token": token, "length": BulkLease.Milliseconds(), "from": b.place, "place": place,
		"nos": nos, "results": results, "amounts": amounts, "keep": bulkKeep.Milliseconds(),
	})
	code := r.str()
	held = r.int() == 1
	if r.err != nil {
		return false, r.err
	}
	if code != "counted" { // another worker's page, or this one, and the answer was lost
		fresh, code, err := l.ClaimBulk(ctx, b.ID, token)
		if err == nil && code == Granted {
			*b = fresh
		}
		return code == Granted, err
	}
	if b.place = place; place == "" {
		b.Stage = BulkRunning
	}
	return held, nil
}

// foregone returns what becomes of an order that a bulk action need not try; empty if it
// must. A merchant may have millions of paid orders that match.
func (b Bulk) foregone(o Order) string {
	switch open := o.State.Open(); {
	case b.Action == ActReopen && open, b.Action == ActWithdraw && o.State == Withdrawn && b.PaidAt.IsZero():
		return BulkDuplicate
	case b.Action == ActReopen && o.State == Paid:
		return BulkRefused
	case b.Action == ActReopen, open, b.Action == ActWithdraw && o.State == Withdrawn:
		return ""
	}
	return BulkRefused
}

// TodoOfBulk returns some of the orders that a bulk action has still to act on, as they
// are now. An order that has left the ledger has no state.
func (l *Ledger) TodoOfBulk(ctx context.Context, id string) ([]Order, error) {
	nos, err := l.rdb.SRandMemberN(ctx, l.keys.BulkTodo(id), bulkBatch).Result()
	if err != nil {
		return nil, err
	}
	return l.records(ctx, nos)
}

// Wants reports whether a bulk action acts on an order when its turn comes: it must still
// match, unless the action itself has changed it, and the worker died before it was
// counted.
func (b Bulk) Wants(o Order) bool {
	return o.State != "" && (b.Query.Matches(o) || slices.ContainsFunc(o.Actions, func(a Action) bool {
		return a.Action == b.Action && a.By == b.By && a.Reason == b.Reason && !a.At.Before(b.Created)
	}))
}

// TickBulk notes what became of orders, by number: BulkDid, BulkDuplicate or BulkRefused.
// It returns how many are left, and whether the token still has the lease.
func (l *Ledger) TickBulk(ctx context.Context, id, token string, became map[string]string) (left int64, held bool, err error) {
	nos, results := make([]string, 0, len(became)), make([]string, 0, len(became))
	for no, result := range became {
		nos, results = append(nos, no), append(results, result)
	}
	r := run(ctx, l.rdb, bulkTickScript, []string{l.keys.Bulk(id), l.keys.BulkTodo(id)}, map[string]any{
		"token": token, "length": BulkLease.Milliseconds(), "nos": nos, "results": results, "keep": bulkKeep.Milliseconds(),
	})
	left = r.int()
	held = r.int() == 1
	return left, held, r.err
}
