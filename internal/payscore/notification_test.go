package payscore_test

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"payscore-collector/internal/payscore"
	"payscore-collector/internal/simulator"
)

// notifiable is a platform with an order that was paid by a collect.
func notifiable(t *testing.T) *platform {
	t.Helper()
	p := newPlatform(t)
	p.add(t, simulator.Order{OutOrderNo: "A|1*", TotalAmount: 1250}, simulator.Order{OutOrderNo: "PART", TotalAmount: 1000, Fate: "partial:300"}, simulator.Order{OutOrderNo: "OWED"})
	c := p.client(t)
	for _, no := range []string{"A|1*", "PART"} {
		if r := do(t, c, payscore.CallCollect, p.request(no)); r.Verdict != payscore.Accepted {
			t.Fatalf("%+v", r)
		}
	}
	return p
}

func (p *platform) raw(t *testing.T, no string, opts simulator.NotificationOptions) simulator.RawNotification {
	t.Helper()
	n, err := p.Notification(no, opts)
	if err != nil {
		t.Fatal(err)
	}
	p.note(func() {
		p.secrets = append(p.secrets, n.Header.Get("Wechatpay-Signature"), n.Header.Get("Wechatpay-Nonce"))
	})
	return n
}

// withKey gives the client the APIv3 key.
func withKey(p *platform) func(*payscore.Config) {
	return func(c *payscore.Config) { c.APIV3Key = p.Merchant().APIv3Key }
}

// onlyCertificates is a merchant without a WeChat Pay public key.
func onlyCertificates(c *payscore.Config) { c.PublicKeyID, c.PublicKey = "", nil }

// tellsNothing fails the test where what came of a notification could not go
// into a log.
func (p *platform) tellsNothing(t *testing.T, n payscore.Notification, err error) {
	t.Helper()
	asJSON, _ := json.Marshal(n)
	p.tellsNoSecret(t, payscore.Reply{Message: fmt.Sprintf("%+v %+v %s %v", n, n.Order, asJSON, err)})
}

func TestClient_Notification(t *testing.T) {
	t.Parallel()
	p := notifiable(t)
	m := p.Merchant()
	client := p.client(t, withKey(p))

	for name, tt := range map[string]struct {
		serial string
		change []func(*payscore.Config)
	}{
		"the WeChat Pay public key":                                {"", nil},
		"a platform certificate, while he moves to the public key": {m.CertificateSerialNo, nil},
		"a platform certificate, without a public key":             {m.CertificateSerialNo, []func(*payscore.Config){onlyCertificates}},
	} {
		t.Run("of a payment is verified by "+name, func(t *testing.T) {
			t.Parallel()
			client := p.client(t, append(tt.change, withKey(p))...)
			raw := p.raw(t, "A|1*", simulator.NotificationOptions{ID: "EV-1", Serial: tt.serial})
			n, err := client.Notification(t.Context(), raw.Header, raw.Body)
			if err != nil {
				t.Fatal(err)
			}
			if n.EventID != "EV-1" || n.EventType != "PAYSCORE.USER_PAID" || n.RequestID != raw.Header.Get("Request-Id") ||
				n.Verdict != payscore.Paid || n.Order.OutOrderNo != "A|1*" || n.Order.Paid() != 1250 || n.Order.LastPayment().TransactionID == "" {
				t.Errorf("%+v %+v", n, n.Order)
			}
			// It says what a query says.
			q := do(t, client, payscore.CallQuery, p.request("A|1*"))
			if diff := cmp.Diff(q.Order, n.Order, cmp.AllowUnexported(payscore.Collection{})); diff != "" {
				t.Errorf("-query +notification:\n%s", diff)
			}
			p.tellsNothing(t, n, err)
		})
	}
	t.Run("of a part, and of nothing, is judged as a query is", func(t *testing.T) {
		t.Parallel()
		for no, want := range map[string]payscore.Verdict{"PART": payscore.Owed, "OWED": payscore.Owed} {
			raw := p.raw(t, no, simulator.NotificationOptions{})
			n, err := client.Notification(t.Context(), raw.Header, raw.Body)
			if err != nil || n.Verdict != want || n.Order.OutOrderNo != no {
				t.Errorf("%s: %+v %v", no, n, err)
			}
		}
	})
	t.Run("of another event has no order, whatever it holds", func(t *testing.T) {
		t.Parallel()
		for _, opts := range []simulator.NotificationOptions{
			{EventType: simulator.EventUserConfirm},
			{EventType: simulator.EventRefundSuccess, Plaintext: []byte(`{"mchid":"` + m.MchID + `","refund_id":"5","amount":{"total":1}}`)},
			{EventType: "REFUND.ABNORMAL", Plaintext: []byte(`{"amount":[],"out_order_no":7}`)},
			{EventType: "PAYSCORE.SOMETHING_NEW", Plaintext: []byte(`[1]`)},
			{EventType: "PAYSCORE.USER_#PAID"},
			{EventType: "PAYSCORE.USER_PAID" + strings.Repeat("x", 100)},
		} {
			raw := p.raw(t, "A|1*", opts)
			n, err := client.Notification(t.Context(), raw.Header, raw.Body)
			if err != nil || n.Order != nil || n.Verdict != "" || n.EventType == simulator.EventUserPaid || n.EventID != raw.ID {
				t.Errorf("%+v: %+v %v", opts, n, err)
			}
		}
	})
	t.Run("without an APIv3 key is verified, and not decrypted", func(t *testing.T) {
		t.Parallel()
		for _, key := range []string{"", "too short"} {
			client := p.client(t, func(c *payscore.Config) { c.APIV3Key = key })
			raw := p.raw(t, "A|1*", simulator.NotificationOptions{})
			if _, err := client.Notification(t.Context(), raw.Header, raw.Body); !errors.Is(err, payscore.NoAPIV3Key) {
				t.Errorf("%q: %v", key, err)
			}
			raw = p.raw(t, "A|1*", simulator.NotificationOptions{WrongSignature: true})
			if _, err := client.Notification(t.Context(), raw.Header, raw.Body); !errors.Is(err, payscore.BadSignature) {
				t.Errorf("%q: %v", key, err)
			}
		}
	})
}

