package payscore

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/wechatpay-apiv3/wechatpay-go/core"
	"github.com/wechatpay-apiv3/wechatpay-go/core/auth"
	"github.com/wechatpay-apiv3/wechatpay-go/core/auth/validators"
	"github.com/wechatpay-apiv3/wechatpay-go/core/auth/verifiers"
	"github.com/wechatpay-apiv3/wechatpay-go/core/downloader"
	"golang.org/x/sync/singleflight"
)

// platformCerts verifies with the platform's certificates, for merchants without a
// WeChat Pay public key. The certificates rotate, so they are downloaded again from
// time to time, and when a reply names an unknown one. A download is authentic
// because its certificates are encrypted with the APIv3 key.
//
// It uses the SDK's downloader, not its manager, which is a singleton of the process
// with goroutines that cannot be stopped.
type platformCerts struct {
	signer     auth.Signer
	httpClient *http.Client
	apiV3Key   string

	turn    chan struct{}      // a semaphore of one: its holder downloads
	seeking singleflight.Group // the download that notifications wait for

	mu       sync.Mutex // never held during a call
	verifier *verifiers.SHA256WithRSAVerifier
	certs    *downloader.CertificateDownloader
	fetched  time.Time // the last download that succeeded
	tried    time.Time // the last download
	stale    bool      // a reply named an unknown certificate
	none     time.Time // when the platform last said that the merchant has none
}

const (
	// certsFresh is the age at which certificates are downloaded again.
	certsFresh = 12 * time.Hour
	// certsAtLeast is the least time between two downloads, once there are
	// certificates.
	certsAtLeast = time.Minute
	// certsNone is how long the answer holds that a merchant has no platform
	// certificates: accounts that were opened with a public key have none.
	certsNone = time.Hour
)

func newPlatformCerts(signer auth.Signer, httpClient *http.Client, apiV3Key string) *platformCerts {
	return &platformCerts{signer: signer, httpClient: httpClient, apiV3Key: apiV3Key, turn: make(chan struct{}, 1)}
}

// state reports whether there are certificates, and whether a download is due.
func (p *platformCerts) state() (have, want bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.verifier == nil {
		return false, true
	}
	return true, (p.stale || time.Since(p.fetched) > certsFresh) && time.Since(p.tried) > certsAtLeast
}

// prepare provides certificates; the Reply says why there are none, or is nil.
// One call at a time downloads; the others use the old certificates, or wait if there
// are none.
func (p *platformCerts) prepare(ctx context.Context) *Reply {
	have, want := p.state()
	if !want {
		return nil
	}
	select {
	case p.turn <- struct{}{}:
	default:
		if have {
			return nil
		}
		select {
		case p.turn <- struct{}{}:
		case <-ctx.Done():
			return noCerts(ctx)
		}
	}
	defer func() { <-p.turn }()
	if have, want = p.state(); !want {
		return nil // the previous holder has downloaded them
	}
	var x exchange
	d, err := p.download(x.with(ctx))
	p.mu.Lock()
	defer p.mu.Unlock()
	p.tried = time.Now()
	if err == nil {
		p.certs, p.verifier = d, verifiers.NewSHA256WithRSAVerifier(d)
		p.fetched, p.stale = p.tried, false
		return nil
	}
	if have {
		return nil // old certificates can only fail to verify
	}
	reply := noCerts(ctx)
	switch {
	case errors.Is(err, errDecrypt):
		reply.Verdict, reply.Scope = MerchantFault, ScopeMerchant
		reply.Message = errDecrypt.Error()
	case x.answer != nil && x.answer.failed():
		reply.decideError(x.answer)
		reply.Reason = ""
		if x.answer.status == http.StatusNotFound && reply.Code != "" {
			p.none = p.tried
		}
		reply.Message = clip("platform certificates: " + reply.Message)
		if reply.Verdict != MerchantFault && reply.Verdict != Throttled {
			reply.Verdict, reply.Scope = Unavailable, ScopeNone
		}
	}
	return reply
}

// noCerts is the reply of a call that was not made because there are no certificates.
func noCerts(ctx context.Context) *Reply {
	reply := &Reply{Verdict: Unavailable, Message: "the platform certificates could not be downloaded"}
	if errors.Is(ctx.Err(), context.Canceled) {
		reply.Reason = ReasonGivenUp
	}
	return reply
}

var (
	errNoCerts = errors.New("there are no platform certificates yet")
	errNoSuch  = errors.New("the merchant has no platform certificates")
	errDecrypt = errors.New("the platform certificates could not be decrypted: is WECHATPAY_API_V3_KEY this merchant's APIv3 key?")
)

// seek provides the certificate that a notification names, and waits for it until ctx
// ends. A stranger can send notifications that name any certificate: however many
// come, there is one download a minute, and all wait for the same one. It outlives
// ctx, within the given time, so that the next delivery finds its result. The error is
// errNoCerts if it is unknown whether the certificate exists, and errNoSuch if the
// merchant has none.
func (p *platformCerts) seek(ctx context.Context, serial string, within time.Duration) error {
	if p.knows(ctx, serial) {
		return nil
	}
	if p.hasNone() {
		return errNoSuch
	}
	done := p.seeking.DoChan("", func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), within)
		defer cancel()
		p.mu.Lock()
		p.stale = true
		recent := !p.tried.IsZero() && time.Since(p.tried) <= certsAtLeast
		p.mu.Unlock()
		if !recent {
			p.prepare(ctx)
		}
		return nil, nil
	})
	select {
	case <-done:
	case <-ctx.Done():
	}
	p.mu.Lock()
	complete := !p.fetched.IsZero() && time.Since(p.fetched) <= certsAtLeast
	p.mu.Unlock()
	switch {
	case p.knows(ctx, serial) || complete:
		return nil // if it is not among them, it does not exist
	case p.hasNone():
		return errNoSuch
	}
	return errNoCerts
}

func (p *platformCerts) hasNone() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return !p.none.IsZero() && time.Since(p.none) <= certsNone
}

func (p *platformCerts) knows(ctx context.Context, serial string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.certs == nil {
		return false
	}
	_, known := p.certs.Get(ctx, serial)
	return known
}

func (p *platformCerts) download(ctx context.Context) (d *downloader.CertificateDownloader, err error) {
	defer func() {
		// The SDK dereferences pointers that an unexpected reply leaves nil.
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
	if err != nil && strings.HasPrefix(err.Error(), "decrypt downloaded certificate failed") {
		return nil, errDecrypt // the SDK's only sign of a wrong APIv3 key
	}
	return d, err
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
		return errNoCerts
	}
	return v.Verify(ctx, serial, message, signature)
}

// GetSerial implements auth.Verifier. It returns the certificate that the platform
// should sign with.
func (p *platformCerts) GetSerial(ctx context.Context) (string, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.certs == nil {
		return "", errNoCerts
	}
	return p.certs.GetNewestSerial(ctx), nil
}
