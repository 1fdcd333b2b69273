package main

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"payscore-collector/internal/config"
	"payscore-collector/internal/ledger"
	"payscore-collector/tasks"
)

func TestList(t *testing.T) {
	s := newStore(t)
	for i := range 3 {
		s.settle(mchA, "P"+strconv.Itoa(i), paid(int64(100+i)))
	}
	s.settle(mchB, "P3", paid(103))
	s.settle(mchB, "-R", rejected("=HYPERLINK(\"http://evil\")"))

	t.Run("--json is an object a line, all merchants, without the log", func(t *testing.T) {
		o := s.run("list", "--state", "paid", "--json")
		o.wantStatus(t, config.ExitOK)
		var got []string
		for line := range strings.Lines(o.stdout) {
			var order map[string]any
			if err := json.Unmarshal([]byte(line), &order); err != nil {
				t.Fatalf("%v in %s", err, line)
			}
			if order["log"] != nil {
				t.Errorf("there is a log in %s", line)
			}
			got = append(got, fmt.Sprint(order["mchid"], " ", order["out_order_no"], " ", order["paid_amount"]))
		}
		want := []string{mchA + " P2 102", mchA + " P1 101", mchA + " P0 100", mchB + " P3 103"}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("(-want +got)\n%s", diff)
		}
	})
	t.Run("--limit counts over all merchants", func(t *testing.T) {
		for limit, want := range map[string]int{"0": 4, "1": 1, "3": 3, "4": 4, "9": 4} {
			o := s.run("list", "--state", "paid", "--json", "--limit", limit)
			o.wantStatus(t, config.ExitOK)
			if got := strings.Count(o.stdout, "\n"); got != want || o.stderr != "" {
				t.Errorf("--limit %s: %d orders, want %d; stderr %q", limit, got, want, o.stderr)
			}
		}
	})
	t.Run("--mchid keeps to one merchant", func(t *testing.T) {
		o := s.run("list", "--state", "paid", "--json", "--mchid", mchB)
		if strings.Count(o.stdout, "\n") != 1 || !strings.Contains(o.stdout, `"P3"`) {
			t.Errorf("got %s", o.stdout)
		}
	})
	t.Run("a state that nothing is in", func(t *testing.T) {
		for format, want := range map[string]string{"--json": "", "--csv": strings.Join(csvHeader, ",") + "\n", "--limit=5": "there are none\n"} {
			o := s.run("list", "--state", "withdrawn", format)
			o.wantStatus(t, config.ExitOK)
			if o.stdout != want {
				t.Errorf("%s: got %q, want %q", format, o.stdout, want)
			}
		}
	})
	t.Run("--csv has the JSON's names, fen, and no formula", func(t *testing.T) {
		row := onlyRow(t, s.run("list", "--state", "rejected", "--csv"))
		for name, want := range map[string]string{
			"mchid": mchB, "out_order_no": "-R", "state": "rejected", "reason": "ORDER_NOT_EXIST", "total_amount": "",
			"collect_calls": "1", "last_error.http_status": "404", "last_error.code": "ORDER_NOT_EXIST",
			"last_error.detail_code": "271317510", "last_error.message": "'=HYPERLINK(\"http://evil\")", "next_due_at": "",
		} {
			if row[name] != want {
				t.Errorf("%s is %q, want %q", name, row[name], want)
			}
		}
		if _, err := time.Parse(time.RFC3339, row["ended_at"]); err != nil {
			t.Errorf("ended_at: %v", err)
		}
		row = onlyRow(t, s.run("list", "--state", "paid", "--csv", "--limit", "1"))
		if row["total_amount"] != "102" || row["paid_amount"] != "102" || row["transaction_id"] != "4200001" {
			t.Errorf("the paid order is %v", row)
		}
	})
}

func onlyRow(t *testing.T, o outcome) map[string]string {
	t.Helper()
	o.wantStatus(t, config.ExitOK)
	rows, err := csv.NewReader(strings.NewReader(o.stdout)).ReadAll()
	if err != nil || len(rows) != 2 {
		t.Fatalf("not a header and one row (%v): %s", err, o.stdout)
	}
	row := map[string]string{}
	for i, name := range rows[0] {
		row[name] = rows[1][i]
	}
	return row
}

