// Package payscore talks to WeChat Pay's PayScore service orders as a direct
// merchant: collect and query, on the official SDK's signing and verification.
// Whatever comes back becomes one Reply with one Verdict; there are no errors
// besides. It knows nothing of Redis.
package payscore

import (
	"context"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"syscall"
	"time"

	"github.com/wechatpay-apiv3/wechatpay-go/core"
	"github.com/wechatpay-apiv3/wechatpay-go/core/auth"
	"github.com/wechatpay-apiv3/wechatpay-go/core/auth/signers"
	"github.com/wechatpay-apiv3/wechatpay-go/core/auth/validators"
	"github.com/wechatpay-apiv3/wechatpay-go/core/auth/verifiers"
	"github.com/wechatpay-apiv3/wechatpay-go/core/consts"
	"golang.org/x/time/rate"

	"payscore-collector/internal/textsafe"
)

// Config is what a Client needs to speak for one merchant.
type Config struct {
	MchID      string
	SerialNo   string // of the merchant API certificate
	PrivateKey *rsa.PrivateKey

	// PublicKeyID and PublicKey verify replies. Without them, and where a reply
	// names a platform certificate all the same, the platform's certificates are
	// downloaded, which needs APIV3Key.
	PublicKeyID string
	PublicKey   *rsa.PublicKey
	APIV3Key    string

	BaseURL   string // scheme and host, such as https://api.mch.weixin.qq.com
	BackupURL string // of the host in the other city; empty for none

	Timeout     time.Duration // of one call
	Connections int           // calls that may be in flight at once
	// Rate, where above 0, is how many requests a second may leave: spaced
	// evenly, at the last moment before they are written. The merchant's rate
	// over all processes is somebody else's to keep; this keeps a process that
	// stood still for a moment from sending what it missed all at once.
	Rate float64
}

// Client makes calls for one merchant. It is safe for concurrent use.
type Client struct {
	mchid    string
	timeout  time.Duration
	core     *core.Client
	verifier auth.Verifier
	// validator looks at error replies too, which the SDK does not.
	validator auth.Validator
	wire      *wire

	// certs verify what names a platform certificate: it is the verifier itself
	// where there is no public key, and nil where there is no APIv3 key.
	certs    *platformCerts
	apiV3Key string
}

// apiHost is the host that requests are built for; wire sends them to the
// configured one. The signature does not cover the host.
const apiHost = consts.WechatPayAPIServer

