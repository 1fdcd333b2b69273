package books

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"

	"payscore-collector/internal/ledger"
	"payscore-collector/internal/queue"
	"payscore-collector/tasks"
)

const (
	// asked is how long after the first comparison a day is compared again of which orders
	// were queried.
	asked = 10 * time.Minute
	// UsualAt is the default of BOOKS_AT, for those who do not know the workers' setting.
	UsualAt = 10*time.Hour + 30*time.Minute
)

// Close compares a day and stores the result. Open orders of which the bill has a payment
// that the ledger has not are due for a query at once; a worker queries those in another
// final state than paid. Workers compare the day again where more may be known later; at is
// their BOOKS_AT. acted is the time of the plan on which a worker closes the day; zero
// otherwise.
func Close(ctx context.Context, rdb redis.UniversalClient, l *ledger.Ledger, day time.Time, source Source, at time.Duration, acted time.Time) (Result, error) {
	before, err := l.BooksAt(ctx, []ledger.BookDate{ledger.BookDateOf(day)})
	if err != nil {
		return Result{}, fmt.Errorf("read the ledger: %w", err)
	}
	r, err := Compare(ctx, l, day, source)
	if err != nil {
		return Result{}, err
	}
	text, err := json.Marshal(r)
	if err != nil {
		return Result{}, err
	}
	news, err := json.Marshal(r.short())
	if err != nil {
		return Result{}, err
	}
	counts := map[string]int64{}
	for kind, n := range r.Counts() {
		counts[string(kind)] = n
	}
	plan := ledger.BookPlan{Acted: acted, Agreed: r.Agrees() && r.Waiting == nil}
	switch {
	case len(r.Ask) > 0 && before[0].IsZero(): // once: an order that stays unpaid asks for no end of comparisons
		plan.After = asked
	case r.Waiting != nil: // what is around midnight may be in the next day's bill
		plan.After = max(0, time.Until(Day(day).AddDate(0, 0, 2).Add(at)))
	}
	if r.ClosedAt, err = l.CloseBook(ctx, ledger.BookDate(r.Date), text, news, counts, r.Ask, plan); err != nil {
		return Result{}, fmt.Errorf("store the books of %s: %w", r.Date, err)
	}
	if len(r.Ask) == 0 {
		return r, nil
	}
	q := queue.New(rdb)
	for _, no := range r.Ask {
		if err := AskOpen(ctx, l, q, no); err != nil {
			return Result{}, fmt.Errorf("have order %s queried: %w", no, err)
		}
	}
	_ = q.Wake(ctx, l.MchID())
	return r, nil
}

// short is the result with as many exceptions as an event lists.
func (r Result) short() Result {
	if n := len(r.Exceptions) - ledger.BooksListed; n > 0 {
		r.Exceptions, r.LeftOut = r.Exceptions[:ledger.BooksListed], r.LeftOut+int64(n)
	}
	return r
}

// AskOpen has an open order queried at once. One in a final state stays for the workers.
func AskOpen(ctx context.Context, l *ledger.Ledger, q *queue.Client, no string) error {
	a, err := l.Ask(ctx, no, "", 0, tasks.EnqueueGrace, 1, time.Time{}) // without a query of its own it takes no slot
	if err == nil && a.Code == ledger.AskOpen {
		PushAsked(ctx, q, no, a)
	}
	return err
}

// PushAsked enqueues the step of an open order that Ask has made due. The sweep enqueues
// what it does not.
func PushAsked(ctx context.Context, q *queue.Client, no string, a ledger.Asked) {
	o := a.Owner
	_ = q.Push(ctx, queue.Task{Type: queue.TypeCollect, MchID: o.MchID, OutOrderNo: no, Round: a.Round,
		Payload: tasks.Payload{MchID: o.MchID, OutOrderNo: no, AppID: o.AppID, ServiceID: o.ServiceID}})
}

// ErrUnreadable says that what is stored of a day is not JSON as Close writes it. Workers
// take the day for closed and do not compare it again; outcomes books does. errors.Is finds
// ledger.ErrNotFound in it, so that a reader of several days passes over this one.
var ErrUnreadable = fmt.Errorf("the stored books cannot be read: %w", ledger.ErrNotFound)

// Load returns what came of a day, ledger.ErrNotFound or ErrUnreadable. Of one that cannot be
// read it returns which day it is, and when it was closed.
func Load(ctx context.Context, l *ledger.Ledger, date ledger.BookDate) (Result, error) {
	text, at, err := l.Book(ctx, date)
	if err != nil {
		return Result{}, err
	}
	var r Result
	if err := json.Unmarshal(text, &r); err != nil {
		return Result{MchID: l.MchID(), Date: string(date), ClosedAt: at}, fmt.Errorf("%s: %w: %w", date, ErrUnreadable, err)
	}
	r.ClosedAt = at
	return r, nil
}

// Oldest is how many days back WeChat Pay has bills at least.
const Oldest = 89

// ValidDay reports what is wrong with a day whose books are to be closed.
func ValidDay(day, now time.Time) error {
	today := Day(now)
	switch {
	case !day.Before(today):
		return fmt.Errorf("is %s, which is not over in Shanghai: write a day before %s", day.Format(time.DateOnly), today.Format(time.DateOnly))
	case day.Before(today.AddDate(0, 0, -Oldest)):
		return fmt.Errorf("is %s: WeChat Pay has bills of three months; write %s or later, or read a downloaded one with --file",
			day.Format(time.DateOnly), today.AddDate(0, 0, -Oldest).Format(time.DateOnly))
	}
	return nil
}
