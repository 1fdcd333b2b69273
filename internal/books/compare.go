package books

import (
	"context"
	"encoding/json"
	"fmt"
	"hash/maphash"
	"io"
	"iter"
	"regexp"
	"slices"
	"strings"
	"time"

	"payscore-collector/internal/explain"
	"payscore-collector/internal/ledger"
)

// Tally counts orders and what they come to, in fen.
type Tally struct {
	Orders int64 `json:"orders" doc:"Orders." example:"2"`
	Amount int64 `json:"amount" doc:"Fen." example:"1750"`
}

// Result is what comes of comparing a day. Its JSON is part of the interface; amounts are
// in fen.
type Result struct {
	MchID string `json:"mchid" doc:"Merchant number." example:"1900000109"`
	Date  string `json:"date" doc:"The day, in Shanghai." example:"2026-01-01"`
	Bill  struct {
		Rows         int64  `json:"rows" doc:"Rows of the bill."`
		PayScoreRows int64  `json:"payscore_rows" doc:"Payments and refunds of PayScore orders."` // payments and refunds of PayScore orders
		Amount       int64  `json:"amount" doc:"Fen." example:"1750"`                             // of those payments
		SHA1         string `json:"sha1" doc:"SHA1 of the uncompressed bill; empty for a day without transactions."`
	} `json:"bill" doc:"WeChat Pay's trade bill of the day; its amount is that of PayScore payments."`
	// Ledger are the day's payments that WeChat Pay has signed, without those elsewhere
	// (MCH), and Matched are those of them that a bill has with the same amount.
	Ledger  Tally `json:"ledger" doc:"The day's payments that WeChat Pay has signed, without those elsewhere."`
	Matched Tally `json:"matched" doc:"Those of them that a bill has with the same amount."`
	// Waiting are payments around midnight that may be in the bill of a neighbouring day,
	// which could not be had.
	Waiting *Tally `json:"waiting,omitempty" doc:"Payments around midnight that may be in a neighbouring bill, which could not be had."`
	// Exceptions is never nil. LeftOut is how many more than MaxExceptions there are.
	Exceptions []Exception `json:"exceptions" nullable:"false" doc:"What does not agree."`
	LeftOut    int64       `json:"exceptions_left_out,omitempty" doc:"How many more exceptions there are than are listed."`
	// Ask are the orders, not paid yet, of which the bill has a payment that the ledger has
	// not: they must be queried.
	Ask      []string  `json:"-"`
	ClosedAt time.Time `json:"closed_at,omitzero" doc:"When the day was compared."`
}

// Exception is one thing in which the bill and the ledger do not agree.
type Exception struct {
	Kind          explain.BookKind `json:"kind" enum:"paid_in_bill_only,paid_in_ledger_only,amount_differs,paid_twice,refunded,unknown_order" doc:"What does not agree; refunded is information."`
	OutOrderNo    string           `json:"out_order_no,omitempty" doc:"The order."`
	OrderID       string           `json:"order_id,omitempty" doc:"WeChat Pay's number of the order."`
	TransactionID string           `json:"transaction_id,omitempty" doc:"WeChat Pay's number of the payment."`
	BillAmount    int64            `json:"bill_amount,omitempty" doc:"Fen, by the bill."`
	LedgerAmount  int64            `json:"ledger_amount,omitempty" doc:"Fen, by WeChat Pay's signed word."`
	State         ledger.State     `json:"state,omitempty" doc:"The order's state; absent where the ledger does not have it."`
	Detail        string           `json:"detail" doc:"In words."`
	// Of a paid_twice: the other transaction_ids, and the refund that would mend it.
	Others []string `json:"other_transaction_ids,omitempty" doc:"Of a paid_twice: the order's other payments."`
	Refund *Refund  `json:"refund,omitempty" doc:"Of a paid_twice: the body of POST /v3/refund/domestic/refunds that would mend it."`

	Facts explain.BookException `json:"-"` // for words in another language
}

