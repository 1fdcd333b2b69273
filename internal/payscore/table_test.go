package payscore_test

import (
	"strings"
	"testing"
	"time"

	"payscore-collector/internal/payscore"
	"payscore-collector/internal/simulator"
)

// row is one reply and what it means. The tables below can
// be read line by line beside WeChat Pay's documentation (collect:
// merchant/4013394596, query: merchant/4012587902).
type row struct {
	name   string
	script simulator.ScriptedReply
	want   payscore.Verdict
	scope  payscore.Scope
	reason string
}

func refusal(http int, code, detail string) simulator.ScriptedReply {
	return simulator.ScriptedReply{Kind: simulator.KindError, HTTP: http, Code: code, DetailCode: detail, Message: "原因"}
}

func unsigned(r simulator.ScriptedReply) simulator.ScriptedReply {
	r.Kind = simulator.KindUnsignedError
	return r
}

func body(status int, body string) simulator.ScriptedReply {
	return simulator.ScriptedReply{Kind: simulator.KindBody, HTTP: status, Body: body}
}

func kind(k simulator.ReplyKind, http int) simulator.ScriptedReply {
	return simulator.ScriptedReply{Kind: k, HTTP: http}
}

// The error codes of the collect call.
var errorCodes = []row{
	{"400 PARAM_ERROR: this order's data, a retry will not help", refusal(400, "PARAM_ERROR", ""), payscore.BadRequest, "", "PARAM_ERROR"},
	{"400 INVALID_REQUEST: query the order", refusal(400, "INVALID_REQUEST", ""), payscore.NotCollectable, "", "INVALID_REQUEST"},
	{"400 INVALID_ORDER_STATE: query the order", refusal(400, "INVALID_ORDER_STATE", ""), payscore.NotCollectable, "", "INVALID_ORDER_STATE"},
	{"400 ORDER_DONE: query the order, the error is unsigned", unsigned(refusal(400, "ORDER_DONE", "")), payscore.NotCollectable, "", "ORDER_DONE"},
	{"400 ORDER_DONE, signed: query the order anyway", refusal(400, "ORDER_DONE", ""), payscore.NotCollectable, "", "ORDER_DONE"},
	{"400 ORDER_CANCELED: query the order", refusal(400, "ORDER_CANCELED", ""), payscore.NotCollectable, "", "ORDER_CANCELED"},
	{"401 SIGN_ERROR: the merchant's set-up, every order fails", unsigned(refusal(401, "SIGN_ERROR", "")), payscore.MerchantFault, payscore.ScopeMerchant, ""},
	{"403 NO_AUTH: the merchant's set-up, for that service_id", refusal(403, "NO_AUTH", ""), payscore.MerchantFault, payscore.ScopeService, ""},
	{"403 TRADE_ERROR: the deduction failed", refusal(403, "TRADE_ERROR", ""), payscore.Declined, "", ""},
	{"404 ORDER_NOT_EXIST: no such order for this mchid", refusal(404, "ORDER_NOT_EXIST", ""), payscore.NotFound, "", "ORDER_NOT_EXIST"},
	{"429 FREQUENCY_LIMITED: our pace", refusal(429, "FREQUENCY_LIMITED", ""), payscore.Throttled, "", ""},
	{"429 RATELIMIT_EXCEEDED: our pace", refusal(429, "RATELIMIT_EXCEEDED", ""), payscore.Throttled, "", ""},
	{"403 RATELIMIT_EXCEEDED: our pace, whatever the status", refusal(403, "RATELIMIT_EXCEEDED", ""), payscore.Throttled, "", ""},
	{"500 SYSTEM_ERROR: may have taken effect", refusal(500, "SYSTEM_ERROR", ""), payscore.Unavailable, "", ""},
	{"502 SYSTEM_ERROR", refusal(502, "SYSTEM_ERROR", ""), payscore.Unavailable, "", ""},
	{"503 SYSTEM_ERROR", refusal(503, "SYSTEM_ERROR", ""), payscore.Unavailable, "", ""},
	{"500 with a code that would blame the order: still the platform's trouble", refusal(500, "PARAM_ERROR", "271316574"), payscore.Unavailable, "", ""},
	{"400 with an unknown code: query the order", refusal(400, "SOMETHING_NEW", ""), payscore.NotCollectable, "", "SOMETHING_NEW"},
	{"401 with an unknown code: our signature", refusal(401, "SOMETHING_NEW", ""), payscore.MerchantFault, payscore.ScopeMerchant, ""},
}

