package main

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"payscore-collector/internal/explain"
	"payscore-collector/internal/ledger"
	"payscore-collector/internal/testkit"
	"payscore-collector/tasks"
)

var tableTeller = explain.Teller{Now: time.Date(2026, 11, 20, 4, 0, 0, 0, time.UTC), Zone: shanghai}

// tabled is the list of some orders in one state.
func tabled(t *testing.T, teller explain.Teller, orders ...ledger.Order) string {
	t.Helper()
	var b bytes.Buffer
	w := newTable(&b, teller, "", orders[0].State)
	for _, o := range orders {
		if err := w.add(o); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.close(""); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestTable(t *testing.T) {
	now := tableTeller.Now
	lists := [][]ledger.Order{
		{
			{
				State: tasks.Awaiting, OutOrderNo: "BIKE-42", TotalAmount: ptr[int64](123456), PaidAmount: ptr[int64](100), CollectCalls: 2, QueryCalls: 1,
				NextDueAt: now.Add(9 * time.Minute), LastError: &ledger.LastError{HTTPStatus: 403, Code: "TRADE_ERROR", DetailCode: "271316574"},
			},
			{State: tasks.Awaiting, OutOrderNo: "B", NextDueAt: now.Add(-5 * time.Minute), LastError: &ledger.LastError{Message: "no answer within 15s"}},
			{State: tasks.Awaiting, OutOrderNo: "C", NextDueAt: now, LastError: &ledger.LastError{HTTPStatus: 502, Message: "a proxy"}},
		},
		{
			{
				State: tasks.Paid, OutOrderNo: "BIKE-42", TotalAmount: ptr[int64](100), PaidAmount: ptr[int64](100),
				CollectCalls: 1, EndedAt: now.Add(-72 * time.Hour), TransactionID: "4200001", AmountDiffers: &ledger.Difference{},
			},
			{State: tasks.Paid, OutOrderNo: "B", EndedAt: now, PaidType: "MCH"},
		},
		{{State: tasks.Closed, OutOrderNo: "BIKE-42", Reason: "REVOKED", EndedAt: now, LatePaymentAt: now}},
		{
			{State: tasks.Withdrawn, OutOrderNo: "A", Reason: "经理免单", EndedAt: now, CollectCalls: 1},
			{State: tasks.Withdrawn, OutOrderNo: "B", Reason: "REVOKED", EndedAt: now, NextDueAt: now.Add(10 * time.Second), Sync: &ledger.Sync{State: ledger.SyncPending, Calls: 2}},
			{State: tasks.Withdrawn, OutOrderNo: "C", Reason: "x\x1b[31m", EndedAt: now, Sync: &ledger.Sync{State: ledger.SyncDone}},
			{State: tasks.Withdrawn, OutOrderNo: "D", Reason: "x", EndedAt: now, Sync: &ledger.Sync{State: ledger.SyncFailed}},
			{State: tasks.Withdrawn, OutOrderNo: "E", Reason: "x", EndedAt: now, LatePaymentAt: now, PaidAmount: ptr[int64](5), Sync: &ledger.Sync{State: ledger.SyncNoNeed}},
		},
	}
	for lang, name := range map[explain.Language]string{explain.English: "list", explain.Chinese: "list.zh"} {
		teller := tableTeller
		teller.Lang = lang
		var text strings.Builder
		for _, orders := range lists {
			for i := range orders {
				orders[i].MchID = mchA
			}
			text.WriteString(tabled(t, teller, orders...) + "\n")
		}
		testkit.Golden(t, name, text.String())
	}
}

// Columns are aligned: with long words, with Chinese ones, and over more orders than the
// table holds at a time.
func TestTable_Aligned(t *testing.T) {
	var orders []ledger.Order
	for i := range 2*tableRows + 50 {
		orders = append(orders, ledger.Order{
			MchID: mchA, OutOrderNo: fmt.Sprintf("%0*d", 1+i%32, i%10), State: tasks.Withdrawn, EndedAt: tableTeller.Now.Add(-time.Duration(i) * time.Hour),
			NextDueAt: tableTeller.Now, TotalAmount: ptr(int64(1) << (i % 30)), Reason: strings.Repeat("理由", i%100), Sync: &ledger.Sync{State: ledger.SyncStates[i%4]},
		})
	}
	lines := strings.Split(strings.TrimSuffix(tabled(t, tableTeller, orders...), "\n"), "\n")
	if len(lines) != 1+len(orders) {
		t.Fatalf("%d lines of %d orders", len(lines), len(orders))
	}
	at := strings.Index(lines[0], "MERCHANT")
	for i, line := range lines[1:] {
		if strings.Index(line, mchA) != at {
			t.Fatalf("line %d is not aligned:\n%s\n%s", i+1, lines[0], line)
		}
		if w := explain.Width(line); w > 200 {
			t.Fatalf("line %d takes %d columns: %s", i+1, w, line)
		}
	}

	t.Run("a longer cell in a later line moves that line only", func(t *testing.T) {
		var b bytes.Buffer
		var g grid
		g.add("1", "2", "3")
		g.add("订单", "2", "3")
		for range 2 {
			if err := g.write(&b); err != nil {
				t.Fatal(err)
			}
			g.add("12345", "2", "3")
		}
		if want := "1     2  3\n订单  2  3\n12345  2  3\n"; b.String() != want {
			t.Errorf("%q, want %q", b.String(), want)
		}
	})
}
