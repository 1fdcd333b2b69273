package tasks

import (
	"strconv"
	"strings"
)

// This file has every name that producers and workers must agree on. None can
// be renamed: records and tasks written by one release are read by the next.

// QueueName returns the asynq queue of a merchant. Each merchant has a queue
// (and in the worker a server) of its own, so that one merchant's stuck
// platform costs another nothing.
func QueueName(mchid string) string { return "collect:" + mchid }

// PendingKey is asynq's list of a merchant's tasks that wait for a worker. The
// name is asynq's; a test of the worker holds it against asynq itself.
func PendingKey(mchid string) string { return "asynq:{" + QueueName(mchid) + "}:pending" }

// TaskID returns the asynq task ID of one round of an order. It carries the
// mchid, because asynq renews leases by task ID alone: the same ID in two
// queues of one process would starve one of them. It carries the round, so
// that a round is never queued twice and a task that asynq has wedged never
// blocks the next round.
func TaskID(mchid, outOrderNo string, round int64) string {
	return mchid + ":" + outOrderNo + ":" + strconv.FormatInt(round, 10)
}

// RoundOf returns the round in a task ID made by TaskID for this order, and
// false for the ID of a task that somebody else made.
func RoundOf(taskID string, p Payload) (round int64, ok bool) {
	rest, ok := strings.CutPrefix(taskID, p.MchID+":"+p.OutOrderNo+":")
	if !ok {
		return 0, false
	}
	round, err := strconv.ParseInt(rest, 10, 64)
	return round, err == nil
}

// WebhookQueueName returns the asynq queue of a merchant's webhooks to billing.
// They have one of their own, so that a receiver in trouble holds no collecting
// up.
func WebhookQueueName(mchid string) string { return "webhook:" + mchid }

// WebhookTaskID returns the asynq task ID of one look at an order's webhooks. It
// begins with a word of its own, because asynq renews leases by task ID alone,
// and an order has a collecting task of the same round in the same process. No
// two looks have the same round, so a task that asynq has wedged blocks nothing.
func WebhookTaskID(mchid, outOrderNo string, round int64) string {
	return "webhook:" + TaskID(mchid, outOrderNo, round)
}

// MerchantsKey is a set of every mchid that has a ledger. It is the only key
// outside a merchant's hash tag, and only a directory: it is written again by
// every producer and every worker.
const MerchantsKey = "payscore:merchants"

// Keys names the keys of one merchant's ledger. All share one hash tag, so
// that every script that touches them is atomic on Redis Cluster too.
type Keys struct{ prefix string }

// KeysOf returns the keys of a merchant's ledger.
func KeysOf(mchid string) Keys { return Keys{prefix: "payscore:{" + mchid + "}:"} }

// Order is the record of one order (hash).
func (k Keys) Order(no string) string { return k.prefix + "order:" + no }

// Log is the capped list of an order's calls, newest first (list).
func (k Keys) Log(no string) string { return k.prefix + "log:" + no }

// Due is the index of all open orders by the time, in Unix milliseconds of
// Redis's clock, at which the sweep is to look at them next (zset).
func (k Keys) Due() string { return k.prefix + "due" }

// Ended is the index of the orders that ended in a state, by the time of
// their end in Unix milliseconds (zset).
func (k Keys) Ended(state State) string { return k.prefix + "ended:" + string(state) }

// Outcomes is what happened to orders, in order (stream).
func (k Keys) Outcomes() string { return k.prefix + "outcomes" }

// Stats counts orders by state, and the fen that came in (hash).
func (k Keys) Stats() string { return k.prefix + "stats" }

// Hooks is what is known of the webhooks to billing (hash): cursor, the position
// in the stream up to which they have taken events; round, of the last look at
// an order; and of each order in trouble or under way try:<out_order_no>
// ("<failures in a row> <last round before the last failure>") and
// lease:<out_order_no> ("<token> <end in Unix milliseconds>").
func (k Keys) Hooks() string { return k.prefix + "hooks" }

// Hook is an order's ends that billing has not taken yet, oldest first, each
// "<entry ID> <fields of the event as a JSON array>" (list).
func (k Keys) Hook(no string) string { return k.prefix + "hook:" + no }

// HookDue is the index of the orders that have such ends by the time, in Unix
// milliseconds of Redis's clock, at which their delivery is looked at next
// (zset).
func (k Keys) HookDue() string { return k.prefix + "hookdue" }

// HookWaiting is the index of the same orders by the time of the oldest of those
// ends (zset).
func (k Keys) HookWaiting() string { return k.prefix + "hookwaiting" }

// Gate is the merchant's pace, shared by all workers (hash). Releases before 0.3
// kept in it what stops the merchant's calls too.
func (k Keys) Gate() string { return k.prefix + "gate" }

// Workers is what the merchant's worker processes report of themselves (hash):
// seen:<id> "<Unix milliseconds> <milliseconds to the next report> <1 for the last
// report>", and set:<id>, the settings that the process works by (JSON).
func (k Keys) Workers() string { return k.prefix + "workers" }

// Hold is what stops the calls of the merchant or of one of its services, and the
// failures in a row that may (hash).
func (k Keys) Hold() string { return k.prefix + "hold" }

// Sweep is when the next sweep may be made, and what the sweeps know of Redis's
// clock (hash).
func (k Keys) Sweep() string { return k.prefix + "sweep" }