// Refund is the body of POST /v3/refund/domestic/refunds that gives back what was paid too
// much. Nothing here sends it.
type Refund struct {
	TransactionID string       `json:"transaction_id" doc:"The payment to refund."`
	OutRefundNo   string       `json:"out_refund_no" doc:"The merchant's number of the refund."`
	Reason        string       `json:"reason" doc:"Why."`
	Amount        RefundAmount `json:"amount" doc:"How much."`
}

// RefundAmount is in fen: what is refunded, and what the payment came to.
type RefundAmount struct {
	Refund   int64  `json:"refund" doc:"Fen to refund."`
	Total    int64  `json:"total" doc:"Fen of the payment."`
	Currency string `json:"currency" doc:"CNY."`
}

// String is the refund as it is copied.
func (r Refund) String() string {
	text, _ := json.Marshal(r) // cannot fail: texts and numbers
	return string(text)
}

// MaxExceptions is how many exceptions of a day are listed.
const MaxExceptions = 10_000

// Counts returns how many exceptions are listed of each kind.
func (r Result) Counts() map[explain.BookKind]int64 {
	counts := make(map[explain.BookKind]int64, len(explain.BookKinds))
	for _, k := range explain.BookKinds {
		counts[k] = 0
	}
	for _, e := range r.Exceptions {
		counts[e.Kind]++
	}
	return counts
}

// Agrees reports whether nothing asks for an action.
func (r Result) Agrees() bool {
	return r.LeftOut == 0 && !slices.ContainsFunc(r.Exceptions, func(e Exception) bool { return !e.Kind.Alone() })
}

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

// Edge is how far from midnight a payment may be for the neighbouring day's bill to have it.
const Edge = 10 * time.Minute

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

// lookUpRows is how many rows are looked up in the ledger at once.
const lookUpRows = 500

func (c *comparison) row(r Row) error {
	if r.MchID != c.l.MchID() && r.SubMchID != c.l.MchID() {
		return nil // another merchant of the service provider
	}
	if c.ours == 0 {
		c.firstDay = r.At
	}
	c.ours++
	if !r.At.Before(c.day) && r.At.Before(c.next) {
		c.today++
	}
	_, _, auth := r.PayScore()
	if !auth && !r.ByUser() || r.Status == StatusRevoked {
		return nil // other business
	}
	if r.Status == StatusSuccess && c.match(r) {
		return nil
	}
	if c.batch = append(c.batch, r); len(c.batch) < lookUpRows {
		return nil
	}
	return c.lookUp()
}

// match looks for a payment of the bill in table. It reports whether it is there.
func (c *comparison) match(r Row) bool {
	key := c.table.key(r.TransactionID)
	e := c.table.find(key)
	if e == nil {
		return false
	}
	c.r.Bill.PayScoreRows++
	c.r.Bill.Amount += r.Amount
	again, signed := e.seen(), e.signed()
	e.amount |= seen
	w := c.wrong[r.TransactionID]
	switch {
	case !again && r.comesTo(signed):
		c.left--
		c.r.Matched.Amount += signed
		if order := c.several[key]; order == nil || order.found() {
			c.r.Matched.Orders++
		}
	case !again:
		c.left--
		c.differs(r.TransactionID, amounts{no: r.no(), bill: r.Amount, ledger: signed})
	case w == nil: // a second row of a payment that was matched
		c.r.Matched.Amount -= signed
		if order := c.several[key]; order == nil || order.lost() {
			c.r.Matched.Orders--
		}
		c.differs(r.TransactionID, amounts{no: r.no(), bill: signed + r.Amount, ledger: signed, repeat: true})
	default:
		w.bill, w.repeat = w.bill+r.Amount, true
	}
	return true
}

// differs notes what is said of a payment whose amounts differ.
func (c *comparison) differs(tx string, a amounts) {
	if len(c.wrong) == MaxExceptions {
		c.r.LeftOut++
		return
	}
	c.wrong[tx] = &a
}

// comesTo reports whether the row can be a payment of so much.
func (r Row) comesTo(fen int64) bool { return fen >= r.Amount && fen <= r.Amount+r.Coupon }

