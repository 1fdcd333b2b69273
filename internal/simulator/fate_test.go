package simulator

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
)

const (
	wantTaken     = "200"
	wantDeclined  = "403 TRADE_ERROR"
	wantDone      = "400 ORDER_DONE"
	wantDeducting = "400 INVALID_REQUEST"
	wantWrong     = "400 INVALID_ORDER_STATE"
)

// Every fate, told as what one order lives through.
func TestFates(t *testing.T) {
	// A step lets time pass, then collects; afterwards the platform's truth
	// must be as told.
	type step struct {
		after     time.Duration
		want      string // status and code
		fine      string // behind Request-ID
		state     string // state/description/collection.state
		paid      int64
		elsewhere int64 // of paid
		comment   string
	}
	const (
		owed = "DOING/MCH_COMPLETE/USER_PAYING"
		done = "DONE//USER_PAID"
	)
	tests := map[string]struct {
		fate  Fate
		delay time.Duration // pay_delay
		steps []step
	}{
		"no fate pays at once": {steps: []step{
			{want: wantTaken, fine: "0", state: done, paid: 1000},
			{after: time.Second, want: wantDone, fine: "271316657", state: done, paid: 1000},
		}},
		"pays, the money arriving later": {fate: FatePays, delay: 5 * time.Second, steps: []step{
			{want: wantTaken, fine: "0", state: owed},
			{after: 4 * time.Second, want: wantDeducting, fine: "271316754", state: owed},
			{after: time.Second, want: wantDone, fine: "271316657", state: done, paid: 1000},
		}},
		"declines": {fate: FateDeclines(2), steps: []step{
			{want: wantDeclined, fine: "271316574", state: owed},
			{after: time.Second, want: wantDeclined, fine: "271316574", state: owed},
			{after: time.Second, want: wantTaken, fine: "0", state: done, paid: 1000},
		}},
		"userpaying": {fate: FateUserPaying(5 * time.Second), steps: []step{
			{want: "200", fine: "0", state: owed, comment: `{"trade_state":"USERPAYING"}`},
			{after: 2 * time.Second, want: wantDeducting, fine: "271316754", state: owed},
			{after: 3 * time.Second, want: wantDone, fine: "271316657", state: done, paid: 1000},
		}},
		"user_pays": {fate: FateUserPays(10 * time.Second), steps: []step{
			{want: wantDeclined, fine: "271316574", state: owed},
			{after: 9 * time.Second, want: wantDeclined, fine: "271316574", state: owed},
			{after: time.Second, want: wantDone, fine: "271316657", state: done, paid: 1000},
		}},
		"never": {fate: FateNever, steps: []step{
			{want: wantDeclined, fine: "271316574", state: owed},
			{after: 30 * 24 * time.Hour, want: wantDeclined, fine: "271316574", state: owed},
		}},
		"partial": {fate: FatePartial(300), steps: []step{
			{want: wantTaken, fine: "0", state: owed, paid: 300},
			{after: time.Second, want: wantTaken, fine: "0", state: done, paid: 1000},
		}},
		"partial, the money arriving later": {fate: FatePartial(300), delay: 2 * time.Second, steps: []step{
			{want: wantTaken, fine: "0", state: owed},
			{after: time.Second, want: wantDeducting, fine: "271316754", state: owed},
			{after: time.Second, want: wantTaken, fine: "0", state: owed, paid: 300},
			{after: 2 * time.Second, want: wantDone, fine: "271316657", state: done, paid: 1000},
		}},
		"parts": {fate: FateParts(3), steps: []step{
			{want: wantTaken, fine: "0", state: owed, paid: 333},
			{after: time.Second, want: wantTaken, fine: "0", state: owed, paid: 666},
			{after: time.Second, want: wantTaken, fine: "0", state: done, paid: 1000},
			{after: time.Second, want: wantDone, fine: "271316657", state: done, paid: 1000},
		}},
		"mixed": {fate: "mixed", steps: []step{
			{want: wantTaken, fine: "0", state: owed, paid: 333},
			{after: time.Second, want: wantDeclined, fine: "271316574", state: owed, paid: 666, elsewhere: 333},
			{after: time.Second, want: wantTaken, fine: "0", state: done, paid: 1000, elsewhere: 333},
		}},
		"mixed, the merchant last": {fate: FateMixed("PM"), steps: []step{
			{want: wantTaken, fine: "0", state: owed, paid: 500},
			{after: time.Second, want: wantDeclined, fine: "271316574", state: done, paid: 1000, elsewhere: 500},
		}},
		"lower": {fate: FateLower(400), steps: []step{
			{want: wantDeclined, fine: "271316574", state: owed},
			{after: time.Second, want: wantDeclined, fine: "271316574", state: owed},
			{after: time.Second, want: wantTaken, fine: "0", state: done, paid: 400},
		}},
		"not_completed": {fate: FateNotCompleted, steps: []step{{want: wantWrong, fine: "271302332", state: "DOING/USER_CONFIRM/"}}},
		"created":       {fate: FateCreated, steps: []step{{want: wantWrong, fine: "271302332", state: "CREATED//"}}},
		"revoked":       {fate: FateRevoked, steps: []step{{want: "400 ORDER_CANCELED", fine: "271302333", state: "REVOKED//"}}},
		"expired":       {fate: FateExpired, steps: []step{{want: wantWrong, fine: "271302262", state: "EXPIRED//"}}},
		"unknown":       {fate: FateUnknown, steps: []step{{want: "404 ORDER_NOT_EXIST", fine: "271317510", state: "NOT_EXIST//"}}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			b := setup(t, Order{OutOrderNo: "A1", TotalAmount: 1000, Fate: tt.fate})
			b.fail(Faults{PayDelay: Duration(tt.delay)})
			for i, s := range tt.steps {
				b.clock.pass(s.after)
				a := b.collect("A1")
				if a.String() != s.want || a.fine() != s.fine || a.signature != "good" {
					t.Fatalf("step %d: got %v with detail code %s, signature %s; want %s with %s, signed", i+1, a, a.fine(), a.signature, s.want, s.fine)
				}
				if s.comment != "" && a.body != s.comment {
					t.Errorf("step %d: body %s, want %s and nothing else", i+1, a.body, s.comment)
				}
				got := b.truth("A1").Audit
				if state := got.State + "/" + got.StateDescription + "/" + got.CollectionState; state != s.state || got.PaidAmount != s.paid || got.MoneyMoved != s.paid-s.elsewhere {
					t.Errorf("step %d: the order is %s with %d fen paid and %d moved, want %s with %d and %d", i+1, state, got.PaidAmount, got.MoneyMoved, s.state, s.paid, s.paid-s.elsewhere)
				}
			}
		})
	}
	t.Run("nothing_owed", func(t *testing.T) {
		b := setup(t, Order{OutOrderNo: "A1", Fate: FateNothingOwed})
		if e := b.entity("A1"); e.State != StateDone || e.NeedCollection || e.Collection != nil || e.TotalAmount != 0 {
			t.Errorf("got %+v, want DONE without a collection", e)
		}
		if a := b.collect("A1"); a.String() != wantDone {
			t.Errorf("collect: %v", a)
		}
	})
}

