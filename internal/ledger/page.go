package ledger

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// Query says which orders Page returns. Its zero value is every order. The names in JSON
// are stored with bulk actions.
type Query struct {
	States     []State   `json:"state,omitempty"`      // empty: every state
	Reason     string    `json:"reason,omitempty"`     // exactly this reason; empty: any
	Prefix     string    `json:"q,omitempty"`          // of the out_order_no
	OpenedFrom time.Time `json:"opened_from,omitzero"` // opened at this time or later; zero: no bound
	OpenedTo   time.Time `json:"opened_to,omitzero"`   // opened before this time; zero: no bound
	ServiceID  string    `json:"service_id,omitempty"` // empty: any
	// Since and Until are bounds as those of Filter: of the ends of ended orders, of the
	// openings of open ones.
	Since time.Time `json:"since,omitzero"`
	Until time.Time `json:"until,omitzero"`
	// Code is the code or the detail code of the last error; empty: any.
	Code string `json:"code,omitempty"`
	// What an order comes to, in fen: by WeChat Pay's word, else by billing's. AmountFrom
	// and less than AmountTo; 0: no bound. An order of which neither is known is not within
	// a bound.
	AmountFrom int64 `json:"amount_from,omitempty"`
	AmountTo   int64 `json:"amount_to,omitempty"`
}

// Matches reports whether an order is one of the query's.
func (q Query) Matches(o Order) bool {
	at := o.EndedAt
	if o.State.Open() {
		at = o.OpenedAt
	}
	return (len(q.States) == 0 && o.State.Valid() || slices.Contains(q.States, o.State)) &&
		(q.Reason == "" || o.Reason == q.Reason) && strings.HasPrefix(o.OutOrderNo, q.Prefix) &&
		(q.ServiceID == "" || o.ServiceID == q.ServiceID) && (q.Code == "" || o.LastError.has(q.Code)) && q.amount(o) &&
		within(o.OpenedAt, q.OpenedFrom, q.OpenedTo) && within(at, q.Since, q.Until)
}

// has reports whether it is an error of a code, or of a detail code.
func (e *LastError) has(code string) bool {
	return e != nil && (e.Code == code || e.DetailCode == code)
}

func (q Query) amount(o Order) bool {
	if q.AmountFrom == 0 && q.AmountTo == 0 {
		return true
	}
	fen := cmp.Or(o.TotalAmount, o.BillingAmount)
	return fen != nil && *fen >= q.AmountFrom && (q.AmountTo == 0 || *fen < q.AmountTo)
}

// within reports whether a time is not before from, and before to; zero is no bound.
func within(t, from, to time.Time) bool {
	return (from.IsZero() || !t.Before(from)) && (to.IsZero() || t.Before(to))
}

// parts are where the orders of a query are looked for, in turn: the due index, which has
// the open ones, and the index of each final state. The due index comes first: an order
// that ends meanwhile is in an index that is still to come.
func (q Query) parts() []State {
	var parts []State
	for _, s := range States {
		if len(q.States) > 0 && !slices.Contains(q.States, s) {
			continue
		}
		if s.Open() {
			s = Queued // stands for both open states
		}
		if !slices.Contains(parts, s) {
			parts = append(parts, s)
		}
	}
	return parts
}

// Place is how far Page has come. The zero value is the beginning.
type Place struct {
	Part State `json:"p,omitempty"` // Queued stands for the due index; empty: the first part
	// In the due index: the cursor of ZSCAN, and what the last batch has left over. After
	// is the last number of an index that ZSCAN returns whole, or before it has grown.
	Scan  uint64   `json:"c,omitempty"`
	Rest  []string `json:"r,omitempty"`
	After string   `json:"a,omitempty"`
	// In the index of a final state: the time of the last order's end in ms, and its number.
	Ended int64  `json:"e,omitempty"`
	No    string `json:"n,omitempty"`
}

// Bounds of the work of one Page. A query that matches few orders gets a short page.
const (
	pageReads   = 2000 // records
	pageBatches = 100  // batches of numbers
	// Numbers in a batch: what a page leaves of one stands in its Place, which callers send
	// in the header of a request.
	pageBatch = 250
	batchMost = 500 // likewise, without a Place for callers
)

// Page returns up to limit orders that a query matches, without their logs and past, and
// the place where the next page begins; nil if there are no more. Open orders come first,
// in no order, then those in each final state, newest first.
//
// The pages of a query miss no order that matches it all the time, however often it is
// due, called or settled meanwhile; due times, which change all the time, are no part of
// a Place. An order that changes its state can come twice. A page may be short or empty,
// and not be the last: it reads a bounded part of the indexes. No record is read for an
// order whose number does not match.
func (l *Ledger) Page(ctx context.Context, q Query, from Place, limit int) (orders []Order, next *Place, err error) {
	parts := q.parts()
	at := from
	if at.Part == "" && len(parts) > 0 {
		at.Part = parts[0]
	}
	for reads, batches := 0, 0; slices.Contains(parts, at.Part); batches++ {
		if batches == pageBatches || reads >= max(pageReads, limit) {
			return orders, &at, nil
		}
		b, err := l.batch(ctx, q, at, min(limit+1, pageBatch))
		if err != nil {
			return nil, nil, err
		}
		for i := 0; i < len(b.nos); i += listPage {
			nos := b.nos[i:min(i+listPage, len(b.nos))]
			var wanted []string
			for _, no := range nos {
				if strings.HasPrefix(no, q.Prefix) {
					wanted = append(wanted, no)
				}
			}
			reads += len(wanted)
			records, err := l.records(ctx, wanted)
			if err != nil {
				return nil, nil, err
			}
			for _, o := range records {
				if !q.Matches(o) || at.Part.Open() != o.State.Open() || !at.Part.Open() && o.State != at.Part {
					continue
				}
				if len(orders) == limit { // there is a next page, and it begins with this order
					place := b.before(o.OutOrderNo)
					return orders, &place, nil
				}
				orders = append(orders, o)
			}
		}
		if at = b.end; b.last {
			if i := slices.Index(parts, at.Part) + 1; i < len(parts) {
				at = Place{Part: parts[i]}
			} else {
				return orders, nil, nil
			}
		}
	}
	return orders, nil, nil
}

