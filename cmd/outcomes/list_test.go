package main

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"

	"payscore-collector/internal/config"
	"payscore-collector/internal/ledger"
	"payscore-collector/internal/ordercsv"
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
	t.Run("a state without orders", func(t *testing.T) {
		for format, want := range map[string]string{"--json": "", "--csv": strings.Join(ordercsv.Names(), ",") + "\n", "--limit=5": "no orders found\n"} {
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

// Scripts count columns: those of earlier releases stay where they are, and a field
// that the JSON gains has a column.
func TestCSVHeader(t *testing.T) {
	header := ordercsv.Names()
	if diff := cmp.Diff(ordercsv.FirstColumns, header[:min(len(ordercsv.FirstColumns), len(header))]); diff != "" {
		t.Errorf("the first columns (-want +got)\n%s", diff)
	}
	for _, f := range reflect.VisibleFields(reflect.TypeFor[ledger.Order]()) {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		has := slices.ContainsFunc(header, func(c string) bool { return c == name || strings.HasPrefix(c, name+".") })
		if want := name != "-" && name != "log" && name != "past" && !f.Anonymous; has != want {
			t.Errorf("a column for %s: %t, want %t", name, has, want)
		}
	}
}

// Some columns are filled for a few orders only, and billing's own words are not a
// formula.
func TestCSV_Withdrawn(t *testing.T) {
	at := time.Date(2026, 11, 20, 4, 0, 0, 0, time.UTC)
	var b bytes.Buffer
	w := ordercsv.New(&b, false)
	if err := w.Write(ledger.Order{
		MchID: mchA, OutOrderNo: "A", State: tasks.Withdrawn, Reason: "=1+1, 用户已付款", LatePaymentAt: at,
		AmountDiffers: &ledger.Difference{At: at, Field: "total_amount", Known: 100, Said: 120},
		Sync:          &ledger.Sync{State: ledger.SyncFailed, Reason: "PARAM_ERROR", PaidAt: at, Calls: 3},
	}); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
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
		s.beat(mchA)
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

// Each filter selects the orders that it names, over every page of the index.
func TestList_Filters(t *testing.T) {
	s := newStore(t)
	const day = 24 * time.Hour
	now := time.Now().Truncate(time.Second)
	keys := ledger.KeysOf(mchA)
	ended := func(no string, ago time.Duration) { // so long ago
		s.settle(mchA, no, paid(1))
		at := now.Add(-ago).UnixMilli()
		s.rdb.HSet(t.Context(), keys.Order(no), "ended", at)
		s.rdb.ZAdd(t.Context(), keys.Ended(tasks.Paid), redis.Z{Score: float64(at), Member: no})
	}
	for i := range 250 {
		ended(fmt.Sprintf("P%03d", i), time.Duration(i)*time.Hour)
	}
	s.open(mchA, "Q1")
	s.open(mchA, "Q2")
	s.rdb.HSet(t.Context(), keys.Order("Q2"), "opened", now.Add(-10*day).UnixMilli(), "svc", "500002")
	s.settle(mchB, "R", rejected("订单不存在"))
	s.beat(mchA)
	s.beat(mchB)

	list := func(args ...string) (numbers []string) {
		t.Helper()
		o := s.run(append([]string{"list", "--json"}, args...)...)
		o.wantStatus(t, config.ExitOK)
		for line := range strings.Lines(o.stdout) {
			var order struct {
				No string `json:"out_order_no"`
			}
			if err := json.Unmarshal([]byte(line), &order); err != nil {
				t.Fatal(err)
			}
			numbers = append(numbers, order.No)
		}
		return numbers
	}
	hours := func(from, to int) (numbers []string) {
		for i := from; i < to; i++ {
			numbers = append(numbers, fmt.Sprintf("P%03d", i))
		}
		return numbers
	}
	at := func(ago time.Duration) string { return now.Add(-ago).Format(time.RFC3339) }
	for name, c := range map[string]struct {
		args []string
		want []string
	}{
		"since counts, until does not": {[]string{"--state", "paid", "--since", at(3 * time.Hour), "--until", at(1 * time.Hour)}, []string{"P002", "P003"}},
		"over several pages":           {[]string{"--state", "paid", "--since", at(220 * time.Hour), "--until", at(99 * time.Hour)}, hours(100, 221)},
		"since alone":                  {[]string{"--state", "paid", "--since", at(110 * time.Hour)}, hours(0, 111)},
		"until alone":                  {[]string{"--state", "paid", "--until", at(247 * time.Hour)}, hours(248, 250)},
		"how long ago":                 {[]string{"--state", "paid", "--since", "90m"}, hours(0, 2)},
		"with a limit":                 {[]string{"--state", "paid", "--until", at(5 * time.Hour), "--limit", "2"}, hours(6, 8)},
		"open ones by their opening":   {[]string{"--state", "queued", "--until", at(day)}, []string{"Q2"}},
		"of a service":                 {[]string{"--state", "queued", "--service-id", "500002"}, []string{"Q2"}},
		"of another service":           {[]string{"--state", "paid", "--service-id", "500002"}, nil},
		"several states":               {[]string{"--state", "rejected", "--state", "queued", "--service-id", "500001"}, []string{"R", "Q1"}},
		"several states with a comma":  {[]string{"--state", "rejected,queued,rejected", "--since", "1h"}, []string{"R", "Q1"}},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, list(c.args...)); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
	t.Run("people see one table per state", func(t *testing.T) {
		o := s.run("list", "--state", "queued,rejected,closed")
		o.wantStatus(t, config.ExitOK)
		wantContains(t, "stdout", o.stdout, "queued\nORDER", "\n\nrejected\nORDER")
		if strings.Contains(o.stdout, "closed\n") || strings.Contains(o.stdout, "nothing is collected") {
			t.Errorf("more than two tables:\n%s", o.stdout)
		}
	})
	t.Run("after open orders stands why they are not collected", func(t *testing.T) {
		s.rdb.Set(t.Context(), "asynq:{collect:"+mchA+"}:paused", now.Unix(), 0)
		defer s.rdb.Del(t.Context(), "asynq:{collect:"+mchA+"}:paused")
		wantContains(t, "stdout", s.run("list", "--state", "queued").stdout, mchA+": nothing is collected: the queue has been paused since")
		if o := s.run("list", "--state", "paid"); strings.Contains(o.stdout, "paused") {
			t.Errorf("behind ended ones:\n%s", o.stdout)
		}
	})
	t.Run("impossible filters are refused", func(t *testing.T) {
		o := s.run("list", "--state", "paid", "--since", "yesterday", "--excel", "--until", "12/24/2026")
		o.wantStatus(t, config.ExitUsage)
		wantContains(t, "stderr", o.stderr, `--since is "yesterday", which is not a time`, `--until is "12/24/2026"`, "--excel is a form of --csv")
		o = s.run("list", "--state", "paid", "--since", "2026-11-02", "--until", "2026-11-02")
		o.wantStatus(t, config.ExitUsage)
		wantContains(t, "stderr", o.stderr, "--until is not after --since")
	})
}

// An amount that WeChat Pay has signed as 0 is not one that it has not signed.
func TestCSV_ZeroIsNotAbsent(t *testing.T) {
	var b bytes.Buffer
	w := ordercsv.New(&b, false)
	if err := w.Write(ledger.Order{MchID: mchA, OutOrderNo: "A", State: tasks.Awaiting, TotalAmount: new(int64)}); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	row := onlyRow(t, outcome{stdout: b.String()})
	if row["total_amount"] != "0" || row["paid_amount"] != "" {
		t.Errorf("total_amount is %q and paid_amount %q, want 0 and nothing", row["total_amount"], row["paid_amount"])
	}
}
