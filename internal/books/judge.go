package books

import (
	"maps"
	"slices"
	"time"

	"payscore-collector/internal/explain"
	"payscore-collector/internal/ledger"
)

// judgeBill judges what the bill has and the ledger has not, or has otherwise.
func (c *comparison) judgeBill() error {
	nos := slices.Collect(maps.Keys(c.unsigned))
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
	for _, tx := range slices.Sorted(maps.Keys(c.wrong)) {
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

// judgeUnsigned judges the payments of an order that are in the bill alone, or were when
// their rows were read: a query may have been answered since.
func (c *comparison) judgeUnsigned(o ledger.Order, rows []Row) {
	if len(rows) == 0 {
		return
	}
	rows = slices.DeleteFunc(rows, func(r Row) bool { return c.signed(r, o) })
	if len(rows) > 0 && o.State.Valid() && o.State != ledger.Paid {
		c.r.Ask = append(c.r.Ask, o.OutOrderNo)
	}
	if c.twice(o, rows) {
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
