package payscore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"sync/atomic"
	"time"

	"github.com/sony/gobreaker/v2"
	"golang.org/x/time/rate"

	"payscore-collector/internal/faultpoint"
)

// maxBody bounds a reply. An order entity is a few kilobytes.
const maxBody = 1 << 20

var (
	errBodyTooLarge = fmt.Errorf("the reply's body is larger than %d bytes", maxBody)
	errSwitched     = errors.New("the other side switched protocols unasked")
	// errTooLate: the deadline passed before the request was written.
	errTooLate = errors.New("the call's deadline passed before it was sent")
)

// wire sends each signed request once, to the primary host or the backup, and reads
// its reply completely. The official SDK's own transport keeps two idle connections
// a host, reads bodies of any size and does not close them.
type wire struct {
	base    http.RoundTripper
	primary *url.URL
	backup  *url.URL      // nil for none
	pacer   *rate.Limiter // nil for no limit

	// breaker counts failures on the network towards the primary; while it
	// is open, calls go to the backup.
	breaker *gobreaker.CircuitBreaker[*http.Response]
}

// After this many failures on the network in a row, calls go to the backup
// host; the primary is tried again after that long.
const (
	primaryFailures = 3
	primaryRetry    = 60 * time.Second
)

func newWire(primary, backup *url.URL, connections int) *wire {
	t := &http.Transport{
		Proxy:       http.ProxyFromEnvironment,
		DialContext: (&net.Dialer{Timeout: 5 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
		// One kept connection for each call that can be in flight: a TLS
		// handshake costs more than the call.
		MaxIdleConns:        2 * connections,
		MaxIdleConnsPerHost: connections,
		IdleConnTimeout:     60 * time.Second,
		TLSHandshakeTimeout: 5 * time.Second,
		// The signature covers the body as sent, and a compressed body has no
		// size limit until it is unpacked.
		DisableCompression: true,
		// HTTP/1.1 only: many connections spread over the platform's gateways,
		// and a broken connection affects one call.
		Protocols: new(http.Protocols),
	}
	t.Protocols.SetHTTP1(true)
	w := &wire{base: t, primary: primary, backup: backup}
	w.breaker = gobreaker.NewCircuitBreaker[*http.Response](gobreaker.Settings{
		MaxRequests: 1,
		Timeout:     primaryRetry,
		ReadyToTrip: func(c gobreaker.Counts) bool { return c.ConsecutiveFailures >= primaryFailures },
		// A cancelled call says nothing about the host; a deadline does.
		IsExcluded: func(err error) bool { return errors.Is(err, context.Canceled) || errors.Is(err, errTooLate) },
	})
	return w
}

func (w *wire) closeIdle() {
	if t, ok := w.base.(*http.Transport); ok {
		t.CloseIdleConnections()
	}
}

// RoundTrip implements http.RoundTripper. The request's host is a stand-in,
// see apiHost.
func (w *wire) RoundTrip(req *http.Request) (*http.Response, error) {
	if w.backup == nil {
		return w.send(req, w.primary)
	}
	resp, err := w.breaker.Execute(func() (*http.Response, error) { return w.send(req, w.primary) })
	if errors.Is(err, gobreaker.ErrOpenState) || errors.Is(err, gobreaker.ErrTooManyRequests) {
		return w.send(req, w.backup)
	}
	return resp, err
}

func (w *wire) send(req *http.Request, host *url.URL) (*http.Response, error) {
	if w.pacer != nil && w.pacer.Wait(req.Context()) != nil {
		return nil, errTooLate
	}
	// A process that was frozen (SIGSTOP, a suspended machine) may resume here
	// after another worker has taken its lease, before its context's timer fires.
	// The wall clock is checked too, since the monotonic one can stop while the
	// machine is suspended. A freeze between this line and the write remains.
	if d, ok := req.Context().Deadline(); ok {
		if now := time.Now(); !now.Before(d) || !now.Round(0).Before(d.Round(0)) {
			return nil, errTooLate
		}
	}
	out := req.Clone(req.Context())
	out.URL.Scheme, out.URL.Host = host.Scheme, host.Host
	out.Host = ""
	// net/http silently repeats some requests when a kept connection breaks. A
	// signed request must not be repeated: its nonce is used up, and the repeat
	// would be refused as SIGN_ERROR, which would be taken for the merchant's fault. A
	// body without GetBody prevents the repeat.
	out.GetBody = nil
	if out.Body == nil || out.Body == http.NoBody {
		out.Body = io.NopCloser(bytes.NewReader(nil))
	}
	x := exchangeOf(req.Context())
	faultpoint.Reach(faultpoint.Sending, x.outOrderNo)
	resp, err := w.base.RoundTrip(out)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	faultpoint.Reach(faultpoint.Answered, x.outOrderNo)
	if resp.StatusCode == http.StatusSwitchingProtocols {
		// net/http returns the bare connection as the body, and no deadline
		// would end reading it.
		return nil, errSwitched
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxBody+1))
	if err != nil {
		return nil, fmt.Errorf("the reply broke off: %w", err)
	}
	if len(body) > maxBody {
		return nil, errBodyTooLarge
	}
	x.answer = &answer{status: resp.StatusCode, header: resp.Header.Clone(), body: body}
	resp.Body = io.NopCloser(bytes.NewReader(body))
	return resp, nil
}

// exchange travels in the context of one call, past the SDK, and collects what the
// SDK does not return. It is read after the call has returned.
type exchange struct {
	outOrderNo string // the order that the call is about; empty for none

	sent   atomic.Bool // the request got as far as a connection
	answer *answer     // nil where no complete one came
}

type exchangeKey struct{}

// with makes calls under the returned context fill in x.
func (x *exchange) with(ctx context.Context) context.Context {
	ctx = context.WithValue(ctx, exchangeKey{}, x)
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn: func(httptrace.GotConnInfo) { x.sent.Store(true) },
	})
}

func exchangeOf(ctx context.Context) *exchange {
	if x, ok := ctx.Value(exchangeKey{}).(*exchange); ok {
		return x
	}
	return new(exchange)
}

// answer is a reply as it came. The SDK decodes an error's body into a struct that
// also has fields for the status and the headers, so that a body with a "Header"
// in it overwrites them.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// failed reports whether the answer is not 2xx.
func (a *answer) failed() bool { return a.status < 200 || a.status > 299 }

// response is the answer in the form that the SDK's validators take.
func (a *answer) response() *http.Response {
	return &http.Response{StatusCode: a.status, Header: a.header, Body: io.NopCloser(bytes.NewReader(a.body))}
}
