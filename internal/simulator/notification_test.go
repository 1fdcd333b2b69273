package simulator

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/wechatpay-apiv3/wechatpay-go/core"
	"github.com/wechatpay-apiv3/wechatpay-go/core/auth/verifiers"
	"github.com/wechatpay-apiv3/wechatpay-go/core/notify"
)

// publicKeyHandler is the official SDK's, for merchants with the public key.
func publicKeyHandler(t *testing.T, m Merchant) *notify.Handler {
	t.Helper()
	h, err := notify.NewRSANotifyHandler(m.APIv3Key, verifiers.NewSHA256WithRSAPubkeyVerifier(m.PublicKeyID, *m.PublicKey))
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// certificateHandler is the official SDK's, for merchants with certificates.
func certificateHandler(t *testing.T, m Merchant) *notify.Handler {
	t.Helper()
	h, err := notify.NewRSANotifyHandler(m.APIv3Key, verifiers.NewSHA256WithRSAVerifier(core.NewCertificateMap(map[string]*x509.Certificate{m.CertificateSerialNo: m.Certificate})))
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// open verifies and decrypts a notification with the official SDK.
func open(t *testing.T, h *notify.Handler, n RawNotification) (*notify.Request, Entity, error) {
	t.Helper()
	r, err := n.Request(t.Context(), "http://merchant.example/notify")
	if err != nil {
		t.Fatal(err)
	}
	var e Entity
	req, err := h.ParseNotifyRequest(t.Context(), r, &e)
	return req, e, err
}

func TestSimulator_Notification(t *testing.T) {
	b := setup(t, Order{OutOrderNo: "A|1*", TotalAmount: 1000}, Order{OutOrderNo: "GONE", Fate: FateUnknown})
	m := b.sim.Merchant()
	raw := func(t *testing.T, opts NotificationOptions) RawNotification {
		t.Helper()
		n, err := b.sim.Notification("A|1*", opts)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	b.collect("A|1*")
	paid := b.entity("A|1*")
	calls := b.sim.Report().Calls

	t.Run("is the order as a query shows it, for the official SDK with the public key", func(t *testing.T) {
		n := raw(t, NotificationOptions{})
		req, e, err := open(t, publicKeyHandler(t, m), n)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(paid, e, sameJSON); diff != "" {
			t.Errorf("query and notification differ (-query +notification):\n%s", diff)
		}
		if req.ID != n.ID || req.EventType != "PAYSCORE.USER_PAID" || req.ResourceType != "encrypt-resource" || req.Summary == "" ||
			req.Resource.Algorithm != "AEAD_AES_256_GCM" || req.Resource.OriginalType != "payscore" || req.Resource.AssociatedData != "payscore" {
			t.Errorf("got %+v", req)
		}
		if !req.CreateTime.Equal(b.clock.Now()) || !regexp.MustCompile(`"create_time":"2026-11-23T12:00:00\+08:00"`).Match(n.Body) {
			t.Errorf("created at %v: %s", req.CreateTime, n.Body)
		}
		want := map[string]string{
			"Content-Type": `application/json`, "Request-Id": `08[0-9A-F]{34}-0`, "Wechatpay-Serial": m.PublicKeyID,
			"Wechatpay-Timestamp": `\d{10}`, "Wechatpay-Nonce": `[0-9A-F]{32}`, "Wechatpay-Signature": `[0-9A-Za-z+/]{342}==`,
			"Wechatpay-Signature-Type": "WECHATPAY2-SHA256-RSA2048",
		}
		for name, pattern := range want {
			if got := n.Header.Values(name); len(got) != 1 || !regexp.MustCompile("^"+pattern+"$").MatchString(got[0]) {
				t.Errorf("header %s: %q", name, got)
			}
		}
		if len(n.Header) != len(want) {
			t.Errorf("headers %v", n.Header)
		}
	})
	t.Run("is verified with the certificate under the certificate's serial number", func(t *testing.T) {
		n := raw(t, NotificationOptions{Serial: m.CertificateSerialNo})
		if _, e, err := open(t, certificateHandler(t, m), n); err != nil || e.OutOrderNo != "A|1*" {
			t.Errorf("got %s, %v", e.OutOrderNo, err)
		}
		if _, _, err := open(t, publicKeyHandler(t, m), n); err == nil {
			t.Error("a merchant that knows the public key only took it")
		}
	})

	stranger, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		opts NotificationOptions
		want string // the SDK's complaint; none where it is empty
	}{
		"a wrong signature":       {NotificationOptions{WrongSignature: true}, "signature"},
		"a stranger's signature":  {NotificationOptions{SigningKey: stranger}, "verification error"},
		"another key's name":      {NotificationOptions{Serial: "PUB_KEY_ID_0"}, "does not match"},
		"an old timestamp":        {NotificationOptions{Age: 6 * time.Minute}, "expires"},
		"a timestamp to come":     {NotificationOptions{Age: -6 * time.Minute}, "expires"},
		"a timestamp just young":  {NotificationOptions{Age: 4 * time.Minute}, ""},
		"another APIv3 key":       {NotificationOptions{APIv3Key: strings.Repeat("k", 32)}, "decrypt error"},
		"a body tampered with":    {NotificationOptions{Tamper: func(b []byte) []byte { return append(b, ' ') }}, "verification error"},
		"a truncated body":        {NotificationOptions{Tamper: func(b []byte) []byte { return b[:len(b)/2] }}, "verification error"},
		"rubbish, rightly signed": {NotificationOptions{Body: func(b []byte) []byte { return b[:len(b)/2] }}, "parse request body"},
		"plaintext that is none":  {NotificationOptions{Plaintext: []byte("{")}, "unmarshal plaintext"},
	} {
		t.Run(name, func(t *testing.T) {
			_, _, err := open(t, publicKeyHandler(t, m), raw(t, tt.opts))
			switch {
			case tt.want == "" && err != nil:
				t.Errorf("refused: %v", err)
			case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)):
				t.Errorf("got %v, want an error that says %q", err, tt.want)
			}
		})
	}
	t.Run("a wrong signature shows what it is", func(t *testing.T) {
		if got := raw(t, NotificationOptions{WrongSignature: true}).Header.Get("Wechatpay-Signature"); !strings.HasPrefix(got, "WECHATPAY/SIGNTEST/") {
			t.Errorf("got %s", got)
		}
	})
	t.Run("another type, another merchant's order, and the same event again", func(t *testing.T) {
		n := raw(t, NotificationOptions{ID: "EV-1", EventType: EventUserConfirm, Entity: func(e *Entity) { e.MchID = "1" }})
		req, e, err := open(t, publicKeyHandler(t, m), n)
		if err != nil || n.ID != "EV-1" || req.ID != "EV-1" || req.EventType != EventUserConfirm || e.MchID != "1" {
			t.Errorf("got %+v with mchid %s, %v", req, e.MchID, err)
		}
		if a, b := raw(t, NotificationOptions{}), raw(t, NotificationOptions{}); a.ID == b.ID || a.ID == "" {
			t.Errorf("two events with the ids %q and %q", a.ID, b.ID)
		}
	})
	t.Run("can be sent many times", func(t *testing.T) {
		n := raw(t, NotificationOptions{})
		for range 3 {
			if _, _, err := open(t, publicKeyHandler(t, m), n); err != nil {
				t.Fatal(err)
			}
		}
	})
	t.Run("of an order that the platform has not", func(t *testing.T) {
		for _, no := range []string{"GONE", "A2"} {
			if _, err := b.sim.Notification(no, NotificationOptions{}); err == nil || !strings.Contains(err.Error(), no) {
				t.Errorf("%s: %v", no, err)
			}
		}
	})
	t.Run("with an APIv3 key that is none", func(t *testing.T) {
		if _, err := b.sim.Notification("A|1*", NotificationOptions{APIv3Key: "short"}); err == nil || !strings.Contains(err.Error(), "APIv3 key") {
			t.Errorf("got %v", err)
		}
	})
	if r := b.sim.Report(); r.Calls != calls || r.Orders[0].CallsAfterEnd != 0 {
		t.Errorf("notifications count as calls: %+v", r)
	}
}

// sameJSON compares what JSON cannot tell apart as equal: Undocumented holds
// Go types on one side only.
var sameJSON = cmp.FilterPath(func(p cmp.Path) bool { return p.Last().String() == ".Undocumented" },
	cmp.Comparer(func(a, b map[string]any) bool {
		x, errX := json.Marshal(a)
		y, errY := json.Marshal(b)
		return errX == nil && errY == nil && string(x) == string(y)
	}))
