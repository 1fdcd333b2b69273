package simulator

import (
	"bufio"
	"crypto/rand"
	"crypto/rsa"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

func TestAuthorize_Rejects(t *testing.T) {
	stranger, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	shifted := func(d time.Duration) string { return fmt.Sprint(time.Now().Add(d).Unix()) }
	header := func(edit func(string) string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set("Authorization", edit(r.Header.Get("Authorization"))) }
	}
	without := func(field string) func(*http.Request) {
		return header(func(h string) string {
			scheme, fields, _ := strings.Cut(h, " ")
			var kept []string
			for f := range strings.SplitSeq(fields, ",") {
				if !strings.HasPrefix(f, field+"=") {
					kept = append(kept, f)
				}
			}
			return scheme + " " + strings.Join(kept, ",")
		})
	}
	tests := map[string]struct {
		sign func(*signatureParts)
		edit func(*http.Request)
		want string // in the message
	}{
		"no Authorization":       {edit: func(r *http.Request) { r.Header.Del("Authorization") }, want: "missing"},
		"another scheme":         {edit: header(func(string) string { return "Bearer x" }), want: "type must be"},
		"no mchid":               {edit: without("mchid"), want: "lacks mchid"},
		"no nonce_str":           {edit: without("nonce_str"), want: "lacks nonce_str"},
		"no signature":           {edit: without("signature"), want: "lacks signature"},
		"no timestamp":           {edit: without("timestamp"), want: "lacks timestamp"},
		"no serial_no":           {edit: without("serial_no"), want: "lacks serial_no"},
		"a field twice":          {edit: header(func(h string) string { return h + `,mchid="1"` }), want: "mchid twice"},
		"an unknown field":       {edit: header(func(h string) string { return h + `,colour="red"` }), want: `unknown field "colour"`},
		"a field without quotes": {edit: header(func(h string) string { return strings.Replace(h, `timestamp="`, `timestamp=`, 1) }), want: "timestamp must be a text in double quotes"},
		"an unknown mchid":       {sign: func(p *signatureParts) { p.mchID = "1900000999" }, want: "mchid"},
		"another serial_no":      {sign: func(p *signatureParts) { p.serialNo = otherDigit(p.serialNo[:1]) + p.serialNo[1:] }, want: "serial_no"},
		"a timestamp of words":   {sign: func(p *signatureParts) { p.timestamp = "noon" }, want: "timestamp"},
		"a timestamp too old":    {sign: func(p *signatureParts) { p.timestamp = shifted(-5*time.Minute - 5*time.Second) }, want: "timestamp"},
		"a timestamp too new":    {sign: func(p *signatureParts) { p.timestamp = shifted(5*time.Minute + 5*time.Second) }, want: "timestamp"},
		"another key":            {sign: func(p *signatureParts) { p.key = stranger }, want: "sign not match"},
		"another path":           {edit: func(r *http.Request) { r.URL.Path += "x" }, want: "sign not match"},
		"another query":          {edit: func(r *http.Request) { r.URL.RawQuery = "a=b" }, want: "sign not match"},
		"another method":         {edit: func(r *http.Request) { r.Method = http.MethodPut }, want: "sign not match"},
		"another body": {edit: func(r *http.Request) {
			other, _ := http.NewRequest(http.MethodPost, "http://x", strings.NewReader(`{"appid":"other"}`))
			r.Body, r.ContentLength, r.GetBody = other.Body, other.ContentLength, other.GetBody
		}, want: "sign not match"},
		"a signature that is not base64": {edit: header(func(h string) string { return strings.Replace(h, `signature="`, `signature="!`, 1) }), want: "base64"},
	}
	b := setup(t, Order{OutOrderNo: "A1"})
	rejected := int64(0)
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			p := signingOf(b.sim.Merchant())
			if tt.sign != nil {
				tt.sign(&p)
			}
			r := b.request(t.Context(), http.MethodPost, "/v3/payscore/serviceorder/A1/pay", b.service(), p)
			if tt.edit != nil {
				tt.edit(r)
			}
			a := b.send(r)
			if a.String() != "401 SIGN_ERROR" || a.fine() != "270924332" {
				t.Errorf("got %v with detail code %q, want 401 SIGN_ERROR with 270924332", a, a.fine())
			}
			if !strings.Contains(a.body, strings.ReplaceAll(tt.want, `"`, `\"`)) {
				t.Errorf("the message does not say %q: %s", tt.want, a.body)
			}
			if a.signature != "missing" {
				t.Errorf("the reply's signature is %s; a bad request's reply is never signed", a.signature)
			}
			rejected++
			if got := b.sim.Report().RejectedSignatures; got != rejected {
				t.Errorf("rejected_signatures = %d, want %d", got, rejected)
			}
		})
	}
	if got := b.truth("A1").Audit.MoneyMoved; got != 0 {
		t.Errorf("rejected calls moved %d fen", got)
	}
}

// otherDigit is a hexadecimal digit that is not digit.
func otherDigit(digit string) string {
	if digit == "0" {
		return "1"
	}
	return "0"
}

