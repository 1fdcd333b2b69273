package payscore

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/wechatpay-apiv3/wechatpay-go/core"
	"github.com/wechatpay-apiv3/wechatpay-go/core/auth"
	"github.com/wechatpay-apiv3/wechatpay-go/core/auth/validators"
	"github.com/wechatpay-apiv3/wechatpay-go/core/auth/verifiers"
	"github.com/wechatpay-apiv3/wechatpay-go/core/downloader"
)

// platformCerts verifies with the platform's certificates, for merchants that
// have no WeChat Pay public key yet. They rotate, so they are downloaded anew
// now and then, and when a reply names one that is not known. What vouches for
// a download is the APIv3 key that its certificates are encrypted with.
//
// It uses the SDK's downloader, not its manager: that is one for the whole
// process, with goroutines that nobody stops.
type platformCerts struct {
	signer     auth.Signer
	httpClient *http.Client
	apiV3Key   string

	mu       sync.Mutex
	verifier *verifiers.SHA256WithRSAVerifier
	certs    *downloader.CertificateDownloader
	fetched  time.Time
	stale    bool // a reply named a certificate that is not known
}

// How old certificates may become, and how often at most they are asked for
// because of an unknown serial.
const (
	certsFresh   = 12 * time.Hour
	certsAtLeast = time.Minute
)

func newPlatformCerts(signer auth.Signer, httpClient *http.Client, apiV3Key string) *platformCerts {
	return &platformCerts{signer: signer, httpClient: httpClient, apiV3Key: apiV3Key}
}

// prepare sees to certificates; the Reply says why there are none, or is nil.
func (p *platformCerts) prepare(ctx context.Context) *Reply {
	p.mu.Lock()
	defer p.mu.Unlock()
	age := time.Since(p.fetched)
	if p.verifier != nil && age < certsFresh && !(p.stale && age > certsAtLeast) {
		return nil
	}
	d, err := p.download(ctx)
	if err == nil {
		p.certs, p.verifier = d, verifiers.NewSHA256WithRSAVerifier(d)
		p.fetched, p.stale = time.Now(), false
		return nil
	}
	if p.verifier != nil {
		// Old certificates are better than none, and can only fail to verify.
		p.fetched = time.Now().Add(certsAtLeast - certsFresh)
		return nil
	}
	reply := &Reply{Verdict: Unavailable, Message: "the platform certificates could not be downloaded"}
	var apiErr *core.APIError
	if errors.As(err, &apiErr) {
		// Only code and Request-ID: the SDK's error prints whole headers.
		reply.HTTPStatus = apiErr.StatusCode
		reply.RequestID = clip(apiErr.Header.Get("Request-ID"))
		reply.DetailCode = detailCode(reply.RequestID)
		decideError(reply, []byte(apiErr.Body))
		reply.Message = clip("platform certificates: " + reply.Message)
		if reply.Verdict != MerchantFault && reply.Verdict != Throttled {
			reply.Verdict = Unavailable
		}
	} else if errors.Is(err, errDecrypt) {
		reply.Verdict, reply.Scope = MerchantFault, ScopeMerchant
		reply.Message = errDecrypt.Error()
	}
	return reply
}

var errDecrypt = errors.New("the platform certificates could not be decrypted: is WECHATPAY_API_V3_KEY this merchant's APIv3 key?")

func (p *platformCerts) download(ctx context.Context) (d *downloader.CertificateDownloader, err error) {
	defer func() {
		// The SDK follows pointers that a strange reply leaves nil.
		if recover() != nil {
			err = errors.New("the platform's list of certificates is not readable")
		}
	}()
	client, err := core.NewClientWithDialSettings(ctx, &core.DialSettings{
		HTTPClient: p.httpClient, Signer: p.signer, Validator: &validators.NullValidator{},
	})
	if err != nil {
		return nil, err
	}
	d, err = downloader.NewCertificateDownloaderWithClient(ctx, client, p.apiV3Key)
	var apiErr *core.APIError
	if err != nil && !errors.As(err, &apiErr) && ctx.Err() == nil && isDecrypt(err) {
		return nil, errDecrypt
	}
	return d, err
}

// isDecrypt tells the SDK's only sign of a wrong APIv3 key.
func isDecrypt(err error) bool {
	return strings.HasPrefix(err.Error(), "decrypt downloaded certificate failed")
}

// Verify implements auth.Verifier.
func (p *platformCerts) Verify(ctx context.Context, serial, message, signature string) error {
	p.mu.Lock()
	v, certs := p.verifier, p.certs
	if certs != nil {
		if _, known := certs.Get(ctx, serial); !known {
			p.stale = true
		}
	}
	p.mu.Unlock()
	if v == nil {
		return fmt.Errorf("there are no platform certificates yet")
	}
	return v.Verify(ctx, serial, message, signature)
}

// GetSerial implements auth.Verifier: the certificate that the platform is
// asked to sign with.
func (p *platformCerts) GetSerial(ctx context.Context) (string, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.certs == nil {
		return "", errors.New("there are no platform certificates yet")
	}
	return p.certs.GetNewestSerial(ctx), nil
}
