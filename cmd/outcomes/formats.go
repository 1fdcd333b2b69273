package main

import (
	"encoding/csv"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"payscore-collector/internal/ledger"
	"payscore-collector/tasks"
)

// orderWriter writes one order after the other.
type orderWriter interface {
	write(ledger.Order) error
	close() error
}

type jsonLines struct{ w io.Writer }

func (j jsonLines) write(o ledger.Order) error { return writeJSON(j.w, o) }
func (j jsonLines) close() error               { return nil }

// csvHeader has the names of the JSON; last_error is one column a field.
var csvHeader = []string{
	"mchid", "out_order_no", "appid", "service_id", "state", "reason", "order_id", "transaction_id", "paid_type",
	"total_amount", "paid_amount", "attempts", "collect_calls", "query_calls",
	"opened_at", "last_attempt_at", "next_due_at", "ended_at",
	"last_error.http_status", "last_error.code", "last_error.detail_code", "last_error.message", "last_error.request_id",
}

type csvLines struct{ w *csv.Writer }

func newCSVLines(w io.Writer) csvLines {
	c := csvLines{csv.NewWriter(w)}
	_ = c.w.Write(csvHeader) // close reports it
	return c
}

func (c csvLines) write(o ledger.Order) error {
	var e ledger.LastError
	if o.LastError != nil {
		e = *o.LastError
	}
	status := ""
	if e.HTTPStatus != 0 {
		status = strconv.Itoa(e.HTTPStatus)
	}
	return c.w.Write([]string{
		o.MchID, o.OutOrderNo, o.AppID, o.ServiceID, string(o.State), cell(o.Reason), cell(o.OrderID), cell(o.TransactionID), cell(o.PaidType),
		fen(o.TotalAmount), fen(o.PaidAmount),
		strconv.FormatInt(o.Attempts, 10), strconv.FormatInt(o.CollectCalls, 10), strconv.FormatInt(o.QueryCalls, 10),
		rfc3339(o.OpenedAt), rfc3339(o.LastAttemptAt), rfc3339(o.NextDueAt), rfc3339(o.EndedAt),
		status, cell(e.Code), cell(e.DetailCode), cell(e.Message), cell(e.RequestID),
	})
}

func (c csvLines) close() error {
	c.w.Flush()
	return c.w.Error()
}

// cell keeps a spreadsheet from taking text that came from outside for a
// formula. The order's own four fields need none of it, for none of their
// characters makes one, and they go back into `enqueue file` as they are.
func cell(s string) string {
	if s != "" && strings.ContainsRune("=+-@\t\r\n", rune(s[0])) {
		return "'" + s
	}
	return s
}

func fen(n *int64) string {
	if n == nil {
		return ""
	}
	return strconv.FormatInt(*n, 10)
}

// rfc3339 writes a time as the JSON does.
func rfc3339(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.Format(time.RFC3339Nano)
}

// table is a list for people. Its columns are of fixed width, so that it needs
// no more memory for a million orders than for one.
type table struct {
	w     io.Writer
	clock clock
	open  bool
	begun bool
}

func newTable(w io.Writer, c clock, state tasks.State) *table {
	return &table{w: w, clock: c, open: state.Open()}
}

const tableLine = "%-32s  %-10s  %11s  %11s  %5s  %-19s  %s\n"

func (t *table) write(o ledger.Order) error {
	when, what, at, tail := "ENDED", "WHY", o.EndedAt, explained(o.Reason, reasonWords)
	switch {
	case t.open:
		when, what, at, tail = "NEXT", "LAST ERROR", o.NextDueAt, lastError(o.LastError)
	case o.State == tasks.Paid:
		what, tail = "TRANSACTION", printable(o.TransactionID)
	}
	if !t.begun {
		t.begun = true
		fmt.Fprintf(t.w, tableLine, "ORDER", "MERCHANT", "TOTAL", "PAID", "CALLS", when, what)
	}
	_, err := fmt.Fprintf(t.w, tableLine, o.OutOrderNo, o.MchID, money(o.TotalAmount), money(o.PaidAmount),
		strconv.FormatInt(o.CollectCalls+o.QueryCalls, 10), t.clock.at(at), orDash(tail))
	return err
}

func (t *table) close() error {
	if !t.begun {
		_, err := fmt.Fprintln(t.w, "there are none")
		return err
	}
	return nil
}

func money(fen *int64) string {
	if fen == nil {
		return "-"
	}
	return yuan(*fen)
}

func lastError(e *ledger.LastError) string {
	if e == nil {
		return ""
	}
	s := strings.TrimSpace(e.Code + " " + e.DetailCode)
	if s == "" {
		s = e.Message
	}
	return printable(s)
}
