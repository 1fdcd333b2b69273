package tasks

// State is where an order stands. An order that is being worked on is an open
// order under a lease, not a state of its own.
type State string

// The states of an order. Once in an end, an order leaves it only by an
// explicit reopening, and Paid not even by that.
const (
	// Queued orders have not been tried yet. The worker moves them on.
	Queued State = "queued"
	// Awaiting orders have been tried and the money is not in. The worker
	// moves them on.
	Awaiting State = "awaiting"

	// Paid: a message with WeChat Pay's verified signature says USER_PAID.
	// Nobody moves it on.
	Paid State = "paid"
	// Closed: a message with WeChat Pay's verified signature says REVOKED or
	// EXPIRED. A reopening moves it on.
	Closed State = "closed"
	// Rejected: there is nothing to collect (unknown order, not completed,
	// wrong appid or service, malformed). A reopening moves it on.
	Rejected State = "rejected"
	// Withdrawn: billing stopped the collection. A reopening moves it on.
	Withdrawn State = "withdrawn"
	// Exhausted: the policy ran out. A reopening moves it on.
	Exhausted State = "exhausted"
)

// States lists every state, open ones first, in the order people are shown
// them.
var States = []State{Queued, Awaiting, Paid, Closed, Rejected, Withdrawn, Exhausted}

// Next lists the states that an order in this one can go to. The scripts keep to
// it; docs/architecture.md draws it.
func (s State) Next() []State {
	switch s {
	case Queued:
		return States[1:]
	case Awaiting:
		return States[2:]
	case Closed, Rejected, Withdrawn, Exhausted:
		return []State{Queued} // only by an explicit reopening
	}
	return nil // nothing undoes Paid
}

// Open reports whether an order in this state is still to be worked on.
func (s State) Open() bool { return s == Queued || s == Awaiting }

// Valid reports whether s is one of States.
func (s State) Valid() bool {
	for _, known := range States {
		if s == known {
			return true
		}
	}
	return false
}
