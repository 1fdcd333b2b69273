package payscore

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"math"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/wechatpay-apiv3/wechatpay-go/core/auth/validators"
	"github.com/wechatpay-apiv3/wechatpay-go/core/consts"
	"github.com/wechatpay-apiv3/wechatpay-go/core/notify"

	"payscore-collector/internal/owner"
)

// EventUserPaid is the only event that reports a payment. Others reach the same
// URL (PAYSCORE.USER_CONFIRM, REFUND.*).
const EventUserPaid = "PAYSCORE.USER_PAID"

// Notification is a decided notification, under WeChat Pay's signature. Like
// Reply it holds nothing secret: no header but the Request-ID, no openid, no
// plaintext.
type Notification struct {
	EventID   string // the same in every delivery of one event
	EventType string
	RequestID string // whole; the only part that no signature covers

	// Order is the signed order, and Verdict and Reason are what it means, as for a
	// query. All are empty unless EventType is EventUserPaid.
	Order   *Order
	Verdict Verdict
	Reason  string

	// Header is the header that caused a MissingHeader, RenamedHeader or
	// DoubledHeader.
	Header string
}

// Refusal is why a notification was not accepted. The set is closed, and the words
// are labels of a metric.
type Refusal string

// The refusals. The last two are ours, and not the sender's fault.
const (
	// BadSignature: the signature is missing or not WeChat Pay's. It may be one of
	// the deliberately wrong ones by which WeChat Pay tests that merchants verify.
	BadSignature Refusal = "bad_signature"
	// MissingHeader, RenamedHeader, DoubledHeader: a proxy, or another system that
	// passes the notification on, has dropped, renamed or doubled a header without
	// which nothing can be verified. A stranger's request may also lack it.
	MissingHeader Refusal = "missing_header"
	RenamedHeader Refusal = "renamed_header"
	DoubledHeader Refusal = "doubled_header"
	// Compressed: the body has a Content-Encoding, or is gzip's.
	Compressed Refusal = "compressed"
	// OldTimestamp: signed five minutes ago or longer, or as far in the future.
	// The signature was not checked.
	OldTimestamp Refusal = "old_timestamp"
	// Undecryptable: WeChat Pay's, and encrypted with another APIv3 key.
	Undecryptable Refusal = "undecryptable"
	// Unreadable: WeChat Pay's, in an unknown form.
	Unreadable Refusal = "unreadable"
	// OtherMerchant: WeChat Pay's, about an order of another merchant, or of none.
	OtherMerchant Refusal = "other_merchant"
	// NoCertificates: it names a platform certificate that cannot be downloaded
	// now, so the signature cannot be checked.
	NoCertificates Refusal = "no_certificates"
	// NoAPIV3Key: WeChat Pay's, and there is no key to decrypt it with.
	NoAPIV3Key Refusal = "no_api_v3_key"
)

var refusalTexts = map[Refusal]string{
	BadSignature:   "the signature is not WeChat Pay's",
	MissingHeader:  "a header is missing: Wechatpay-Timestamp, -Nonce, -Signature and -Serial must be passed on",
	RenamedHeader:  "a Wechatpay-* header came under another name: their names must stay",
	DoubledHeader:  "a Wechatpay-* header came more than once: each must be passed on once",
	Compressed:     "the body is compressed: the bytes that WeChat Pay sent must be passed on, without Content-Encoding",
	OldTimestamp:   "the timestamp is five minutes off or more",
	Undecryptable:  "it is encrypted with another APIv3 key than this merchant's",
	Unreadable:     "it is signed, but its form is not known",
	OtherMerchant:  "it is signed, but not about an order of this merchant",
	NoCertificates: "it names a platform certificate that could not be downloaded",
	NoAPIV3Key:     "there is no APIv3 key to decrypt it with",
}

// Refusals lists every refusal.
var Refusals = slices.Sorted(maps.Keys(refusalTexts))

// Error returns one short sentence of fixed words.
func (r Refusal) Error() string { return refusalTexts[r] }

