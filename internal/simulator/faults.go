package simulator

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math"
	"time"
)

// Duration is a time.Duration that JSON writes as a string such as "1.5s".
type Duration time.Duration

// MarshalText writes the duration in Go's notation.
func (d Duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

// UnmarshalText reads Go's notation.
func (d *Duration) UnmarshalText(text []byte) error {
	v, err := time.ParseDuration(string(text))
	if err != nil {
		return fmt.Errorf("%q is not a duration; write it as 500ms, 5s or 1m30s", text)
	}
	*d = Duration(v)
	return nil
}

// DefaultOrderGap is the shortest time between two collect calls of one order
// that the platform does not answer with FREQUENCY_LIMITED (merchants report
// about a second; the documentation gives no figure).
const DefaultOrderGap = time.Second

// Faults says what goes wrong on purpose. The zero value is a healthy platform. The shares are from 0 to 1, their sum is at most 1, and they
// apply to collect, query and sync; each call suffers at most one of them.
// Everything else applies to every call.
type Faults struct {
	// Error5xx is the share answered 500, 502 or 503 SYSTEM_ERROR, signed;
	// about half of them have taken effect, as the platform warns.
	Error5xx float64 `json:"error_5xx"`
	// Hang is the share that gets no reply until the client leaves (at most
	// ten minutes); about half of them have taken effect.
	Hang float64 `json:"hang"`
	// DropBefore is the share whose connection is reset before taking effect.
	DropBefore float64 `json:"drop_before"`
	// DropAfter is the share whose connection is reset after taking effect.
	DropAfter float64 `json:"drop_after"`
	// WrongSignature is the share answered truthfully, but with a signature
	// that starts WECHATPAY/SIGNTEST/ and is wrong.
	WrongSignature float64 `json:"wrong_signature"`
	// MissingSignature is the share answered truthfully, but unsigned.
	MissingSignature float64 `json:"missing_signature"`
	// HTML502 is the share answered with a proxy's error page, without effect.
	HTML502 float64 `json:"html_502"`

	// MaxRate is how many calls the merchant may make in any one second; more
	// get 429 FREQUENCY_LIMITED. 0 is no limit.
	MaxRate int `json:"max_rate"`
	// Latency delays every reply; LatencyJitter adds from nothing up to itself.
	Latency       Duration `json:"latency"`
	LatencyJitter Duration `json:"latency_jitter"`
	// PayDelay is the time from a collect's 200 to the money's arrival.
	PayDelay Duration `json:"pay_delay"`
	// OrderGap replaces [DefaultOrderGap]; 0 switches the rule off.
	OrderGap *Duration `json:"order_gap,omitempty"`

	// SignError answers every call 401 SIGN_ERROR, as if the merchant's
	// certificate had been replaced. Unsigned.
	SignError bool `json:"sign_error"`
	// NoAuth answers every call 403 NO_AUTH, as if the product were not open.
	NoAuth bool `json:"no_auth"`
	// Down answers every call with a proxy's 502 page.
	Down bool `json:"down"`

	// SignByCertificate signs replies under the platform certificate even where
	// the client asks for the public key, as WeChat Pay does for a merchant who
	// has stopped the move to it.
	SignByCertificate bool `json:"sign_by_certificate"`

	// Seed, where given, replaces the seed that decides which calls suffer.
	Seed *uint64 `json:"seed,omitempty"`
}

// Validate reports the first invalid value, by its name in JSON.
func (f Faults) Validate() error {
	shares, sum := f.shares(), 0.0
	if err := validShares(shares[:]...); err != nil {
		return err
	}
	for _, s := range shares {
		sum += s.share
	}
	// The sum of ten times 0.1 is a little above 1 by rounding.
	if sum > 1+1e-9 {
		return fmt.Errorf("the shares add up to %v; together they must be at most 1", sum)
	}
	if f.MaxRate < 0 {
		return fmt.Errorf("max_rate is %d; it must be 0 (no limit) or more", f.MaxRate)
	}
	return validLengths(length{"latency", f.Latency}, length{"latency_jitter", f.LatencyJitter}, length{"pay_delay", f.PayDelay}, length{"order_gap", Duration(f.orderGap())})
}

func validShares(list ...share) error {
	for _, s := range list {
		if math.IsNaN(s.share) || s.share < 0 || s.share > 1 {
			return fmt.Errorf("%s is %v; a share must be from 0 to 1", s.name, s.share)
		}
	}
	return nil
}

// length is a setting that is a duration, by its name in JSON.
type length struct {
	name string
	d    Duration
}

func validLengths(list ...length) error {
	for _, l := range list {
		if l.d < 0 {
			return fmt.Errorf("%s is %v; a duration must not be negative", l.name, time.Duration(l.d))
		}
	}
	return nil
}

func (f Faults) orderGap() time.Duration {
	if f.OrderGap == nil {
		return DefaultOrderGap
	}
	return time.Duration(*f.OrderGap)
}

// The names of faults as the report counts them.
const (
	faultError5xx         = "error_5xx"
	faultHang             = "hang"
	faultDropBefore       = "drop_before"
	faultDropAfter        = "drop_after"
	faultWrongSignature   = "wrong_signature"
	faultMissingSignature = "missing_signature"
	faultHTML502          = "html_502"
	faultRate             = "max_rate"
	faultSignError        = "sign_error"
	faultNoAuth           = "no_auth"
	faultDown             = "down"
)

type share struct {
	name  string
	share float64
}

func (f Faults) shares() [7]share {
	return [...]share{
		{faultError5xx, f.Error5xx},
		{faultHang, f.Hang},
		{faultDropBefore, f.DropBefore},
		{faultDropAfter, f.DropAfter},
		{faultWrongSignature, f.WrongSignature},
		{faultMissingSignature, f.MissingSignature},
		{faultHTML502, f.HTML502},
	}
}

// pick returns the name of the fault that a random number selects, or "".
func (f Faults) pick(lot float64) string {
	for _, s := range f.shares() {
		if lot < s.share {
			return s.name
		}
		lot -= s.share
	}
	return ""
}

// draws are the random numbers of one call, each in [0, 1).
type draws struct{ fault, coin, jitter float64 }

// drawFor makes a call's random numbers from the seed, the order and how
// many calls the order has had. So a run can be repeated although the calls of
// different orders interleave differently; a shared random source could not do
// that.
func drawFor(seed uint64, orderNo string, n int64) draws {
	b := make([]byte, 0, 64)
	b = binary.BigEndian.AppendUint64(b, seed)
	b = binary.BigEndian.AppendUint64(b, uint64(n))
	sum := sha256.Sum256(append(b, orderNo...))
	unit := func(i int) float64 {
		return float64(binary.BigEndian.Uint64(sum[i*8:])>>11) / (1 << 53)
	}
	return draws{fault: unit(0), coin: unit(1), jitter: unit(2)}
}