// New returns a Client. It makes no call yet.
func New(cfg Config) (*Client, error) {
	primary, err := url.Parse(cfg.BaseURL)
	if err != nil || primary.Host == "" {
		return nil, fmt.Errorf("base URL %q is not a scheme and a host", cfg.BaseURL)
	}
	var backup *url.URL
	if cfg.BackupURL != "" {
		if backup, err = url.Parse(cfg.BackupURL); err != nil || backup.Host == "" {
			return nil, fmt.Errorf("backup URL %q is not a scheme and a host", cfg.BackupURL)
		}
	}
	w := newWire(primary, backup, max(1, cfg.Connections))
	if cfg.Rate > 0 {
		w.pacer = rate.NewLimiter(rate.Limit(cfg.Rate), 1)
	}
	httpClient := &http.Client{
		Transport: w,
		// A redirect is no answer of WeChat Pay's, and following it would
		// send the Authorization header elsewhere.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	c := &Client{mchid: cfg.MchID, timeout: cfg.Timeout, wire: w, apiV3Key: cfg.APIV3Key}
	signer := &signers.SHA256WithRSASigner{MchID: cfg.MchID, CertificateSerialNo: cfg.SerialNo, PrivateKey: cfg.PrivateKey}
	if cfg.PublicKey == nil || cfg.APIV3Key != "" {
		c.certs = newPlatformCerts(signer, httpClient, cfg.APIV3Key)
	}
	if cfg.PublicKey != nil {
		c.verifier = &eitherKey{
			public: verifiers.NewSHA256WithRSAPubkeyVerifier(cfg.PublicKeyID, *cfg.PublicKey),
			certs:  c.certs, timeout: cfg.Timeout,
		}
	} else {
		c.verifier = c.certs
	}
	c.validator = validators.NewWechatPayResponseValidator(c.verifier)
	c.core, err = core.NewClientWithDialSettings(context.Background(), &core.DialSettings{
		HTTPClient: httpClient,
		Signer:     signer,
		Validator:  c.validator,
	})
	if err != nil {
		return nil, err
	}
	return c, nil
}

// Close lets go of idle connections.
func (c *Client) Close() { c.wire.closeIdle() }

// Request names the order of a call.
type Request struct {
	OutOrderNo string
	AppID      string
	ServiceID  string
}

// Collect asks the platform to deduct what is owed (催收扣款). Even Accepted is
// not a payment.
func (c *Client) Collect(ctx context.Context, r Request) Reply {
	u := apiHost + "/v3/payscore/serviceorder/" + url.PathEscape(r.OutOrderNo) + "/pay"
	body := struct {
		AppID     string `json:"appid"`
		ServiceID string `json:"service_id"`
	}{r.AppID, r.ServiceID}
	return c.call(ctx, CallCollect, func(ctx context.Context) (*core.APIResult, error) {
		return c.core.Post(ctx, u, body)
	}, func(reply *Reply, body []byte) {
		c.judgeTaken(reply, r, body)
	})
}

// Sync tells the platform that the user paid the order elsewhere, at paidTime
// (yyyyMMddHHmmss, on the clock of China). It is the only way to stop the
// platform's own deductions once an order waits for payment (merchant/4012587960).
// Accepted is the platform's word that it took the news; only a query shows that
// the order is DONE.
func (c *Client) Sync(ctx context.Context, r Request, paidTime string) Reply {
	u := apiHost + "/v3/payscore/serviceorder/" + url.PathEscape(r.OutOrderNo) + "/sync"
	type detail struct {
		PaidTime string `json:"paid_time"`
	}
	body := struct {
		AppID     string `json:"appid"`
		ServiceID string `json:"service_id"`
		Type      string `json:"type"`
		Detail    detail `json:"detail"`
	}{r.AppID, r.ServiceID, "Order_Paid", detail{paidTime}}
	return c.call(ctx, CallSync, func(ctx context.Context) (*core.APIResult, error) {
		return c.core.Post(ctx, u, body)
	}, func(reply *Reply, body []byte) {
		c.judgeTaken(reply, r, body)
	})
}

// Query asks for the order. Only a reply whose signature was verified has an
// Order.
func (c *Client) Query(ctx context.Context, r Request) Reply {
	q := url.Values{"out_order_no": {r.OutOrderNo}, "service_id": {r.ServiceID}, "appid": {r.AppID}}
	u := apiHost + "/v3/payscore/serviceorder?" + q.Encode()
	return c.call(ctx, CallQuery, func(ctx context.Context) (*core.APIResult, error) {
		return c.core.Get(ctx, u)
	}, func(reply *Reply, body []byte) {
		c.judgeQuery(reply, r, body)
	})
}

// call makes one call within the client's time-out and decides its reply;
// judge sees the body of a 2xx whose signature was verified.
func (c *Client) call(ctx context.Context, name Call, send func(context.Context) (*core.APIResult, error), judge func(*Reply, []byte)) Reply {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	start := time.Now()
	reply := Reply{Call: name}
	if p, ok := c.verifier.(*platformCerts); ok {
		// A call whose reply could not be verified had better not be made.
		if cert := p.prepare(ctx); cert != nil {
			cert.Call, cert.Elapsed = name, time.Since(start)
			return *cert
		}
	}
	var t trip
	_, err := send(t.with(ctx))
	reply.Elapsed = time.Since(start)
	reply.Sent = t.sent.Load()
	if t.answer == nil {
		reply.Verdict, reply.Message = Unknown, clip(describe(err, c.timeout))
		if !reply.Sent {
			reply.Verdict = Unavailable
		}
		if errors.Is(err, errTooLate) || errors.Is(err, context.Canceled) {
			reply.Reason = ReasonGivenUp
		}
		return reply
	}
	reply.HTTPStatus = t.answer.status
	reply.RequestID = clip(t.answer.header.Get(consts.RequestID))
	if reply.HTTPStatus < 200 || reply.HTTPStatus > 299 {
		reply.DetailCode = detailCode(reply.RequestID)
		err := c.validator.Validate(ctx, t.answer.response())
		reply.Verified = err == nil
		reply.Forged = !reply.Verified && t.answer.header.Get(consts.WechatPaySignature) != ""
		reply.NeedsAPIV3Key = errors.Is(err, errCertificateSigned)
		decideError(&reply, t.answer.body)
		return reply
	}
	if err != nil {
		// Forged, or one of the deliberately wrong signatures that WeChat Pay
		// sends to see whether anybody checks: it says nothing.
		reply.Verdict, reply.Reason, reply.Forged = Unknown, "unverified", true
		reply.Message = clip("the reply's signature is not WeChat Pay's: " + err.Error())
		switch {
		case errors.Is(err, errCertificateSigned):
			reply.NeedsAPIV3Key, reply.Message = true, errCertificateSigned.Error()
		case errors.Is(err, errNoCerts):
			reply.Message = "the reply names a platform certificate that could not be downloaded"
		}
		return reply
	}
	reply.Verified = true
	judge(&reply, t.answer.body)
	return reply
}

func decideError(reply *Reply, body []byte) {
	var e struct {
		Code    string `json:"code"`
		Message string `json:"message"`
	}
	_ = json.Unmarshal(body, &e) // what cannot be read has no code, and ruleError knows what to do
	reply.Code, reply.Message = clip(e.Code), clip(redact(e.Message))
	if reply.Code == "" {
		reply.Message = "the reply is no WeChat Pay error; a proxy or a gateway sent it"
	}
	r := ruleError(reply.Call, reply.HTTPStatus, reply.Code, reply.DetailCode, reply.Verified)
	reply.Verdict, reply.Scope = r.verdict, r.scope
	if reply.Verdict == BadRequest || reply.Verdict == NotFound || reply.Verdict == NotCollectable {
		reply.Reason = reply.Code
	}
}

// judgeTaken decides a 2xx to a collect or a sync.
func (c *Client) judgeTaken(reply *Reply, r Request, body []byte) {
	if reply.HTTPStatus == http.StatusNoContent {
		reply.Verdict = Accepted
		return
	}
	var ok struct {
		MchID      string `json:"mchid"`
		OutOrderNo string `json:"out_order_no"`
		OrderID    string `json:"order_id"`
		TradeState string `json:"trade_state"`
	}
	if err := json.Unmarshal(body, &ok); err != nil {
		reply.Verdict, reply.Reason, reply.Message = Unknown, "unreadable", "the reply is signed, but not a JSON object"
		return
	}
	switch {
	case ok.OutOrderNo != "" && ok.OutOrderNo != r.OutOrderNo, ok.MchID != "" && ok.MchID != c.mchid:
		// A signature holds for five minutes: a reply can be replayed.
		reply.Verdict, reply.Reason, reply.Message = Unknown, "another_order", "the reply is signed, but about another order"
	case ok.TradeState == "USERPAYING":
		reply.Verdict, reply.OrderID = InProgress, clip(ok.OrderID)
	default:
		reply.Verdict, reply.OrderID = Accepted, clip(ok.OrderID)
	}
}

func (c *Client) judgeQuery(reply *Reply, r Request, body []byte) {
	var o Order
	if err := json.Unmarshal(body, &o); err != nil {
		reply.Verdict, reply.Reason, reply.Message = Unknown, "unreadable", "the reply is signed, but not an order"
		return
	}
	if o.OutOrderNo != r.OutOrderNo || o.MchID != "" && o.MchID != c.mchid {
		reply.Verdict, reply.Reason, reply.Message = Unknown, "another_order", "the reply is signed, but about another order"
		return
	}
	reply.Order = &o
	if o.ServiceID != "" && o.ServiceID != r.ServiceID || o.AppID != "" && o.AppID != r.AppID {
		reply.Verdict, reply.Reason = NotCollectable, ReasonWrongService
		reply.Message = "the order exists under another appid or service_id"
		return
	}
	reply.Verdict, reply.Reason = o.Judge()
}

// describe says in a few words what went wrong on the way, without URLs.
func describe(err error, timeout time.Duration) string {
	var ue *url.Error
	if errors.As(err, &ue) {
		err = ue.Err
	}
	var dns *net.DNSError
	var ne net.Error
	switch {
	case errors.Is(err, errTooLate):
		return errTooLate.Error()
	case errors.Is(err, context.Canceled):
		return "the call was given up"
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &ne) && ne.Timeout():
		return fmt.Sprintf("no answer within %s", timeout)
	case errors.Is(err, syscall.ECONNREFUSED):
		return "the connection was refused"
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return "the connection was reset"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "the connection was closed before the answer was complete"
	case errors.As(err, &dns):
		return "the host name could not be resolved: " + dns.Name
	}
	// What an error quotes is what the other side sent: a piece of a header or
	// of a body that could not be read as HTTP. It stays out of logs.
	return quoted.ReplaceAllString(err.Error(), `"…"`)
}

var quoted = regexp.MustCompile(`"(?:[^"\\]|\\.)*"`)

// redact takes out of WeChat Pay's words what must never reach a log, should it
// ever repeat it to us: openids (28 characters, the first an o), and what
// stands behind Authorization and signature.
func redact(s string) string { return sensitive.ReplaceAllString(s, "…") }

var sensitive = regexp.MustCompile(`\bo[0-9A-Za-z_-]{27}\b|WECHATPAY2-\S+|(?i:authorization|signature)["']?\s*[:=]\s*\S+`)

// clip keeps words from outside short, and clean enough for a log line and a
// terminal.
func clip(s string) string { return textsafe.Clip(s, 256) }