// Notification verifies, decrypts and judges the headers and body of a notification.
// Any error is a Refusal. Its only call is a download of platform certificates, when
// an unknown one is named; it waits for that until ctx ends.
func (c *Client) Notification(ctx context.Context, header http.Header, body []byte) (n Notification, err error) {
	n.RequestID = word(header.Get(consts.RequestID))
	w := witness{client: c}
	defer func() {
		// The SDK dereferences pointers that an unexpected body leaves nil, and its
		// cipher panics at a nonce that is not twelve bytes long.
		if recover() != nil {
			n.Order, err = nil, Unreadable
			if !w.verified {
				err = w.refuse(&n, header, body)
			}
		}
	}()
	req := &http.Request{Header: header, Body: io.NopCloser(bytes.NewReader(body))}
	handler, err := notify.NewRSANotifyHandler(c.apiV3Key, &w)
	if err != nil {
		// AES has no keys of this length, so the merchant has no APIv3 key.
		_ = validators.NewWechatPayNotifyValidator(&w).Validate(ctx, req)
		if w.verified {
			return n, NoAPIV3Key
		}
		err = w.refuse(&n, header, body)
		return n, err
	}
	var plain json.RawMessage
	// Its errors print the whole request, so none of them may be returned.
	said, err := handler.ParseNotifyRequest(ctx, req, &plain)
	if !w.verified {
		err = w.refuse(&n, header, body)
		return n, err
	}
	if said == nil {
		return n, Unreadable
	}
	n.EventID, n.EventType = word(said.ID), word(said.EventType)
	switch {
	case err != nil && said.Resource.Plaintext == "":
		return n, Undecryptable
	case err != nil:
		return n, Unreadable
	}
	return c.judgeNotification(n, plain)
}

// ProveAPIV3Key checks that the APIv3 key is the merchant's, by downloading the
// platform certificates, which are encrypted with it as notifications are. An
// error says that it is not. Without certificates proven is false and the error nil:
// accounts that were opened with a public key have none.
func (c *Client) ProveAPIV3Key(ctx context.Context) (proven bool, err error) {
	if c.certs == nil {
		return false, NoAPIV3Key
	}
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	_, err = c.certs.download(ctx)
	if errors.Is(err, errDecrypt) {
		return false, errDecrypt
	}
	return err == nil, nil
}

// judgeNotification decides what a verified and decrypted notification means.
func (c *Client) judgeNotification(n Notification, plain []byte) (Notification, error) {
	if n.EventType != EventUserPaid {
		var about struct {
			MchID string `json:"mchid"`
		}
		// Other events are not read any further.
		if err := json.Unmarshal(plain, &about); err == nil && c.endpoint.owns(owner.Owner{MchID: about.MchID}, owner.Owner{}) == anotherMerchant {
			return n, OtherMerchant
		}
		return n, nil
	}
	var o Order
	if err := json.Unmarshal(plain, &o); err != nil || o.OutOrderNo == "" {
		return n, Unreadable
	}
	if o.MchID == "" || c.endpoint.owns(o.Owner(), owner.Owner{}) == anotherMerchant {
		return n, OtherMerchant
	}
	n.Order = &o
	n.Verdict, n.Reason = o.Judge()
	return n, nil
}

// witness verifies one notification for the SDK and remembers the result, since the
// SDK's errors are only text.
type witness struct {
	client   *Client
	asked    bool // the SDK found all headers, and a recent timestamp
	verified bool
	err      error
}

// Verify implements auth.Verifier. It downloads certificates if need be, which calls do
// before they are sent.
func (w *witness) Verify(ctx context.Context, serial, message, signature string) error {
	w.asked = true
	c := w.client
	switch {
	case c.verifier != c.certs:
		w.err = c.verifier.Verify(ctx, serial, message, signature)
	case !certificateSerial.MatchString(serial):
		w.err = BadSignature
	default:
		if w.err = c.certs.seek(ctx, serial, c.timeout); w.err == nil {
			w.err = c.certs.Verify(ctx, serial, message, signature)
		}
	}
	w.verified = w.err == nil
	return w.err
}

// GetSerial implements auth.Verifier. A notification needs none.
func (w *witness) GetSerial(ctx context.Context) (string, error) {
	return w.client.verifier.GetSerial(ctx)
}

// certificateSerial is the form of platform certificates' serial numbers. Nothing is
// downloaded for any other serial.
var certificateSerial = regexp.MustCompile(`^[0-9A-Fa-f]{8,64}$`)

// refuse returns why the notification was not verified, and notes the header that
// caused it.
func (w *witness) refuse(n *Notification, header http.Header, body []byte) (why Refusal) {
	switch {
	case errors.Is(w.err, errNoCerts):
		return NoCertificates
	case !w.asked && outdated(header):
		return OldTimestamp
	}
	why, n.Header = altered(header, body)
	return why
}

// outdated reports whether there is a timestamp that is too far off for the SDK.
func outdated(header http.Header) bool {
	at, err := strconv.ParseInt(strings.TrimSpace(header.Get(consts.WechatPayTimestamp)), 10, 64)
	return err == nil && math.Abs(float64(time.Now().Unix())-float64(at)) >= consts.FiveMinute
}

// word makes a string from outside safe for a log line. Bytes that no identifier has
// become question marks, so that no identifier turns into another one.
func word(s string) string {
	const most = 96
	if len(s) > most {
		s = s[:most]
	}
	return notWord.ReplaceAllString(s, "?")
}

var notWord = regexp.MustCompile(`[^0-9A-Za-z_.-]`)
