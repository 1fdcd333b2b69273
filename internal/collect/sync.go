package collect

import (
	"slices"

	"payscore-collector/internal/ledger"
	"payscore-collector/internal/payscore"
	"payscore-collector/tasks"
)

// A withdrawn order that the user has paid elsewhere takes the same steps as an
// open one, with sync where an open order is collected: sync is called once, the
// order is queried when the answer is unknown or a refusal, and sync is called again
// where the order is still owed. What would end an open order ends the sync; the
// order itself has ended before.

// forSync is the policy of such steps: a sync deducts nothing, so neither the
// window nor the gap applies.
func (p Policy) forSync() Policy {
	p.Window, p.MinGap = Window{Always: true}, 0
	return p
}

// ReasonPaid is why a sync is not needed: the user paid through WeChat Pay.
const ReasonPaid = "paid_through_wechat"

// paidElsewhere reports whether a part of an order was paid elsewhere, as the
// merchant told WeChat Pay.
func paidElsewhere(f ledger.Facts) bool {
	return f.PaidType == payscore.PaidTypeMCH ||
		slices.ContainsFunc(f.Payments, func(p ledger.Payment) bool { return p.PaidType == payscore.PaidTypeMCH })
}

// asSync turns the settlement of a step on an open order into that of a step on a
// withdrawn one.
func asSync(s ledger.Settlement, plan ledger.Plan, last payscore.Reply) ledger.Settlement {
	became := s.State
	s.State, s.Sync, s.SyncReason, s.Reason = tasks.Withdrawn, ledger.SyncPending, s.Reason, ""
	s.AddAttempts = 0
	switch {
	case last.Call == payscore.CallSync && last.Verdict == payscore.BadRequest:
		// The order is known, so the time of payment is refused. A retry will not
		// help; billing can withdraw again with another time.
		s.Sync, s.SyncReason = ledger.SyncFailed, last.Reason
	case became.Open(), became == tasks.Withdrawn:
		return s
	case became == tasks.Paid && plan == ledger.Confirm && s.Facts.PaidType == "" && s.Facts.TransactionID == "":
		// WeChat Pay accepted the sync, and shows no other payment.
		s.Sync = ledger.SyncDone
		if s.Facts.Payments == nil {
			s.Facts.PaidType = payscore.PaidTypeMCH
		}
	case became == tasks.Paid && paidElsewhere(s.Facts):
		s.Sync = ledger.SyncDone
	case became == tasks.Paid:
		s.Sync, s.SyncReason = ledger.SyncNoNeed, ReasonPaid
	case became == tasks.Closed, s.SyncReason == payscore.ReasonNothingOwed:
		s.Sync = ledger.SyncNoNeed
	default:
		s.Sync = ledger.SyncFailed
	}
	s.Next = ""
	return s
}
