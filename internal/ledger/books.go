package ledger

import (
	"context"
	"encoding/json"
	"iter"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"payscore-collector/internal/owner"
)

// Records returns the orders of some numbers, without their logs and past, in the same
// order. The state of a number that the ledger does not have is empty.
func (l *Ledger) Records(ctx context.Context, nos []string) ([]Order, error) {
	orders := make([]Order, 0, len(nos))
	for page := range slices.Chunk(nos, listPage) {
		records, err := l.records(ctx, page)
		if err != nil {
			return nil, err
		}
		orders = append(orders, records...)
	}
	return orders, nil
}

// PaidSince yields the orders of which WeChat Pay has signed a payment, but for paid ones
// that ended before a time: all their payments are older. No order is missed whose payment
// the ledger has when it begins, unless the order is reopened meanwhile; one that changes
// its state may come twice.
// After an error it stops.
func (l *Ledger) PaidSince(ctx context.Context, since time.Time) iter.Seq2[Order, error] {
	return func(yield func(Order, error) bool) {
		// Open orders come first and paid ones last, as orders move.
		states := slices.DeleteFunc(slices.Clone(States), func(s State) bool { return s == Paid })
		for _, q := range []Query{{States: states}, {States: []State{Paid}, Since: since}} {
			for _, part := range q.parts() {
				for at, last := (Place{Part: part}), false; !last; {
					b, err := l.batch(ctx, q, at, batchMost)
					if err != nil {
						yield(Order{}, err)
						return
					}
					if !l.paid(ctx, b.nos, yield) {
						return
					}
					at, last = b.end, b.last
				}
			}
		}
	}
}

// paid yields those of some orders that have a payment. It reports whether to continue.
func (l *Ledger) paid(ctx context.Context, nos []string, yield func(Order, error) bool) bool {
	for page := range slices.Chunk(nos, listPage) {
		keys := append(make([]string, 0, 1+len(page)), l.keys.Words())
		for _, no := range page {
			keys = append(keys, l.keys.Order(no))
		}
		rows, err := paidScript.Run(ctx, l.rdb, keys).Slice()
		if err == nil && len(rows) != len(page) {
			err = errReply
		}
		if err != nil {
			yield(Order{}, err)
			return false
		}
		for i, row := range rows {
			fields, ok := row.([]any)
			if ok && len(fields) == 0 {
				continue
			}
			var o Order
			if err = errReply; ok {
				o, err = l.order(page[i], fields, nil)
			}
			if err != nil {
				yield(Order{}, err)
				return false
			}
			o.Past = nil
			if !yield(o, nil) {
				return false
			}
		}
	}
	return true
}

// KeepBooks is how long what came of a day is kept.
const KeepBooks = 400 * 24 * time.Hour

// BookDateOf is the day of a time in Shanghai.
func BookDateOf(t time.Time) BookDate { return BookDate(t.In(China).Format(time.DateOnly)) }

// Start is when the day begins.
func (d BookDate) Start() (time.Time, error) {
	return time.ParseInLocation(time.DateOnly, string(d), China)
}

// BookPlan says when workers compare a day again, after a comparison.
type BookPlan struct {
	After  time.Duration // by Redis's clock; 0 for never
	Acted  time.Time     // the planned time on which the comparison has acted; zero for none
	Agreed bool          // nothing is left to compare
}

// CloseBook stores what came of comparing a day with WeChat Pay's bill, as JSON, how many
// exceptions of each kind there are, and which orders must be queried because of it. It
// replaces what an earlier comparison said, and can be repeated. An earlier plan stays where
// the day does not agree, unless the comparison has acted on it. If the result is another
// one than before, it writes an event with news, the same in short.
func (l *Ledger) CloseBook(ctx context.Context, date BookDate, result, news []byte, counts map[string]int64, ask []string, plan BookPlan) (at time.Time, err error) {
	start, err := date.Start()
	if err != nil {
		return time.Time{}, err
	}
	if ask == nil {
		ask = []string{}
	}
	kinds, err := json.Marshal(counts)
	if err != nil {
		return time.Time{}, err
	}
	r := run(ctx, l.rdb, closeBookScript, []string{l.keys.Book(date), l.keys.Books(), l.keys.Bookkeeping(), l.keys.Acks(), l.keys.Outcomes()}, map[string]any{
		"date": date, "start": start.UnixMilli(), "keep": KeepBooks.Milliseconds(),
		"asks": ask, "counts": string(kinds), "again": plan.After.Milliseconds(),
		"acted": plan.Acted.UnixMilli(), "agreed": plan.Agreed,
	}, result, news)
	at = r.time().UTC()
	return at, r.err
}

