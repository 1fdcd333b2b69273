// Package ordercsv writes orders as CSV: for programs, or for a spreadsheet.
package ordercsv

import (
	"encoding/csv"
	"encoding/json"
	"io"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"payscore-collector/internal/explain"
	"payscore-collector/internal/ledger"
	"payscore-collector/tasks"
)

// column is one column of CSV: a field of the order's JSON, by its name there. A
// field of an object has a column of its own, under both names.
type column struct {
	name  string
	index []int // of the field in ledger.Order
	kind  reflect.Type
	omit  bool // a zero is an empty cell
}

// FirstColumns are names of columns that stand where they have always stood: scripts count. Fields that the JSON
// gains follow behind them.
var FirstColumns = strings.Fields(`mchid out_order_no appid service_id state reason order_id transaction_id paid_type
	total_amount paid_amount attempts collect_calls query_calls opened_at last_attempt_at next_due_at ended_at
	last_error.http_status last_error.code last_error.detail_code last_error.message last_error.request_id
	late_payment_at amount_differs.at amount_differs.field amount_differs.known amount_differs.said
	sync.state sync.reason sync.paid_at sync.calls payments billing_amount owed_since
	total_lowered.at total_lowered.from total_lowered.to`)

var columns = makeColumns()

func makeColumns() []column {
	list := columnsOf(reflect.TypeFor[ledger.Order](), "", nil)
	place := func(c column) int {
		if i := slices.Index(FirstColumns, c.name); i >= 0 {
			return i
		}
		return len(FirstColumns)
	}
	slices.SortStableFunc(list, func(a, b column) int { return place(a) - place(b) })
	return list
}

// Names returns the names of all columns, in their order.
func Names() []string {
	var names []string
	for _, c := range columns {
		names = append(names, c.name)
	}
	return names
}

func columnsOf(t reflect.Type, prefix string, index []int) (list []column) {
	for _, f := range reflect.VisibleFields(t) {
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		if f.Anonymous || name == "-" || prefix == "" && (name == "log" || name == "past") {
			continue
		}
		path := append(slices.Clone(index), f.Index...)
		kind, pointer := f.Type, f.Type.Kind() == reflect.Pointer
		if kind.Kind() == reflect.Pointer {
			if kind = kind.Elem(); kind.Kind() == reflect.Struct {
				list = append(list, columnsOf(kind, prefix+name+".", path)...)
				continue
			}
		}
		list = append(list, column{prefix + name, path, kind, !pointer && (options != "" || isTime(kind))})
	}
	return list
}

func isTime(t reflect.Type) bool { return t == reflect.TypeFor[time.Time]() }

// isMoney reports whether a column is an amount in fen.
func (c column) isMoney() bool {
	switch c.name {
	case "amount_differs.known", "amount_differs.said", "total_lowered.from", "total_lowered.to":
		return true
	}
	return strings.HasSuffix(c.name, "_amount")
}

// Writer writes orders as CSV. Make it with New.
type Writer struct {
	w     *csv.Writer
	excel bool
}

// BOM tells Excel that a file is UTF-8.
const BOM = "\ufeff"

// New writes the header, in Excel's form if excel is true: UTF-8 with BOM, amounts in yuan,
// times of Asia/Shanghai, and numbers of orders as text, so that no digit is lost. In the
// other form amounts are in fen and times in UTC.
func New(w io.Writer, excel bool) Writer {
	if excel {
		// Without it Excel takes the file for one in the machine's old encoding. The
		// header's own error comes up when w is flushed.
		_, _ = io.WriteString(w, BOM)
	}
	c := Writer{csv.NewWriter(w), excel}
	header := make([]string, len(columns))
	for i, col := range columns {
		header[i] = col.name
		switch {
		case excel && col.isMoney():
			header[i] += " (yuan)"
		case excel && isTime(col.kind):
			header[i] += " (Asia/Shanghai)"
		}
	}
	_ = c.w.Write(header) // Close reports it
	return c
}

// Write writes an order.
func (c Writer) Write(o ledger.Order) error {
	row := make([]string, len(columns))
	order := reflect.ValueOf(o)
	for i, col := range columns {
		if v, err := order.FieldByIndexErr(col.index); err == nil { // else there is no such object
			row[i] = c.cell(col, reflect.Indirect(v))
		}
	}
	return c.w.Write(row)
}

// Close writes what is left, and reports the first error.
func (c Writer) Close() error {
	c.w.Flush()
	return c.w.Error()
}

// cell is a value as it is written.
func (c Writer) cell(col column, v reflect.Value) string {
	if !v.IsValid() || col.omit && v.IsZero() { // not valid: a nil pointer
		return ""
	}
	if at, ok := v.Interface().(time.Time); ok {
		if c.excel {
			return at.In(tasks.China).Format(time.DateTime)
		}
		return at.Format(time.RFC3339Nano) // as the JSON
	}
	switch {
	case v.CanInt() && c.excel && col.isMoney():
		return strings.Replace(explain.Yuan(v.Int()), "¥", "", 1)
	case v.CanInt():
		return strconv.FormatInt(v.Int(), 10)
	case v.Kind() == reflect.String:
		return c.text(col.name, v.String())
	}
	text, err := json.Marshal(v.Interface()) // amounts in fen, also for Excel
	if err != nil {
		return "" // only a year beyond 9999 gets here, and the ledger accepts none
	}
	return string(text)
}

func (c Writer) text(name, s string) string {
	switch name {
	case "mchid", "out_order_no", "appid", "service_id":
		// They were checked when the order was opened, and "enqueue file" reads them.
		if c.excel {
			return AsText(s)
		}
		return s
	}
	number := s != "" && strings.ContainsRune("0123456789.", rune(s[0])) // or a date, to a spreadsheet
	if c.excel && (number || strings.HasSuffix(name, "_id") || strings.HasSuffix(name, "detail_code")) {
		return AsText(s)
	}
	return Unformula(s)
}

// AsText keeps a spreadsheet from reading a value as a number or a date: one that it
// took for a number would lose the zeros in front and all digits behind the fifteenth.
// Excel and WPS take ="0012" for the text 0012. Only what can hold neither a quote nor
// a formula is written so.
func AsText(s string) string {
	if s == "" {
		return ""
	}
	for _, r := range s {
		if !(r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || strings.ContainsRune("_|*-.:", r)) {
			return Unformula(s)
		}
	}
	return `="` + s + `"`
}

// Unformula keeps a spreadsheet from taking text that came from outside for a formula.
func Unformula(s string) string {
	if s != "" && strings.ContainsRune("=+-@\t\r\n", rune(s[0])) {
		return "'" + s
	}
	return s
}