// orderNo is the form of an out_order_no. JSAPI rows of other business have any other.
var orderNo = regexp.MustCompile(`^[0-9A-Za-z_|*-]{1,32}$`)

// lookUp looks up the orders of the rows of batch.
func (c *comparison) lookUp() error {
	rows := c.batch
	c.batch = c.batch[:0]
	nos := make([]string, 0, len(rows))
	for _, r := range rows {
		if no := r.no(); orderNo.MatchString(no) {
			nos = append(nos, no)
		}
	}
	slices.Sort(nos)
	nos = slices.Compact(nos)
	orders, err := c.l.Records(c.ctx, nos)
	if err != nil {
		return fmt.Errorf("read the ledger: %w", err)
	}
	of := make(map[string]ledger.Order, len(orders))
	for _, o := range orders {
		if o.State.Valid() {
			of[o.OutOrderNo] = o
		}
	}
	for _, r := range rows {
		o, ours := of[r.no()]
		orderID, _, auth := r.PayScore()
		if !ours && !auth {
			continue // other business by JSAPI
		}
		c.r.Bill.PayScoreRows++
		if r.Status == StatusRefund {
			c.refund(r, o, orderID)
			continue
		}
		c.r.Bill.Amount += r.Amount
		switch {
		case !ours:
			c.except(Exception{Kind: explain.UnknownOrder, OutOrderNo: r.no(), OrderID: orderID, TransactionID: r.TransactionID, BillAmount: r.Amount}, explain.BookException{})
		case !c.signed(r, o):
			if n := len(c.unsigned); n < MaxExceptions || c.unsigned[r.no()] != nil {
				r.Line, r.Attach = 0, "" // what is kept of a row is little
				c.unsigned[o.OutOrderNo] = append(c.unsigned[o.OutOrderNo], r)
			} else {
				c.r.LeftOut++
			}
		}
	}
	return nil
}

// no is the out_order_no that a row names.
func (r Row) no() string {
	if _, no, auth := r.PayScore(); auth {
		return no
	}
	return r.OutTradeNo
}

// signed looks for a payment of the bill among all payments of its order: it may be another
// day's by its paid_time, or have been learnt since the comparison began.
func (c *comparison) signed(r Row, o ledger.Order) bool {
	for _, p := range o.Payments {
		if p.TransactionID != r.TransactionID {
			continue
		}
		if c.onDay(p) {
			if c.table.add(c.table.key(r.TransactionID), p.Amount) {
				c.left++
				c.r.Ledger.Orders++
				c.r.Ledger.Amount += p.Amount
			}
			c.r.Bill.PayScoreRows-- // match counts it
			c.r.Bill.Amount -= r.Amount
			return c.match(r)
		}
		if !r.comesTo(p.Amount) {
			c.differs(r.TransactionID, amounts{no: o.OutOrderNo, bill: r.Amount, ledger: p.Amount})
		}
		return true
	}
	return false
}

func (c *comparison) refund(r Row, o ledger.Order, orderID string) {
	c.refunds[r.TransactionID] += r.Refund
	if orderID == "" {
		orderID = o.OrderID
	}
	c.except(Exception{
		Kind: explain.Refunded, OutOrderNo: r.no(), OrderID: orderID, TransactionID: r.TransactionID, BillAmount: r.Refund, State: o.State,
	}, explain.BookException{})
}

// except lists an exception, with its words.
func (c *comparison) except(e Exception, f explain.BookException) {
	if len(c.r.Exceptions) >= MaxExceptions {
		if !e.Kind.Alone() {
			c.r.LeftOut++
		}
		return
	}
	f.Kind, f.Bill, f.Ledger, f.State, f.Others = e.Kind, e.BillAmount, e.LedgerAmount, e.State, e.Others
	e.Facts = f
	e.Detail = explain.Teller{}.BookDetail(f)
	c.r.Exceptions = append(c.r.Exceptions, e)
}

