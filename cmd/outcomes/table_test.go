package main

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"payscore-collector/internal/explain"
	"payscore-collector/internal/ledger"
	"payscore-collector/tasks"
)

var tableTeller = explain.Teller{Now: time.Date(2026, 11, 20, 4, 0, 0, 0, time.UTC), Zone: shanghai}

// tabled is the list of some orders in the state of the first.
func tabled(t *testing.T, orders ...ledger.Order) string {
	t.Helper()
	var b bytes.Buffer
	w := newTable(&b, tableTeller, orders[0].State)
	for _, o := range orders {
		if err := w.write(o); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestTable(t *testing.T) {
	now := tableTeller.Now
	for name, c := range map[string]struct {
		orders []ledger.Order
		want   string
	}{
		"awaiting": {
			[]ledger.Order{
				{
					MchID: mchA, OutOrderNo: "BIKE-42", State: tasks.Awaiting, TotalAmount: ptr[int64](123456), PaidAmount: ptr[int64](100), CollectCalls: 2, QueryCalls: 1,
					NextDueAt: now.Add(9 * time.Minute), LastError: &ledger.LastError{HTTPStatus: 403, Code: "TRADE_ERROR", DetailCode: "271316574"},
				},
				{MchID: mchA, OutOrderNo: "B", State: tasks.Awaiting, NextDueAt: now.Add(-5 * time.Minute), LastError: &ledger.LastError{Message: "no answer within 15s"}},
				{MchID: mchA, OutOrderNo: "C", State: tasks.Awaiting, NextDueAt: now, LastError: &ledger.LastError{HTTPStatus: 502, Message: "a proxy"}},
			},
			`ORDER    MERCHANT       TOTAL   PAID  CALLS  NEXT (UTC+08:00)                         LAST ERROR
BIKE-42  1900000001  ¥1234.56  ¥1.00      3  2026-11-20 12:09:00 (in 9 minutes)       the deduction failed: balance, card or risk control (TRADE_ERROR 271316574)
B        1900000001         -      -      0  2026-11-20 11:55:00 (due for 5 minutes)  no answer within 15s
C        1900000001         -      -      0  2026-11-20 12:00:00 (now)                WeChat Pay is in trouble
`,
		},
		"paid": {
			[]ledger.Order{
				{
					MchID: mchA, OutOrderNo: "BIKE-42", State: tasks.Paid, TotalAmount: ptr[int64](100), PaidAmount: ptr[int64](100),
					CollectCalls: 1, EndedAt: now.Add(-72 * time.Hour), TransactionID: "4200001", AmountDiffers: &ledger.Difference{},
				},
				{MchID: mchA, OutOrderNo: "B", State: tasks.Paid, EndedAt: now, PaidType: "MCH"},
			},
			`ORDER    MERCHANT    TOTAL   PAID  CALLS  ENDED (UTC+08:00)                 TRANSACTION
BIKE-42  1900000001  ¥1.00  ¥1.00      1  2026-11-17 12:00:00 (3 days ago)  AMOUNTS DIFFER 4200001
B        1900000001      -      -      0  2026-11-20 12:00:00 (now)         paid elsewhere
`,
		},
		"closed, and paid all the same": {
			[]ledger.Order{{MchID: mchA, OutOrderNo: "BIKE-42", State: tasks.Closed, Reason: "REVOKED", EndedAt: now, LatePaymentAt: now}},
			`ORDER    MERCHANT    TOTAL  PAID  CALLS  ENDED (UTC+08:00)          WHY
BIKE-42  1900000001      -     -      0  2026-11-20 12:00:00 (now)  PAID AFTER ITS END REVOKED: the merchant cancelled it
`,
		},
		"withdrawn": {
			[]ledger.Order{
				{MchID: mchA, OutOrderNo: "A", State: tasks.Withdrawn, Reason: "经理免单", EndedAt: now, CollectCalls: 1},
				{MchID: mchA, OutOrderNo: "B", State: tasks.Withdrawn, Reason: "REVOKED", EndedAt: now, NextDueAt: now.Add(10 * time.Second), Sync: &ledger.Sync{State: ledger.SyncPending, Calls: 2}},
				{MchID: mchA, OutOrderNo: "C", State: tasks.Withdrawn, Reason: "x\x1b[31m", EndedAt: now, Sync: &ledger.Sync{State: ledger.SyncDone}},
				{MchID: mchA, OutOrderNo: "D", State: tasks.Withdrawn, Reason: "x", EndedAt: now, Sync: &ledger.Sync{State: ledger.SyncFailed}},
				{MchID: mchA, OutOrderNo: "E", State: tasks.Withdrawn, Reason: "x", EndedAt: now, LatePaymentAt: now, PaidAmount: ptr[int64](5), Sync: &ledger.Sync{State: ledger.SyncNoNeed}},
			},
			`ORDER  MERCHANT    TOTAL   PAID  CALLS  ENDED (UTC+08:00)          SYNC                         WHY
A      1900000001      -      -      1  2026-11-20 12:00:00 (now)  none                         "经理免单"
B      1900000001      -      -      2  2026-11-20 12:00:00 (now)  pending, next in 10 seconds  "REVOKED"
C      1900000001      -      -      0  2026-11-20 12:00:00 (now)  done                         "x?[31m"
D      1900000001      -      -      0  2026-11-20 12:00:00 (now)  FAILED                       "x"
E      1900000001      -  ¥0.05      0  2026-11-20 12:00:00 (now)  not_needed                   PAID AFTER ITS END "x"
`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, tabled(t, c.orders...)); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

// Columns stand where the eye expects them: with long words, with Chinese ones,
// and over more orders than are held at a time.
func TestTable_Aligned(t *testing.T) {
	var orders []ledger.Order
	for i := range 2*tableRows + 50 {
		orders = append(orders, ledger.Order{
			MchID: mchA, OutOrderNo: fmt.Sprintf("%0*d", 1+i%32, i%10), State: tasks.Withdrawn, EndedAt: tableTeller.Now.Add(-time.Duration(i) * time.Hour),
			NextDueAt: tableTeller.Now, TotalAmount: ptr(int64(1) << (i % 30)), Reason: strings.Repeat("理由", i%100), Sync: &ledger.Sync{State: ledger.SyncStates[i%4]},
		})
	}
	lines := strings.Split(strings.TrimSuffix(tabled(t, orders...), "\n"), "\n")
	if len(lines) != 1+len(orders) {
		t.Fatalf("%d lines of %d orders", len(lines), len(orders))
	}
	at := strings.Index(lines[0], "MERCHANT")
	for i, line := range lines[1:] {
		if strings.Index(line, mchA) != at {
			t.Fatalf("line %d is out of line:\n%s\n%s", i+1, lines[0], line)
		}
		if w := explain.Width(line); w > 200 {
			t.Fatalf("line %d takes %d columns: %s", i+1, w, line)
		}
	}

	t.Run("what comes later and is longer moves its own line only", func(t *testing.T) {
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
