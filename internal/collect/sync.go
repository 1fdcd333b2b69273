package collect

import (
	"slices"

	"payscore-collector/internal/ledger"
	"payscore-collector/internal/payscore"
	"payscore-collector/tasks"
)

// A withdrawn order that the user has paid elsewhere takes the same steps as an
// open one, with sync where that is collected: it is told once, looked at when
// the answer is unknown or a refusal, and told again where it is still owed. What
// would be the end of an open order ends the telling; the order itself has ended
// before.

// forSync is the policy of such steps: telling deducts nothing, so neither the
// window nor the gap holds it back.
func (p Policy) forSync() Policy {
	p.Window, p.MinGap = Window{Always: true}, 0
	return p
}

// policy is the one that the step's order goes by.
func (s *step) policy() Policy {
	if s.claim.Order.Sync {
		return s.Policy.forSync()
	}
	return s.Policy
}

// elsewhere is the paid_type of what the merchant has told WeChat Pay of.
const elsewhere = "MCH"

// paidElsewhere reports whether a part of an order was paid elsewhere, as WeChat
// Pay was told.
func paidElsewhere(f ledger.Facts) bool {
	return f.PaidType == elsewhere ||
		slices.ContainsFunc(f.Payments, func(p ledger.Payment) bool { return p.PaidType == elsewhere })
}

// ReasonPaid is why WeChat Pay need not be told: the user paid through it.
const ReasonPaid = "paid_through_wechat"

// asSync makes the settlement of a step on an open order one of telling.
func asSync(s ledger.Settlement, plan ledger.Plan, last payscore.Reply) ledger.Settlement {
	became := s.State
	s.State, s.Sync, s.SyncReason, s.Reason = tasks.Withdrawn, ledger.SyncPending, s.Reason, ""
	s.AddAttempts = 0
	switch {
	case last.Call == payscore.CallSync && last.Verdict == payscore.BadRequest:
		// The order is known, so it is the time of payment that is refused. It
		// will be next time; billing can withdraw again with another.
		s.Sync, s.SyncReason = ledger.SyncFailed, last.Reason
	case became.Open(), became == tasks.Withdrawn:
		return s
	case became == tasks.Paid && plan == ledger.Confirm && s.Facts.PaidType == "" && s.Facts.TransactionID == "":
		// WeChat Pay took the news, and shows no payment but that.
		s.Sync = ledger.SyncDone
		if s.Facts.Payments == nil {
			s.Facts.PaidType = elsewhere
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
