package explain

import (
	"strings"
	"testing"
	"time"

	"payscore-collector/internal/ledger"
	"payscore-collector/tasks"
)

func TestPaidBy(t *testing.T) {
	list := func(kinds ...string) (payments []ledger.Payment) {
		for i, kind := range kinds {
			payments = append(payments, ledger.Payment{Seq: int64(i) + 1, Amount: 1, PaidType: kind})
		}
		return payments
	}
	const (
		rest     = "a part through PayScore, and the rest elsewhere, as the merchant told WeChat Pay"
		both     = "NEWTON and MCH: " + rest
		paidBoth = "paid: " + rest
	)
	for name, tt := range map[string]struct {
		order                ledger.Order
		by, state, elsewhere string
	}{
		"through PayScore":                      {ledger.Order{PaidType: "NEWTON", Payments: list("NEWTON", "NEWTON")}, "NEWTON: through PayScore", "paid: the money is in", ""},
		"elsewhere":                             {ledger.Order{PaidType: "MCH", Payments: list("MCH")}, "MCH: elsewhere, as the merchant told WeChat Pay; no money moved through it", "paid: elsewhere, as the merchant told WeChat Pay", "paid elsewhere"},
		"both, the merchant last":               {ledger.Order{PaidType: "MCH", Payments: list("NEWTON", "MCH")}, both, paidBoth, "paid partly elsewhere"},
		"both, the merchant first":              {ledger.Order{PaidType: "NEWTON", Payments: list("MCH", "NEWTON")}, both, paidBoth, "paid partly elsewhere"},
		"no list: through PayScore":             {ledger.Order{PaidType: "NEWTON", TransactionID: "1"}, "NEWTON: through PayScore", "paid: the money is in", ""},
		"no list: both":                         {ledger.Order{PaidType: "MCH", TransactionID: "1"}, both, paidBoth, "paid partly elsewhere"},
		"no list: elsewhere":                    {ledger.Order{PaidType: "MCH"}, "MCH: elsewhere, as the merchant told WeChat Pay; no money moved through it", "paid: elsewhere, as the merchant told WeChat Pay", "paid elsewhere"},
		"a way that this release does not know": {ledger.Order{PaidType: "NEW\x1bWAY"}, "NEW?WAY", "paid: the money is in", ""},
	} {
		tt.order.State = tasks.Paid
		var tell Teller
		if by, state, elsewhere := tell.PaidBy(tt.order), tell.State(tt.order), tell.PaidElsewhere(tt.order); by != tt.by || state != tt.state || elsewhere != tt.elsewhere {
			t.Errorf("%s: got %q, %q, %q\nwant %q, %q, %q", name, by, state, elsewhere, tt.by, tt.state, tt.elsewhere)
		}
	}
}

// A payment line never holds what could move a terminal's cursor.
func TestPayments_ArePrintable(t *testing.T) {
	o := ledger.Order{Payments: []ledger.Payment{{Amount: 5, PaidType: "X\x1b[2J", TransactionID: "1\r\n2", PaidAt: time.Unix(1, 0)}}}
	for _, line := range (Teller{Zone: time.UTC}).Payments(o) {
		const want = "¥0.05 on 1970-01-01 00:00:01, X?[2J, transaction 1  2"
		if strings.ContainsAny(line, "\x1b\r\n") || line != want {
			t.Errorf("got %q, want %q", line, want)
		}
	}
}

func TestTotal(t *testing.T) {
	fen := func(n int64) *int64 { return &n }
	for want, o := range map[string]ledger.Order{
		"¥12.30|¥12.30": {TotalAmount: fen(1230), BillingAmount: fen(5)},
		"|-":            {},
		"¥0.05, said by billing: WeChat Pay has signed no total yet|¥0.05 (billing)": {BillingAmount: fen(5)},
	} {
		if got := (Teller{}).Total(o) + "|" + (Teller{}).TotalBrief(o); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// A fen that came after an order was given up leaves the rest owed.
func TestStillOwed(t *testing.T) {
	fen := func(n int64) *int64 { return &n }
	for _, tt := range []struct {
		state tasks.State
		late  bool
		paid  int64
		want  string
	}{
		{tasks.Awaiting, false, 1, "¥99.99"}, {tasks.Exhausted, false, 1, "¥99.99"}, {tasks.Exhausted, true, 1, "¥99.99"},
		{tasks.Exhausted, true, 10000, ""}, {tasks.Exhausted, false, 0, ""}, {tasks.Withdrawn, true, 1, ""},
	} {
		o := ledger.Order{State: tt.state, TotalAmount: fen(10000), PaidAmount: &tt.paid}
		if tt.late {
			o.LatePaymentAt = time.Unix(1, 0)
		}
		if got := StillOwed(o); got != tt.want {
			t.Errorf("%+v: still owed %q, want %q", tt, got, tt.want)
		}
	}
}
