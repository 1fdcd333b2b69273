package books

import (
	"context"
	"fmt"
	"hash/maphash"
	"io"
	"iter"
	"slices"
	"strings"
	"time"

	"payscore-collector/internal/explain"
	"payscore-collector/internal/ledger"
)

// Ledger is the ledger that a day is compared with.
type Ledger interface {
	MchID() string
	PaidSince(context.Context, time.Time) iter.Seq2[ledger.Order, error]
	Records(context.Context, []string) ([]ledger.Order, error)
}

// Bill is a bill that can be had.
type Bill struct {
	// SHA1 is what the uncompressed bill must have, by WeChat Pay's signed word; empty for
	// a file that finance has downloaded.
	SHA1 string
	// Open opens it. It is nil where WeChat Pay has signed that there were no transactions.
	Open func(context.Context) (io.ReadCloser, error)
}

// Source finds the bill of a day. It returns nil for a neighbouring day's that cannot be
// had.
type Source func(ctx context.Context, day time.Time) (*Bill, error)

// learnt is how long before a payment, by WeChat Pay's clock, its order may have ended by
// Redis's.
const learnt = time.Hour

// Compare holds a day's bill against the ledger. The source is asked for the bills of
// neighbouring days only where the ledger has payments around midnight that the day's bill
// has not.
func Compare(ctx context.Context, l Ledger, day time.Time, source Source) (Result, error) {
	day = Day(day)
	bill, err := source(ctx, day)
	if err != nil {
		return Result{}, err
	}
	c := &comparison{
		ctx: ctx, l: l, day: day, next: day.AddDate(0, 0, 1),
		table: &table{seed: maphash.MakeSeed()}, several: map[uint64]*parts{}, unsigned: map[string][]Row{}, wrong: map[string]*amounts{},
		refunds: map[string]int64{},
	}
	c.r.MchID, c.r.Date, c.r.Exceptions = l.MchID(), day.Format(time.DateOnly), []Exception{}
	if err := c.readLedger(); err != nil {
		return Result{}, fmt.Errorf("read the ledger: %w", err)
	}
	if err := c.readBill(bill); err != nil {
		return Result{}, err
	}
	if err := c.judgeBill(); err != nil {
		return Result{}, fmt.Errorf("read the ledger: %w", err)
	}
	if err := c.judgeLedger(source); err != nil {
		return Result{}, err
	}
	slices.SortStableFunc(c.r.Exceptions, func(a, b Exception) int {
		return slices.Index(explain.BookKinds, a.Kind) - slices.Index(explain.BookKinds, b.Kind)
	})
	return c.r, nil
}

// comparison is a day while it is compared. What it keeps of a payment that agrees is 16
// bytes, so that a million fit into little memory: the rows of the bill are read once, and
// orders that need a closer look are read again.
type comparison struct {
	ctx       context.Context
	l         Ledger
	day, next time.Time
	r         Result

	// table has the day's signed payments.
	table *table
	// several has, for the payments of orders with several on the day, their order.
	several map[uint64]*parts
	overdue []ledger.Order // orders of which more is signed than they come to
	left    int64          // payments of table that were not seen

	batch    []Row            // rows whose order is still to be looked up
	unsigned map[string][]Row // payments that the ledger does not have, by out_order_no
	wrong    map[string]*amounts
	refunds  map[string]int64 // by transaction_id
	ours     int64            // rows of this merchant
	today    int64            // of those, the ones of this day
	firstDay time.Time
}

// parts are the payments of an order on the day.
type parts struct{ left int }

// found reports whether the last one is found.
func (p *parts) found() bool { p.left--; return p.left == 0 }

// lost reports whether all were found.
func (p *parts) lost() bool { p.left++; return p.left == 1 }

// amounts are what is said of a payment.
type amounts struct {
	no           string
	bill, ledger int64
	repeat       bool
}

// onDay reports whether a payment belongs to the day, and to the bill at all.
func (c *comparison) onDay(p ledger.Payment) bool {
	return p.PaidType != paidElsewhere && !p.PaidAt.Before(c.day) && p.PaidAt.Before(c.next)
}

// paidElsewhere is the paid_type of payments that the merchant has reported by a sync. They
// are in no bill.
const paidElsewhere = "MCH"

// known is what identifies a payment in table.
func known(o ledger.Order, p ledger.Payment) string {
	if p.TransactionID != "" {
		return p.TransactionID
	}
	return fmt.Sprintf("%s#%d", o.OutOrderNo, p.Seq) // no transaction_id has a #
}

// readLedger fills table.
func (c *comparison) readLedger() error {
	for o, err := range c.l.PaidSince(c.ctx, c.day.Add(-learnt)) {
		if err != nil {
			return err
		}
		var fresh []uint64
		for _, p := range o.Payments {
			if !c.onDay(p) {
				continue
			}
			key := c.table.key(known(o, p))
			if !c.table.add(key, p.Amount) {
				continue
			}
			c.r.Ledger.Amount += p.Amount
			fresh = append(fresh, key)
		}
		if len(fresh) == 0 {
			continue // older, elsewhere, or seen before
		}
		c.left += int64(len(fresh))
		c.r.Ledger.Orders++
		if len(fresh) > 1 {
			order := &parts{left: len(fresh)}
			for _, key := range fresh {
				c.several[key] = order
			}
		}
		if total, ok := comesTo(o); ok && c.signedUntil(o) > total {
			c.overdue = append(c.overdue, o)
		}
	}
	return nil
}

// comesTo is what an order comes to: WeChat Pay's signed word, or billing's.
func comesTo(o ledger.Order) (int64, bool) {
	switch {
	case o.TotalAmount != nil:
		return *o.TotalAmount, true
	case o.BillingAmount != nil:
		return *o.BillingAmount, true
	}
	return 0, false
}

// signedUntil is what WeChat Pay has signed of an order until the end of the day, those
// elsewhere too.
func (c *comparison) signedUntil(o ledger.Order) (sum int64) {
	for _, p := range o.Payments {
		if p.PaidAt.Before(c.next) {
			sum += p.Amount
		}
	}
	return sum
}

// readBill reads the bill, and sees which payments of the ledger it has.
func (c *comparison) readBill(bill *Bill) error {
	sum, err := bill.read(c.ctx, c.row)
	if err != nil {
		return err
	}
	if err := c.lookUp(); err != nil {
		return err
	}
	switch {
	case sum.Rows > 0 && c.ours == 0:
		return &Error{Reason: fmt.Sprintf("no row of it is merchant %s's; it is another merchant's bill", c.l.MchID())}
	case c.ours > 0 && c.today == 0:
		return &Error{Reason: fmt.Sprintf("no row of it is of %s; its first one is of %s", c.r.Date, c.firstDay.Format(time.DateOnly))}
	}
	c.r.Bill.Rows, c.r.Bill.SHA1 = sum.Rows, sum.SHA1
	return nil
}

// read reads the bill, if there were transactions, and compares its hash.
func (b *Bill) read(ctx context.Context, each func(Row) error) (Summary, error) {
	if b.Open == nil {
		return Summary{}, nil
	}
	text, err := b.Open(ctx)
	if err != nil {
		return Summary{}, err
	}
	defer text.Close()
	sum, err := Read(text, each)
	if err == nil && b.SHA1 != "" && !strings.EqualFold(sum.SHA1, b.SHA1) {
		return Summary{}, &Error{Reason: fmt.Sprintf("its SHA1 is %s, and WeChat Pay has signed %s: it is not the bill that WeChat Pay made. Download it again", sum.SHA1, shown(b.SHA1))}
	}
	return sum, err
}
