package ledger

import "slices"

// State is where an order stands. A step under way is a lease on an open order, and
// no state of its own.
type State string

// The states of an order; package tasks says who moves an order on from each.
const (
	Queued    State = "queued"
	Awaiting  State = "awaiting"
	Paid      State = "paid"
	Closed    State = "closed"
	Rejected  State = "rejected"
	Withdrawn State = "withdrawn"
	Exhausted State = "exhausted"
)

// States lists every state, open ones first, in the order in which people see them.
var States = []State{Queued, Awaiting, Paid, Closed, Rejected, Withdrawn, Exhausted}

// finalStates are those of them that are not open.
var finalStates = States[2:]

// Next lists the states that an order in this one can go to. The scripts keep to it,
// and docs/architecture.md draws it.
func (s State) Next() []State {
	switch s {
	case Queued:
		return States[1:]
	case Awaiting:
		return finalStates
	case Closed, Rejected, Withdrawn, Exhausted:
		return []State{Queued} // only by an explicit reopening
	}
	return nil // nothing undoes Paid
}

// Open reports whether an order in this state still has to be worked on.
func (s State) Open() bool { return s == Queued || s == Awaiting }

// Valid reports whether s is one of States.
func (s State) Valid() bool { return slices.Contains(States, s) }
