package simulator

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

// control makes one call of the control API.
func (b *bench) control(method, path, body string) (int, string) {
	b.t.Helper()
	r, err := http.NewRequestWithContext(b.t.Context(), method, b.url+path, strings.NewReader(body))
	if err != nil {
		b.t.Fatal(err)
	}
	resp, err := b.http.Do(r)
	if err != nil {
		b.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	return resp.StatusCode, strings.TrimSpace(string(text))
}

func TestControl_PostOrders(t *testing.T) {
	tests := map[string]struct {
		body   string
		status int
		want   string
	}{
		"a number is enough":          {`[{"out_order_no":"A1"}]`, 201, `{"count":1}`},
		"all fields":                  {`[{"out_order_no":"A|1*","total_amount":1250,"fate":"declines:2","replies":[{"call":"collect","times":1,"http":403,"code":"TRADE_ERROR","message":"扣款失败","detail_code":"271316574","kind":"error"}]}]`, 201, `{"count":1}`},
		"none":                        {`[]`, 201, `{"count":0}`},
		"not an array":                {`{"out_order_no":"A1"}`, 400, "must be a JSON array of orders"},
		"no JSON":                     {`out_order_no=A1`, 400, "must be a JSON array of orders"},
		"nothing":                     {``, 400, "must be a JSON array of orders"},
		"cut off":                     {`[{"out_order_no":"A1"},`, 400, "ends too early"},
		"not closed":                  {`[{"out_order_no":"A1"}`, 400, "does not end"},
		"something behind":            {`[{"out_order_no":"A1"}] x`, 400, "behind the end"},
		"an unknown field":            {`[{"out_order_no":"A1"},{"out_order_no":"A2","faet":"never"}]`, 400, `order 2 of the list (out_order_no "A2"): field "faet" is not known`},
		"a wrong type":                {`[{"out_order_no":"A1","total_amount":"12.50"}]`, 400, `order 1 of the list (out_order_no "A1"): total_amount must not be a JSON string`},
		"a broken amount":             {`[{"out_order_no":"A1","total_amount":12.5}]`, 400, "total_amount must not be a JSON number 12.5"},
		"a negative amount":           {`[{"out_order_no":"A1","total_amount":-1}]`, 400, `order "A1": total_amount is -1`},
		"a bad fate":                  {`[{"out_order_no":"A1"},{"out_order_no":"A2","fate":"declines:x"}]`, 400, `order "A2": fate "declines:x" needs a whole number`},
		"a bad reply":                 {`[{"out_order_no":"A1","replies":[{"kind":"no"}]}]`, 400, `order "A1": reply 1: kind "no" is not known`},
		"a bad number":                {`[{"out_order_no":"A 1"}]`, 400, `order "A 1": out_order_no must be 1 to 32 characters`},
		"no number":                   {`[{}]`, 400, "out_order_no must be 1 to 32 characters"},
		"nothing_owed, and an amount": {`[{"out_order_no":"A1","total_amount":5,"fate":"nothing_owed"}]`, 400, "owes nothing"},
		"twice in one list":           {`[{"out_order_no":"A1"},{"out_order_no":"A1"}]`, 409, `order "A1": out_order_no is there already`},
		"there already":               {`[{"out_order_no":"A1"},{"out_order_no":"OLD"}]`, 409, `order "OLD": out_order_no is there already`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			b := setup(t, Order{OutOrderNo: "OLD"})
			status, body := b.control(http.MethodPost, "/_sim/orders", tt.body)
			text := body
			if status >= 400 {
				var e struct{ Error string }
				if err := json.Unmarshal([]byte(body), &e); err != nil {
					t.Fatalf("the error is no JSON: %s", body)
				}
				text = e.Error
				if got := len(b.sim.Report().Orders); got != 1 {
					t.Errorf("%d orders are there after an error, want the old one only", got)
				}
			}
			if status != tt.status || !strings.Contains(text, tt.want) {
				t.Errorf("got %d %s, want %d with %s", status, text, tt.status, tt.want)
			}
		})
	}
}

func TestControl_HundredThousandOrders(t *testing.T) {
	var list strings.Builder
	for i := range 100_000 {
		fmt.Fprintf(&list, `,{"out_order_no":"A%d"}`, i)
	}
	b := setup(t)
	if status, body := b.control(http.MethodPost, "/_sim/orders", "["+strings.Repeat("{},", 100_000)+"{}]"); status != 400 || !strings.Contains(body, "more than 100000 orders") {
		t.Errorf("100,001: got %d %.200s", status, body)
	}
	if status, body := b.control(http.MethodPost, "/_sim/orders", "["+list.String()[1:]+"]"); status != 201 || body != `{"count":100000}` {
		t.Errorf("100,000: got %d %.200s", status, body)
	}
	if got := len(b.sim.Report().Orders); got != 100_000 {
		t.Errorf("the report has %d orders", got)
	}
}

