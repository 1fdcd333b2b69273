package ledger

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"payscore-collector/internal/owner"
)

// ErrNotFound reports that the ledger has no such order.
var ErrNotFound = errors.New("there is no such order in the ledger")

// Owner returns whose the order is.
func (o Order) Owner() owner.Owner {
	return owner.Owner{MchID: o.MchID, AppID: o.AppID, ServiceID: o.ServiceID}
}

// PastEnd is a final state that a reopening has undone.
type PastEnd struct {
	State      State     `json:"state"`
	Reason     string    `json:"reason,omitempty"`
	EndedAt    time.Time `json:"ended_at,omitzero"`
	ReopenedAt time.Time `json:"reopened_at,omitzero"`
}

// Difference is two amounts, in fen, of WeChat Pay's that should be equal.
type Difference struct {
	At    time.Time `json:"at"`
	Field string    `json:"field"` // total_amount, paid_amount or payments
	Known int64     `json:"known"`
	Said  int64     `json:"said"`
}

// Lowering is a total, in fen, that became a lower one. At is when the ledger
// learnt of it.
type Lowering struct {
	At   time.Time `json:"at"`
	From int64     `json:"from"`
	To   int64     `json:"to"`
}

// Sync is how far WeChat Pay has been told that the user paid elsewhere.
type Sync struct {
	State  SyncState `json:"state"`
	Reason string    `json:"reason,omitempty"`
	PaidAt time.Time `json:"paid_at,omitzero"`
	Calls  int64     `json:"calls"`
}

// LastError is the newest call in the log that failed.
type LastError struct {
	HTTPStatus int    `json:"http_status,omitempty"`
	Code       string `json:"code,omitempty"`
	DetailCode string `json:"detail_code,omitempty"`
	Message    string `json:"message,omitempty"`
	RequestID  string `json:"request_id,omitempty"`
}

// Get returns one order with its log, or ErrNotFound.
func (l *Ledger) Get(ctx context.Context, no string) (Order, error) {
	return l.readGet(no, getScript.Run(ctx, l.rdb, l.getKeys(no)))
}

// AskGet asks what Get returns.
func (l *Ledger) AskGet(q *Questions, no string) func() (Order, error) {
	cmd := q.script(getScript, l.getKeys(no))
	return func() (Order, error) { return l.readGet(no, cmd) }
}

func (l *Ledger) getKeys(no string) []string {
	return []string{l.keys.Order(no), l.keys.Log(no), l.keys.Words()}
}

func (l *Ledger) readGet(no string, cmd *redis.Cmd) (Order, error) {
	reply, err := cmd.Slice()
	if err != nil {
		return Order{}, err
	}
	r := reader{vals: reply}
	fields, log := r.list(), r.list()
	if r.err != nil {
		return Order{}, r.err
	}
	if len(fields) == 0 {
		return Order{}, ErrNotFound
	}
	return l.order(no, fields, log)
}

// listPage is how many records one call of list.lua returns: enough to be
// quick, and few enough not to hold Redis up.
const listPage = 100

// lastErrorWithin is how many of an order's newest calls a listing
// searches for the last error.
const lastErrorWithin = 10

// Filter says which orders Select yields.
type Filter struct {
	State State
	// Since and Until are the first moment and the first one after the last: of the
	// ends of ended orders, of the openings of open ones. Zero is no bound.
	Since, Until time.Time
	ServiceID    string // empty: any
}

func (f Filter) matches(o Order) bool {
	return Query{States: []State{f.State}, ServiceID: f.ServiceID, Since: f.Since, Until: f.Until}.Matches(o)
}

