// Package faultpoint marks the instants of a step at which a crash or a freeze
// tests a promise hardest. In every build but those with the tag chaos, Reach is
// an empty function that the compiler inlines to nothing. With the tag, a
// process writes down each point that it reaches, and kills or stops itself at
// the one that it was told to; test/chaos builds and drives such workers.
package faultpoint

// Point is one such instant.
type Point string

// The points, in the order in which a step passes them. Sending and Answered
// are passed once a call.
const (
	// Claimed: the lease is taken, and nothing was done under it yet.
	Claimed Point = "claimed"
	// Permitted: a look found the order owed, and it may be collected.
	Permitted Point = "permitted"
	// Sending: behind the last look at the deadline, and before the request is
	// written. A freeze here is the one that no check can see.
	Sending Point = "sending"
	// Answered: the platform has acted, and its reply is not yet read.
	Answered Point = "answered"
	// Settling: the reply is decided, and nothing of it is written down.
	Settling Point = "settling"
	// Settled: it is written down, and asynq has not been told.
	Settled Point = "settled"
)

// Granted and Slot are no points in a step. Their lines say when Redis has granted
// the step a call, and when that call is to leave, by Redis's clock.
const (
	Granted Point = "granted"
	Slot    Point = "slot"
)

// Points lists them in that order.
var Points = []Point{Claimed, Permitted, Sending, Answered, Settling, Settled}
