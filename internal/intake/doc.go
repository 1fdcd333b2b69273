// Package intake is the way in for orders: it reads them out of billing's files, row
// by row, fills in defaults, submits them to the ledger, and writes the rows that were
// refused so that they can be corrected and submitted again.
//
// Files come from exports and are edited by hand, so one bad row must cost no other
// row, and no row may vanish silently: what cannot be read is a Row with its line
// number and an error, and reading continues at the next line. Memory is bounded
// whatever the file holds: a row may have 64 KiB, and a longer one is skipped without
// being kept.
package intake

// Format is how a file holds its rows.
type Format string

// The formats.
const (
	// CSV has a header row that names out_order_no and any of mchid, appid,
	// service_id, at, amount, owed_since and schedule, in any order. Other columns are ignored.
	// Spaces around values are dropped.
	CSV Format = "csv"
	// JSONL has one JSON object a line, with the same names, all strings;
	// amount may also be a number.
	JSONL Format = "jsonl"
)

// Limits of one row.
const (
	// MaxRow is how long a row may be, in bytes.
	MaxRow = 64 << 10
	// MaxRowLines is how many lines a CSV row may span by line breaks within quotes.
	// The limit ends a quote that is never closed.
	MaxRowLines = 100
	// MaxShown is how much is kept of a row that is too long, in bytes.
	MaxShown = 1 << 10
)

// FormatError is the error of a file that as a whole cannot be read for orders. Its
// sentence says why and what would be accepted, and continues where the file's name
// ends.
type FormatError struct{ Problem string }

func (e *FormatError) Error() string { return e.Problem }