// The detail codes behind the Request-ID's last dash. Each comes with a code that
// alone would mean something else.
var detailCodes = []row{
	{"271316574 deduction failed", refusal(400, "INVALID_REQUEST", "271316574"), payscore.Declined, "", ""},
	{"271316657 only while waiting for payment", refusal(403, "TRADE_ERROR", "271316657"), payscore.NotCollectable, "", "TRADE_ERROR"},
	{"271316754 a deduction is running", refusal(400, "INVALID_REQUEST", "271316754"), payscore.InProgress, "", ""},
	{"271302262 state not allowed", refusal(403, "TRADE_ERROR", "271302262"), payscore.NotCollectable, "", "TRADE_ERROR"},
	{"271302332 still to be confirmed or completed", refusal(403, "TRADE_ERROR", "271302332"), payscore.NotCollectable, "", "TRADE_ERROR"},
	{"271302333 cancelled", refusal(403, "TRADE_ERROR", "271302333"), payscore.NotCollectable, "", "TRADE_ERROR"},
	{"271317510 order not found", refusal(400, "INVALID_REQUEST", "271317510"), payscore.NotFound, "", "INVALID_REQUEST"},
	{"268435472 too frequent", refusal(400, "INVALID_REQUEST", "268435472"), payscore.Throttled, "", ""},
	{"268503786 no permission", refusal(400, "INVALID_REQUEST", "268503786"), payscore.MerchantFault, payscore.ScopeService, ""},
	{"270924332 Authorization invalid", refusal(400, "INVALID_REQUEST", "270924332"), payscore.MerchantFault, payscore.ScopeMerchant, ""},
	{"271302144 mchid unknown", refusal(400, "INVALID_REQUEST", "271302144"), payscore.MerchantFault, payscore.ScopeMerchant, ""},
	{"271300099 risk assessment refused", refusal(403, "NO_AUTH", "271300099"), payscore.Declined, "", ""},
	{"271299627 the user has overdue orders", refusal(403, "NO_AUTH", "271299627"), payscore.Declined, "", ""},
	{"268560785 teen mode", refusal(403, "NO_AUTH", "268560785"), payscore.Declined, "", ""},
	{"271316656 above the risk amount", refusal(400, "PARAM_ERROR", "271316656"), payscore.NotCollectable, "", "PARAM_ERROR"},
	{"271316598 the same number with other parameters", refusal(400, "PARAM_ERROR", "271316598"), payscore.NotCollectable, "", "PARAM_ERROR"},
	{"271302149 mchid and appid not bound", refusal(400, "INVALID_REQUEST", "271302149"), payscore.MerchantFault, payscore.ScopeService, ""},
	{"268435464 parameter out of range", refusal(400, "INVALID_REQUEST", "268435464"), payscore.BadRequest, "", "INVALID_REQUEST"},
	{"an unknown detail code leaves the code's meaning", refusal(403, "TRADE_ERROR", "999999999"), payscore.Declined, "", ""},
}

