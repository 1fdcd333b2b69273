// Package payscore calls WeChat Pay's PayScore service orders (collect, query,
// sync) and verifies its notifications, on the official SDK's signing and
// verification. It knows nothing of Redis.
//
// A call returns one decided Reply and no error. The way of a call: endpoint.go
// builds the request, wire.go sends it once, table.go decides an error reply and
// order.go a signed order, and verdict.go says what each Verdict implies.
package payscore

import (
	"context"
	"crypto"
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
	"github.com/wechatpay-apiv3/wechatpay-go/core/auth/validators"
	"github.com/wechatpay-apiv3/wechatpay-go/core/auth/verifiers"
	"github.com/wechatpay-apiv3/wechatpay-go/core/consts"
	"golang.org/x/time/rate"

	"payscore-collector/internal/owner"
)

// Config is what a Client needs to speak for one merchant.
type Config struct {
	MchID    string
	SerialNo string        // of the merchant API certificate
	Signer   crypto.Signer // of the merchant's RSA key, such as an *rsa.PrivateKey; see package signer

	// PublicKeyID and PublicKey verify replies. Without them, or when a reply
	// names a platform certificate, the platform's certificates are downloaded,
	// which needs APIV3Key.
	PublicKeyID string
	PublicKey   *rsa.PublicKey
	APIV3Key    string

	BaseURL   string // scheme and host, such as https://api.mch.weixin.qq.com
	BackupURL string // the host in the other city; empty for none

	Timeout     time.Duration // of one call
	Connections int           // calls that may be in flight at once
	// Rate, where above 0, is how many requests a second may leave this process,
	// spaced evenly. The caller keeps the merchant's rate over all processes; this
	// limit stops a process that was frozen from sending all missed calls at once.
	Rate float64
}

// Client makes calls for one merchant. It is safe for concurrent use.
type Client struct {
	endpoint endpoint
	timeout  time.Duration
	core     *core.Client
	signer   auth.Signer
	verifier auth.Verifier
	// validator also checks error replies, which the SDK does not.
	validator auth.Validator
	wire      *wire

	// certs verify what names a platform certificate. It is the verifier itself
	// without a public key, and nil without an APIv3 key.
	certs    *platformCerts
	apiV3Key string
}

// apiHost is the host that requests are built for; wire sends them to the
// configured one. The signature does not cover the host.
const apiHost = consts.WechatPayAPIServer

// New returns a Client. It makes no call yet.
func New(cfg Config) (*Client, error) {
	primary, err := parseHost("base", cfg.BaseURL)
	if err != nil {
		return nil, err
	}
	var backup *url.URL
	if cfg.BackupURL != "" {
		if backup, err = parseHost("backup", cfg.BackupURL); err != nil {
			return nil, err
		}
	}
	w := newWire(primary, backup, max(1, cfg.Connections))
	if cfg.Rate > 0 {
		w.pacer = rate.NewLimiter(rate.Limit(cfg.Rate), 1)
	}
	httpClient := &http.Client{
		Transport: w,
		// WeChat Pay does not redirect, and following a redirect would send the
		// Authorization header elsewhere.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	if cfg.Signer == nil {
		return nil, errors.New("there is no key to sign with")
	}
	c := &Client{endpoint: direct{cfg.MchID}, timeout: cfg.Timeout, wire: w, apiV3Key: cfg.APIV3Key}
	signer := &merchantSigner{mchid: cfg.MchID, serialNo: cfg.SerialNo, key: cfg.Signer}
	c.signer = signer
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

func parseHost(name, s string) (*url.URL, error) {
	u, err := url.Parse(s)
	if err != nil || u.Host == "" {
		return nil, fmt.Errorf("%s URL %q is not a scheme and a host", name, s)
	}
	return u, nil
}

// Close closes idle connections.
func (c *Client) Close() { c.wire.closeIdle() }

// Request names the order of a call.
type Request struct {
	Owner      owner.Owner
	OutOrderNo string
}

// Collect asks the platform to deduct what is owed (催收扣款). Even Accepted is
// not a payment.
func (c *Client) Collect(ctx context.Context, r Request) Reply {
	return c.call(ctx, CallCollect, r, c.endpoint.collect(r), c.judgeTaken)
}

// Sync tells the platform that the user paid the order elsewhere, at paidTime
// (yyyyMMddHHmmss, on the clock of China). It is the only way to stop the
// platform's own deductions once an order waits for payment (merchant/4012587960).
// Accepted means that the platform took the report; only a query shows that the
// order is DONE.
func (c *Client) Sync(ctx context.Context, r Request, paidTime string) Reply {
	return c.call(ctx, CallSync, r, c.endpoint.sync(r, paidTime), c.judgeTaken)
}

// Query asks for the order. Only a reply whose signature was verified has an
// Order.
func (c *Client) Query(ctx context.Context, r Request) Reply {
	return c.call(ctx, CallQuery, r, c.endpoint.query(r), c.judgeQuery)
}

// call makes one call within the client's timeout and decides its reply. judge
// reads the body of a 2xx whose signature was verified.
func (c *Client) call(ctx context.Context, name Call, r Request, req request, judge func(*Reply, Request, []byte)) (reply Reply) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	start := time.Now()
	reply.Call = name
	if p, ok := c.verifier.(*platformCerts); ok {
		// Without certificates the reply could not be verified, so the call is
		// not made.
		if cert := p.prepare(ctx); cert != nil {
			cert.Call, cert.Elapsed = name, time.Since(start)
			return *cert
		}
	}
	x := exchange{outOrderNo: r.OutOrderNo}
	_, err := c.core.Request(x.with(ctx), req.method, apiHost+req.path, nil, req.query, req.body, consts.ApplicationJSON)
	reply.Elapsed = time.Since(start)
	reply.Sent = x.sent.Load()
	if x.answer == nil {
		reply.Verdict, reply.Message = Unknown, clip(describe(err, c.timeout))
		if !reply.Sent {
			reply.Verdict = Unavailable
		}
		if errors.Is(err, errTooLate) || errors.Is(err, context.Canceled) {
			reply.Reason = ReasonGivenUp
		}
		return reply
	}
	if x.answer.failed() {
		refused := c.validator.Validate(ctx, x.answer.response())
		reply.Verified = refused == nil
		reply.Forged = !reply.Verified && x.answer.header.Get(consts.WechatPaySignature) != ""
		reply.NeedsAPIV3Key = errors.Is(refused, errCertificateSigned)
		reply.decideError(x.answer)
		return reply
	}
	reply.received(x.answer)
	if err != nil {
		// Forged, or one of the deliberately wrong signatures by which WeChat Pay
		// tests that clients verify: the reply says nothing.
		reply.Forged = true
		reply.decide(Unknown, ReasonUnverified, clip("the reply's signature is not WeChat Pay's: "+err.Error()))
		switch {
		case errors.Is(err, errCertificateSigned):
			reply.NeedsAPIV3Key, reply.Message = true, errCertificateSigned.Error()
		case errors.Is(err, errNoCerts):
			reply.Message = "the reply names a platform certificate that could not be downloaded"
		}
		return reply
	}
	reply.Verified = true
	judge(&reply, r, x.answer.body)
	return reply
}

