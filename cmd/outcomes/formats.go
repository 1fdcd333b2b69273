package main

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"payscore-collector/internal/ledger"
	"payscore-collector/tasks"
)

// What a cell of CSV can hold, besides strings, which are free text.
type (
	ident  string // of billing's, checked when the order was opened: no formula, and taken back by "enqueue file" as it is
	named  string // of WeChat Pay's; like an ident it must stay as it is to the last digit
	fen    int64
	number int64
)

// column is one column of CSV. The values of its function are an ident, named, fen,
// number, string or time.Time, or nil for an empty cell.
type column struct {
	name string
	of   func(ledger.Order) any
}

// csvColumns have the names of the JSON; what is an object there is one column a
// field. New columns come at the end: scripts count.
var csvColumns = []column{
	{"mchid", func(o ledger.Order) any { return ident(o.MchID) }},
	{"out_order_no", func(o ledger.Order) any { return ident(o.OutOrderNo) }},
	{"appid", func(o ledger.Order) any { return ident(o.AppID) }},
	{"service_id", func(o ledger.Order) any { return ident(o.ServiceID) }},
	{"state", func(o ledger.Order) any { return string(o.State) }},
	{"reason", func(o ledger.Order) any { return o.Reason }},
	{"order_id", func(o ledger.Order) any { return named(o.OrderID) }},
	{"transaction_id", func(o ledger.Order) any { return named(o.TransactionID) }},
	{"paid_type", func(o ledger.Order) any { return o.PaidType }},
	{"total_amount", func(o ledger.Order) any { return amount(o.TotalAmount) }},
	{"paid_amount", func(o ledger.Order) any { return amount(o.PaidAmount) }},
	{"attempts", func(o ledger.Order) any { return number(o.Attempts) }},
	{"collect_calls", func(o ledger.Order) any { return number(o.CollectCalls) }},
	{"query_calls", func(o ledger.Order) any { return number(o.QueryCalls) }},
	{"opened_at", func(o ledger.Order) any { return o.OpenedAt }},
	{"last_attempt_at", func(o ledger.Order) any { return o.LastAttemptAt }},
	{"next_due_at", func(o ledger.Order) any { return o.NextDueAt }},
	{"ended_at", func(o ledger.Order) any { return o.EndedAt }},
	{"last_error.http_status", lastError(func(e ledger.LastError) any {
		if e.HTTPStatus == 0 {
			return nil
		}
		return number(e.HTTPStatus)
	})},
	{"last_error.code", lastError(func(e ledger.LastError) any { return e.Code })},
	{"last_error.detail_code", lastError(func(e ledger.LastError) any { return named(e.DetailCode) })},
	{"last_error.message", lastError(func(e ledger.LastError) any { return e.Message })},
	{"last_error.request_id", lastError(func(e ledger.LastError) any { return named(e.RequestID) })},
	{"late_payment_at", func(o ledger.Order) any { return o.LatePaymentAt }},
	{"amount_differs.at", differs(func(d ledger.Difference) any { return d.At })},
	{"amount_differs.field", differs(func(d ledger.Difference) any { return d.Field })},
	{"amount_differs.known", differs(func(d ledger.Difference) any { return fen(d.Known) })},
	{"amount_differs.said", differs(func(d ledger.Difference) any { return fen(d.Said) })},
	{"sync.state", syncing(func(s ledger.Sync) any { return string(s.State) })},
	{"sync.reason", syncing(func(s ledger.Sync) any { return s.Reason })},
	{"sync.paid_at", syncing(func(s ledger.Sync) any { return s.PaidAt })},
	{"sync.calls", syncing(func(s ledger.Sync) any { return number(s.Calls) })},
	{"payments", payments},
	{"billing_amount", func(o ledger.Order) any { return amount(o.BillingAmount) }},
	{"owed_since", func(o ledger.Order) any { return o.OwedSince }},
	{"total_lowered.at", lowered(func(l ledger.Lowering) any { return l.At })},
	{"total_lowered.from", lowered(func(l ledger.Lowering) any { return fen(l.From) })},
	{"total_lowered.to", lowered(func(l ledger.Lowering) any { return fen(l.To) })},
}

// payments is the list of payments as in the JSON: amounts in fen, also for Excel.
func payments(o ledger.Order) any {
	if len(o.Payments) == 0 {
		return nil
	}
	text, err := json.Marshal(o.Payments)
	if err != nil {
		return nil // only a year beyond 9999 gets here, and no decoder of ours lets it through
	}
	return string(text)
}