// Users also pay in time when no worker collects.
func TestFates_PaidWithoutACall(t *testing.T) {
	b := setup(t, Order{OutOrderNo: "A1", TotalAmount: 1000, Fate: FateUserPays(10 * time.Second)})
	b.clock.pass(time.Minute)
	e := b.entity("A1")
	if e.State != StateDone || e.Collection.State != CollectionUserPaid {
		t.Fatalf("got %s/%s, want DONE/USER_PAID", e.State, e.Collection.State)
	}
	// The clock starts at 04:00 UTC, which is noon in China.
	if d := e.Collection.Details[0]; d.PaidTime != "20261123120010" || d.PaidType != PaidTypeNewton || len(d.TransactionID) != 28 {
		t.Errorf("payment %+v, want NEWTON at 20261123120010 with a transaction_id of 28 digits", d)
	}
}

func TestFate_ParseErrors(t *testing.T) {
	tests := map[Fate]string{
		"pay":                    "is not known",
		"pays:1":                 "takes no argument",
		"declines":               "whole number",
		"declines:-1":            "whole number",
		"declines:x":             "whole number",
		"declines:1000001":       "whole number",
		"userpaying":             "duration",
		"userpaying:5":           "duration",
		"user_pays:-1s":          "duration",
		"partial:0":              "above 0",
		"partial:1.5":            "above 0",
		"partial:1000":           "less than the total amount",
		"parts":                  "whole number from 2 to 20",
		"parts:1":                "whole number from 2 to 20",
		"parts:21":               "whole number from 2 to 20",
		"mixed:":                 "2 to 20 letters",
		"mixed:PXM":              "2 to 20 letters",
		"mixed:pm":               "2 to 20 letters",
		"lower:0":                "above 0",
		"lower:1000":             "must lower the total amount",
		":5":                     "no name",
		"partial:99999999999999": "less than the total amount",
	}
	for fate, want := range tests {
		t.Run(string(fate), func(t *testing.T) {
			b := setup(t)
			err := b.sim.AddOrders(Order{OutOrderNo: "GOOD"}, Order{OutOrderNo: "BAD", TotalAmount: 1000, Fate: fate})
			if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), `order "BAD"`) {
				t.Fatalf("got %v, want an error that names order BAD and says %q", err, want)
			}
			if _, ok := b.sim.Order("GOOD"); ok {
				t.Error("the good order was added all the same; it must be all or none")
			}
		})
	}
}

