package simulator

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rsa"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// The types of events that reach a merchant's notify_url. Only [EventUserPaid]
// reports a payment.
const (
	EventUserPaid      = "PAYSCORE.USER_PAID"
	EventUserConfirm   = "PAYSCORE.USER_CONFIRM"
	EventRefundSuccess = "REFUND.SUCCESS"
)

// RawNotification is one notification as it goes over the wire.
type RawNotification struct {
	// ID is the event's: the same in every delivery of one event.
	ID     string
	Header http.Header
	Body   []byte
}

// Request makes the POST that carries the notification to url. Each request has
// its own copies, so that one notification can be sent many times.
func (n RawNotification) Request(ctx context.Context, url string) (*http.Request, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(n.Body))
	if err != nil {
		return nil, fmt.Errorf("make the notification's request: %w", err)
	}
	r.Header = n.Header.Clone()
	return r, nil
}

// NotificationOptions says how [Simulator.Notification] differs from what the
// platform would send. The zero value changes nothing.
type NotificationOptions struct {
	// ID is the event's id; default a new one. With the id of another
	// notification it is the same event again, signed afresh.
	ID string
	// EventType is the event's type; default [EventUserPaid]. The plaintext
	// does not follow it.
	EventType string
	// Age is how long ago it says that it was signed; below 0 in the future.
	// The signature is good for that time.
	Age time.Duration
	// Serial is the name of the key that signed, in Wechatpay-Serial; default
	// the one that [Notifications] ask for. It changes nothing else.
	Serial string
	// WrongSignature signs as the platform does to test whether the merchant
	// verifies: wrong, with WECHATPAY/SIGNTEST/ in front.
	WrongSignature bool
	// SigningKey, where given, signs in place of the platform's key.
	SigningKey *rsa.PrivateKey
	// APIv3Key, where given, encrypts in place of the merchant's; 32 bytes.
	APIv3Key string
	// Entity, where given, changes the order before it is encrypted: to
	// another merchant's, another amount, another state.
	Entity func(*Entity)
	// Plaintext, where given, is encrypted in the order's place.
	Plaintext []byte
	// Body, where given, changes the body before it is signed: the signature
	// is good for what it returns.
	Body func([]byte) []byte
	// Tamper, where given, changes the body after it has been signed.
	Tamper func([]byte) []byte
}

// Notification makes a notification of the order as it is now, paid or not, and
// does not send it: a test sends it, as often and in whatever sequence it likes.
// The audit does not count it. Notification fails where no such order was added or
// the platform has none, and where opts hold an invalid key.
func (s *Simulator) Notification(no string, opts NotificationOptions) (RawNotification, error) {
	truth, ok := s.Order(no)
	if !ok || truth.Entity == nil {
		return RawNotification{}, fmt.Errorf("order %q cannot be notified: the platform has no such order; add it with another fate than unknown", no)
	}
	now := s.clock()
	e := event{id: cmp.Or(opts.ID, newEventID(now)), kind: cmp.Or(opts.EventType, EventUserPaid), created: now, plaintext: opts.Plaintext}
	if e.plaintext == nil {
		if opts.Entity != nil {
			opts.Entity(truth.Entity)
		}
		var err error
		if e.plaintext, err = json.Marshal(truth.Entity); err != nil {
			return RawNotification{}, fmt.Errorf("encode order %q: %w", no, err)
		}
	}
	id := s.id // a copy, since the keys of opts apply to this notification only
	if opts.APIv3Key != "" {
		id.APIv3Key = opts.APIv3Key
	}
	if opts.SigningKey != nil {
		id.platformKey, id.signer = opts.SigningKey, opts.SigningKey
	}
	body, err := id.envelope(e)
	if err != nil {
		return RawNotification{}, err
	}
	if opts.Body != nil {
		body = opts.Body(body)
	}
	serial, how := cmp.Or(opts.Serial, s.id.notifySerial(*s.notifications.Load())), signGood
	if opts.WrongSignature {
		how = signWrong
	}
	n, err := id.notification(e.id, body, how, serial, time.Now().Add(-opts.Age))
	if err == nil && opts.Tamper != nil {
		n.Body = opts.Tamper(n.Body)
	}
	return n, err
}

// event is what a notification reports.
type event struct {
	id        string
	kind      string // its type, such as PAYSCORE.USER_PAID
	created   time.Time
	plaintext []byte
}

// newEventID returns a unique event id in the form of the real ones (at most 36
// characters).
func newEventID(at time.Time) string {
	return "EV-" + at.In(chinaTime).Format(bodyTime) + randomHex(8)
}

// summaries are the platform's plain descriptions of events.
var summaries = map[string]string{
	EventUserPaid:      "微信支付分服务订单支付成功",
	EventUserConfirm:   "微信支付分服务订单用户已确认",
	EventRefundSuccess: "退款成功",
}

// envelope encrypts an event and wraps it up as the body of a notification.
func (id identity) envelope(e event) ([]byte, error) {
	type resource struct {
		sealed
		OriginalType string `json:"original_type"`
	}
	original := "payscore"
	if strings.HasPrefix(e.kind, "REFUND.") {
		original = "refund"
	}
	box, err := id.seal(e.plaintext, original)
	if err != nil {
		return nil, err
	}
	body, err := json.Marshal(struct {
		ID           string   `json:"id"`
		CreateTime   string   `json:"create_time"`
		EventType    string   `json:"event_type"`
		ResourceType string   `json:"resource_type"`
		Resource     resource `json:"resource"`
		Summary      string   `json:"summary"`
	}{e.id, e.created.In(chinaTime).Format(time.RFC3339), e.kind, "encrypt-resource", resource{box, original}, summaries[e.kind]})
	if err != nil {
		return nil, fmt.Errorf("encode the notification: %w", err)
	}
	return body, nil
}

// notification puts the platform's headers on a body. Every delivery has headers
// of its own, because the timestamp must be fresh when the merchant verifies it.
func (id identity) notification(eventID string, body []byte, how signing, serial string, at time.Time) (RawNotification, error) {
	h := http.Header{}
	h.Set("Content-Type", "application/json")
	h.Set(headerRequestID, newRequestID(detailOK))
	if err := id.sign(h, body, how, serial, at); err != nil {
		return RawNotification{}, err
	}
	return RawNotification{ID: eventID, Header: h, Body: body}, nil
}
