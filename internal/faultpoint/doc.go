// Package faultpoint marks the instants of a step at which a crash or a freeze is most
// dangerous. In every build without the tag chaos, Reach is an empty function that the
// compiler inlines to nothing. With the tag, a process records each point that it
// reaches, and kills or stops itself at the one that it was ordered to; test/chaos
// builds and drives such workers.
package faultpoint

// Point is one such instant.
type Point string

// The points, in the order in which a step passes them. Sending and Answered
// are passed once a call.
const (
	// Claimed: the lease is taken, and nothing was done under it yet.
	Claimed Point = "claimed"
	// Permitted: a query found the order owed, and it may be collected.
	Permitted Point = "permitted"
	// Sending: after the last check of the deadline, before the request is
	// written. No check can notice a freeze here.
	Sending Point = "sending"
	// Answered: the platform has acted, and its reply is not read yet.
	Answered Point = "answered"
	// Settling: the reply is decided, and nothing of it is recorded.
	Settling Point = "settling"
	// Settled: it is recorded, and asynq does not know yet.
	Settled Point = "settled"
)

// Asked, Granted and Slot are lines of the trace that are not points of a step:
// when the worker asked for the order, by its own clock; and by Redis's clock when
// a call was granted and when that call must leave.
const (
	Asked   Point = "asked"
	Granted Point = "granted"
	Slot    Point = "slot"
)

// Points lists them in that order.
var Points = []Point{Claimed, Permitted, Sending, Answered, Settling, Settled}