func TestCollect_RefusesWhatIsMalformed(t *testing.T) {
	m := Merchant{AppID: DefaultAppID, ServiceID: DefaultServiceID}
	good := fmt.Sprintf(`{"appid":%q,"service_id":%q}`, m.AppID, m.ServiceID)
	tests := map[string]struct{ no, body, want, fine string }{
		"a body that is no JSON":  {"A1", "appid=x", "400 PARAM_ERROR", "268435464"},
		"no body":                 {"A1", "", "400 PARAM_ERROR", "268435464"},
		"no appid":                {"A1", `{"service_id":"500001"}`, "400 PARAM_ERROR", "268435464"},
		"no service_id":           {"A1", `{"appid":"wxd678efh567hg6787"}`, "400 PARAM_ERROR", "268435464"},
		"a number too long":       {strings.Repeat("A", 33), good, "400 PARAM_ERROR", "268435464"},
		"a character not allowed": {"A.1", good, "400 PARAM_ERROR", "268435464"},
		"a slash in the number":   {"A%2F1", good, "400 PARAM_ERROR", "268435464"},
		"an order never added":    {"A2", good, "404 ORDER_NOT_EXIST", "271317510"},
		"another appid":           {"A1", `{"appid":"wx0","service_id":"500001"}`, "403 NO_AUTH", "268503786"},
		"another service_id":      {"A1", `{"appid":"wxd678efh567hg6787","service_id":"1"}`, "403 NO_AUTH", "268503786"},
	}
	b := setup(t, Order{OutOrderNo: "A1"})
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			a := b.call(t.Context(), http.MethodPost, "/v3/payscore/serviceorder/"+tt.no+"/pay", tt.body)
			if a.String() != tt.want || a.fine() != tt.fine || a.signature != "good" {
				t.Errorf("got %v with detail code %s, signature %s; want %s with %s, signed", a, a.fine(), a.signature, tt.want, tt.fine)
			}
		})
	}
	t.Run("more than 64 KiB", func(t *testing.T) {
		a := b.call(t.Context(), http.MethodPost, "/v3/payscore/serviceorder/A1/pay", strings.Repeat(" ", maxRequestBody+1))
		if a.String() != "400 PARAM_ERROR" || a.signature != "missing" {
			t.Errorf("got %v, signature %s", a, a.signature)
		}
	})
	if got := b.truth("A1").Audit.MoneyMoved; got != 0 {
		t.Errorf("malformed calls moved %d fen", got)
	}
}

func TestCollect_OrderGap(t *testing.T) {
	b := setup(t, Order{OutOrderNo: "A1", Fate: FateNever}, Order{OutOrderNo: "A2", Fate: FateNever})
	step := func(wait time.Duration, no, want string) {
		t.Helper()
		b.clock.pass(wait)
		if a := b.collect(no); a.String() != want {
			t.Errorf("%s after %v: %v, want %s", no, wait, a, want)
		}
	}
	step(0, "A1", wantDeclined)
	step(999*time.Millisecond, "A1", "429 FREQUENCY_LIMITED")
	step(0, "A2", wantDeclined) // another order is not to blame
	step(time.Millisecond, "A1", wantDeclined)
	gap := Duration(0)
	b.fail(Faults{OrderGap: &gap})
	step(0, "A1", wantDeclined)
}

