// Package audit compares what was recorded of an order with what the platform
// knows. The demo, the soak test and the attack share it, so that they cannot
// differ in what they call equal.
package audit

import (
	"fmt"
	"time"

	"payscore-collector/internal/simulator"
)

// Payment is one payment of an order. Its JSON is that of the member payments
// in the events, in webhooks and in "outcomes get --json".
type Payment struct {
	TransactionID string    `json:"transaction_id,omitempty"` // empty where the money moved elsewhere
	Amount        int64     `json:"amount"`                   // fen
	PaidType      string    `json:"paid_type"`                // NEWTON or MCH
	PaidAt        time.Time `json:"paid_at"`                  // to the second
}

func (p Payment) String() string {
	name := "payment " + p.TransactionID
	if p.TransactionID == "" {
		name = "payment without transaction_id"
	}
	return fmt.Sprintf("%s of %d fen, %s at %s", name, p.Amount, p.PaidType, p.PaidAt.UTC().Format(time.RFC3339))
}

func (p Payment) equal(o Payment) bool {
	return p.TransactionID == o.TransactionID && p.Amount == o.Amount && p.PaidType == o.PaidType && p.PaidAt.Equal(o.PaidAt)
}

// chinaTime is the zone of the times in the platform's orders.
var chinaTime = time.FixedZone("Asia/Shanghai", 8*60*60)

// Platform returns the payments that the simulated platform has of an order. A
// time that cannot be read becomes the zero time.
func Platform(details []simulator.PaymentDetail) []Payment {
	payments := make([]Payment, len(details))
	for i, d := range details {
		at, _ := time.ParseInLocation("20060102150405", d.PaidTime, chinaTime)
		payments[i] = Payment{d.TransactionID, d.Amount, d.PaidType, at}
	}
	return payments
}

// Kind says how recorded payments differ from the platform's.
type Kind string

// The kinds of differences.
const (
	Missing  Kind = "missing"  // the platform has it, and it is not recorded
	Invented Kind = "invented" // recorded, and the platform does not have it
	Twice    Kind = "twice"    // recorded more often than the platform has it
	Differs  Kind = "differs"  // recorded with another amount, type or time
)

// Difference is one payment that is not recorded as the platform has it.
type Difference struct {
	Kind Kind
	Text string // a sentence without the order's number
}

// Payments compares the recorded payments of one order with those of the
// platform, fen by fen, and returns every difference. Those with a
// transaction_id are matched by it, the others by all that they say. The order
// of the lists is of no account. An order that can still change may rightly have
// payments that are Missing, and no other difference.
func Payments(recorded, platform []Payment) []Difference {
	var found []Difference
	differ := func(kind Kind, format string, args ...any) {
		found = append(found, Difference{kind, fmt.Sprintf(format, args...)})
	}
	used := make([]bool, len(platform))
	take := func(same func(Payment) bool) (Payment, bool) {
		for i, p := range platform {
			if !used[i] && same(p) {
				used[i] = true
				return p, true
			}
		}
		return Payment{}, false
	}
	has := func(same func(Payment) bool) bool {
		for _, p := range platform {
			if same(p) {
				return true
			}
		}
		return false
	}
	for _, r := range recorded {
		same := r.equal
		if r.TransactionID != "" {
			same = func(p Payment) bool { return p.TransactionID == r.TransactionID }
		}
		p, ok := take(same)
		switch {
		case !ok && has(same):
			differ(Twice, "the %v is recorded more often than the platform has it", r)
		case !ok:
			differ(Invented, "the %v is recorded, and the platform does not have it", r)
		case !r.equal(p):
			differ(Differs, "the %v is recorded, and the platform has the %v", r, p)
		}
	}
	for i, p := range platform {
		if !used[i] {
			differ(Missing, "the %v is not recorded", p)
		}
	}
	return found
}