// Replies that are not WeChat Pay errors: they blame neither order nor merchant.
var notWeChatPay = []row{
	{"HTML 401 of a proxy", kind(simulator.KindHTML, 401), payscore.Unavailable, "", ""},
	{"HTML 403 of a proxy", kind(simulator.KindHTML, 403), payscore.Unavailable, "", ""},
	{"HTML 404 of a proxy is no missing order", kind(simulator.KindHTML, 404), payscore.Unavailable, "", ""},
	{"HTML 429 of a proxy", kind(simulator.KindHTML, 429), payscore.Throttled, "", ""},
	{"HTML 502 of a proxy", kind(simulator.KindHTML, 502), payscore.Unavailable, "", ""},
	{"400 with an empty body", kind(simulator.KindEmpty, 400), payscore.Unavailable, "", ""},
	{"404 with an empty body", kind(simulator.KindEmpty, 404), payscore.Unavailable, "", ""},
	{"503 with an empty body", kind(simulator.KindEmpty, 503), payscore.Unavailable, "", ""},
	{"a gateway's 403 in JSON", unsigned(refusal(403, "FORBIDDEN", "")), payscore.Unavailable, "", ""},
	{"a gateway's 401 in JSON", unsigned(refusal(401, "UNAUTHORIZED", "")), payscore.Unavailable, "", ""},
	{"a gateway's 404 in JSON is no missing order", unsigned(refusal(404, "NOT_FOUND", "")), payscore.Unavailable, "", ""},
	{"400 whose code is a number", body(400, `{"code":400,"message":"bad request"}`), payscore.Unavailable, "", ""},
	{"304", kind(simulator.KindEmpty, 304), payscore.Unavailable, "", ""},
	{"HTML 200 of a captive portal", kind(simulator.KindHTML, 200), payscore.Unknown, "", "unverified"},
	{"200, unsigned", kind(simulator.KindOKUnsigned, 0), payscore.Unknown, "", "unverified"},
	{"200, wrongly signed (WECHATPAY/SIGNTEST/)", kind(simulator.KindOKWrongSignature, 0), payscore.Unknown, "", "unverified"},
	{"200, empty and unsigned", kind(simulator.KindEmpty, 200), payscore.Unknown, "", "unverified"},
	{"204, unsigned", kind(simulator.KindEmpty, 204), payscore.Unknown, "", "unverified"},
	{"200, empty and signed", body(200, ""), payscore.Unknown, "", "unreadable"},
	{"200, signed, but no JSON", body(200, "OK"), payscore.Unknown, "", "unreadable"},
	{"200, signed, but a list", body(200, `[]`), payscore.Unknown, "", "unreadable"},
	{"200, signed, larger than any order", body(200, `{"a":"`+strings.Repeat("x", 1<<20)+`"}`), payscore.Unknown, "", ""},
}

// Replies to a collect that succeeded.
var collected = []row{
	{"200: taken, which is no payment", body(200, `{"appid":"a","mchid":"1900000109","out_order_no":"ORDER","service_id":"s","order_id":"1"}`), payscore.Accepted, "", ""},
	{"200 USERPAYING and nothing else: under way", body(200, `{"trade_state":"USERPAYING"}`), payscore.InProgress, "", ""},
	{"204, signed, no body", body(204, ""), payscore.Accepted, "", ""},
	{"200 with unknown fields", body(200, `{"out_order_no":"ORDER","new":{"deep":[1.5,null]},"":"?"}`), payscore.Accepted, "", ""},
	{"200, signed, about another order: a replay", body(200, `{"mchid":"1900000109","out_order_no":"OTHER"}`), payscore.Unknown, "", "another_order"},
	{"200, signed, about another merchant's order", body(200, `{"mchid":"1900000999","out_order_no":"ORDER"}`), payscore.Unknown, "", "another_order"},
	{"200 USERPAYING, signed, about another order", body(200, `{"out_order_no":"OTHER","trade_state":"USERPAYING"}`), payscore.Unknown, "", "another_order"},
	{"200 that claims USER_PAID: still no payment", body(200, order("DONE", "", `"total_amount":100,"collection":{"state":"USER_PAID","total_amount":100,"paid_amount":100}`)), payscore.Accepted, "", ""},
}

// order is an entity as a query's reply has it.
func order(state, description, more string) string {
	return `{"mchid":"1900000109","out_order_no":"ORDER","state":"` + state + `","state_description":"` + description + `",` + more + `}`
}

const owed100 = `"total_amount":100,"collection":{"state":"USER_PAYING","total_amount":100,"paying_amount":100,"paid_amount":0}`

