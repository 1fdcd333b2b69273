package notify_test

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"payscore-collector/internal/ledger"
	"payscore-collector/internal/notify"
	"payscore-collector/internal/payscore"
	"payscore-collector/internal/simulator"
	"payscore-collector/tasks"
)

// How a fuzzed notification is made of its content.
const (
	fuzzBare   = iota // the body, with the given headers alone
	fuzzSigned        // the body, signed
	fuzzSealed        // the plaintext, encrypted and signed
	fuzzForged        // the same, with the given headers over the good ones
	fuzzWays
)

// written takes the place of the ledger and of the collector: a Redis would be
// all that a fuzzer waits for.
type written []ledger.Notice

func (w *written) Notice(_ context.Context, n ledger.Notice) (ledger.NoticeCode, []ledger.News, error) {
	*w = append(*w, n)
	return ledger.NoticePaid, nil, nil
}

func (*written) NoticeTold(context.Context, ledger.Notice) error { return nil }

func (*written) Noticed(ledger.Notice, ledger.NoticeCode, []ledger.News) {}

// FuzzNotification: whatever comes in is answered in one of the known ways, a
// refusal touches nothing and is one short line in the log, and what reaches the
// ledger is what was signed and encrypted.
func FuzzNotification(f *testing.F) {
	// Small keys: signing is most of the work.
	sim, err := simulator.New(simulator.Options{KeyBits: 1024})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(sim.Close)
	if err := sim.AddOrders(simulator.Order{OutOrderNo: "A"}); err != nil {
		f.Fatal(err)
	}
	m := sim.Merchant()
	client, err := payscore.New(payscore.Config{
		MchID: m.MchID, SerialNo: m.SerialNo, Signer: m.PrivateKey, PublicKeyID: m.PublicKeyID, PublicKey: m.PublicKey,
		APIV3Key: m.APIv3Key, BaseURL: "http://127.0.0.1:1", Timeout: time.Second, Connections: 1,
	})
	if err != nil {
		f.Fatal(err)
	}
	metrics := notify.NewMetrics(prometheus.NewRegistry())

	entity := func(rest string) []byte {
		return []byte(`{"mchid":"` + m.MchID + `","out_order_no":"A","openid":"oUpF8uMuAJO_M2pxb1Q9zNjWeS6o",` + rest + `}`)
	}
	const paid = `"state":"DONE","need_collection":true,"collection":{"state":"USER_PAID","total_amount":1250,"paying_amount":0,"paid_amount":1250,"details":[{"seq":1,"amount":1250,"paid_type":"NEWTON","transaction_id":"4200"}]}`
	const part = `"state":"DOING","state_description":"MCH_COMPLETE","collection":{"state":"USER_PAYING","total_amount":1250,"paying_amount":950,"details":[{"amount":300}]}`
	f.Add(byte(fuzzSealed), "", entity(paid), "")
	f.Add(byte(fuzzSealed), "", entity(part), "")
	f.Add(byte(fuzzSealed), "", entity(`"state":"REVOKED"`), "")
	f.Add(byte(fuzzSealed), "PAYSCORE.USER_CONFIRM", entity(`"state":"DOING"`), "")
	f.Add(byte(fuzzSealed), "REFUND.SUCCESS", []byte(`{"mchid":"`+m.MchID+`","refund_id":"5"}`), "")
	f.Add(byte(fuzzForged), "", entity(paid), "Wechatpay-Signature: WECHATPAY/SIGNTEST/eHh4\n")
	f.Add(byte(fuzzForged), "", entity(paid), "Wechatpay-Timestamp: 1700000000\nRequest-Id: x\n")
	f.Add(byte(fuzzForged), "", entity(paid), "Wechatpay-Serial: "+strings.Repeat("0A", 20)+"\n")
	f.Add(byte(fuzzSigned), "", []byte(`{"id":"EV-1","event_type":"PAYSCORE.USER_PAID","resource":{"algorithm":"AEAD_AES_256_GCM","ciphertext":"AAAA","nonce":"x","associated_data":"payscore"}}`), "")
	f.Add(byte(fuzzSigned), "", []byte(`{"id":"EV-1","resource":null}`), "")
	f.Add(byte(fuzzBare), "", []byte(`{"id":`), "Wechatpay-Nonce: x\n")
	f.Add(byte(fuzzBare), "", []byte{}, "")

	// Any other value of these is a forgery.
	covered := map[string]bool{"Wechatpay-Timestamp": true, "Wechatpay-Nonce": true, "Wechatpay-Signature": true, "Wechatpay-Serial": true}
	hex := regexp.MustCompile(`^\s*[0-9A-Fa-f]{8,64}\s*$`)
	f.Fuzz(func(t *testing.T, way byte, kind string, content []byte, lines string) {
		way %= fuzzWays
		var opts options
		switch way {
		case fuzzSigned:
			opts.Body = func([]byte) []byte { return content }
		case fuzzSealed, fuzzForged:
			if content == nil {
				content = []byte{}
			}
			opts.Plaintext, opts.EventType = content, kind
		}
		n, err := sim.Notification("A", opts)
		if err != nil {
			t.Fatal(err)
		}
		if way == fuzzBare {
			n.Header, n.Body = http.Header{}, content
		}
		forged := false
		if way == fuzzBare || way == fuzzForged {
			for line := range strings.Lines(lines) {
				if name, value, ok := strings.Cut(line, ":"); ok {
					name = http.CanonicalHeaderKey(strings.TrimSpace(name))
					value = strings.TrimSpace(value)
					forged = forged || covered[name] && n.Header.Get(name) != value
					n.Header.Set(name, value)
				}
			}
		}

		var logs bytes.Buffer
		var notices written
		r := notify.New([]string{m.MchID}, metrics, zerolog.New(&logs).Level(zerolog.InfoLevel))
		if err := r.Open(map[string]notify.Merchant{m.MchID: {Opener: client, Ledger: &notices, Teller: &notices}}); err != nil {
			t.Fatal(err)
		}
		req := httptest.NewRequest(http.MethodPost, "/notify/"+m.MchID, bytes.NewReader(n.Body))
		req.Header = n.Header
		w := httptest.NewRecorder()
		r.ServeHTTP(w, req)

		switch w.Code {
		case http.StatusOK:
			if w.Body.Len() != 0 {
				t.Fatalf("a 200 with %q", w.Body)
			}
		case http.StatusBadRequest, http.StatusUnauthorized, http.StatusRequestEntityTooLarge, http.StatusServiceUnavailable:
			var said struct{ Code, Message string }
			if err := json.Unmarshal(w.Body.Bytes(), &said); err != nil || said.Code != "FAIL" || said.Message == "" {
				t.Fatalf("refused with %q", w.Body)
			}
			if len(notices) != 0 {
				t.Fatalf("refused with %d, and written down: %+v", w.Code, notices)
			}
			if lines := strings.Count(logs.String(), "\n"); lines != 1 || logs.Len() > 1500 {
				t.Fatalf("refused with %d lines of %d bytes: %s", lines, logs.Len(), logs.String())
			}
		default:
			t.Fatalf("answered %d %s: %s", w.Code, w.Body, logs.String())
		}
		if w.Code == http.StatusServiceUnavailable && !hex.MatchString(n.Header.Get("Wechatpay-Serial")) {
			t.Fatalf("trouble on our side, of a stranger's making: %s", logs.String())
		}
		if len(notices) == 0 {
			return
		}
		if way == fuzzBare || way == fuzzSigned || forged || len(notices) > 1 {
			t.Fatalf("written down %d times, of a notification that was %d, forged: %v", len(notices), way, forged)
		}
		got := notices[0]
		var want struct {
			MchID      string `json:"mchid"`
			OutOrderNo string `json:"out_order_no"`
			State      string `json:"state"`
			Collection struct {
				State        string `json:"state"`
				PayingAmount int64  `json:"paying_amount"`
			} `json:"collection"`
		}
		if err := json.Unmarshal(content, &want); err != nil || want.MchID != m.MchID || want.OutOrderNo != got.OutOrderNo {
			t.Fatalf("written down as %+v: %s", got, content)
		}
		if got.Paid && (want.State != "DONE" || want.Collection.State != "USER_PAID" || want.Collection.PayingAmount != 0) {
			t.Fatalf("written down as paid: %s", content)
		}
		if !got.Paid && got.Facts.Paid == nil || got.Facts.Paid != nil && *got.Facts.Paid <= 0 || got.Facts.Total != nil && *got.Facts.Total <= 0 {
			t.Fatalf("written down as %+v: %s", got, content)
		}
		if tasks.ValidateOutOrderNo(got.OutOrderNo) != nil || kind != "" && kind != payscore.EventUserPaid {
			t.Fatalf("written down: order %q by event %q", got.OutOrderNo, kind)
		}
	})
}