func TestSync(t *testing.T) {
	t.Run("ends an order that waits for payment", func(t *testing.T) {
		b := setup(t, Order{OutOrderNo: "A1", TotalAmount: 1000, Fate: FatePartial(300)})
		b.collect("A1")
		if a := b.sync("A1"); a.status != http.StatusOK || a.signature != "good" {
			t.Fatalf("got %v %s", a, a.body)
		}
		e := b.entity("A1")
		if e.State != StateDone || e.Collection.PaidAmount != 1000 || e.Collection.PayingAmount != 0 {
			t.Errorf("got %s with %+v", e.State, e.Collection)
		}
		if d := e.Collection.Details[1]; d.PaidType != PaidTypeMch || d.Amount != 700 || d.PaidTime != "20261101120000" || d.TransactionID != "" {
			t.Errorf("payment %+v, want 700 fen MCH at 20261101120000", d)
		}
		if got := b.truth("A1").Audit; got.MoneyMoved != 300 || got.SyncCalls != 1 {
			t.Errorf("money_moved %d, sync_calls %d; want 300 and 1: what was paid elsewhere did not move here", got.MoneyMoved, got.SyncCalls)
		}
	})
	refused := map[Fate]string{
		FateCreated: wantWrong, FateNotCompleted: wantWrong, FateExpired: wantWrong,
		FateRevoked: "400 ORDER_CANCELED", FateNothingOwed: wantDone, FateUnknown: "404 ORDER_NOT_EXIST",
	}
	for fate, want := range refused {
		t.Run("is refused for "+string(fate), func(t *testing.T) {
			b := setup(t, Order{OutOrderNo: "A1", Fate: fate})
			if a := b.sync("A1"); a.String() != want {
				t.Errorf("got %v, want %s", a, want)
			}
		})
	}
	t.Run("is refused while a deduction runs", func(t *testing.T) {
		b := setup(t, Order{OutOrderNo: "A1", Fate: FateUserPaying(time.Minute)})
		b.collect("A1")
		if a := b.sync("A1"); a.String() != wantDeducting || a.fine() != "271316754" {
			t.Errorf("got %v %s", a, a.fine())
		}
	})
	for name, body := range map[string]string{
		"another type":           `{"appid":"wxd678efh567hg6787","service_id":"500001","type":"Paid","detail":{"paid_time":"20261101120000"}}`,
		"no paid_time":           `{"appid":"wxd678efh567hg6787","service_id":"500001","type":"Order_Paid"}`,
		"a paid_time in RFC3339": `{"appid":"wxd678efh567hg6787","service_id":"500001","type":"Order_Paid","detail":{"paid_time":"2026-11-01T12:00:00+08:00"}}`,
	} {
		t.Run("is refused with "+name, func(t *testing.T) {
			b := setup(t, Order{OutOrderNo: "A1"})
			if a := b.call(t.Context(), http.MethodPost, "/v3/payscore/serviceorder/A1/sync", body); a.String() != "400 PARAM_ERROR" {
				t.Errorf("got %v", a)
			}
		})
	}
}

func TestQuery_Entity(t *testing.T) {
	const no = "A|B*"
	b := setup(t, Order{OutOrderNo: no, TotalAmount: 1000, Fate: FatePartial(300)})
	b.collect(no)
	e, m := b.entity(no), b.sim.Merchant()
	if e.OutOrderNo != no || e.AppID != m.AppID || e.MchID != m.MchID || e.ServiceID != m.ServiceID || e.OrderID == "" || e.OpenID == "" || e.Attach == "" {
		t.Errorf("the entity does not say whose it is: %+v", e)
	}
	if e.State != StateDoing || e.StateDescription != DescriptionMchComplete || e.TotalAmount != 1000 || !e.NeedCollection {
		t.Errorf("got %s/%s, total %d, need_collection %v", e.State, e.StateDescription, e.TotalAmount, e.NeedCollection)
	}
	if c := e.Collection; c.State != CollectionUserPaying || c.PayingAmount != 700 || c.PaidAmount != 300 || len(c.Details) != 1 {
		t.Errorf("collection %+v", c)
	}
	if len(e.Undocumented) == 0 {
		t.Error("there is no undocumented field for clients to tolerate")
	}
	for name, target := range map[string]string{
		"no appid":        "/v3/payscore/serviceorder?out_order_no=A1&service_id=" + m.ServiceID,
		"no service_id":   "/v3/payscore/serviceorder?out_order_no=A1&appid=" + m.AppID,
		"no out_order_no": "/v3/payscore/serviceorder?service_id=" + m.ServiceID + "&appid=" + m.AppID,
	} {
		t.Run(name, func(t *testing.T) {
			if a := b.call(t.Context(), http.MethodGet, target, ""); a.String() != "400 PARAM_ERROR" {
				t.Errorf("got %v", a)
			}
		})
	}
}