// received notes what identifies an answer.
func (r *Reply) received(a *answer) {
	r.HTTPStatus = a.status
	r.RequestID = clip(a.header.Get(consts.RequestID))
}

// decideError decides an answer that is not 2xx.
func (r *Reply) decideError(a *answer) {
	r.received(a)
	r.DetailCode = detailCode(r.RequestID)
	var e struct {
		Code    string `json:"code"`
		Message string `json:"message"`
	}
	_ = json.Unmarshal(a.body, &e) // an unreadable body has no code, which ruleError decides
	r.Code, r.Message = clip(e.Code), clip(redact(e.Message))
	if r.Code == "" {
		r.Message = "the reply is not a WeChat Pay error; a proxy or a gateway sent it"
	}
	rule := ruleError(r.Call, r.HTTPStatus, r.Code, r.DetailCode, r.Verified)
	r.Verdict, r.Scope = rule.verdict, rule.scope
	if r.Verdict.traits().names {
		r.Reason = r.Code
	}
}

const (
	notAnObject  = "the reply is signed, but not a JSON object"
	notAnOrder   = "the reply is signed, but not an order"
	anotherOrder = "the reply is signed, but about another order"
)

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
		reply.decide(Unknown, reasonUnreadable, notAnObject)
		return
	}
	if ok.OutOrderNo != "" && ok.OutOrderNo != r.OutOrderNo || c.endpoint.owns(owner.Owner{MchID: ok.MchID}, r.Owner) == anotherMerchant {
		// A signature is valid for five minutes, so a reply can be replayed.
		reply.decide(Unknown, reasonAnotherOrder, anotherOrder)
		return
	}
	reply.Verdict, reply.OrderID = Accepted, clip(ok.OrderID)
	if ok.TradeState == "USERPAYING" {
		reply.Verdict = InProgress
	}
}

// judgeQuery decides a 2xx to a query.
func (c *Client) judgeQuery(reply *Reply, r Request, body []byte) {
	var o Order
	if err := json.Unmarshal(body, &o); err != nil {
		reply.decide(Unknown, reasonUnreadable, notAnOrder)
		return
	}
	whose := c.endpoint.owns(o.Owner(), r.Owner)
	if o.OutOrderNo != r.OutOrderNo || whose == anotherMerchant {
		reply.decide(Unknown, reasonAnotherOrder, anotherOrder)
		return
	}
	reply.Order = &o
	if whose == anotherService {
		reply.decide(NotCollectable, ReasonWrongService, "the order exists under another appid or service_id")
		return
	}
	reply.Verdict, reply.Reason = o.Judge()
}

// describe says in a few words why no answer came, without URLs.
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
	// Errors quote what the other side sent, such as part of a header or body.
	// That must not reach a log.
	return quoted.ReplaceAllString(err.Error(), `"…"`)
}

var quoted = regexp.MustCompile(`"(?:[^"\\]|\\.)*"`)

// redact removes from WeChat Pay's words what must never reach a log: openids (28
// characters, the first an o), and what follows Authorization and signature.
func redact(s string) string { return sensitive.ReplaceAllString(s, "…") }

var sensitive = regexp.MustCompile(`\bo[0-9A-Za-z_-]{27}\b|WECHATPAY2-\S+|(?i:authorization|signature)["']?\s*[:=]\s*\S+`)
