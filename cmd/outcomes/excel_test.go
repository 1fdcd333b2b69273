package main

import (
	"bytes"
	"encoding/csv"
	"math/big"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"payscore-collector/internal/intake"
	"payscore-collector/internal/ledger"
	"payscore-collector/internal/ordercsv"
	"payscore-collector/tasks"
)

// inExcel reads a file as Excel with Chinese settings does, and returns its cells as a
// person sees them, row by row. Without a BOM Excel would read UTF-8 as GBK.
func inExcel(t *testing.T, file string) [][]string {
	t.Helper()
	body, ok := strings.CutPrefix(file, ordercsv.BOM)
	if !ok {
		t.Fatalf("the file has no BOM: Excel garbles it: %.40q", file)
	}
	rows, err := csv.NewReader(strings.NewReader(body)).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range rows {
		for i, cell := range row {
			row[i] = excelCell(t, cell)
		}
	}
	return rows
}

func excelCell(t *testing.T, s string) string {
	t.Helper()
	if text, ok := strings.CutPrefix(s, `="`); ok && strings.Count(text, `"`) == 1 && strings.HasSuffix(text, `"`) {
		return strings.TrimSuffix(text, `"`)
	}
	if s != "" && strings.ContainsRune("=+-@", rune(s[0])) {
		if _, err := strconv.ParseFloat(s, 64); err != nil {
			t.Errorf("Excel takes %q for a formula", s)
		}
	}
	if n, ok := new(big.Float).SetString(s); ok { // a number keeps 15 digits, and no zero in front
		f, _ := n.Float64()
		return strconv.FormatFloat(f, 'g', 15, 64)
	}
	if at, err := time.Parse("2006-1-2", s); err == nil {
		return at.Format("2006/1/2")
	}
	return s
}

// awkward is an order whose every number a spreadsheet would spoil.
var awkward = ledger.Order{
	MchID: "0019000001", OutOrderNo: "000123", AppID: "wx1", ServiceID: "00002005000000000000000000000001", State: tasks.Withdrawn,
	Reason: "=1+1, 用户已付款", OrderID: "10000000000000000244", TransactionID: "4200020261127000000000024401", PaidType: "MCH",
	TotalAmount: ptr[int64](123456), PaidAmount: ptr[int64](5), BillingAmount: ptr[int64](123400), OpenedAt: time.Date(2026, 11, 20, 18, 30, 0, 0, time.UTC),
	LastError: &ledger.LastError{HTTPStatus: 403, Code: "TRADE_ERROR", DetailCode: "0271316574", Message: "12345678901234567890", RequestID: "0801E3-271316574"},
	Sync:      &ledger.Sync{State: ledger.SyncDone, Calls: 2},
}

func excelFile(t *testing.T, orders ...ledger.Order) string {
	t.Helper()
	var b bytes.Buffer
	w := ordercsv.New(&b, true)
	for _, o := range orders {
		if err := w.Write(o); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestExcel(t *testing.T) {
	rows := inExcel(t, excelFile(t, awkward))
	got := map[string]string{}
	for i, name := range rows[0] {
		if rows[1][i] != "" {
			got[name] = rows[1][i]
		}
	}
	want := map[string]string{
		"mchid": "0019000001", "out_order_no": "000123", "appid": "wx1", "service_id": "00002005000000000000000000000001",
		"state": "withdrawn", "reason": "'=1+1, 用户已付款", "order_id": "10000000000000000244",
		"transaction_id": "4200020261127000000000024401", "paid_type": "MCH",
		"total_amount (yuan)": "1234.56", "paid_amount (yuan)": "0.05", "billing_amount (yuan)": "1234",
		"attempts": "0", "collect_calls": "0", "query_calls": "0", "opened_at (Asia/Shanghai)": "2026-11-21 02:30:00",
		"last_error.http_status": "403", "last_error.code": "TRADE_ERROR", "last_error.detail_code": "0271316574",
		"last_error.message": "12345678901234567890", "last_error.request_id": "0801E3-271316574",
		"sync.state": "done", "sync.calls": "2",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if !strings.Contains(excelFile(t, awkward), ",1234.56,0.05,") {
		t.Error("an amount is not written with two decimals")
	}
}

// An order's number may look like a date, a number or a truth value to a spreadsheet.
func TestExcel_OrderNumbers(t *testing.T) {
	for _, no := range []string{"000123", "12345678901234567890123456789012", "2026-1-2", "1E10", "-42", "TRUE", "A|1*", "*", "-", "1_000"} {
		file := excelFile(t, ledger.Order{MchID: "1", OutOrderNo: no, AppID: "a", ServiceID: "s", State: tasks.Paid})
		if got := inExcel(t, file)[1][1]; got != no {
			t.Errorf("Excel shows %s as %s", no, got)
		}
	}
}

// "enqueue file" accepts a file for Excel as it is.
func TestExcel_IsTakenBack(t *testing.T) {
	for name, file := range map[string]string{
		"as it is written": excelFile(t, awkward),
		"saved by Excel":   saved(t, inExcel(t, excelFile(t, awkward))),
	} {
		in, err := intake.NewReader(strings.NewReader(file), "")
		if err != nil {
			t.Fatal(name, err)
		}
		row, err := in.Next()
		if err != nil || row.Err != nil {
			t.Fatal(name, err, row.Err)
		}
		if row.MchID != awkward.MchID || row.OutOrderNo != awkward.OutOrderNo || row.AppID != awkward.AppID || row.ServiceID != awkward.ServiceID {
			t.Errorf("%s: taken back as %+v", name, row)
		}
	}
}

func saved(t *testing.T, rows [][]string) string {
	t.Helper()
	var b bytes.Buffer
	b.WriteString(ordercsv.BOM)
	if err := csv.NewWriter(&b).WriteAll(rows); err != nil {
		t.Fatal(err)
	}
	return b.String()
}
