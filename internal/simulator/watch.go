package simulator

import "time"

// Seen is one call as the platform saw it, for audits that want more than
// [Report] counts. Times are real ones, whatever Options.Clock says.
type Seen struct {
	Call       Call
	OutOrderNo string
	// Began is when the request had arrived; Over when its reply was handed to
	// the connection, or the server noticed that the client had left.
	Began, Over time.Time
	// Answered: the whole reply was handed over, to a client that was still
	// connected.
	Answered bool
	Status   int    // of that reply; else 0
	Fault    string // what went wrong on purpose, by its name in Faults or its kind in a script; else ""
	// Own: the reply was the platform's honest word about the order, however
	// signed; Signed: its signature was good.
	Own, Signed bool
	// Owed and Ended are what an honest reply to a query showed.
	Owed, Ended bool
}

// watch tells whoever watches, when a call is over.
func (s *Simulator) tellWatcher(c *call) {
	if s.watch == nil {
		return
	}
	c.seen.Call, c.seen.OutOrderNo = c.kind, c.no
	s.watch(c.seen)
}
