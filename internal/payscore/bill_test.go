package payscore_test

import (
	"compress/gzip"
	"crypto/sha1"
	"encoding/hex"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"payscore-collector/internal/payscore"
	"payscore-collector/internal/simulator"
)

// billPlatform is a simulator with one row in yesterday's bill, behind change.
func billPlatform(t *testing.T, change func(w http.ResponseWriter, r *http.Request, inner http.Handler)) (*simulator.Simulator, *payscore.Client, string) {
	t.Helper()
	sim, err := simulator.New(simulator.Options{KeyBits: 1024})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(sim.Close)
	if err := sim.SetBill(simulator.Bill{UnknownOrders: 1}); err != nil {
		t.Fatal(err)
	}
	inner := sim.Handler()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { change(w, r, inner) }))
	t.Cleanup(server.Close)
	m := sim.Merchant()
	c, err := payscore.New(payscore.Config{
		MchID: m.MchID, SerialNo: m.SerialNo, Signer: m.PrivateKey, PublicKeyID: m.PublicKeyID, PublicKey: m.PublicKey,
		BaseURL: server.URL, Timeout: time.Minute, Connections: 2,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return sim, c, server.URL
}

func pass(w http.ResponseWriter, r *http.Request, inner http.Handler) { inner.ServeHTTP(w, r) }

func yesterday() time.Time { return time.Now().In(china).AddDate(0, 0, -1) }

var china = time.FixedZone("Asia/Shanghai", 8*3600)

func TestBill(t *testing.T) {
	_, c, _ := billPlatform(t, pass)
	b, err := c.AskBill(t.Context(), yesterday())
	if err != nil {
		t.Fatal(err)
	}
	body, err := c.DownloadBill(t.Context(), b)
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	z, err := gzip.NewReader(body)
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	if sum := sha1.Sum(text); hex.EncodeToString(sum[:]) != b.SHA1 {
		t.Errorf("the SHA1 is %x, and %s was signed", sum, b.SHA1)
	}
	if !strings.Contains(string(text), "wxzff|") {
		t.Errorf("the bill is\n%s", text)
	}
}

func TestAskBill_Errors(t *testing.T) {
	reply := func(status int, body string) func(http.ResponseWriter, *http.Request, http.Handler) {
		return func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
			w.Header().Set("Request-ID", "08ABC-268435464")
			w.WriteHeader(status)
			_, _ = io.WriteString(w, body)
		}
	}
	for _, tt := range []struct {
		name   string
		change func(http.ResponseWriter, *http.Request, http.Handler)
		bill   simulator.Bill
		state  payscore.BillState
		says   string
	}{
		{"no transactions", pass, simulator.Bill{NoStatement: true}, payscore.NoStatement, "NO_STATEMENT_EXIST"},
		{"no transactions, unsigned", reply(400, `{"code":"NO_STATEMENT_EXIST","message":"x"}`), simulator.Bill{}, payscore.TryAgain, "NO_STATEMENT_EXIST"},
		{"still being made", pass, simulator.Bill{Creating: true}, payscore.NotReady, "STATEMENT_CREATING"},
		{"refused", reply(400, `{"code":"INVALID_REQUEST","message":"x"}`), simulator.Bill{}, payscore.BillRefused, "HTTP 400, INVALID_REQUEST: x (Request-ID 08ABC-268435464)"},
		{"no permission", reply(403, `{"code":"NO_AUTH","message":"x"}`), simulator.Bill{}, payscore.BillRefused, "NO_AUTH"},
		{"too fast", reply(429, `{"code":"FREQUENCY_LIMITED","message":"x"}`), simulator.Bill{}, payscore.TryAgain, "FREQUENCY_LIMITED"},
		{"trouble", reply(500, `{"code":"SYSTEM_ERROR","message":"x"}`), simulator.Bill{}, payscore.TryAgain, "SYSTEM_ERROR"},
		{"a proxy's page", reply(502, `<html>`), simulator.Bill{}, payscore.TryAgain, "a proxy or a gateway"},
		{"unsigned", reply(200, `{"hash_type":"SHA1","hash_value":"x","download_url":"https://api.mch.weixin.qq.com/x"}`), simulator.Bill{}, payscore.TryAgain, "signature"},
		{"no answer", func(w http.ResponseWriter, _ *http.Request, _ http.Handler) { panic(http.ErrAbortHandler) }, simulator.Bill{}, payscore.TryAgain, "closed"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			sim, c, _ := billPlatform(t, tt.change)
			if err := sim.SetBill(tt.bill); err != nil {
				t.Fatal(err)
			}
			_, err := c.AskBill(t.Context(), yesterday())
			var refused *payscore.BillError
			if !errors.As(err, &refused) || refused.State != tt.state || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("%v (%+v); want %s …%s…", err, refused, tt.state, tt.says)
			}
		})
	}
}

// The signed request goes to the API's host and nowhere else, whatever the link says, and
// follows no redirect.
func TestDownloadBill_OnlyFromTheAPI(t *testing.T) {
	var strayed atomic.Int64
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { strayed.Add(1) }))
	defer other.Close()
	_, c, url := billPlatform(t, func(w http.ResponseWriter, r *http.Request, _ http.Handler) {
		http.Redirect(w, r, other.URL, http.StatusFound)
	})
	for _, link := range []string{
		other.URL + "/v3/billdownload/file?token=x", "https://api.mch.weixin.qq.com.example.com/x", "http://api.mch.weixin.qq.com/x",
		"https://user@api.mch.weixin.qq.com/x", "//evil", "", "file:///etc/passwd", "%zz",
	} {
		_, err := c.DownloadBill(t.Context(), payscore.Bill{URL: link})
		var refused *payscore.BillError
		if !errors.As(err, &refused) || refused.State != payscore.BillRefused {
			t.Errorf("%q: %v", link, err)
		}
	}
	// The API's own name is reached at the configured address.
	for _, link := range []string{url + "/x?token=1%2F2", "https://api.mch.weixin.qq.com/x"} {
		_, err := c.DownloadBill(t.Context(), payscore.Bill{URL: link})
		var refused *payscore.BillError
		if !errors.As(err, &refused) || refused.HTTPStatus != http.StatusFound {
			t.Errorf("%q: %v", link, err)
		}
	}
	if strayed.Load() > 0 {
		t.Error("a signed request went to another host")
	}
}
