package books

import (
	"fmt"
	"time"

	"payscore-collector/internal/explain"
	"payscore-collector/internal/ledger"
)

// Edge is how far from midnight a payment may be for the neighbouring day's bill to have it.
const Edge = 10 * time.Minute

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