var queried = []row{
	{"CREATED", body(200, order("CREATED", "", `"x":1`)), payscore.NotCollectable, "", "not_confirmed"},
	{"DOING USER_CONFIRM", body(200, order("DOING", "USER_CONFIRM", `"x":1`)), payscore.NotCollectable, "", "not_completed"},
	{"DOING MCH_COMPLETE USER_PAYING", body(200, order("DOING", "MCH_COMPLETE", owed100)), payscore.Owed, "", ""},
	{"DONE USER_PAID", body(200, order("DONE", "", `"total_amount":100,"collection":{"state":"USER_PAID","total_amount":100,"paying_amount":0,"paid_amount":100}`)), payscore.Paid, "", ""},
	{"DONE, nothing owed", body(200, order("DONE", "", `"total_amount":0`)), payscore.NotCollectable, "", "nothing_owed"},
	{"REVOKED", body(200, order("REVOKED", "", `"x":1`)), payscore.Closed, "", "REVOKED"},
	{"EXPIRED", body(200, order("EXPIRED", "", `"x":1`)), payscore.Closed, "", "EXPIRED"},
	{"unknown fields are ignored", body(200, order("REVOKED", "", `"openid":"o-1","new":{"deep":[1.5,{}]}`)), payscore.Closed, "", "REVOKED"},
	{"an unknown state", body(200, order("FROZEN", "", `"x":1`)), payscore.Unknown, "", "contradictory_state"},
	{"an amount with decimals", body(200, order("DONE", "", `"total_amount":100.0,"collection":{"state":"USER_PAID","total_amount":100.0,"paid_amount":100.0}`)), payscore.Unknown, "", "unreadable"},
	{"an amount in exponents", body(200, order("DONE", "", `"total_amount":1e2,"collection":{"state":"USER_PAID","total_amount":1e2,"paid_amount":1e2}`)), payscore.Unknown, "", "unreadable"},
	{"an amount as text", body(200, order("DONE", "", `"total_amount":"100","collection":{"state":"USER_PAID","total_amount":"100","paid_amount":"100"}`)), payscore.Paid, "", ""},
	{"an amount in words", body(200, order("DONE", "", `"total_amount":"a hundred","collection":{"state":"USER_PAID","paid_amount":100}`)), payscore.Unknown, "", "unreadable"},
	{"an amount that cannot be one", body(200, order("DONE", "", `"collection":{"state":"USER_PAID","total_amount":10000000000001,"paid_amount":10000000000001}`)), payscore.Unknown, "", "unreadable"},
	{"an amount beyond int64", body(200, order("DOING", "MCH_COMPLETE", `"total_amount":9223372036854775808`)), payscore.Unknown, "", "unreadable"},
	{"about another order: a replay", body(200, strings.ReplaceAll(order("DONE", "", `"collection":{"state":"USER_PAID"}`), "ORDER", "OTHER")), payscore.Unknown, "", "another_order"},
	{"about another merchant's order", body(200, strings.ReplaceAll(order("REVOKED", "", `"x":1`), "1900000109", "1900000999")), payscore.Unknown, "", "another_order"},
	{"about no order at all", body(200, `{"state":"REVOKED"}`), payscore.Unknown, "", "another_order"},
	{"the order stands under another service_id", body(200, order("DOING", "MCH_COMPLETE", `"service_id":"elsewhere"`)), payscore.NotCollectable, "", "wrong_appid_or_service_id"},
	{"the order stands under another appid", body(200, order("DOING", "MCH_COMPLETE", `"appid":"elsewhere"`)), payscore.NotCollectable, "", "wrong_appid_or_service_id"},
	{"204, signed", body(204, ""), payscore.Unknown, "", "unreadable"},
}

func TestVerdict(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	client := p.client(t)
	run := func(t *testing.T, call payscore.Call, rows []row) {
		for _, row := range rows {
			t.Run(row.name, func(t *testing.T) {
				// Each row has a platform of its own number space: the bodies
				// name the order ORDER.
				p.Reset()
				row.script.Call = simulator.Call(call)
				p.add(t, simulator.Order{OutOrderNo: "ORDER", Replies: []simulator.ScriptedReply{row.script}})
				got := do(t, client, call, p.request("ORDER"))
				checkReply(t, row, got)
				if got.Call != call {
					t.Errorf("call is %s, want %s", got.Call, call)
				}
				p.tellsNoSecret(t, got)
			})
		}
	}
	for call, tables := range map[payscore.Call]map[string][]row{
		payscore.CallCollect: {"codes": errorCodes, "detail codes": detailCodes, "not WeChat Pay": notWeChatPay, "taken": collected},
		payscore.CallQuery:   {"codes": asQuery(errorCodes), "detail codes": asQuery(detailCodes), "not WeChat Pay": notWeChatPay, "order": queried},
	} {
		for name, rows := range tables {
			t.Run(string(call)+"/"+name, func(t *testing.T) { run(t, call, rows) })
		}
	}
}

