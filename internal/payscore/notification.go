package payscore

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"math"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/wechatpay-apiv3/wechatpay-go/core/auth/validators"
	"github.com/wechatpay-apiv3/wechatpay-go/core/consts"
	"github.com/wechatpay-apiv3/wechatpay-go/core/notify"

	"payscore-collector/internal/owner"
)

// EventUserPaid is the only event that tells of a payment; others reach the same
// URL (PAYSCORE.USER_CONFIRM, REFUND.*).
const EventUserPaid = "PAYSCORE.USER_PAID"

// Notification is a decided notification, under WeChat Pay's signature. Like
// Reply it holds nothing secret: no header but the Request-ID, no openid, no
// plaintext.
type Notification struct {
	EventID   string // the same in every delivery of one event
	EventType string
	RequestID string // whole; the only part that no signature covers

	// Order is what WeChat Pay says of the order, and Verdict and Reason what
	// that comes to, as for a query. All are empty unless EventType is
	// EventUserPaid.
	Order   *Order
	Verdict Verdict
	Reason  string

	// Header is the name of the header that a refusal is about, where it is about
	// one: MissingHeader, RenamedHeader, DoubledHeader.
	Header string
}

// Refusal is why a notification was not taken. The set is closed, and the words
// are labels of a metric.
type Refusal string

// The refusals. The last two are ours, and no fault of who sent it.
const (
	// BadSignature: not WeChat Pay's, or none at all; also one of the
	// deliberately wrong ones that it sends to see whether anybody checks.
	BadSignature Refusal = "bad_signature"
	// MissingHeader, RenamedHeader, DoubledHeader: a proxy, or another system that
	// passes the notification on, has dropped, renamed or doubled a header without
	// which nothing can be verified. Also a stranger's request that has none.
	MissingHeader Refusal = "missing_header"
	RenamedHeader Refusal = "renamed_header"
	DoubledHeader Refusal = "doubled_header"
	// Compressed: the body has a Content-Encoding, or is gzip's.
	Compressed Refusal = "compressed"
	// OldTimestamp: signed five minutes ago or longer, or as far in the future.
	// Whether the signature is good was not looked at.
	OldTimestamp Refusal = "old_timestamp"
	// Undecryptable: WeChat Pay's, and encrypted with another APIv3 key.
	Undecryptable Refusal = "undecryptable"
	// Unreadable: WeChat Pay's, and of no form that is known.
	Unreadable Refusal = "unreadable"
	// OtherMerchant: WeChat Pay's, and about another merchant's order, or nobody's.
	OtherMerchant Refusal = "other_merchant"
	// NoCertificates: it names a platform certificate that is not to be had just
	// now, so nobody can tell whose it is.
	NoCertificates Refusal = "no_certificates"
	// NoAPIV3Key: WeChat Pay's, and there is no key to decrypt it with.
	NoAPIV3Key Refusal = "no_api_v3_key"
)

// Refusals lists every refusal.
var Refusals = []Refusal{
	BadSignature, MissingHeader, RenamedHeader, DoubledHeader, Compressed, OldTimestamp, Undecryptable, Unreadable, OtherMerchant, NoCertificates, NoAPIV3Key,
}

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

// Error is one short sentence, of fixed words.
func (r Refusal) Error() string { return refusalTexts[r] }

// Notification verifies, decrypts and judges a notification as it came in: its
// headers and its body. Any error is a Refusal. It makes no call, but for the
// download of platform certificates where one is named that is not here: then it
// waits for that, until ctx ends.
func (c *Client) Notification(ctx context.Context, header http.Header, body []byte) (n Notification, err error) {
	n.RequestID = word(header.Get(consts.RequestID))
	w := witness{client: c}
	defer func() {
		// The SDK follows pointers that a strange body leaves nil, and its
		// cipher panics at a nonce of another length than twelve bytes.
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
		// A key of no length that AES knows, so none.
		_ = validators.NewWechatPayNotifyValidator(&w).Validate(ctx, req)
		if w.verified {
			return n, NoAPIV3Key
		}
		err = w.refuse(&n, header, body)
		return n, err
	}
	var plain json.RawMessage
	// Its errors print the whole request: none of them may get out of here.
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

// ProveAPIV3Key finds out whether the APIv3 key is the merchant's, by the
// platform certificates, which are encrypted with it as notifications are. An
// error says that it is not. proven is false, without an error, where there are
// no certificates to be had: accounts that were opened with a public key have none.
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

// judgeNotification decides what is behind the signature and the encryption.
func (c *Client) judgeNotification(n Notification, plain []byte) (Notification, error) {
	if n.EventType != EventUserPaid {
		var about struct {
			MchID string `json:"mchid"`
		}
		// Nothing more need be known of other events, nor of their form.
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

// witness verifies one notification, and remembers what came of it: the SDK's
// errors do not say what went wrong but in words.
type witness struct {
	client   *Client
	asked    bool // the headers are all there, and young enough
	verified bool
	err      error
}

// Verify implements auth.Verifier. No call has seen to the certificates before, as
// for replies.
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

// certificateSerial is the form of platform certificates' serial numbers. For
// anything else nobody need be asked.
var certificateSerial = regexp.MustCompile(`^[0-9A-Fa-f]{8,64}$`)

// refuse says why it was not verified, and notes the header in question.
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

// outdated reports whether a timestamp is there, and too far off for the SDK.
func outdated(header http.Header) bool {
	at, err := strconv.ParseInt(strings.TrimSpace(header.Get(consts.WechatPayTimestamp)), 10, 64)
	return err == nil && math.Abs(float64(time.Now().Unix())-float64(at)) >= consts.FiveMinute
}

// word makes a string from outside fit for a log line: whoever sends it may have
// put anything in. What no identifier has becomes a question mark, so that none
// turns into another one.
func word(s string) string {
	const most = 96
	if len(s) > most {
		s = s[:most]
	}
	return notWord.ReplaceAllString(s, "?")
}

var notWord = regexp.MustCompile(`[^0-9A-Za-z_.-]`)