func amount(n *int64) any {
	if n == nil {
		return nil
	}
	return fen(*n)
}

func lastError(f func(ledger.LastError) any) func(ledger.Order) any {
	return func(o ledger.Order) any { return part(o.LastError, f) }
}

func differs(f func(ledger.Difference) any) func(ledger.Order) any {
	return func(o ledger.Order) any { return part(o.AmountDiffers, f) }
}

func lowered(f func(ledger.Lowering) any) func(ledger.Order) any {
	return func(o ledger.Order) any { return part(o.TotalLowered, f) }
}

func syncing(f func(ledger.Sync) any) func(ledger.Order) any {
	return func(o ledger.Order) any { return part(o.Sync, f) }
}

func part[T any](p *T, f func(T) any) any {
	if p == nil {
		return nil
	}
	return f(*p)
}

// csvLines writes orders as CSV: for programs, or for a spreadsheet.
type csvLines struct {
	w     *csv.Writer
	excel bool
}

const utf8BOM = "\ufeff"

func newCSVLines(w io.Writer, excel bool) csvLines {
	c := csvLines{csv.NewWriter(w), excel}
	header := make([]string, len(csvColumns))
	for i, col := range csvColumns {
		header[i] = col.name
		if !excel {
			continue
		}
		switch col.of(sample).(type) {
		case fen:
			header[i] += " (yuan)"
		case time.Time:
			header[i] += " (Asia/Shanghai)"
		}
	}
	if excel {
		// Without it Excel takes the file for one in the machine's old encoding. The
		// header's own error comes up when w is flushed.
		_, _ = io.WriteString(w, utf8BOM)
	}
	_ = c.w.Write(header) // close reports it
	return c
}

// sample has every part, and so tells of each column what it holds.
var sample = ledger.Order{
	TotalAmount: new(int64), PaidAmount: new(int64), BillingAmount: new(int64),
	LastError: &ledger.LastError{}, AmountDiffers: &ledger.Difference{}, TotalLowered: &ledger.Lowering{}, Sync: &ledger.Sync{},
}

func (c csvLines) write(o ledger.Order) error {
	row := make([]string, len(csvColumns))
	for i, col := range csvColumns {
		row[i] = c.cell(col.of(o))
	}
	return c.w.Write(row)
}

func (c csvLines) close() error {
	c.w.Flush()
	return c.w.Error()
}

// cell is a value as it is written.
func (c csvLines) cell(value any) string {
	switch v := value.(type) {
	case nil:
		return ""
	case ident:
		if c.excel {
			return asText(string(v))
		}
		return string(v)
	case named:
		if c.excel {
			return asText(string(v))
		}
		return unformula(string(v))
	case fen:
		if c.excel {
			return yuan(int64(v))
		}
		return decimal(int64(v))
	case number:
		return decimal(int64(v))
	case time.Time:
		switch {
		case v.IsZero():
			return ""
		case c.excel:
			return v.In(tasks.China).Format(time.DateTime)
		}
		return v.Format(time.RFC3339Nano) // as the JSON
	case string:
		if c.excel && startsLikeNumber(v) {
			return asText(v)
		}
		return unformula(v)
	}
	panic(fmt.Sprintf("a column of %T", value)) // a mistake in csvColumns
}

// asText keeps a spreadsheet from reading a value as a number or a date: one that it
// took for a number would lose the zeros in front and all digits behind the fifteenth.
// Excel and WPS take ="0012" for the text 0012. Only what can hold neither a quote nor
// a formula is written so.
func asText(s string) string {
	if s == "" {
		return ""
	}
	for _, r := range s {
		if !(r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || strings.ContainsRune("_|*-.:", r)) {
			return unformula(s)
		}
	}
	return `="` + s + `"`
}

// startsLikeNumber reports whether a spreadsheet may take a text for a number or a date.
func startsLikeNumber(s string) bool {
	return s != "" && strings.ContainsRune("0123456789.", rune(s[0]))
}

// unformula keeps a spreadsheet from taking text that came from outside for a formula.
func unformula(s string) string {
	if s != "" && strings.ContainsRune("=+-@\t\r\n", rune(s[0])) {
		return "'" + s
	}
	return s
}

// yuan writes fen as a number that a spreadsheet can add up.
func yuan(fen int64) string {
	sign, u := "", uint64(fen)
	if fen < 0 {
		sign, u = "-", -u
	}
	return fmt.Sprintf("%s%d.%02d", sign, u/100, u%100)
}

func decimal(n int64) string { return strconv.FormatInt(n, 10) }