// asQuery is a table for the query call: words about a deduction make no sense
// in a query's error, and are a refusal like any other.
func asQuery(rows []row) []row {
	out := make([]row, 0, len(rows))
	for _, r := range rows {
		if r.want == payscore.Declined || r.want == payscore.InProgress {
			r.want, r.reason = payscore.NotCollectable, r.script.Code
		}
		if r.want == payscore.NotCollectable && r.script.Kind == simulator.KindUnsignedError {
			r.want, r.reason = payscore.Unavailable, "" // no further query could tell
		}
		out = append(out, r)
	}
	return out
}

func checkReply(t *testing.T, row row, got payscore.Reply) {
	t.Helper()
	s := row.script
	if got.Verdict != row.want || got.Scope != row.scope || got.Reason != row.reason {
		t.Errorf("got %s/%q reason %q (%s), want %s/%q reason %q",
			got.Verdict, got.Scope, got.Reason, got.Message, row.want, row.scope, row.reason)
	}
	wholeReply := len(s.Body) < 1<<20
	wantStatus := s.HTTP
	switch {
	case !wholeReply:
		wantStatus = 0
	case wantStatus == 0:
		wantStatus = 200
	}
	if got.HTTPStatus != wantStatus {
		t.Errorf("status %d, want %d", got.HTTPStatus, wantStatus)
	}
	if got.Code != s.Code || got.DetailCode != s.DetailCode {
		t.Errorf("code %q detail %q, want %q %q", got.Code, got.DetailCode, s.Code, s.DetailCode)
	}
	if s.Message != "" && got.Message != s.Message {
		t.Errorf("message %q is not WeChat Pay's %q", got.Message, s.Message)
	}
	if s.Kind != simulator.KindHTML && wholeReply && !strings.Contains(got.RequestID, "-") {
		t.Errorf("the Request-ID is missing: %q", got.RequestID)
	}
	signed := s.Kind == simulator.KindError || s.Kind == simulator.KindBody && wholeReply
	if got.Verified != signed {
		t.Errorf("verified is %t, want %t", got.Verified, signed)
	}
	if !got.Sent {
		t.Error("the request was sent, the reply says not")
	}
	switch got.Verdict {
	case payscore.Paid, payscore.Closed, payscore.Owed:
		if got.Order == nil || !got.Verified {
			t.Error("a verdict about money without a verified order")
		}
	}
	if got.Order != nil && !got.Verified {
		t.Error("an unsigned order")
	}
}

// Without an answer the effect of a call is unknown.
func TestVerdictWithoutAnswer(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		kind    simulator.ReplyKind
		message string
	}{
		{simulator.KindHang, "no answer within 2s"},
		{simulator.KindDropBefore, "the connection was reset"},
		{simulator.KindDropAfter, "the connection was reset"},
		{simulator.KindTruncated, "the connection was closed before the answer was complete"},
	} {
		for _, call := range []payscore.Call{payscore.CallCollect, payscore.CallQuery} {
			t.Run(string(tt.kind)+"/"+string(call), func(t *testing.T) {
				t.Parallel()
				p := newPlatform(t)
				client := p.client(t, func(c *payscore.Config) {
					if tt.kind == simulator.KindHang {
						c.Timeout = 2 * time.Second
					}
				})
				p.add(t, simulator.Order{OutOrderNo: "ORDER", Replies: []simulator.ScriptedReply{{Kind: tt.kind}}})
				got := do(t, client, call, p.request("ORDER"))
				if got.Verdict != payscore.Unknown || got.Message != tt.message || !got.Sent || got.HTTPStatus != 0 || got.Reason != "" {
					t.Errorf("got %+v, want unknown: %s", got, tt.message)
				}
				if o, _ := p.Order("ORDER"); o.Audit.CollectCalls+o.Audit.QueryCalls != 1 {
					t.Errorf("%d requests arrived for one call", o.Audit.CollectCalls+o.Audit.QueryCalls)
				}
				p.tellsNoSecret(t, got)
			})
		}
	}
}