func TestAuthorize_Accepts(t *testing.T) {
	b := setup(t, Order{OutOrderNo: "A1"})
	t.Run("fields in any order", func(t *testing.T) {
		p := signingOf(b.sim.Merchant())
		target := b.queryTarget("A1")
		r := b.request(t.Context(), http.MethodGet, target, "", p)
		r.Header.Set("Authorization", fmt.Sprintf(`WECHATPAY2-SHA256-RSA2048 serial_no="%s", signature="%s",timestamp="%s",nonce_str="%s",mchid="%s"`,
			p.serialNo, p.sign(t, http.MethodGet, target, ""), p.timestamp, p.nonce, p.mchID))
		if a := b.send(r); a.status != http.StatusOK || a.signature != "good" {
			t.Errorf("got %v %s", a, a.body)
		}
	})
	t.Run("a timestamp nearly five minutes off", func(t *testing.T) {
		p := signingOf(b.sim.Merchant())
		p.timestamp = fmt.Sprint(time.Now().Add(-4*time.Minute - 30*time.Second).Unix())
		if a := b.send(b.request(t.Context(), http.MethodGet, b.queryTarget("A1"), "", p)); a.status != http.StatusOK {
			t.Errorf("got %v %s", a, a.body)
		}
	})
}

func TestAuthorize_Nonce(t *testing.T) {
	b := setup(t, Order{OutOrderNo: "A1"}, Order{OutOrderNo: "DROPPED", Replies: []ScriptedReply{{Kind: KindDropBefore}}})
	send := func(no string, p signatureParts) answer {
		return b.send(b.request(t.Context(), http.MethodGet, b.queryTarget(no), "", p))
	}
	t.Run("is good once", func(t *testing.T) {
		p := signingOf(b.sim.Merchant())
		if a := send("A1", p); a.status != http.StatusOK {
			t.Fatalf("first use: %v", a)
		}
		if a := send("A1", p); a.String() != "401 SIGN_ERROR" || !strings.Contains(a.body, "nonce_str was used before") {
			t.Errorf("second use: %v %s", a, a.body)
		}
	})
	t.Run("is not used up by a wrong signature", func(t *testing.T) {
		p := signingOf(b.sim.Merchant())
		wrong := b.request(t.Context(), http.MethodGet, b.queryTarget("A1"), "", p)
		wrong.URL.RawQuery += "&x=1"
		if a := b.send(wrong); a.String() != "401 SIGN_ERROR" {
			t.Fatalf("got %v", a)
		}
		if a := send("A1", p); a.status != http.StatusOK {
			t.Errorf("got %v %s", a, a.body)
		}
	})
	t.Run("is not used up by a request that never arrived", func(t *testing.T) {
		p := signingOf(b.sim.Merchant())
		if a := send("DROPPED", p); a.err == nil {
			t.Fatalf("got %v, want no reply", a)
		}
		if a := send("DROPPED", p); a.status != http.StatusOK {
			t.Errorf("got %v %s", a, a.body)
		}
	})
	t.Run("is forgotten when no timestamp of its time is acceptable any more", func(t *testing.T) {
		var n nonces
		at := time.Now()
		if !n.use("n", at) || n.use("n", at.Add(nonceMemory)) {
			t.Error("a nonce must be good once within its memory")
		}
		if !n.use("n", at.Add(nonceMemory+time.Second)) {
			t.Error("a nonce must be good again after its memory")
		}
		if len(n.seen) != 1 || len(n.queue) != 1 {
			t.Errorf("%d nonces in %d entries are kept, want 1 in 1", len(n.seen), len(n.queue))
		}
	})
}

// A number may hold | and *; clients escape them or not, and sign what they
// send. Raw bytes, because Go's client would escape them.
func TestAuthorize_PathExactlyAsSent(t *testing.T) {
	const no = "A|B*c-d_1"
	targets := map[string]string{
		"escaped": "/v3/payscore/serviceorder/A%7CB%2Ac-d_1/pay",
		"bare":    "/v3/payscore/serviceorder/A|B*c-d_1/pay",
		"mixed":   "/v3/payscore/serviceorder/A%7cB*c%2Dd_1/pay",
	}
	for name, target := range targets {
		t.Run(name, func(t *testing.T) {
			b := setup(t, Order{OutOrderNo: no})
			r := b.request(t.Context(), http.MethodPost, target, b.service(), signingOf(b.sim.Merchant()))
			host := strings.TrimPrefix(b.url, "http://")
			conn, err := net.Dial("tcp", host)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = conn.Close() }()
			fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: %s\r\nAuthorization: %s\r\nContent-Length: %d\r\n\r\n%s",
				target, host, r.Header.Get("Authorization"), len(b.service()), b.service())
			resp, err := http.ReadResponse(bufio.NewReader(conn), r)
			if err != nil {
				t.Fatal(err)
			}
			_ = resp.Body.Close()
			if resp.StatusCode != http.StatusOK {
				t.Errorf("status %d, want 200", resp.StatusCode)
			}
			if got := b.truth(no).Audit; got.State != StateDone || got.CollectCalls != 1 {
				t.Errorf("the order is %s after %d collects, want DONE after 1", got.State, got.CollectCalls)
			}
		})
	}
}
