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
)

// wire carries signed requests to WeChat Pay: each once, to the primary
// host or the backup, and brings back replies that are read to their
// end. The official SDK's own transport keeps two idle connections a host,
// reads bodies of any size and does not close them.
type wire struct {
	base    http.RoundTripper
	primary *url.URL
	backup  *url.URL      // nil where there is none
	pacer   *rate.Limiter // nil: none

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
		// One connection for each call that can be in flight, kept: a TLS
		// handshake costs more than the call.
		MaxIdleConns:        2 * connections,
		MaxIdleConnsPerHost: connections,
		IdleConnTimeout:     60 * time.Second,
		TLSHandshakeTimeout: 5 * time.Second,
		// The signature is over the body as sent, and a compressed body has
		// no bound until it is unpacked.
		DisableCompression: true,
		// HTTP/1.1 only: many connections spread over the platform's
		// gateways, and one that dies takes one call with it.
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

// errTooLate: the deadline passed before the request was written.
var errTooLate = errors.New("the time for this call was over before it was sent")

func (w *wire) send(req *http.Request, host *url.URL) (*http.Response, error) {
	if w.pacer != nil && w.pacer.Wait(req.Context()) != nil {
		return nil, errTooLate
	}
	// A process that was stopped (SIGSTOP, a frozen machine) comes back here
	// with its lease gone to another worker; its context's timer may not have
	// fired yet. By the wall clock too: the monotonic one can stand still with
	// a suspended machine. What remains is a freeze between this line and the
	// write.
	if d, ok := req.Context().Deadline(); ok {
		if now := time.Now(); !now.Before(d) || !now.Round(0).Before(d.Round(0)) {
			return nil, errTooLate
		}
	}
	out := req.Clone(req.Context())
	out.URL.Scheme, out.URL.Host = host.Scheme, host.Host
	out.Host = ""
	// net/http sends a request again by itself when a kept connection dies
	// under it, if it believes that it may. A signed request must not be
	// repeated: its nonce is used up, and the repeat would be refused as
	// SIGN_ERROR, which looks like the merchant's fault. A body without
	// GetBody tells net/http so.
	out.GetBody = nil
	if out.Body == nil || out.Body == http.NoBody {
		out.Body = io.NopCloser(bytes.NewReader(nil))
	}
	faultpoint.ReachCall(faultpoint.Sending, out.URL)
	resp, err := w.base.RoundTrip(out)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	faultpoint.ReachCall(faultpoint.Answered, out.URL)
	if resp.StatusCode == http.StatusSwitchingProtocols {
		// Nobody asked for it, and no deadline ends the reading of what
		// follows it: net/http hands over the bare connection.
		return nil, errSwitched
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxBody+1))
	if err != nil {
		return nil, fmt.Errorf("the reply broke off: %w", err)
	}
	if len(body) > maxBody {
		return nil, errBodyTooLarge
	}
	if t, ok := req.Context().Value(tripKey{}).(*trip); ok {
		t.answer = &answer{status: resp.StatusCode, header: resp.Header.Clone(), body: body}
	}
	resp.Body = io.NopCloser(bytes.NewReader(body))
	return resp, nil
}

// trip is what wire tells of one call beside the SDK. It is read after the
// call has returned.
type trip struct {
	sent   atomic.Bool // the request got as far as a connection
	answer *answer     // nil where none came whole
}

type tripKey struct{}

// with makes calls under the returned context tell t.
func (t *trip) with(ctx context.Context) context.Context {
	ctx = context.WithValue(ctx, tripKey{}, t)
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn: func(httptrace.GotConnInfo) { t.sent.Store(true) },
	})
}

// answer is a reply as it came. The SDK decodes the body of an error into a
// struct with fields for the status, the headers and the body as well, and the
// headers are the reply's own map: a body with a "Header" in it rewrites them.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// response is the answer as the SDK's validators take it.
func (a *answer) response() *http.Response {
	return &http.Response{StatusCode: a.status, Header: a.header, Body: io.NopCloser(bytes.NewReader(a.body))}
}
