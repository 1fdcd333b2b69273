// Package audit compares what the ledger recorded of an order with what the
// simulated platform knows. The demo, the worker's tests, the soak test and the
// attack share it, so that they agree on what is right.
package audit

import (
	"fmt"
	"time"

	"payscore-collector/internal/ledger"
	"payscore-collector/internal/simulator"
	"payscore-collector/tasks"
)

// Platform returns the payments that the simulated platform has of an order. A
// time that cannot be read becomes the zero time.
func Platform(details []simulator.PaymentDetail) []ledger.Payment {
	payments := make([]ledger.Payment, len(details))
	for i, d := range details {
		at, _ := time.ParseInLocation("20060102150405", d.PaidTime, tasks.China)
		payments[i] = ledger.Payment{Seq: int64(d.Seq), TransactionID: d.TransactionID, Amount: d.Amount, PaidType: d.PaidType, PaidAt: at}
	}
	return payments
}

// Kind says in what way the ledger or the calls differ from the platform's truth.
// A caller may accept a kind where its test permits it.
type Kind string

// The kinds of differences.
const (
	Missing  Kind = "missing"  // the platform has a payment that is not recorded
	Invented Kind = "invented" // a payment is recorded that the platform does not have
	Twice    Kind = "twice"    // a payment is recorded more than once
	Differs  Kind = "differs"  // a payment is recorded with another amount, type, time or number

	Unfinished  Kind = "unfinished"   // the order is open
	WrongState  Kind = "wrong_state"  // the final state is not Expected
	WrongAmount Kind = "wrong_amount" // the sum or the total is wrong
	WrongCount  Kind = "wrong_count"  // a counter is not the sum of the orders
	Uncounted   Kind = "uncounted"    // the platform saw calls that are not recorded
	AtOnce      Kind = "at_once"      // two calls were in flight
	AfterEnd    Kind = "after_end"    // a call came after the final state was shown
	TooSoon     Kind = "too_soon"     // two collects were closer together than MIN_GAP
)

// Difference is one thing that is not as the platform has it.
type Difference struct {
	Kind Kind
	Text string // what is wrong, without the order's number
}

// Payments compares the recorded payments of one order with those of the
// platform, fen by fen, and returns every difference. A payment is known by its
// transaction_id, and one without by its seq, so that the lists can have any
// order, and payments can come from the ledger, an event, a webhook or SQL. An
// order that can still change may rightly have payments that are Missing, and no
// other difference.
func Payments(recorded, platform []ledger.Payment) []Difference {
	var found []Difference
	differ := func(kind Kind, format string, args ...any) {
		found = append(found, Difference{kind, fmt.Sprintf(format, args...)})
	}
	type name struct {
		transaction string
		seq         int64
	}
	named := func(p ledger.Payment) name {
		if p.TransactionID != "" {
			return name{transaction: p.TransactionID}
		}
		return name{seq: p.Seq}
	}
	theirs := map[name]ledger.Payment{}
	for _, p := range platform {
		theirs[named(p)] = p
	}
	seen := map[name]bool{}
	for _, r := range recorded {
		p, ok := theirs[named(r)]
		switch {
		case seen[named(r)]:
			differ(Twice, "%s is recorded more than once", describe(r))
		case !ok:
			differ(Invented, "%s is recorded, and the platform does not have it", describe(r))
		case r.Amount != p.Amount || r.PaidType != p.PaidType || !r.PaidAt.Equal(p.PaidAt):
			differ(Differs, "%s is recorded, and the platform has %s", describe(r), describe(p))
		}
		seen[named(r)] = true
	}
	for _, p := range platform {
		if !seen[named(p)] {
			differ(Missing, "%s is not recorded", describe(p))
		}
	}
	return found
}

func describe(p ledger.Payment) string {
	who := "payment " + p.TransactionID
	if p.TransactionID == "" {
		who = fmt.Sprintf("payment %d, without transaction_id,", p.Seq)
	}
	return fmt.Sprintf("%s of %d fen, %s at %s", who, p.Amount, p.PaidType, p.PaidAt.UTC().Format(time.RFC3339))
}