func TestClient_Notification_refusals(t *testing.T) {
	t.Parallel()
	p := notifiable(t)
	m := p.Merchant()
	client := p.client(t, withKey(p))
	stranger, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	rubbish := make([]byte, 3000)
	_, _ = rand.Read(rubbish)
	type opts = simulator.NotificationOptions
	header := func(f func(http.Header)) func(simulator.RawNotification) {
		return func(n simulator.RawNotification) { f(n.Header) }
	}
	body := func(s string) opts { return opts{Body: func([]byte) []byte { return []byte(s) }} }
	replace := func(old, new string) opts {
		return opts{Body: func(b []byte) []byte {
			if !bytes.Contains(b, []byte(old)) {
				t.Errorf("the body has no %s", old)
			}
			return bytes.Replace(b, []byte(old), []byte(new), 1)
		}}
	}
	for _, tt := range []struct {
		name   string
		opts   opts
		change func(simulator.RawNotification)
		want   payscore.Refusal // none where it is taken
	}{
		{"SIGNTEST", opts{WrongSignature: true}, nil, payscore.BadSignature},
		{"a stranger's signature", opts{SigningKey: stranger}, nil, payscore.BadSignature},
		{"a stranger's signature under a certificate's name", opts{SigningKey: stranger, Serial: m.CertificateSerialNo}, nil, payscore.BadSignature},
		{"another public key's name", opts{Serial: "PUB_KEY_ID_0"}, nil, payscore.BadSignature},
		{"a certificate's name that cannot be one", opts{Serial: "../../etc"}, nil, payscore.BadSignature},
		{"a certificate that does not exist", opts{Serial: strings.Repeat("0", 40)}, nil, payscore.BadSignature},
		{"no signature", opts{}, header(func(h http.Header) { h.Del("Wechatpay-Signature") }), payscore.MissingHeader},
		{"a signature that is no base64", opts{}, header(func(h http.Header) { h.Set("Wechatpay-Signature", "?") }), payscore.BadSignature},
		{"no nonce", opts{}, header(func(h http.Header) { h.Del("Wechatpay-Nonce") }), payscore.MissingHeader},
		{"no serial", opts{}, header(func(h http.Header) { h.Del("Wechatpay-Serial") }), payscore.MissingHeader},
		{"no timestamp", opts{}, header(func(h http.Header) { h.Del("Wechatpay-Timestamp") }), payscore.MissingHeader},
		{"an invalid timestamp", opts{}, header(func(h http.Header) { h.Set("Wechatpay-Timestamp", "yesterday") }), payscore.BadSignature},
		{"a timestamp that fits no integer", opts{}, header(func(h http.Header) { h.Set("Wechatpay-Timestamp", "99999999999999999999") }), payscore.BadSignature},
		{"another timestamp than was signed", opts{}, header(func(h http.Header) {
			h.Set("Wechatpay-Timestamp", strconv.FormatInt(time.Now().Unix()-2, 10))
		}), payscore.BadSignature},
		{"no headers at all", opts{}, header(func(h http.Header) { clear(h) }), payscore.MissingHeader},
		{"a signature of an unknown type", opts{}, header(func(h http.Header) { h.Set("Wechatpay-Signature-Type", "WECHATPAY2-SM2-WITH-SM3") }), payscore.BadSignature},
		{"no signature type, which means RSA", opts{}, header(func(h http.Header) { h.Del("Wechatpay-Signature-Type") }), ""},
		{"headers that came twice, alike", opts{}, header(func(h http.Header) {
			for name, values := range h {
				h[name] = append(values, values...)
			}
		}), ""},
		{"another signature behind the good one", opts{}, header(func(h http.Header) { h.Add("Wechatpay-Signature", "c2ln") }), ""},
		{"another signature before the good one", opts{}, header(func(h http.Header) {
			h["Wechatpay-Signature"] = append([]string{"c2ln"}, h["Wechatpay-Signature"]...)
		}), payscore.DoubledHeader},

		{"an old timestamp", opts{Age: 6 * time.Minute}, nil, payscore.OldTimestamp},
		{"a timestamp to come", opts{Age: -6 * time.Minute}, nil, payscore.OldTimestamp},
		{"a timestamp of year one", opts{}, header(func(h http.Header) { h.Set("Wechatpay-Timestamp", "-9223372036854775808") }), payscore.OldTimestamp},
		{"a timestamp just young enough", opts{Age: 4 * time.Minute}, nil, ""},

		{"another APIv3 key", opts{APIv3Key: strings.Repeat("k", 32)}, nil, payscore.Undecryptable},
		{"ciphertext that is no base64", replace(`"ciphertext":"`, `"ciphertext":"?`), nil, payscore.Undecryptable},
		{"other associated data", replace(`"associated_data":"payscore"`, `"associated_data":"x"`), nil, payscore.Undecryptable},

		{"another merchant's order", opts{Entity: func(e *simulator.Entity) { e.MchID = "1900000108" }}, nil, payscore.OtherMerchant},
		{"an order without a merchant", opts{Entity: func(e *simulator.Entity) { e.MchID = "" }}, nil, payscore.OtherMerchant},
		{"another merchant's event of another type", opts{EventType: simulator.EventUserConfirm, Entity: func(e *simulator.Entity) { e.MchID = "1900000108" }}, nil, payscore.OtherMerchant},

		{"a body that was tampered with", opts{Tamper: func(b []byte) []byte { return append(b, ' ') }}, nil, payscore.BadSignature},
		{"half a body", opts{Tamper: func(b []byte) []byte { return b[:len(b)/2] }}, nil, payscore.BadSignature},
		{"no body", opts{Tamper: func([]byte) []byte { return nil }}, nil, payscore.BadSignature},
		{"rubbish", opts{Tamper: func([]byte) []byte { return rubbish }}, nil, payscore.BadSignature},

		{"half a body, signed", opts{Body: func(b []byte) []byte { return b[:len(b)/2] }}, nil, payscore.Unreadable},
		{"no body, signed", body(""), nil, payscore.Unreadable},
		{"rubbish, signed", opts{Body: func([]byte) []byte { return rubbish }}, nil, payscore.Unreadable},
		{"null, signed", body("null"), nil, payscore.Unreadable},
		{"a list, signed", body("[]"), nil, payscore.Unreadable},
		{"no resource, signed", body(`{"id":"1","event_type":"PAYSCORE.USER_PAID"}`), nil, payscore.Unreadable},
		{"a resource that is null, signed", body(`{"id":"1","resource":null}`), nil, payscore.Unreadable},
		{"another algorithm", replace("AEAD_AES_256_GCM", "AEAD_SM4_128_GCM"), nil, payscore.Unreadable},
		{"a nonce of another length", replace(`"nonce":"`, `"nonce":"x`), nil, payscore.Unreadable},
		{"an invalid creation time", replace(`"create_time":"`, `"create_time":"x`), nil, payscore.Unreadable},
		{"a request inside the request", replace(`"id":`, `"RawRequest":{"Method":"GET","Header":{"A":["b"]}},"ID":`), nil, ""},
		{"invalid plaintext", opts{Plaintext: []byte("{")}, nil, payscore.Unreadable},
		{"plaintext that is null", opts{Plaintext: []byte("null")}, nil, payscore.Unreadable},
		{"plaintext that is a list", opts{Plaintext: []byte(`[{"mchid":"` + m.MchID + `"}]`)}, nil, payscore.Unreadable},
		{"plaintext whose amount is text", opts{Plaintext: []byte(`{"mchid":"` + m.MchID + `","out_order_no":"A","total_amount":"x"}`)}, nil, payscore.Unreadable},
		{"an order without a number", opts{Plaintext: []byte(`{"mchid":"` + m.MchID + `"}`)}, nil, payscore.Unreadable},
	} {
		t.Run(tt.name, func(t *testing.T) {
			raw := p.raw(t, "A|1*", tt.opts)
			if tt.change != nil {
				tt.change(raw)
			}
			n, err := client.Notification(t.Context(), raw.Header, raw.Body)
			var refusal payscore.Refusal
			if err != nil && !errors.As(err, &refusal) {
				t.Fatalf("an error of another kind: %v", err)
			}
			if refusal != tt.want {
				t.Errorf("came to %q, want %q", refusal, tt.want)
			}
			if err != nil && (n.Order != nil || n.Verdict != "" || err.Error() == "") {
				t.Errorf("refused with %+v %q", n, err)
			}
			p.tellsNothing(t, n, err)
		})
	}
	t.Run("an invalid Request-ID is sanitised", func(t *testing.T) {
		raw := p.raw(t, "A|1*", opts{WrongSignature: true})
		raw.Header.Set("Request-Id", "{\"openid\":\"oUpF8uMuAJO\"}\n"+strings.Repeat("x", 5000))
		n, _ := client.Notification(t.Context(), raw.Header, raw.Body)
		if len(n.RequestID) > 100 || strings.ContainsAny(n.RequestID, "\n{\"") {
			t.Errorf("%q", n.RequestID)
		}
	})
	if calls := p.Report().Calls; calls != 3 {
		t.Errorf("%d calls; the two collects and one download of certificates are all", calls)
	}
}

func TestClient_ProveAPIV3Key(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	for name, tt := range map[string]struct {
		key    string
		faults simulator.Faults
		proven bool
		wrong  bool
	}{
		"the merchant's":                       {p.Merchant().APIv3Key, simulator.Faults{}, true, false},
		"another":                              {strings.Repeat("0", 32), simulator.Faults{}, false, true},
		"none":                                 {"", simulator.Faults{}, false, true},
		"the merchant's, and no answer to ask": {p.Merchant().APIv3Key, simulator.Faults{Down: true}, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			if err := p.SetFaults(tt.faults); err != nil {
				t.Fatal(err)
			}
			proven, err := p.client(t, func(c *payscore.Config) { c.APIV3Key = tt.key }).ProveAPIV3Key(t.Context())
			if proven != tt.proven || (err != nil) != tt.wrong {
				t.Errorf("%v %v", proven, err)
			}
			if err != nil && tt.key != "" && strings.Contains(err.Error(), tt.key) {
				t.Errorf("the error has the key: %v", err)
			}
		})
	}
}
