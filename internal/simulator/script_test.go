package simulator

import (
	"context"
	"net/http"
	"strings"
	"testing"
)

// Every kind of scripted reply, met by a collect and by a query of an order
// that pays at once.
func TestScriptedReplies(t *testing.T) {
	const none = "no reply"
	type seen struct {
		reply     string // status and code
		signature string
		acts      bool
	}
	tests := map[string]struct {
		script         ScriptedReply
		collect, query seen
		check          func(*testing.T, answer)
	}{
		"error": {
			script:  ScriptedReply{HTTP: 403, Code: "TRADE_ERROR", Message: "扣款失败", DetailCode: "271316574"},
			collect: seen{"403 TRADE_ERROR", "good", false}, query: seen{"403 TRADE_ERROR", "good", false},
			check: func(t *testing.T, a answer) {
				if a.fine() != "271316574" || !strings.Contains(a.body, "扣款失败") {
					t.Errorf("detail code %s, body %s", a.fine(), a.body)
				}
			},
		},
		"unsigned_error": {
			script:  ScriptedReply{Kind: KindUnsignedError, HTTP: 400, Code: "ORDER_DONE"},
			collect: seen{"400 ORDER_DONE", "missing", false}, query: seen{"400 ORDER_DONE", "missing", false},
		},
		"html": {
			script:  ScriptedReply{Kind: KindHTML, HTTP: 404},
			collect: seen{"404", "missing", false}, query: seen{"404", "missing", false},
			check: func(t *testing.T, a answer) {
				if a.header.Get("Content-Type") != "text/html" || !strings.HasPrefix(a.body, "<html>") || a.header.Get("Request-ID") != "" {
					t.Errorf("not a proxy's page: %v %s", a.header, a.body)
				}
			},
		},
		"empty": {
			script:  ScriptedReply{Kind: KindEmpty},
			collect: seen{"200", "missing", false}, query: seen{"200", "missing", false},
			check: func(t *testing.T, a answer) {
				if a.body != "" {
					t.Errorf("body %q", a.body)
				}
			},
		},
		"body": {
			script:  ScriptedReply{Kind: KindBody, Body: `{"trade_state":"USERPAYING"}`},
			collect: seen{"200", "good", false}, query: seen{"200", "good", false},
			check: func(t *testing.T, a answer) {
				if a.body != `{"trade_state":"USERPAYING"}` {
					t.Errorf("body %q", a.body)
				}
			},
		},
		"truncated": {
			script:  ScriptedReply{Kind: KindTruncated},
			collect: seen{none, "wrong", true}, query: seen{none, "wrong", false},
			check: func(t *testing.T, a answer) {
				if a.status != http.StatusOK || a.body == "" {
					t.Errorf("status %d, body %q; want the beginning of a 200", a.status, a.body)
				}
			},
		},
		"ok_unsigned": {
			script:  ScriptedReply{Kind: KindOKUnsigned},
			collect: seen{"200", "missing", false}, query: seen{"200", "missing", false},
		},
		"ok_wrong_signature": {
			script:  ScriptedReply{Kind: KindOKWrongSignature},
			collect: seen{"200", "wrong", false}, query: seen{"200", "wrong", false},
			check: func(t *testing.T, a answer) {
				if !strings.HasPrefix(a.header.Get("Wechatpay-Signature"), "WECHATPAY/SIGNTEST/") {
					t.Errorf("signature %s", a.header.Get("Wechatpay-Signature"))
				}
			},
		},
		"drop_before": {script: ScriptedReply{Kind: KindDropBefore}, collect: seen{none, "", false}, query: seen{none, "", false}},
		"drop_after":  {script: ScriptedReply{Kind: KindDropAfter}, collect: seen{none, "", true}, query: seen{none, "", false}},
		"no_content":  {script: ScriptedReply{Kind: KindNoContent}, collect: seen{"204", "good", true}, query: seen{"204", "good", false}},
	}
	for name, tt := range tests {
		for call, want := range map[Call]seen{CallCollect: tt.collect, CallQuery: tt.query} {
			t.Run(name+"/"+string(call), func(t *testing.T) {
				b := setup(t, Order{OutOrderNo: "A1", Replies: []ScriptedReply{tt.script}})
				do := b.query
				if call == CallCollect {
					do = b.collect
				}
				a := do("A1")
				if a.String() != want.reply || a.signature != want.signature {
					t.Errorf("got %v (%v) with signature %q, want %s with %q", a, a.err, a.signature, want.reply, want.signature)
				}
				if tt.check != nil {
					tt.check(t, a)
				}
				wantState := StateDoing
				if want.acts {
					wantState = StateDone
				}
				if got := b.truth("A1").Audit; got.State != wantState || got.CallsAfterEnd != 0 {
					t.Errorf("the order is %s, want %s", got.State, wantState)
				}
				r := b.sim.Report()
				kind := tt.script.Kind
				if kind == "" {
					kind = KindError
				}
				if len(r.Scripted) != 1 || r.Scripted[kind] != 1 || len(r.Faults) != 0 {
					t.Errorf("the report counts scripted %v and faults %v, want one %s", r.Scripted, r.Faults, kind)
				}
				if a := b.query("A1"); a.status != http.StatusOK || a.signature != "good" {
					t.Errorf("after the script: %v, signature %s; want an honest reply", a, a.signature)
				}
			})
		}
	}
}

