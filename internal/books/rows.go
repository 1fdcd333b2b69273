package books

import (
	"fmt"
	"regexp"
	"slices"

	"payscore-collector/internal/explain"
	"payscore-collector/internal/ledger"
)

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
				r.Line, r.Attach, r.OutTradeNo = 0, "", o.OutOrderNo // what is kept of a row is little
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
