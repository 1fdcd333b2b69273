package simulator

import (
	"cmp"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"time"
)

// The defaults of [Notifications].
const (
	DefaultLateBy        = Duration(5 * time.Second)
	DefaultNotifyTimeout = Duration(5 * time.Second)
)

// defaultRetry is how the real platform's retries begin; they continue for a day
// (10m, 20m, three times 30m, 1h, three times 3h, twice 6h).
var defaultRetry = []Duration{
	Duration(15 * time.Second), Duration(15 * time.Second), Duration(30 * time.Second), Duration(3 * time.Minute),
}

// The values of [Notifications].Serial.
const (
	SerialPublicKey   = "public_key"
	SerialCertificate = "certificate"
)

// Notifications says where payments are notified, and what goes wrong with that.
// The zero value notifies nothing; with a URL alone, every payment is notified at
// once. A payment goes by the settings in force when it happens, in all its
// deliveries. The shares are from 0 to 1, and each is drawn by itself: one
// payment can be late, twice and preceded by another event, and is so in every
// run with the same seed (see [Options]). All times here are real ones, whatever
// [Options].Clock says.
type Notifications struct {
	// URL is used for orders that name no notify_url of their own: http or https
	// with a host, and without user, query or fragment, because the control API
	// shows it. Empty sends nothing.
	URL string `json:"url"`
	// Serial is the name that the platform's key goes by: public_key
	// (default) or certificate.
	Serial string `json:"serial"`
	// Delay is the time from a payment to its first delivery, and from one
	// that was taken to its duplicate; DelayJitter adds from nothing up to
	// itself, which puts notifications out of order.
	Delay       Duration `json:"delay"`
	DelayJitter Duration `json:"delay_jitter"`
	// Lose is the share of payments that are never notified.
	Lose float64 `json:"lose"`
	// Duplicate is the share that is sent again although it was taken.
	Duplicate float64 `json:"duplicate"`
	// Late is the share whose first delivery waits LateBy (default
	// [DefaultLateBy]) on top of the delay, and so finds others before it and
	// an order whose end was seen long ago.
	Late   float64  `json:"late"`
	LateBy Duration `json:"late_by"`
	// SignTest is the share of deliveries before which the same is sent with
	// a signature that starts WECHATPAY/SIGNTEST/ and is wrong. Whatever the
	// answer, the true one follows.
	SignTest float64 `json:"sign_test"`
	// OtherEvents is the share of payments before which an event of another
	// type comes: PAYSCORE.USER_CONFIRM or REFUND.SUCCESS.
	OtherEvents float64 `json:"other_events"`
	// Timeout is how long an answer may take; default [DefaultNotifyTimeout].
	Timeout Duration `json:"timeout"`
	// Retry is how long the platform waits after the first delivery that was
	// not answered 200 or 204, after the second, and so on; behind the last
	// it gives up. Default 15s, 15s, 30s, 3m; an empty list never retries.
	Retry []Duration `json:"retry"`
}

func (n Notifications) withDefaults() Notifications {
	n.Serial = cmp.Or(n.Serial, SerialPublicKey)
	n.LateBy = cmp.Or(n.LateBy, DefaultLateBy)
	n.Timeout = cmp.Or(n.Timeout, DefaultNotifyTimeout)
	if n.Retry == nil {
		n.Retry = defaultRetry
	}
	n.Retry = slices.Clone(n.Retry) // the caller may change its list
	return n
}

// Validate reports the first invalid value, by its name in JSON.
func (n Notifications) Validate() error {
	if n.URL != "" {
		if err := validNotifyURL(n.URL); err != nil {
			return fmt.Errorf("url %w", err)
		}
	}
	switch n.Serial {
	case "", SerialPublicKey, SerialCertificate:
	default:
		return fmt.Errorf("serial %q is not known; use %s or %s", n.Serial, SerialPublicKey, SerialCertificate)
	}
	if err := validShares(share{"lose", n.Lose}, share{"duplicate", n.Duplicate}, share{"late", n.Late}, share{"sign_test", n.SignTest}, share{"other_events", n.OtherEvents}); err != nil {
		return err
	}
	durations := []length{{"delay", n.Delay}, {"delay_jitter", n.DelayJitter}, {"late_by", n.LateBy}, {"timeout", n.Timeout}}
	for i, d := range n.Retry {
		durations = append(durations, length{fmt.Sprintf("retry %d", i+1), d})
	}
	return validLengths(durations...)
}

// validNotifyURL validates an address for notifications. Its errors continue the
// setting's name, and do not repeat the address, which may hold a password.
func validNotifyURL(text string) error {
	u, err := url.Parse(text)
	switch {
	case err != nil:
		return errors.New("cannot be read as a URL; write it as http://HOST:PORT/PATH")
	case u.Scheme != "http" && u.Scheme != "https", u.Hostname() == "":
		return errors.New("must be http:// or https:// with a host, as in http://127.0.0.1:8080/notify")
	case u.User != nil, u.RawQuery != "", u.ForceQuery, u.Fragment != "":
		return errors.New("must hold nothing that is secret or of no use to WeChat Pay: leave out user, password, ? and #")
	}
	return nil
}

// SetNotifications replaces all settings of notifications. Its error names the
// invalid value.
func (s *Simulator) SetNotifications(n Notifications) error {
	if err := n.Validate(); err != nil {
		return err
	}
	n = n.withDefaults()
	s.notifications.Store(&n)
	return nil
}

// Notifications returns the settings in force, defaults filled in.
func (s *Simulator) Notifications() Notifications { return s.notifications.Load().withDefaults() }
