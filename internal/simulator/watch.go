package simulator

import "time"

// Seen is one call as the platform saw it, for audits that need more than [Report]
// counts. Its times are real, not those of Options.Clock.
type Seen struct {
	Call       Call
	OutOrderNo string
	// Began is when the request had arrived; Over is when its reply was written to
	// the connection, or when the server noticed that the client had left.
	Began, Over time.Time
	// Answered: the whole reply was written, to a client that was still connected.
	Answered bool
	Status   int    // of that reply; else 0
	Fault    string // what went wrong on purpose, by its name in Faults or its kind in a script; else ""
	// Own: the reply was honest about the order, even if wrongly signed; Signed:
	// its signature was good.
	Own, Signed bool
	// Owed and Ended are what an honest reply to a query showed.
	Owed, Ended bool
}
