package tasks

import (
	"context"
	"fmt"
	"time"

	"payscore-collector/internal/ledger"
	"payscore-collector/internal/queue"
)

// Withdrawal stops the collection of one order, because the user paid elsewhere or
// billing waives what is owed.
type Withdrawal struct {
	MchID      string
	OutOrderNo string
	Reason     string // billing's own words, kept with the order; 1 to MaxReason characters
	// PaidAt is when the user paid elsewhere, to the second. WeChat Pay is then
	// notified (sync), and stops deducting by itself. With the zero time it is not
	// notified, and continues.
	PaidAt time.Time
	// By is who withdraws it, as its history shows it; see Order.By. Token is optional, see
	// Order.Token.
	By, Token string
}

// China is the time zone of WeChat Pay's bodies.
var China = ledger.China

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
	if err := ValidateReason(w.Reason); err != nil {
		return err
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

// Withdraw ends an open order at once, as Withdrawn. The result of a call that is under
// way is written beside the final state, and a payment that it brings becomes an event
// of its own. The answers are Accepted, Duplicate (withdrawn already; nothing changed),
// Ended (see Result.State), Absent, Invalid and Failed; the error is not nil exactly for
// Failed. It may be called again at any time, and once more with PaidAt for an order that
// was withdrawn without, or for which the notification of WeChat Pay has failed. Otherwise
// Reason and PaidAt are those of the first call.
func (p *Producer) Withdraw(ctx context.Context, w Withdrawal) (Result, error) {
	if err := w.Validate(); err != nil {
		return Result{Status: Invalid, Err: err}, nil
	}
	answer, err := ledger.New(p.rdb, w.MchID).Withdraw(ctx, w.OutOrderNo, deed(w.By, w.Reason, w.Token), w.PaidAt, EnqueueGrace)
	if err != nil {
		err = fmt.Errorf("the order was not withdrawn: %w", err)
		return Result{Status: Failed, Err: err}, err
	}
	if answer.Code == ledger.Accepted && !w.PaidAt.IsZero() {
		// As in Enqueue, the sweep enqueues what this push does not.
		pl := Payload{MchID: w.MchID, OutOrderNo: w.OutOrderNo, AppID: answer.Owner.AppID, ServiceID: answer.Owner.ServiceID}
		_ = p.push(ctx, queue.TypeSync, pl, answer.Round)
	}
	if answer.Code == ledger.Accepted {
		p.wake(ctx, w.MchID) // for the sync, and for the webhook of the order's end
	}
	return Result{Status: Status(answer.Code), State: answer.State}, nil
}
