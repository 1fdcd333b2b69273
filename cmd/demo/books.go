package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"payscore-collector/internal/books"
	"payscore-collector/internal/explain"
	"payscore-collector/internal/simulator"
	"payscore-collector/internal/worker"
)

// yesterday is the clock by which orders are paid: WeChat Pay has bills only of days that
// are over.
func yesterday() time.Time { return time.Now().Add(-24 * time.Hour) }

// books holds the payments since a time against the platform's own trade bills, once as they
// are and once with a lie, and reports whether they agree and the lie is found.
func (s *stage) books(ctx context.Context, w io.Writer, since time.Time) (agrees bool, err error) {
	heading(w, "The books: what the ledger recorded beside WeChat Pay's trade bill")
	client, err := worker.NewClient(s.cfg.Work, s.cfg.Merchants[0])
	if err != nil {
		return false, err
	}
	defer client.Close()
	if err := s.sim.SetFaults(simulator.Faults{}); err != nil {
		return false, err
	}
	const line = "%-10s %6v %12s %12s %12s   %v\n"
	fmt.Fprintf(w, line, "day", "rows", "bill", "ledger", "agree", "exceptions")
	agrees, lied := true, false
	for day := books.Day(since); !day.After(yesterday()); day = day.AddDate(0, 0, 1) {
		for _, lie := range []simulator.Bill{{}, {AmountsOff: 1}} {
			if err := s.sim.SetBill(lie); err != nil {
				return false, err
			}
			r, err := books.Compare(ctx, s.ledger, day, books.Fetch(client, day, time.Now()))
			if err != nil {
				return false, fmt.Errorf("close the books of %s: %w", day.Format(time.DateOnly), err)
			}
			lies := lie != (simulator.Bill{})
			if lies && r.Ledger.Orders == 0 {
				continue // there is nothing to lie about
			}
			note := words.BookCount(int64(len(r.Exceptions)), 0)
			if lies {
				note = "a bill that lies: " + note
			}
			fmt.Fprintf(w, line, r.Date, r.Bill.Rows, explain.Yuan(r.Bill.Amount), explain.Yuan(r.Ledger.Amount), explain.Yuan(r.Matched.Amount), note)
			for _, e := range r.Exceptions {
				fmt.Fprintf(w, "%-10s %s %s: %s\n", "", e.Kind, e.OutOrderNo, e.Detail)
			}
			switch {
			case !lies:
				agrees = agrees && r.Agrees()
			case len(r.Exceptions) == 1 && r.Exceptions[0].Kind == explain.AmountDiffers:
				lied = true
			default:
				agrees = false
			}
		}
	}
	return agrees && lied, nil
}