// judgeBill judges what the bill has and the ledger has not, or has otherwise.
func (c *comparison) judgeBill() error {
	nos := make([]string, 0, len(c.unsigned)+len(c.wrong))
	for no := range c.unsigned {
		nos = append(nos, no)
	}
	for _, w := range c.wrong {
		nos = append(nos, w.no)
	}
	slices.Sort(nos)
	nos = slices.Compact(nos)
	// Once more: what has been learnt meanwhile counts.
	orders, err := c.l.Records(c.ctx, nos)
	if err != nil {
		return err
	}
	of := make(map[string]ledger.Order, len(orders))
	for _, o := range orders {
		of[o.OutOrderNo] = o
	}
	for _, no := range nos {
		c.judgeUnsigned(of[no], c.unsigned[no])
	}
	txs := make([]string, 0, len(c.wrong))
	for tx := range c.wrong {
		txs = append(txs, tx)
	}
	slices.Sort(txs)
	for _, tx := range txs {
		w := c.wrong[tx]
		o := of[w.no]
		c.except(Exception{
			Kind: explain.AmountDiffers, OutOrderNo: w.no, OrderID: o.OrderID, TransactionID: tx,
			BillAmount: w.bill, LedgerAmount: w.ledger, State: o.State,
		}, explain.BookException{Repeat: w.repeat})
	}
	for _, o := range c.overdue {
		if c.unsigned[o.OutOrderNo] == nil {
			c.twice(o, nil)
		}
	}
	return nil
}

// judgeUnsigned judges the payments of an order that are in the bill alone.
func (c *comparison) judgeUnsigned(o ledger.Order, rows []Row) {
	if len(rows) > 0 && o.State.Valid() && o.State != ledger.Paid {
		c.r.Ask = append(c.r.Ask, o.OutOrderNo)
	}
	if len(rows) == 0 || c.twice(o, rows) {
		return
	}
	for _, r := range rows {
		c.except(Exception{
			Kind: explain.PaidInBillOnly, OutOrderNo: o.OutOrderNo, OrderID: o.OrderID, TransactionID: r.TransactionID, BillAmount: r.Amount, State: o.State,
		}, explain.BookException{})
	}
}

// payment is one that counts towards what was paid for an order.
type payment struct {
	tx     string
	amount int64
	at     time.Time
	inBill bool // by the bill alone
}

// twice lists an order of which more was paid than it comes to, by signed payments and
// those that only the bill has, without what was refunded. It reports whether it has.
func (c *comparison) twice(o ledger.Order, rows []Row) bool {
	total, ok := comesTo(o)
	if !ok {
		return false
	}
	var all []payment
	for _, p := range o.Payments {
		if p.PaidAt.Before(c.next) {
			all = append(all, payment{p.TransactionID, p.Amount, p.PaidAt, false})
		}
	}
	bill := int64(0)
	for _, r := range rows {
		if !slices.ContainsFunc(all, func(p payment) bool { return p.tx == r.TransactionID }) {
			all = append(all, payment{r.TransactionID, r.Amount, r.At, true})
			bill += r.Amount
		}
	}
	sum := int64(0)
	for _, p := range all {
		sum += p.amount - min(p.amount, c.refunds[p.tx])
	}
	if sum <= total {
		return false
	}
	// What is too much is given back of the last payment that went through WeChat Pay and
	// is large enough; a smaller one is given back whole.
	slices.SortStableFunc(all, func(a, b payment) int { return a.at.Compare(b.at) })
	at := -1
	for i, p := range all {
		if p.tx != "" && (at < 0 || p.amount >= min(sum-total, all[at].amount)) {
			at = i
		}
	}
	if at < 0 {
		return false // all of it was paid elsewhere
	}
	last := all[at]
	var others []string
	for i, p := range all {
		if i != at {
			others = append(others, explain.OrDash(p.tx))
		}
	}
	c.except(Exception{
		Kind: explain.PaidTwice, OutOrderNo: o.OutOrderNo, OrderID: o.OrderID, TransactionID: last.tx,
		BillAmount: bill, LedgerAmount: sum - bill, State: o.State, Others: others,
		Refund: &Refund{
			TransactionID: last.tx, OutRefundNo: "twice-" + last.tx, Reason: "paid twice",
			Amount: RefundAmount{Refund: min(last.amount, sum-total), Total: last.amount, Currency: "CNY"},
		},
	}, explain.BookException{Total: total, Paid: sum})
	return true
}

