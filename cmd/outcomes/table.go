package main

import (
	"fmt"
	"io"
	"strings"

	"payscore-collector/internal/explain"
	"payscore-collector/internal/ledger"
	"payscore-collector/tasks"
)

// tableRows is how many orders are held to find how wide the columns must be.
// Those that follow keep to them, so that a million orders need no more memory
// than these.
const tableRows = limitForPeople

// reasonColumns is how much of a reason has a place in a list, and codeColumns how
// much of a code: both come from outside.
const (
	reasonColumns = 60
	codeColumns   = 40
)

// table is a list of orders in one state, for people.
type table struct {
	w      io.Writer
	teller explain.Teller
	state  tasks.State
	grid   grid
	begun  bool
	// heading stands before the table, where there are several; empty for none.
	heading string
}

func newTable(w io.Writer, t explain.Teller, state tasks.State) *table {
	return &table{w: w, teller: t, state: state, grid: grid{right: []bool{false, false, true, true, true}}}
}

func (t *table) write(o ledger.Order) error {
	if !t.begun {
		t.begun = true
		if t.heading != "" {
			if _, err := fmt.Fprintln(t.w, t.heading); err != nil {
				return err
			}
		}
		t.grid.add(append([]string{"ORDER", "MERCHANT", "TOTAL", "PAID", "CALLS"}, t.heads()...)...)
	}
	made := o.CollectCalls + o.QueryCalls
	if o.Sync != nil {
		made += o.Sync.Calls
	}
	t.grid.add(append([]string{
		o.OutOrderNo, o.MchID, t.teller.TotalBrief(o), explain.OrDash(explain.YuanOf(o.PaidAmount)), decimal(made),
	}, t.tail(o)...)...)
	if len(t.grid.rows) < tableRows {
		return nil
	}
	return t.grid.write(t.w)
}

// heads are the names of the columns that depend on the state; tail is an
// order's part in them. Free text stands in the last one, cut to a line.
func (t *table) heads() []string {
	zone := " (" + t.teller.ZoneName() + ")"
	switch {
	case t.state.Open():
		return []string{"NEXT" + zone, "LAST ERROR"}
	case t.state == tasks.Paid:
		return []string{"ENDED" + zone, "TRANSACTION"}
	case t.state == tasks.Withdrawn:
		return []string{"ENDED" + zone, "SYNC", "WHY"}
	}
	return []string{"ENDED" + zone, "WHY"}
}

func (t *table) tail(o ledger.Order) []string {
	switch {
	case t.state.Open():
		words := ""
		if e := o.LastError; e != nil {
			words = t.teller.ErrorCause(*e)
			if e.Code != "" {
				words += " (" + explain.Fit(strings.TrimSpace(explain.Printable(e.Code+" "+e.DetailCode)), codeColumns) + ")"
			}
		}
		return []string{t.teller.Due(o.NextDueAt), t.remarks(o, words)}
	case t.state == tasks.Paid:
		words := strings.TrimSpace(explain.Printable(o.TransactionID) + " " + t.teller.PaidElsewhere(o))
		return []string{t.teller.WithAge(o.EndedAt), t.remarks(o, words)}
	case t.state == tasks.Withdrawn:
		sync := "none"
		switch {
		case o.Sync != nil && o.Sync.State == ledger.SyncFailed:
			sync = "FAILED"
		case o.Sync != nil && o.Sync.State == ledger.SyncPending:
			sync = "pending, due"
			if o.NextDueAt.After(t.teller.Now) {
				sync = "pending, next " + t.teller.Age(o.NextDueAt)
			}
		case o.Sync != nil:
			sync = string(o.Sync.State)
		}
		return []string{t.teller.WithAge(o.EndedAt), sync, t.remarks(o, explain.Fit(t.teller.Reason(o.State, o.Reason), reasonColumns))}
	}
	return []string{t.teller.WithAge(o.EndedAt), t.remarks(o, explain.Fit(t.teller.Reason(o.State, o.Reason), reasonColumns))}
}

// remarks puts before a text what nobody may overlook.
func (t *table) remarks(o ledger.Order, words string) string {
	if o.AmountDiffers != nil {
		words = "AMOUNTS DIFFER " + words
	}
	if !o.LatePaymentAt.IsZero() {
		words = "PAID AFTER ITS END " + words
	}
	return explain.OrDash(strings.TrimSpace(words))
}

func (t *table) close() error {
	return t.grid.write(t.w)
}