// Book returns what came of a day, and when, or ErrNotFound.
func (l *Ledger) Book(ctx context.Context, date BookDate) (result []byte, at time.Time, err error) {
	f, err := l.rdb.HGetAll(ctx, l.keys.Book(date)).Result()
	if err != nil {
		return nil, time.Time{}, err
	}
	if f["result"] == "" {
		return nil, time.Time{}, ErrNotFound
	}
	return []byte(f["result"]), millis(f["at"]).UTC(), nil
}

// BooksAt returns when the books of some days were closed last, in the same order; zero for
// a day whose books are not there.
func (l *Ledger) BooksAt(ctx context.Context, dates []BookDate) ([]time.Time, error) {
	at := make([]time.Time, len(dates))
	if len(dates) == 0 {
		return at, nil
	}
	pipe := l.rdb.Pipeline()
	replies := make([]*redis.SliceCmd, len(dates))
	for i, date := range dates {
		replies[i] = pipe.HMGet(ctx, l.keys.Book(date), "at")
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return nil, err
	}
	for i, reply := range replies {
		if ms, ok := reply.Val()[0].(string); ok {
			at[i] = millis(ms).UTC()
		}
	}
	return at, nil
}

// BookDates returns the days whose books were closed, since a day, oldest first.
func (l *Ledger) BookDates(ctx context.Context, since BookDate) ([]BookDate, error) {
	start, err := since.Start()
	if err != nil {
		return nil, err
	}
	list, err := l.rdb.ZRangeArgs(ctx, redis.ZRangeArgs{
		Key: l.keys.Books(), ByScore: true, Start: strconv.FormatInt(start.UnixMilli(), 10), Stop: "+inf",
	}).Result()
	dates := make([]BookDate, len(list))
	for i, date := range list {
		dates[i] = BookDate(date)
	}
	return dates, err
}

// BookTurn asks for the turn to close the books, for lease, or for more of it. It reports
// whether it is the caller's.
func (l *Ledger) BookTurn(ctx context.Context, token string, lease time.Duration) (bool, error) {
	return l.bookTurn(ctx, token, lease, "", 0, "")
}

// BeginBooks says which is the first day whose books workers close, unless that is known.
func (l *Ledger) BeginBooks(ctx context.Context, date BookDate) error {
	_, err := l.bookTurn(ctx, NewToken(), 0, "", 0, date)
	return err
}

// EndBookTurn ends the caller's turn. A date that is not empty is not to be tried again for
// a while, or, below zero, not at all.
func (l *Ledger) EndBookTurn(ctx context.Context, token string, date BookDate, again time.Duration) error {
	_, err := l.bookTurn(ctx, token, 0, date, again, "")
	return err
}

func (l *Ledger) bookTurn(ctx context.Context, token string, lease time.Duration, date BookDate, again time.Duration, begin BookDate) (bool, error) {
	r := run(ctx, l.rdb, bookTurnScript, []string{l.keys.Bookkeeping()}, map[string]any{
		"token": token, "lease": lease.Milliseconds(), "date": date, "again": again.Milliseconds(), "begin": begin,
	})
	granted := r.str() == string(Granted)
	return granted, r.err
}

// Bookkeeping is what workers know of the books together.
type Bookkeeping struct {
	Since  BookDate               // the first day that workers close; empty before they have begun
	Last   BookDate               // the newest closed day; empty for none
	Counts map[string]int64       // its exceptions by kind
	Again  map[BookDate]time.Time // when a day is tried again
	Asks   []string               // orders to query, sorted
}

// Bookkeeping returns what workers know of the books together.
func (l *Ledger) Bookkeeping(ctx context.Context) (Bookkeeping, error) {
	all, err := Bookkeepings(ctx, l.rdb, []string{l.mchid})
	if err != nil {
		return Bookkeeping{}, err
	}
	return all[0], nil
}