// The official SDK decodes an error's body into a struct that has fields for
// the status, the headers and the body.
func TestVerdictIsNotTheBodysToRewrite(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	p.add(t, simulator.Order{OutOrderNo: "ORDER", Replies: []simulator.ScriptedReply{body(400,
		`{"code":"PARAM_ERROR","message":"m","StatusCode":200,"Header":{"Request-Id":["forged-271316574"],"Wechatpay-Signature":["forged"]},"Body":"{}"}`)}})
	got := p.client(t).Collect(t.Context(), p.request("ORDER"))
	if got.Verdict != payscore.BadRequest || got.HTTPStatus != 400 || got.DetailCode != "" || strings.Contains(got.RequestID, "forged") || !got.Verified {
		t.Errorf("the body had its way: %+v", got)
	}
}

// Every code that the package knows is tried.
func TestEveryCodeHasARow(t *testing.T) {
	t.Parallel()
	tried := map[string]bool{}
	for _, r := range errorCodes {
		tried[r.script.Code] = true
	}
	for _, r := range detailCodes {
		tried[r.script.DetailCode] = true
	}
	codes, details := payscore.Codes()
	for _, code := range append(codes, details...) {
		if !tried[code] {
			t.Errorf("%s has no row in errorCodes or detailCodes of this file", code)
		}
	}
}

// The set of verdicts is closed: the tables come to each of them, and to no
// other.
func TestVerdictsAreClosed(t *testing.T) {
	t.Parallel()
	reached := map[payscore.Verdict]bool{}
	for _, table := range [][]row{errorCodes, detailCodes, notWeChatPay, collected, queried} {
		for _, r := range table {
			reached[r.want] = true
		}
	}
	for _, v := range payscore.Verdicts {
		if !reached[v] {
			t.Errorf("no row of this file's tables comes to %s: add one for a reply that does", v)
		}
		delete(reached, v)
	}
	for v := range reached {
		t.Errorf("Verdicts lacks %s", v)
	}
}

func TestReplyFailed(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		reply payscore.Reply
		want  bool
	}{
		{payscore.Reply{Verdict: payscore.Accepted}, false},
		{payscore.Reply{Verdict: payscore.Owed}, false},
		{payscore.Reply{Verdict: payscore.Paid}, false},
		{payscore.Reply{Verdict: payscore.Closed}, false},
		{payscore.Reply{Verdict: payscore.InProgress}, false},
		{payscore.Reply{Verdict: payscore.InProgress, Code: "INVALID_REQUEST"}, true},
		{payscore.Reply{Verdict: payscore.NotCollectable, Reason: "not_completed"}, false},
		{payscore.Reply{Verdict: payscore.NotCollectable, Code: "ORDER_DONE"}, true},
		{payscore.Reply{Verdict: payscore.Declined}, true},
		{payscore.Reply{Verdict: payscore.Unknown}, true},
	} {
		if got := tt.reply.Failed(); got != tt.want {
			t.Errorf("%s %q: failed is %t", tt.reply.Verdict, tt.reply.Code, got)
		}
	}
}

// A signed reply to a collect makes the order known, by its number where it says
// that, and without it as well.
func TestReplyKnows(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	client := p.client(t)
	for _, tt := range []struct {
		body    string
		orderID string
	}{
		{`{"trade_state":"USERPAYING"}`, ""},
		{`{"out_order_no":"ORDER","order_id":"77","trade_state":"USERPAYING"}`, "77"},
		{`{"out_order_no":"ORDER","order_id":"77"}`, "77"},
	} {
		p.Reset()
		r := body(200, tt.body)
		r.Call = simulator.CallCollect
		p.add(t, simulator.Order{OutOrderNo: "ORDER", Replies: []simulator.ScriptedReply{r}})
		if got := client.Collect(t.Context(), p.request("ORDER")); !got.Knows() || got.OrderID != tt.orderID {
			t.Errorf("%s: %+v", tt.body, got)
		}
	}
}
