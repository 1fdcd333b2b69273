package main

import (
	"encoding/csv"
	"io"
	"strconv"
	"strings"
	"time"

	"payscore-collector/internal/ledger"
)

// orderWriter writes one order after the other.
type orderWriter interface {
	write(ledger.Order) error
	close() error
}

type jsonLines struct{ w io.Writer }

func (j jsonLines) write(o ledger.Order) error { return writeJSON(j.w, o) }
func (j jsonLines) close() error               { return nil }

// csvHeader has the names of the JSON; what is an object there is one column a
// field. New columns come at the end: scripts count.
var csvHeader = []string{
	"mchid", "out_order_no", "appid", "service_id", "state", "reason", "order_id", "transaction_id", "paid_type",
	"total_amount", "paid_amount", "attempts", "collect_calls", "query_calls",
	"opened_at", "last_attempt_at", "next_due_at", "ended_at",
	"last_error.http_status", "last_error.code", "last_error.detail_code", "last_error.message", "last_error.request_id",
	"late_payment_at", "amount_differs.at", "amount_differs.field", "amount_differs.known", "amount_differs.said",
	"sync.state", "sync.reason", "sync.paid_at", "sync.calls",
}

type csvLines struct{ w *csv.Writer }

func newCSVLines(w io.Writer) csvLines {
	c := csvLines{csv.NewWriter(w)}
	_ = c.w.Write(csvHeader) // close reports it
	return c
}

func (c csvLines) write(o ledger.Order) error {
	row := []string{
		o.MchID, o.OutOrderNo, o.AppID, o.ServiceID, string(o.State), cell(o.Reason), cell(o.OrderID), cell(o.TransactionID), cell(o.PaidType),
		fen(o.TotalAmount), fen(o.PaidAmount), decimal(o.Attempts), decimal(o.CollectCalls), decimal(o.QueryCalls),
		rfc3339(o.OpenedAt), rfc3339(o.LastAttemptAt), rfc3339(o.NextDueAt), rfc3339(o.EndedAt),
	}
	if e := o.LastError; e != nil {
		status := ""
		if e.HTTPStatus != 0 {
			status = strconv.Itoa(e.HTTPStatus)
		}
		row = append(row, status, cell(e.Code), cell(e.DetailCode), cell(e.Message), cell(e.RequestID))
	} else {
		row = append(row, "", "", "", "", "")
	}
	row = append(row, rfc3339(o.LatePaymentAt))
	if d := o.AmountDiffers; d != nil {
		row = append(row, rfc3339(d.At), cell(d.Field), decimal(d.Known), decimal(d.Said))
	} else {
		row = append(row, "", "", "", "")
	}
	if s := o.Sync; s != nil {
		row = append(row, string(s.State), cell(s.Reason), rfc3339(s.PaidAt), decimal(s.Calls))
	} else {
		row = append(row, "", "", "", "")
	}
	return c.w.Write(row)
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
	return decimal(*n)
}

func decimal(n int64) string { return strconv.FormatInt(n, 10) }

// rfc3339 writes a time as the JSON does.
func rfc3339(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.Format(time.RFC3339Nano)
}
