package ledger

// No key and no name of a field can be renamed: records that one release wrote are
// read by the next one, and by the one before where an upgrade is undone.

// MerchantsKey is a set of every mchid that has a ledger. It is the only key
// outside a merchant's hash tag, and only a directory: it is written again by
// every producer and every worker.
const MerchantsKey = "payscore:merchants"

// BulksKey is a set of the bulk actions that are not done, "<mchid> <id>" for each
// merchant's part. It is outside every hash tag as well: a part is entered after it was
// written, and taken out after it is done.
const BulksKey = "payscore:bulks"

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
// Redis's clock, at which the sweep takes them next (zset).
func (k Keys) Due() string { return k.prefix + "due" }

// Ended is the index of the orders that ended in a state, by the time of
// their end in Unix milliseconds (zset).
func (k Keys) Ended(state State) string { return k.prefix + "ended:" + string(state) }

// Outcomes is what happened to orders, in order (stream).
func (k Keys) Outcomes() string { return k.prefix + "outcomes" }

// Stats counts orders by state, and the fen that came in (hash).
func (k Keys) Stats() string { return k.prefix + "stats" }

// Hooks is what is known of the webhooks to billing (hash): cursor, the position
// in the stream up to which they have taken events; round, the last one given to a
// task; and of each order in trouble or under way try:<out_order_no>
// ("<failures in a row> <last round before the last failure>"), failure:<out_order_no>
// ("<Unix milliseconds> <HTTP status, or 0> <words>") and lease:<out_order_no>
// ("<token> <end in Unix milliseconds>").
func (k Keys) Hooks() string { return k.prefix + "hooks" }

// Hook is an order's events that billing has not accepted yet, oldest first, each
// "<entry ID> <fields of the event as a JSON array>" (list).
func (k Keys) Hook(no string) string { return k.prefix + "hook:" + no }

// HookDue is the index of the orders that have such events by the time, in Unix
// milliseconds of Redis's clock, at which their delivery is tried next (zset).
func (k Keys) HookDue() string { return k.prefix + "hookdue" }

// HookWaiting is the index of the same orders by the time of their oldest event (zset).
func (k Keys) HookWaiting() string { return k.prefix + "hookwaiting" }

// Words are texts that compact records name by a number: owners, reasons, messages
// (hash): "=<text>" has the number, and the number the text. They are never removed.
func (k Keys) Words() string { return k.prefix + "words" }

// Whole is the index of the finished orders that could not be kept compact in their turn,
// by the time, in Unix milliseconds, at which they come again (zset).
func (k Keys) Whole() string { return k.prefix + "whole" }

// Gate is the merchant's rate, shared by all workers (hash). Releases before 0.3 also
// kept the holds in it.
func (k Keys) Gate() string { return k.prefix + "gate" }

// Workers is what the merchant's worker processes report of themselves (hash):
// seen:<id> "<Unix milliseconds> <milliseconds to the next report> <1 for the last
// report>", and set:<id>, the settings that the process works by (JSON).
func (k Keys) Workers() string { return k.prefix + "workers" }

// Hold is what stops the calls of the merchant or of one of its services, and the
// failures in a row that may; and the pause of its collect calls (hash).
func (k Keys) Hold() string { return k.prefix + "hold" }

// Paused is the index of the orders that a pause of the merchant has put off, by when it
// did, in Unix milliseconds (zset).
func (k Keys) Paused() string { return k.prefix + "paused" }

// Audit is what people have changed, orders and what concerns no single order, in order
// (stream). Each entry has at (Unix milliseconds), by, action, no, reason, detail and the
// deed's token.
func (k Keys) Audit() string { return k.prefix + "audit" }

// Bulk is the merchant's part of a bulk action (hash): action, filter (a Query as JSON),
// paidat, by, reason, created; stage, which is a BulkStage; place, how far it has counted;
// matched, total, done, duplicate and refused; lease and round, see bulkjob.lua; finished.
func (k Keys) Bulk(id string) string { return k.prefix + "bulk:" + id }

// BulkTodo has the orders that a bulk action has still to act on (set).
func (k Keys) BulkTodo(id string) string { return k.prefix + "bulk:" + id + ":todo" }

// Acks is what people have acknowledged, by what an operator must look at (hash): a Matter
// has the names of the fields, and acknowledge.lua the form of the values.
func (k Keys) Acks() string { return k.prefix + "acks" }

// Sweep is when the next sweep may be made, what the sweeps know of Redis's clock, and
// how far they have kept finished orders compact (hash).
func (k Keys) Sweep() string { return k.prefix + "sweep" }

// Recovery counts what came in of finished orders, by the day on which billing enqueued them
// first (hash): see recovery.lua. fill is how far the orders that ended before an upgrade are
// counted, and trim the day on which old days were removed last.
func (k Keys) Recovery() string { return k.prefix + "recovery" }

// Books is the index of the days whose books were closed, by the time at which the day
// began in Unix milliseconds (zset).
func (k Keys) Books() string { return k.prefix + "books" }

// BookDate is a day of Asia/Shanghai as 2006-01-02.
type BookDate string

// Book is what came of comparing a day with WeChat Pay's bill (hash): result (JSON), and
// at, when that was, in Unix milliseconds.
func (k Keys) Book(date BookDate) string { return k.prefix + "books:" + string(date) }

// Bookkeeping is what workers know of the books together (hash): turn ("<token> <Unix
// milliseconds>"), whose turn to close them it is; since, the first day that workers close;
// last ("<date> <JSON>"), the newest closed day and its exceptions by kind; again:<date>,
// when a day is tried again; ask:<out_order_no>, orders to query, and since when.
func (k Keys) Bookkeeping() string { return k.prefix + "bookkeeping" }
