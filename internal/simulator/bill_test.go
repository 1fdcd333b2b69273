package simulator

import (
	"strings"
	"testing"
	"time"
)

func TestBill_Validate(t *testing.T) {
	n := -1
	for _, b := range []Bill{{MissingRows: -1}, {AmountsOff: -1}, {PaidTwice: -1}, {Refunds: -1}, {UnknownOrders: 2_000_000}, {OtherBusiness: &n}} {
		if b.Validate() == nil {
			t.Errorf("%+v is accepted", b)
		}
	}
}

// A bill has what was paid through the platform on its day, deductions as AUTH and payments
// by the user as JSAPI, and nothing that was paid elsewhere or on another day.
func TestBillRows(t *testing.T) {
	now := time.Date(2026, 11, 26, 23, 59, 59, 0, chinaTime)
	s, err := New(Options{KeyBits: 1024, Clock: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	if err := s.AddOrders(Order{OutOrderNo: "A|1", TotalAmount: 1234}, Order{OutOrderNo: "A2", TotalAmount: 500}, Order{OutOrderNo: "A3", TotalAmount: 7}, Order{OutOrderNo: "A4", TotalAmount: 9}); err != nil {
		t.Fatal(err)
	}
	s.find("A|1").collect(s.id.Merchant, Faults{}, now)
	for no, kind := range map[string]string{"A2": PaidTypeNewton, "A3": PaidTypeMch} {
		if err := s.Pay(no, 0, kind); err != nil {
			t.Fatal(err)
		}
	}
	now = now.Add(time.Second)
	if err := s.Pay("A4", 0, PaidTypeNewton); err != nil {
		t.Fatal(err)
	}
	day := time.Date(2026, 11, 26, 0, 0, 0, 0, chinaTime)
	none := 0
	text := string(s.billText(s.billRows(day, Bill{OtherBusiness: &none}), billColumns, Bill{}))
	lines := strings.Split(text, "\r\n")
	if len(lines) != 6 || !strings.HasPrefix(lines[0], "\ufeff交易时间,") || lines[4] != "`2,`17.34,`0.00,`0.00,`0.10404,`17.34,`0.00" {
		t.Fatalf("the bill is\n%s", text)
	}
	for i, want := range []string{"`AUTH,`SUCCESS,`OTHERS,`CNY,`12.34,", "`A2,`oUpF8uMuAJO_M2pxb1Q900000002,`JSAPI,`SUCCESS,"} {
		if !strings.HasPrefix(lines[1+i], "`2026-11-26 23:59:59,") || !strings.Contains(lines[1+i], want) {
			t.Errorf("row %d is %s", i+1, lines[1+i])
		}
	}
	if !strings.Contains(lines[1], "`wxzff|10000000000000000001|A|1,") {
		t.Errorf("the attach of %s", lines[1])
	}
	if rows := s.billRows(day.AddDate(0, 0, -1), Bill{}); len(rows) != 0 {
		t.Errorf("the day before has %+v", rows)
	}
}

func TestControl_Bill(t *testing.T) {
	b := setup(t)
	if status, body := b.control("PUT", "/_sim/bill", `{"missing_rows":1,"old_layout":true}`); status != 200 || !strings.Contains(body, `"missing_rows":1`) {
		t.Errorf("%d %s", status, body)
	}
	if got := b.sim.Bill(); got.MissingRows != 1 || !got.OldLayout {
		t.Errorf("in force: %+v", got)
	}
	if status, body := b.control("PUT", "/_sim/bill", `{"missing_rows":-1}`); status != 400 || !strings.Contains(body, "missing_rows is -1") {
		t.Errorf("%d %s", status, body)
	}
}