// Select yields the orders that a filter names, without their logs and past: ended ones
// newest first, open ones by when they are due. It reads page by page, so orders that
// change state meanwhile may be missed or come twice. After an error it stops.
//
// Ended orders are found by the index of their state, which is ordered by the time of
// the end: only the part between Since and Until is read. Open ones are read from the
// due index, and so are all of them.
func (l *Ledger) Select(ctx context.Context, filter Filter) iter.Seq2[Order, error] {
	return func(yield func(Order, error) bool) {
		index, newest := l.keys.Ended(filter.State), true
		if filter.State.Open() {
			index, newest = l.keys.Due(), false
		}
		start := 0
		if newest && !filter.Until.IsZero() {
			later, err := l.rdb.ZCount(ctx, index, strconv.FormatInt(filter.Until.UnixMilli(), 10), "+inf").Result()
			if err != nil {
				yield(Order{}, err)
				return
			}
			start = int(later)
		}
		for ; ; start += listPage {
			nos, err := l.rdb.ZRangeArgs(ctx, redis.ZRangeArgs{
				Key: index, Start: start, Stop: start + listPage - 1, Rev: newest,
			}).Result()
			var page []Order
			if err == nil {
				page, err = l.records(ctx, nos)
			}
			if err != nil {
				yield(Order{}, err)
				return
			}
			for _, o := range page {
				if !filter.matches(o) {
					if newest && o.State == filter.State && o.EndedAt.Before(filter.Since) {
						return // and so are all behind it
					}
					continue
				}
				if !yield(o, nil) {
					return
				}
			}
			if len(nos) < listPage {
				return
			}
		}
	}
}

// records reads orders by their numbers, at most listPage, without their logs and past.
// The state of an order that has left the ledger is empty.
func (l *Ledger) records(ctx context.Context, nos []string) ([]Order, error) {
	if len(nos) == 0 {
		return nil, nil
	}
	keys := append(make([]string, 0, 1+2*len(nos)), l.keys.Words())
	for _, no := range nos {
		keys = append(keys, l.keys.Order(no), l.keys.Log(no))
	}
	page, err := listScript.Run(ctx, l.rdb, keys, lastErrorWithin).Slice()
	if err != nil {
		return nil, err
	}
	if len(page) != len(nos) {
		return nil, errReply
	}
	orders := make([]Order, len(nos))
	for i, row := range page {
		r := reader{vals: row.([]any)}
		fields, log := r.list(), r.list()
		if r.err != nil {
			return nil, r.err
		}
		if orders[i], err = l.order(nos[i], fields, log); err != nil {
			return nil, err
		}
		orders[i].Log, orders[i].Past = nil, nil
	}
	return orders, nil
}

// Stats are a merchant's orders in the ledger by state, and the fen that the
// paid ones among them brought. Orders that have left it are in PaidLeft alone.
type Stats struct {
	Orders     map[State]int64
	PaidAmount int64
	PaidLeft   int64
}

// MarshalJSON writes {"queued":n,…,"paid_amount":fen}, states in the order of
// States.
func (s Stats) MarshalJSON() ([]byte, error) {
	var b strings.Builder
	b.WriteByte('{')
	for _, state := range States {
		b.WriteString(strconv.Quote(string(state)) + ":" + strconv.FormatInt(s.Orders[state], 10) + ",")
	}
	b.WriteString(`"paid_amount":` + strconv.FormatInt(s.PaidAmount, 10) + "}")
	return []byte(b.String()), nil
}

// Stats returns the counters. They are kept by the scripts: reading them costs
// the same whatever the number of orders.
func (l *Ledger) Stats(ctx context.Context) (Stats, error) {
	fields, err := l.rdb.HGetAll(ctx, l.keys.Stats()).Result()
	if err != nil {
		return Stats{}, err
	}
	s := Stats{Orders: make(map[State]int64, len(States)), PaidAmount: atoi(fields["paid_amount"]), PaidLeft: atoi(fields["paid_left"])}
	for _, state := range States {
		s.Orders[state] = atoi(fields[string(state)])
	}
	return s, nil
}

