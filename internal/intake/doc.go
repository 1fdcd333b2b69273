// Package intake reads orders out of billing's files, row by row, and writes
// the rows that were refused so that they can be mended and fed in again.
//
// Files come from exports and hands, so one bad row must cost no other row,
// and no row may vanish without a word: whatever cannot be read is a Row with
// its line number and an error, and reading goes on at the next line. Memory
// is bounded whatever the file holds: a row may have 64 KiB, and what is
// longer is passed over without being kept.
package intake

// Format is how a file holds its rows.
type Format string

// The formats.
const (
	// CSV has a header row that names out_order_no and any of mchid, appid,
	// service_id, at, amount and owed_since, in any order. Other columns are let
	// through. Spaces around values are dropped.
	CSV Format = "csv"
	// JSONL has one JSON object a line, with the same names, all strings;
	// amount may also be a number.
	JSONL Format = "jsonl"
)

// Limits of one row.
const (
	// MaxRow is how long a row may be, in bytes.
	MaxRow = 64 << 10
	// MaxRowLines is how many lines a CSV row may span by line breaks within
	// quotes. The limit is what ends a quote that was never closed.
	MaxRowLines = 100
	// MaxShown is how much is kept of a row that is too long, in bytes.
	MaxShown = 1 << 10
)

// FormatError is a file as a whole that cannot be read for orders, with a
// sentence that says why and what would do. The sentence goes on where the
// file's name ends.
type FormatError struct{ Problem string }

func (e *FormatError) Error() string { return e.Problem }