// judgeLedger judges what the ledger has of the day and no row of the bill has.
func (c *comparison) judgeLedger(source Source) error {
	if c.left == 0 {
		return nil
	}
	type missing struct {
		o ledger.Order
		p ledger.Payment
	}
	var list []missing
	once := map[uint64]bool{}
	for o, err := range c.l.PaidSince(c.ctx, c.day.Add(-learnt)) {
		if err != nil {
			return fmt.Errorf("read the ledger: %w", err)
		}
		for _, p := range o.Payments {
			key := c.table.key(known(o, p))
			if e := c.table.find(key); !c.onDay(p) || e == nil || e.seen() || once[key] {
				continue
			}
			once[key] = true
			if len(list) == MaxExceptions {
				c.r.LeftOut++
				continue
			}
			list = append(list, missing{o, p})
		}
	}
	// What is around midnight may be in the neighbouring day's bill.
	had := map[time.Time]map[string]int64{}
	for _, m := range list {
		day, edge := c.neighbour(m.p)
		if edge {
			if _, done := had[day]; !done {
				had[day] = nil
			}
			if m.p.TransactionID != "" {
				if had[day] == nil {
					had[day] = map[string]int64{}
				}
				had[day][m.p.TransactionID] = -1
			}
		}
	}
	for day, txs := range had {
		ok, err := c.search(day, txs, source)
		if err != nil {
			return err
		}
		if !ok {
			delete(had, day)
		}
	}
	for _, m := range list {
		day, edge := c.neighbour(m.p)
		bill, searched := had[day]
		amount, asked := bill[m.p.TransactionID]
		switch {
		case edge && !searched:
			if c.r.Waiting == nil {
				c.r.Waiting = &Tally{}
			}
			c.r.Waiting.Orders++
			c.r.Waiting.Amount += m.p.Amount
		case edge && asked && amount == m.p.Amount:
			c.r.Matched.Orders++
			c.r.Matched.Amount += amount
		case edge && asked && amount >= 0:
			c.except(Exception{
				Kind: explain.AmountDiffers, OutOrderNo: m.o.OutOrderNo, OrderID: m.o.OrderID, TransactionID: m.p.TransactionID,
				BillAmount: amount, LedgerAmount: m.p.Amount, State: m.o.State,
			}, explain.BookException{})
		default:
			c.except(Exception{
				Kind: explain.PaidInLedgerOnly, OutOrderNo: m.o.OutOrderNo, OrderID: m.o.OrderID, TransactionID: m.p.TransactionID,
				LedgerAmount: m.p.Amount, State: m.o.State,
			}, explain.BookException{NoID: m.p.TransactionID == "", Edge: edge})
		}
	}
	return nil
}

// neighbour is the day whose bill may have a payment around midnight.
func (c *comparison) neighbour(p ledger.Payment) (day time.Time, edge bool) {
	switch {
	case p.PaidAt.Before(c.day.Add(Edge)):
		return c.day.AddDate(0, 0, -1), true
	case !p.PaidAt.Before(c.next.Add(-Edge)):
		return c.next, true
	}
	return time.Time{}, false
}

// search looks in another day's bill for payments, and sets their amounts. It reports
// whether that bill could be had.
func (c *comparison) search(day time.Time, txs map[string]int64, source Source) (bool, error) {
	bill, err := source(c.ctx, day)
	if err != nil || bill == nil {
		return false, err
	}
	_, err = bill.read(c.ctx, func(r Row) error {
		if amount, ok := txs[r.TransactionID]; ok && r.Status == StatusSuccess {
			txs[r.TransactionID] = max(0, amount) + r.Amount
		}
		return nil
	})
	if err != nil {
		return false, fmt.Errorf("the bill of the neighbouring day %s: %w", day.Format(time.DateOnly), err)
	}
	return true, nil
}