func TestControl_OrderAndReset(t *testing.T) {
	b := setup(t, Order{OutOrderNo: "A|1*", TotalAmount: 1000}, Order{OutOrderNo: "A2", Fate: FateUnknown})
	b.collect("A|1*")
	status, body := b.control(http.MethodGet, "/_sim/orders/A%7C1*", "")
	var truth OrderTruth
	if err := json.Unmarshal([]byte(body), &truth); err != nil || status != 200 {
		t.Fatalf("got %d %s, %v", status, body, err)
	}
	if truth.Entity == nil || truth.Entity.State != StateDone || truth.Audit.MoneyMoved != 1000 || truth.Audit.CollectCalls != 1 {
		t.Errorf("got %s", body)
	}
	if status, body := b.control(http.MethodGet, "/_sim/orders/A2", ""); status != 200 || !strings.Contains(body, `"entity":null`) {
		t.Errorf("fate unknown: %d %s", status, body)
	}
	if status, body := b.control(http.MethodGet, "/_sim/orders/A3", ""); status != 404 || !strings.Contains(body, `A3`) {
		t.Errorf("never added: %d %s", status, body)
	}
	if status, body := b.control(http.MethodDelete, "/_sim/orders", ""); status != 204 || body != "" {
		t.Errorf("reset: %d %s", status, body)
	}
	if status, _ := b.control(http.MethodGet, "/_sim/orders/A2", ""); status != 404 {
		t.Errorf("after the reset: %d", status)
	}
	if status, body := b.control(http.MethodGet, "/_sim/nothing", ""); status != 404 || !strings.Contains(body, "GET /_sim/report") {
		t.Errorf("unknown path: %d %s", status, body)
	}
}

func TestControl_Faults(t *testing.T) {
	b := setup(t)
	const all = `{"error_5xx":0.1,"hang":0.1,"drop_before":0.1,"drop_after":0.1,"wrong_signature":0.1,"missing_signature":0.1,"html_502":0.1,` +
		`"max_rate":50,"latency":"20ms","latency_jitter":"1.5s","pay_delay":"1m0s","order_gap":"0s","sign_error":true,"no_auth":true,"down":true,"sign_by_certificate":true,"seed":42}`
	status, body := b.control(http.MethodPut, "/_sim/faults", all)
	if status != 200 || body != all {
		t.Errorf("put: %d %s, want 200 and the same back", status, body)
	}
	if _, got := b.control(http.MethodGet, "/_sim/faults", ""); got != all {
		t.Errorf("get: %s", got)
	}
	if f := b.sim.Faults(); f.LatencyJitter != Duration(1500*time.Millisecond) || f.MaxRate != 50 || *f.Seed != 42 {
		t.Errorf("in force: %+v", f)
	}
	for name, tt := range map[string]struct{ body, want string }{
		"an unknown field":             {`{"hagn":0.1}`, `faults: field "hagn" is not known`},
		"a duration without unit":      {`{"latency":"20"}`, `"20" is not a duration`},
		"a duration that is no string": {`{"latency":20}`, "latency must not be a JSON number"},
		"a share above 1":              {`{"hang":2}`, "hang is 2; a share must be from 0 to 1"},
		"a wrong type":                 {`{"down":"yes"}`, "down must not be a JSON string"},
		"no JSON":                      {`down=true`, "not valid JSON"},
		"nothing":                      {``, "ends too early"},
		"two values":                   {`{} {}`, "behind the end"},
	} {
		t.Run(name, func(t *testing.T) {
			status, body := b.control(http.MethodPut, "/_sim/faults", tt.body)
			var e struct{ Error string }
			if err := json.Unmarshal([]byte(body), &e); err != nil || status != 400 || !strings.Contains(e.Error, tt.want) {
				t.Errorf("got %d %s, want 400 with %s", status, body, tt.want)
			}
		})
	}
	if status, body := b.control(http.MethodPut, "/_sim/faults", `{}`); status != 200 || strings.Contains(body, "true") || b.sim.Faults() != (Faults{}) {
		t.Errorf("an empty object must switch everything off: %d %s", status, body)
	}
}