// TestCSVHeader sees that a field that the JSON gains is not forgotten here.
func TestCSVHeader(t *testing.T) {
	now := time.Now()
	body, err := json.Marshal(ledger.Order{
		Reason: "r", OrderID: "o", TransactionID: "t", PaidType: "p", TotalAmount: ptr[int64](1), PaidAmount: ptr[int64](1),
		OpenedAt: now, LastAttemptAt: now, NextDueAt: now, EndedAt: now,
		LastError:     &ledger.LastError{HTTPStatus: 1, Code: "c", DetailCode: "d", Message: "m", RequestID: "r"},
		LatePaymentAt: now, AmountDiffers: &ledger.Difference{At: now, Field: "f", Known: 1, Said: 2},
		Sync: &ledger.Sync{State: "s", Reason: "r", PaidAt: now, Calls: 1},
	})
	if err != nil {
		t.Fatal(err)
	}
	var order map[string]any
	if err := json.Unmarshal(body, &order); err != nil {
		t.Fatal(err)
	}
	want := map[string]bool{}
	for name, value := range order {
		if nested, ok := value.(map[string]any); ok {
			for inner := range nested {
				want[name+"."+inner] = true
			}
			continue
		}
		want[name] = true
	}
	got := map[string]bool{}
	for _, name := range csvHeader {
		got[name] = true
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the columns are not the JSON's fields (-json +csv)\n%s", diff)
	}
	// Scripts count columns: those of the first release stay where they are.
	if at := slices.Index(csvHeader, "last_error.request_id"); at != 22 {
		t.Errorf("last_error.request_id is column %d", at)
	}
}

// TestCSV_Withdrawn sees the columns that only some orders fill, and that
// billing's own words are no formula.
func TestCSV_Withdrawn(t *testing.T) {
	at := time.Date(2026, 11, 20, 4, 0, 0, 0, time.UTC)
	var b bytes.Buffer
	w := newCSVLines(&b)
	if err := w.write(ledger.Order{
		MchID: mchA, OutOrderNo: "A", State: tasks.Withdrawn, Reason: "=1+1, 用户已付款", LatePaymentAt: at,
		AmountDiffers: &ledger.Difference{At: at, Field: "total_amount", Known: 100, Said: 120},
		Sync:          &ledger.Sync{State: ledger.SyncFailed, Reason: "PARAM_ERROR", PaidAt: at, Calls: 3},
	}); err != nil {
		t.Fatal(err)
	}
	if err := w.close(); err != nil {
		t.Fatal(err)
	}
	row := onlyRow(t, outcome{stdout: b.String()})
	for name, want := range map[string]string{
		"reason": "'=1+1, 用户已付款", "late_payment_at": "2026-11-20T04:00:00Z", "amount_differs.at": "2026-11-20T04:00:00Z",
		"amount_differs.field": "total_amount", "amount_differs.known": "100", "amount_differs.said": "120",
		"sync.state": "failed", "sync.reason": "PARAM_ERROR", "sync.paid_at": "2026-11-20T04:00:00Z", "sync.calls": "3",
		"last_error.http_status": "", "ended_at": "",
	} {
		if row[name] != want {
			t.Errorf("%s is %q, want %q", name, row[name], want)
		}
	}
}

func TestListForPeople(t *testing.T) {
	t.Run("says that there are more than it shows", func(t *testing.T) {
		s := newStore(t)
		for i := range limitForPeople + 1 {
			s.open(mchA, fmt.Sprintf("Q%03d", i))
		}
		o := s.run("list", "--state", "queued")
		o.wantStatus(t, config.ExitOK)
		if got := strings.Count(o.stdout, "\n"); got != 1+limitForPeople {
			t.Errorf("%d lines, want a header and %d orders", got, limitForPeople)
		}
		wantContains(t, "stderr", o.stderr, "there are more than these 100; --limit 0 lists all")

		o = s.run("list", "--state", "queued", "--limit", "0")
		if got := strings.Count(o.stdout, "\n"); got != 1+limitForPeople+1 || o.stderr != "" {
			t.Errorf("--limit 0: %d lines, stderr %q", got, o.stderr)
		}
	})
}
