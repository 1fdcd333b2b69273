package webhook

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"syscall"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"payscore-collector/internal/ledger"
)

// maxAnswer is how much of an answer's body is read, only so that its connection can be
// used again.
const maxAnswer = 64 << 10

// answer is the result of one request.
type answer struct {
	status     int    // 0 where there was no answer
	reason     string // in plain words, where it was not delivered
	retryAfter time.Duration
	elapsed    time.Duration
	unsent     bool // nothing left this machine
}

// delivered reports whether billing has accepted the event: any 2xx says so.
func (a answer) delivered() bool { return a.status >= 200 && a.status <= 299 }

// post sends one event and reads the answer, until the deadline. Every attempt signs its
// own time, since receivers refuse old signatures.
func (s *Sender) post(ctx context.Context, e ledger.Event, deadline time.Time) answer {
	body, err := json.Marshal(e)
	if err != nil {
		return answer{reason: "the event cannot be written as JSON"}
	}
	now := time.Now()
	signature, err := s.signer.Sign(e.ID, now, body)
	if err != nil {
		return answer{reason: "the event cannot be signed"}
	}
	ctx, cancel := context.WithDeadline(ctx, deadline)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.URL, bytes.NewReader(body))
	if err != nil {
		return answer{reason: "the request cannot be made"}
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "payscore-collector")
	req.Header.Set(standardwebhooks.HeaderWebhookID, e.ID)
	req.Header.Set(standardwebhooks.HeaderWebhookTimestamp, strconv.FormatInt(now.Unix(), 10))
	req.Header.Set(standardwebhooks.HeaderWebhookSignature, signature)

	// A process that was stopped (SIGSTOP, a frozen machine) may continue here after its
	// lease has gone to another worker, which may even have delivered later events of
	// the order. The wall clock is checked too: the monotonic one can stand still while
	// a machine is suspended. A freeze between this line and the write remains possible;
	// a receiver that keeps an order's newest event by its webhook-id ignores the old one.
	sent := time.Now()
	if !sent.Before(deadline) || !sent.Round(0).Before(deadline.Round(0)) {
		return answer{unsent: true}
	}
	resp, err := s.client.Do(req)
	a := answer{elapsed: time.Since(sent)}
	if err != nil {
		a.reason = describe(err)
		return a
	}
	defer resp.Body.Close()
	a.status = resp.StatusCode
	var said []byte
	if a.status != http.StatusSwitchingProtocols { // no deadline ends its body
		said, _ = io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	}
	if !a.delivered() {
		a.reason = "it answered " + strconv.Itoa(a.status) + redirect(resp, req.URL)
		switch {
		case a.status == http.StatusUnauthorized:
			a.reason += ": it refuses our signature; is BILLING_WEBHOOK_SECRET the same on both sides, and is the receiver's clock right?"
		case a.status == http.StatusBadRequest && req.URL.Scheme == "http" && bytes.Contains(bytes.ToUpper(said), []byte("HTTPS")):
			a.reason += ": " + speaksHTTPS
		}
		a.retryAfter = retryAfter(resp, now)
	}
	return a
}

// tlsAlert is in net/http's error where TLS answers a plain request.
const tlsAlert = `malformed HTTP response "\x15\x03`

// speaksHTTPS is the reason where nginx, Apache or Go's server answer a plain request.
const speaksHTTPS = "it speaks https, and BILLING_WEBHOOK_URL says http"

// is reports whether an error is, or wraps, one of type E.
func is[E error](err error) bool {
	_, ok := errors.AsType[E](err)
	return ok
}

// describe says in a few words why there was no answer. It never repeats an error's own
// text, which has the URL with its secrets, or a piece of what the other side sent.
func describe(err error) string {
	if outer, ok := errors.AsType[*url.Error](err); ok {
		err = outer.Err
	}
	timeout, _ := errors.AsType[net.Error](err)
	invalid, _ := errors.AsType[x509.CertificateInvalidError](err)
	op, _ := errors.AsType[*net.OpError](err)
	switch {
	case errors.Is(err, context.DeadlineExceeded), timeout != nil && timeout.Timeout():
		return "no answer in time"
	case is[*net.DNSError](err):
		return "the host's name could not be resolved"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "the connection was refused"
	case is[x509.UnknownAuthorityError](err):
		return "its TLS certificate is signed by an authority that this machine does not know; name a file with the authority's certificate in SSL_CERT_FILE"
	case is[x509.HostnameError](err):
		return "its TLS certificate is for another host name than BILLING_WEBHOOK_URL's"
	case is[x509.CertificateInvalidError](err) && invalid.Reason == x509.Expired:
		return "its TLS certificate has expired, or is not valid yet"
	case is[*tls.CertificateVerificationError](err):
		return "its TLS certificate cannot be verified"
	case errors.Is(err, http.ErrSchemeMismatch):
		return "it speaks http, and BILLING_WEBHOOK_URL says https"
	case strings.Contains(err.Error(), tlsAlert):
		return speaksHTTPS
	case is[tls.RecordHeaderError](err), is[tls.AlertError](err):
		return "TLS could not be agreed on"
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return "the connection was reset"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "the connection was closed before the answer was complete"
	case op != nil && op.Op == "dial":
		return "the host could not be reached"
	}
	return "the answer is not HTTP"
}