// batch is the numbers behind a place, in one part.
type batch struct {
	nos    []string
	before func(no string) Place
	end    Place
	last   bool // the part has no more
}

func (l *Ledger) batch(ctx context.Context, q Query, at Place, size int) (batch, error) {
	if at.Part.Open() {
		return l.openBatch(ctx, at, size)
	}
	return l.endedBatch(ctx, q, at, size)
}

// openBatch reads the due index by ZSCAN, which returns every member that is in the index
// all the time, whatever becomes of its score.
func (l *Ledger) openBatch(ctx context.Context, at Place, size int) (batch, error) {
	nos, next := at.Rest, at.Scan
	if len(nos) == 0 {
		pairs, cursor, err := l.rdb.ZScan(ctx, l.keys.Due(), at.Scan, "", int64(size)).Result()
		if err != nil {
			return batch{}, err
		}
		next = cursor
		for i := 0; i+1 < len(pairs); i += 2 {
			if pairs[i] > at.After {
				nos = append(nos, pairs[i])
			}
		}
		slices.Sort(nos)
		nos = slices.Compact(nos)
	}
	b := batch{nos: nos, end: Place{Part: at.Part, Scan: next, After: at.After}, last: next == 0}
	b.before = func(no string) Place {
		i, _ := slices.BinarySearch(nos, no)
		if at.Scan == 0 && next == 0 && len(at.Rest) == 0 {
			// The whole index came at once, and will come so again.
			place := Place{Part: at.Part, After: at.After}
			if i > 0 {
				place.After = nos[i-1]
			}
			return place
		}
		return Place{Part: at.Part, Scan: next, Rest: nos[i:], After: at.After}
	}
	return b, nil
}

// endedBehind reads an index of a final state from a place on, by the rank of its order. It
// returns nothing if that order has left the index, or others have meanwhile.
func (l *Ledger) endedBehind(ctx context.Context, at Place, from time.Time, size int) (list []redis.Z, last bool, err error) {
	rank, err := l.rdb.ZRevRank(ctx, l.keys.Ended(at.Part), at.No).Result()
	if errors.Is(err, redis.Nil) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, err
	}
	list, err = l.rdb.ZRevRangeWithScores(ctx, l.keys.Ended(at.Part), rank, rank+int64(size)).Result()
	if err != nil || len(list) == 0 || list[0].Member != at.No || int64(list[0].Score) != at.Ended {
		return nil, false, err
	}
	last = len(list) <= size
	list = list[1:]
	if i := slices.IndexFunc(list, func(z redis.Z) bool { return !from.IsZero() && int64(z.Score) < from.UnixMilli() }); i >= 0 {
		return list[:i], true, nil
	}
	return list, last, nil
}

// endedBatch reads the index of a final state, newest first. The time of an end does not
// change while the order is in that state.
func (l *Ledger) endedBatch(ctx context.Context, q Query, at Place, size int) (batch, error) {
	by := &redis.ZRangeBy{Max: "+inf", Min: "-inf", Count: int64(size)}
	if at.No != "" {
		by.Max = strconv.FormatInt(at.Ended, 10)
	}
	from := q.Since
	if q.OpenedFrom.After(from) { // no order ends before it is opened
		from = q.OpenedFrom
	}
	if !from.IsZero() {
		by.Min = strconv.FormatInt(from.UnixMilli(), 10)
	}
	if !q.Until.IsZero() && at.No == "" { // a place is before it already
		by.Max = strconv.FormatInt(q.Until.UnixMilli(), 10)
	}
	var list []redis.Z
	last := false
	for ; len(list) == 0 && !last; by.Offset += by.Count {
		page, err := l.rdb.ZRevRangeByScoreWithScores(ctx, l.keys.Ended(at.Part), by).Result()
		if err != nil {
			return batch{}, err
		}
		last = len(page) < size
		for _, z := range page {
			if no := z.Member.(string); at.No == "" || int64(z.Score) < at.Ended || no < at.No {
				list = append(list, z)
			}
		}
		if len(list) == 0 && !last && by.Offset == 0 {
			// Many ends in one millisecond: reading those that were read again and again would
			// cost the square of their number.
			if list, last, err = l.endedBehind(ctx, at, from, size); err != nil {
				return batch{}, err
			}
		}
	}
	b := batch{end: at, last: last}
	for _, z := range list {
		b.nos = append(b.nos, z.Member.(string))
	}
	place := func(z redis.Z) Place { return Place{Part: at.Part, Ended: int64(z.Score), No: z.Member.(string)} }
	if len(list) > 0 {
		b.end = place(list[len(list)-1])
	}
	b.before = func(no string) Place {
		if i := slices.Index(b.nos, no); i > 0 {
			return place(list[i-1])
		}
		return at
	}
	return b, nil
}