func TestScriptedReplies_ForgeryClaimsPayment(t *testing.T) {
	for _, kind := range []ReplyKind{KindOKUnsigned, KindOKWrongSignature} {
		t.Run(string(kind), func(t *testing.T) {
			b := setup(t, Order{OutOrderNo: "A1", Fate: FateNever, Replies: []ScriptedReply{{Kind: kind, Times: 2}}})
			a := b.query("A1")
			for _, claim := range []string{`"state":"DONE"`, `"state":"USER_PAID"`, `"paying_amount":0`, `"transaction_id"`} {
				if !strings.Contains(a.body, claim) {
					t.Errorf("the forged entity does not claim %s: %s", claim, a.body)
				}
			}
			if a := b.collect("A1"); !strings.Contains(a.body, `"order_id"`) {
				t.Errorf("the forged collect does not look real: %s", a.body)
			}
			if e := b.entity("A1"); e.State != StateDoing || e.Collection.State != CollectionUserPaying {
				t.Errorf("the truth changed to %s", e.State)
			}
		})
	}
}

func TestScriptedReplies_Hang(t *testing.T) {
	b := setup(t, Order{OutOrderNo: "A1", Replies: []ScriptedReply{{Kind: KindHang}}})
	ctx, leave := context.WithCancel(t.Context())
	done := make(chan answer)
	go func() { done <- b.collectContext(ctx, "A1") }()
	b.until("the call to hang", func() bool { return b.sim.Report().Scripted[KindHang] == 1 })
	select {
	case a := <-done:
		t.Fatalf("it did not hang: %v", a)
	default:
	}
	leave()
	if a := <-done; a.err == nil {
		t.Errorf("got %v, want no reply", a)
	}
	if got := b.truth("A1").Audit.MoneyMoved; got != 0 {
		t.Errorf("it moved %d fen", got)
	}
}

func TestScriptedReplies_Order(t *testing.T) {
	b := setup(t, Order{OutOrderNo: "A1", Fate: FateNever, Replies: []ScriptedReply{
		{Call: CallQuery, Times: 2, HTTP: 500, Code: "SYSTEM_ERROR"},
		{Call: CallCollect, HTTP: 403, Code: "NO_AUTH"},
		{HTTP: 429, Code: "RATELIMIT_EXCEEDED"},
	}})
	calls := []struct {
		do   func(string) answer
		want string
	}{
		{b.collect, "403 NO_AUTH"}, // the query's replies stay for queries
		{b.query, "500 SYSTEM_ERROR"},
		{b.collect, "429 RATELIMIT_EXCEEDED"}, // "any" was next for it
		{b.query, "500 SYSTEM_ERROR"},
		{b.query, "200"},
		{b.collect, wantDeclined}, // the fate; scripted collects are no part of the order's gap
	}
	for i, c := range calls {
		if a := c.do("A1"); a.String() != c.want {
			t.Errorf("call %d: %v, want %s", i+1, a, c.want)
		}
	}
}

func TestScriptedReplies_Errors(t *testing.T) {
	tests := map[string]struct {
		reply ScriptedReply
		want  string
	}{
		"an unknown call":              {ScriptedReply{Call: "refund", Kind: KindHang}, `call "refund" is not known`},
		"an unknown kind":              {ScriptedReply{Kind: "explode"}, `kind "explode" is not known`},
		"negative times":               {ScriptedReply{Kind: KindHang, Times: -1}, "times is -1"},
		"an error without http":        {ScriptedReply{Code: "NO_AUTH"}, "needs http and code"},
		"an error without code":        {ScriptedReply{HTTP: 403}, "needs http and code"},
		"an error with a good status":  {ScriptedReply{HTTP: 200, Code: "X"}, "http 200 does not suit"},
		"a status out of range":        {ScriptedReply{Kind: KindBody, HTTP: 600}, "http 600 does not suit"},
		"a status where none is open":  {ScriptedReply{Kind: KindNoContent, HTTP: 200}, "takes no http"},
		"a detail_code of letters":     {ScriptedReply{HTTP: 403, Code: "X", DetailCode: "12-3"}, "digits only"},
		"an informational http status": {ScriptedReply{Kind: KindEmpty, HTTP: 100}, "http 100 does not suit"},
	}
	b := setup(t)
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			err := b.sim.AddOrders(Order{OutOrderNo: "A1", Replies: []ScriptedReply{{Kind: KindHang}, tt.reply}})
			if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), `order "A1": reply 2`) {
				t.Errorf("got %v, want an error about order A1's reply 2 that says %q", err, tt.want)
			}
		})
	}
}
