package tasks

import "payscore-collector/internal/ledger"

// State is where an order stands. A step under way is a lease on an open order, and
// no state of its own. State.Open reports whether the order still has to be worked
// on, and State.Next lists the states that may follow.
type State = ledger.State

// The states of an order. An order leaves a final state only by an explicit
// reopening, and Paid not even then.
const (
	// Queued: the order has not been tried yet. The worker moves it on.
	Queued = ledger.Queued
	// Awaiting: the order was tried and the money is not in. The worker moves it on.
	Awaiting = ledger.Awaiting

	// Paid: a message with WeChat Pay's verified signature says USER_PAID. Nothing
	// moves it on.
	Paid = ledger.Paid
	// Closed: a message with WeChat Pay's verified signature says REVOKED or
	// EXPIRED. A reopening moves it on.
	Closed = ledger.Closed
	// Rejected: there is nothing to collect (unknown order, not completed, wrong
	// appid or service, malformed). A reopening moves it on.
	Rejected = ledger.Rejected
	// Withdrawn: billing stopped the collection. A reopening moves it on.
	Withdrawn = ledger.Withdrawn
	// Exhausted: the collection schedule has run out. A reopening moves it on.
	Exhausted = ledger.Exhausted
)

// States lists every state, open ones first, in the order in which people see them.
var States = ledger.States
