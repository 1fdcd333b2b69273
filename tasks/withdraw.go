package tasks

import (
	"context"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Withdrawal stops the collection of one order, because billing has been paid
// elsewhere or waives what is owed.
type Withdrawal struct {
	MchID      string
	OutOrderNo string
	Reason     string // billing's own words, for whoever asks later; 1 to MaxReason characters
	// PaidAt is when the user paid elsewhere, to the second. WeChat Pay is then
	// told (sync), and stops deducting by itself. With the zero time it is not,
	// and goes on.
	PaidAt time.Time
}

// MaxReason is the longest reason of a withdrawal, in characters.
const MaxReason = 200

// Absent: the ledger has no such order; nothing was written.
const Absent Status = "absent"

// PaidTime is how WeChat Pay writes the time of a payment in a body, on the
// clock of China.
const PaidTime = "20060102150405"

// China is the time zone of WeChat Pay's bodies. It has had no daylight saving
// since 1991; a fixed one needs no time zone database.
var China = time.FixedZone("Asia/Shanghai", 8*60*60)

// Bounds of a time of payment: how far ahead of this machine's clock it may lie,
// and how long ago. The second one is for years that were mistyped.
const (
	paidAtSlack   = 5 * time.Minute
	paidAtLongest = 10 * 365 * 24 * time.Hour
)

// Validate reports the first thing that is wrong with w, as a FieldError, or
// nil.
func (w Withdrawal) Validate() error {
	if err := ValidateMchID(w.MchID); err != nil {
		return err
	}
	if err := ValidateOutOrderNo(w.OutOrderNo); err != nil {
		return err
	}
	switch n := utf8.RuneCountInString(w.Reason); {
	case strings.TrimSpace(w.Reason) == "":
		return &FieldError{"reason", "is missing; say why the order is withdrawn"}
	case n > MaxReason:
		return &FieldError{"reason", fmt.Sprintf("is %d characters long; at most %d are allowed", n, MaxReason)}
	case !utf8.ValidString(w.Reason):
		return &FieldError{"reason", "is not valid UTF-8"}
	}
	for i, r := range []rune(w.Reason) {
		if !unicode.IsGraphic(r) { // which has the wide space of Chinese texts, and no line breaks
			return &FieldError{"reason", fmt.Sprintf("has %q at position %d; only printable characters are allowed", r, i+1)}
		}
	}
	if w.PaidAt.IsZero() {
		return nil
	}
	switch ahead := time.Until(w.PaidAt); {
	case ahead > paidAtSlack:
		return &FieldError{"paid_at", "lies in the future; it is when the user paid"}
	case ahead < -paidAtLongest:
		return &FieldError{"paid_at", "lies more than ten years back; it is when the user paid"}
	}
	return nil
}

// Withdraw ends an open order at once, as Withdrawn. Nothing of a call that is
// under way is lost: it is written beside the end, and a payment that it brings
// becomes an event of its own. The answers are Accepted, Duplicate (withdrawn
// already; nothing changed), Ended (see Result.State), Absent, Invalid and
// Failed; the error is not nil exactly for Failed. It may be called again at
// any time, and once more with PaidAt for an order that was withdrawn without,
// or of which WeChat Pay could not be told. Reason and PaidAt are otherwise
// those of the first call.
func (p *Producer) Withdraw(ctx context.Context, w Withdrawal) (Result, error) {
	if err := w.Validate(); err != nil {
		return Result{Status: Invalid, Err: err}, nil
	}
	k := KeysOf(w.MchID)
	paidAt := ""
	if !w.PaidAt.IsZero() {
		paidAt = w.PaidAt.In(China).Format(PaidTime)
	}
	reply, err := withdrawScript.Run(ctx, p.rdb,
		[]string{k.Order(w.OutOrderNo), k.Due(), k.Outcomes(), k.Stats(), k.Ended(Withdrawn)},
		w.OutOrderNo, w.Reason, paidAt, handoverGrace.Milliseconds()).Slice()
	var code, state string
	var round int64
	pl := Payload{MchID: w.MchID, OutOrderNo: w.OutOrderNo}
	if err == nil {
		err = scan(reply, &code, &state, &round, &pl.AppID, &pl.ServiceID)
	}
	if err != nil {
		err = fmt.Errorf("the order was not withdrawn: %w", err)
		return Result{Status: Failed, Err: err}, err
	}
	res := Result{Status: Status(code), State: State(state), round: round}
	if res.Status == Accepted && paidAt != "" {
		// As with a hand-over, the ledger knows, and the sweep sees to what
		// the queue has lost.
		_ = p.PushSync(ctx, pl, round)
	}
	return res, nil
}
