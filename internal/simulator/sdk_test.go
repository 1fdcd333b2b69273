package simulator

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"testing"

	"github.com/wechatpay-apiv3/wechatpay-go/core"
	"github.com/wechatpay-apiv3/wechatpay-go/core/auth/verifiers"
	"github.com/wechatpay-apiv3/wechatpay-go/core/downloader"
	"github.com/wechatpay-apiv3/wechatpay-go/core/option"
)

// toSimulator sends the official SDK's calls, which name the platform's own
// host, to the simulator.
type toSimulator struct{ host string }

func (t toSimulator) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.URL.Scheme, r.URL.Host = "http", t.host
	return http.DefaultTransport.RoundTrip(r)
}

const sdkHost = "https://api.mch.weixin.qq.com"

func sdkHTTPClient(t *testing.T, b *bench) core.ClientOption {
	t.Helper()
	u, err := url.Parse(b.url)
	if err != nil {
		t.Fatal(err)
	}
	return option.WithHTTPClient(&http.Client{Transport: toSimulator{u.Host}})
}

// The official Go client takes the simulator for the platform: it signs, and
// it verifies the replies with the public key.
func TestOfficialSDK_PublicKey(t *testing.T) {
	const no = "A|B*1"
	b := setup(t, Order{OutOrderNo: no, TotalAmount: 1000}, Order{OutOrderNo: "DECLINED", Fate: FateNever},
		Order{OutOrderNo: "FORGED", Replies: []ScriptedReply{{Kind: KindOKWrongSignature}, {Kind: KindOKUnsigned}}})
	m := b.sim.Merchant()
	client, err := core.NewClient(t.Context(), sdkHTTPClient(t, b),
		option.WithWechatPayPublicKeyAuthCipher(m.MchID, m.SerialNo, m.PrivateKey, m.PublicKeyID, m.PublicKey))
	if err != nil {
		t.Fatal(err)
	}
	collect := func(no string) (*core.APIResult, error) {
		return client.Post(t.Context(), sdkHost+"/v3/payscore/serviceorder/"+url.PathEscape(no)+"/pay",
			map[string]string{"appid": m.AppID, "service_id": m.ServiceID})
	}
	query := func(no string) (*core.APIResult, error) { return client.Get(t.Context(), sdkHost+b.queryTarget(no)) }

	if _, err := collect(no); err != nil {
		t.Fatal(err)
	}
	result, err := query(no)
	if err != nil {
		t.Fatal(err)
	}
	if got := result.Response.Header.Get("Wechatpay-Serial"); got != m.PublicKeyID {
		t.Errorf("signed as %s, want %s", got, m.PublicKeyID)
	}
	body, err := io.ReadAll(result.Response.Body)
	if err != nil {
		t.Fatal(err)
	}
	var e Entity
	if err := json.Unmarshal(body, &e); err != nil || e.OutOrderNo != no || e.State != StateDone {
		t.Errorf("got %s %s, %v", e.OutOrderNo, e.State, err)
	}

	_, err = collect("DECLINED")
	if apiErr := (*core.APIError)(nil); !errors.As(err, &apiErr) || apiErr.StatusCode != 403 || apiErr.Code != "TRADE_ERROR" || apiErr.Message != "扣款失败" {
		t.Errorf("got %v, want 403 TRADE_ERROR", err)
	}
	for range 2 {
		if _, err := query("FORGED"); err == nil {
			t.Error("the client took a forged reply for true")
		}
	}
	if got := b.sim.Report().RejectedSignatures; got != 0 {
		t.Errorf("the simulator rejected %d of the client's signatures", got)
	}
}

// The official certificate downloader gets the platform certificate, and a
// client that verifies with certificates is answered under its serial number.
func TestOfficialSDK_PlatformCertificate(t *testing.T) {
	b := setup(t, Order{OutOrderNo: "A1"})
	m := b.sim.Merchant()
	bootstrap, err := core.NewClient(t.Context(), sdkHTTPClient(t, b),
		option.WithMerchantCredential(m.MchID, m.SerialNo, m.PrivateKey), option.WithoutValidator())
	if err != nil {
		t.Fatal(err)
	}
	d, err := downloader.NewCertificateDownloaderWithClient(t.Context(), bootstrap, m.APIv3Key)
	if err != nil {
		t.Fatal(err)
	}
	// The second download is verified with the first one's certificate.
	if err := d.DownloadCertificates(t.Context()); err != nil {
		t.Fatal(err)
	}
	cert, ok := d.Get(t.Context(), m.CertificateSerialNo)
	if !ok || !cert.Equal(m.Certificate) {
		t.Fatalf("the downloader has not got certificate %s", m.CertificateSerialNo)
	}
	client, err := core.NewClient(t.Context(), sdkHTTPClient(t, b),
		option.WithMerchantCredential(m.MchID, m.SerialNo, m.PrivateKey), option.WithVerifier(verifiers.NewSHA256WithRSAVerifier(d)))
	if err != nil {
		t.Fatal(err)
	}
	result, err := client.Get(t.Context(), sdkHost+b.queryTarget("A1"))
	if err != nil {
		t.Fatal(err)
	}
	if got := result.Response.Header.Get("Wechatpay-Serial"); got != m.CertificateSerialNo {
		t.Errorf("signed as %s, want %s", got, m.CertificateSerialNo)
	}
}