// Merchants returns every mchid that has a ledger in this Redis, sorted.
func Merchants(ctx context.Context, rdb redis.UniversalClient) ([]string, error) {
	ids, err := rdb.SMembers(ctx, MerchantsKey).Result()
	slices.Sort(ids)
	return ids, err
}

// order reads a record and its log (newest first, as stored).
func (l *Ledger) order(no string, fields, log []any) (Order, error) {
	f := pairs(fields)
	o := Order{MchID: l.mchid, OutOrderNo: no, LastAttemptAt: f.time("last").UTC(), Next: Plan(f["next"]), LogGone: f["k"] != "" || f["last"] != ""}
	_ = decode(&o, orderDecoding, func(field Field) string { return f[field.Name] })
	if f["sync"] != "" {
		o.Sync = &Sync{State: SyncState(f["sync"]), Reason: f["syncwhy"], Calls: f.int("syncs")}
		if t, err := time.ParseInLocation(PaidTime, f["paidat"], China); err == nil {
			o.Sync.PaidAt = t.UTC()
		}
	}
	if !o.State.Open() && (o.Sync == nil || o.Sync.State != SyncPending) {
		o.NextDueAt = time.Time{}
	}
	var ok bool
	if o.Payments, ok = parsePayments(f["pays"]); !ok {
		return o, errReply
	}
	// The record remembers several; the last one is the newest.
	newest := f["differs"][strings.LastIndexByte(f["differs"], ';')+1:]
	var d Difference
	var at int64
	if n, _ := fmt.Sscan(newest, &at, &d.Field, &d.Known, &d.Said); n == 4 {
		d.At, o.AmountDiffers = time.UnixMilli(at).UTC(), &d
	}
	var low Lowering
	if n, _ := fmt.Sscan(f["lowered"], &at, &low.From, &low.To); n == 3 {
		low.At, o.TotalLowered = time.UnixMilli(at).UTC(), &low
	}
	var err error
	if o.Past, err = parsePast(f["past"]); err != nil {
		return o, err
	}
	if o.Actions, err = parseActions(f["acts"]); err != nil {
		return o, err
	}
	failed := func(e Entry) {
		if e.Failed && o.LastError == nil {
			o.LastError = &LastError{e.HTTPStatus, e.Code, e.DetailCode, e.Message, e.RequestID}
		}
	}
	for _, raw := range log {
		e, err := parseEntry(raw)
		if err != nil {
			return o, err
		}
		if e.At.After(o.LastAttemptAt) && e.Call != "notification" {
			o.LastAttemptAt = e.At
		}
		failed(e)
		o.Log = append(o.Log, e)
	}
	if f["err"] != "" { // older than the log
		e, err := parseEntry(f["err"])
		if err != nil {
			return o, err
		}
		failed(e)
	}
	slices.Reverse(o.Log)
	return o, nil
}

var orderDecoding = decodingOf[Order]()

// parsePast reads the ends that open.lua remembers.
func parsePast(s string) ([]PastEnd, error) {
	if s == "" {
		return nil, nil
	}
	var raw []struct {
		State           State
		Reason          string
		Ended, Reopened float64 // ms, as Lua writes numbers
	}
	if json.Unmarshal([]byte(s), &raw) != nil {
		return nil, errReply
	}
	past := make([]PastEnd, len(raw))
	for i, r := range raw {
		past[i] = PastEnd{State: r.State, Reason: r.Reason, ReopenedAt: time.UnixMilli(int64(r.Reopened)).UTC()}
		if r.Ended > 0 {
			past[i].EndedAt = time.UnixMilli(int64(r.Ended)).UTC()
		}
	}
	return past, nil
}

// Lag returns how long the first order of the due index has been due, by
// Redis's clock.
func (l *Ledger) Lag(ctx context.Context) (time.Duration, error) {
	ms, err := lagScript.Run(ctx, l.rdb, []string{l.keys.Due()}).Int64()
	return time.Duration(ms) * time.Millisecond, err
}