// Bookkeepings is Bookkeeping of several merchants, in one round trip.
func Bookkeepings(ctx context.Context, rdb redis.UniversalClient, mchids []string) ([]Bookkeeping, error) {
	pipe := rdb.Pipeline()
	replies := make([]*redis.MapStringStringCmd, len(mchids))
	for i, mchid := range mchids {
		replies[i] = pipe.HGetAll(ctx, KeysOf(mchid).Bookkeeping())
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return nil, err
	}
	all := make([]Bookkeeping, len(mchids))
	for i, reply := range replies {
		b := Bookkeeping{Again: map[BookDate]time.Time{}}
		for name, value := range reply.Val() {
			if date, ok := strings.CutPrefix(name, "again:"); ok {
				b.Again[BookDate(date)] = millis(value)
			} else if no, ok := strings.CutPrefix(name, "ask:"); ok {
				b.Asks = append(b.Asks, no)
			}
		}
		b.Since = BookDate(reply.Val()["since"])
		last, counts, _ := strings.Cut(reply.Val()["last"], " ")
		b.Last = BookDate(last)
		_ = json.Unmarshal([]byte(counts), &b.Counts) // closebook wrote it, or there is none
		slices.Sort(b.Asks)
		all[i] = b
	}
	return all, nil
}

// The codes of ask.lua.
const (
	AskOpen  Code = "open"  // the order is due now, and its next step is a query
	AskEnded Code = "ended" // the caller has its lease, and queries; then Told
	AskLater Code = "later" // a worker has it now; ask again
	AskPaced Code = "paced" // too many calls wait for a slot; ask again after Wait
	AskDone  Code = "done"  // it is paid, or there is no such order; or a sweep takes it next
)

// Asked is the answer to Ask. Owner and Round are of AskOpen and AskEnded alone.
type Asked struct {
	Code  Code
	Owner owner.Owner
	Round int64
	Wait  time.Duration // AskEnded: until the slot of the query; AskPaced: see there
}

// slotHorizon is how far ahead the books' calls take a slot, as claims do.
const slotHorizon = time.Second

// AwaitSlot takes a slot of the merchant's rate, in calls a second, for a call that is of no
// order, and waits for it. After an error there must be no call.
func (l *Ledger) AwaitSlot(ctx context.Context, rate float64) error {
	for {
		granted, wait, err := l.slot(ctx, rate)
		if err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(wait):
		}
		if granted {
			return nil
		}
	}
}

func (l *Ledger) slot(ctx context.Context, rate float64) (granted bool, wait time.Duration, err error) {
	r := run(ctx, l.rdb, callSlotScript, []string{l.keys.Gate()}, map[string]any{
		"interval": interval(rate), "horizon": slotHorizon.Microseconds(),
	})
	granted = r.str() == string(Granted)
	_ = r.int() // Redis's clock
	wait = time.Duration(r.int()) * time.Microsecond
	return granted, wait, r.err
}

// Ask has an order queried of which a bill has a payment that the ledger has not. A caller
// that does not query itself has no token, and gets no lease. rate and sure are as in
// Limits; lease is without the wait for the slot.
func (l *Ledger) Ask(ctx context.Context, no, token string, lease, grace time.Duration, rate float64, sure time.Time) (Asked, error) {
	r := run(ctx, l.rdb, askScript, []string{l.keys.Order(no), l.keys.Due(), l.keys.Words(), l.keys.Bookkeeping(), l.keys.Sweep(), l.keys.Gate()}, map[string]any{
		"no": no, "token": token, "lease": lease.Milliseconds(), "grace": grace.Milliseconds(),
		"sure": sureMS(sure), "interval": interval(rate), "horizon": slotHorizon.Microseconds(),
	})
	a := Asked{Code: Code(r.str())}
	_ = r.int() // Redis's clock
	a.Owner = owner.Owner{MchID: l.mchid, AppID: r.str(), ServiceID: r.str()}
	a.Round = r.int()
	a.Wait = time.Duration(r.int()) * time.Microsecond
	return a, r.err
}

// Told ends the lease that Ask has given for an order in a final state, and forgets that
// the order must be queried.
func (l *Ledger) Told(ctx context.Context, no, token string) error {
	return toldScript.Run(ctx, l.rdb, []string{l.keys.Order(no), l.keys.Bookkeeping()}, no, token).Err()
}
