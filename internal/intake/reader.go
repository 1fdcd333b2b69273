package intake

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"
)

// The names of what a row holds: columns in CSV, members in JSONL.
const (
	colMchID      = "mchid"
	colOutOrderNo = "out_order_no"
	colAppID      = "appid"
	colServiceID  = "service_id"
	colAt         = "at"
	colAmount     = "amount"
	colOwedSince  = "owed_since"
)

// The names that Rejects adds. They are passed over when read, so that a
// mended file of rejects can be fed in as it is.
const (
	colLine   = "line"
	colReason = "reason"
	colRaw    = "raw"
)

func isOrderColumn(name string) bool {
	switch name {
	case colMchID, colOutOrderNo, colAppID, colServiceID, colAt, colAmount, colOwedSince:
		return true
	}
	return false
}

func isRejectsColumn(name string) bool {
	return name == colLine || name == colReason || name == colRaw
}

// Row is one row of a file.
type Row struct {
	Line int64 // where the row starts, from 1

	// What the row says, empty where it says nothing. The numbers and names are
	// not judged, except for what Excel leaves in them.
	MchID, OutOrderNo, AppID, ServiceID string
	At                                  time.Time
	Amount                              int64 // fen; 0 where the row has none
	OwedSince                           time.Time

	// Err is why the row cannot be an order; it goes on where "line N:" ends.
	// The fields above then hold what could be understood.
	Err error

	// The row for Rejects: the fields of a CSV row, or else its text.
	fields []string
	raw    string
}

// set gives the row one of the values an order is made of.
func (r *Row) set(name, value string) error {
	switch name {
	case colMchID, colOutOrderNo, colAppID, colServiceID:
		if err := excelTrace(value); err != nil {
			return fmt.Errorf("%s %w", name, err)
		}
	}
	switch name {
	case colMchID:
		r.MchID = value
	case colOutOrderNo:
		r.OutOrderNo = value
	case colAppID:
		r.AppID = value
	case colServiceID:
		r.ServiceID = value
	case colAt:
		return parseInto(&r.At, name, value, ParseTime)
	case colOwedSince:
		return parseInto(&r.OwedSince, name, value, ParseTime)
	case colAmount:
		return parseInto(&r.Amount, name, value, ParseAmount)
	}
	return nil
}

// parseInto sets target where there is a value. Its error begins with the name.
func parseInto[T any](target *T, name, value string, parse func(string) (T, error)) error {
	if value == "" {
		return nil
	}
	v, err := parse(value)
	if err != nil {
		return fmt.Errorf("%s %w", name, err)
	}
	*target = v
	return nil
}

// Reader reads the rows of one file. It is not for several goroutines at once.
type Reader struct {
	lines  *lines
	format Format
	csv    header // of a CSV file
	signs  signs
}

// NewReader begins to read a file, as far as a CSV file's header row. Without a
// format it is guessed: JSONL where the first thing in the file is a brace.
// The error is a FormatError, or one of reading.
func NewReader(r io.Reader, format Format) (*Reader, error) {
	in := &Reader{lines: newLines(r), format: format}
	if err := in.begin(); err != nil {
		return nil, err
	}
	first, err := in.lines.nextFilled()
	switch {
	case errors.Is(err, io.EOF) && format != JSONL:
		return nil, &FormatError{"is empty: no header row"}
	case errors.Is(err, io.EOF):
		return in, nil
	case err != nil:
		return nil, err
	}
	start := strings.TrimSpace(first.text)
	if format == "" {
		in.format = CSV
		if strings.HasPrefix(start, "{") || strings.HasPrefix(start, "[") {
			in.format = JSONL
		}
	}
	if in.format == JSONL {
		if strings.HasPrefix(start, "[") {
			return nil, &FormatError{`is a JSON array: one object a line is wanted, as "jq -c '.[]'" makes it`}
		}
		in.lines.putBack(first)
		return in, nil
	}
	// Excel writes such a line to tell itself which character separates columns.
	if sep, ok := strings.CutPrefix(strings.ToLower(start), "sep="); ok {
		if sep != "," {
			return nil, &FormatError{fmt.Sprintf("begins with the line %q: save it again with commas between the columns", shorten(start, 20))}
		}
		if first, err = in.lines.nextFilled(); errors.Is(err, io.EOF) {
			return nil, &FormatError{"has no header row behind its line sep=,"}
		} else if err != nil {
			return nil, err
		}
	}
	in.csv, err = in.readHeader(first)
	return in, err
}

const inUTF16 = `is in UTF-16: save it as "CSV UTF-8", or convert it by "iconv -f UTF-16 -t UTF-8"`

// marks are how files begin that are no text in UTF-8.
var marks = []struct{ bytes, problem string }{
	{"\xff\xfe", inUTF16},
	{"\xfe\xff", inUTF16},
	{"\x1f\x8b", `is compressed: feed it in by "zcat FILE | enqueue file -"`},
	{"PK\x03\x04", "is a ZIP archive or an Excel workbook: save the sheet as CSV UTF-8"},
}

const utf8BOM = "\xef\xbb\xbf"

// begin passes over a byte order mark.
func (in *Reader) begin() error {
	r := in.lines.r
	// Of a file that is shorter, Peek returns what there is.
	start, err := r.Peek(4)
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	// Of ASCII text, UTF-16 without a mark has every second byte 0.
	if len(start) == 4 && (start[0] == 0 && start[2] == 0 || start[1] == 0 && start[3] == 0) {
		return &FormatError{inUTF16}
	}
	for _, m := range marks {
		if strings.HasPrefix(string(start), m.bytes) {
			return &FormatError{m.problem}
		}
	}
	if strings.HasPrefix(string(start), utf8BOM) {
		n, err := r.Discard(len(utf8BOM))
		in.lines.offset += int64(n)
		return err
	}
	return nil
}

// Format returns the format, also where it was guessed.
func (in *Reader) Format() Format { return in.format }

// Offset returns how many bytes have been read so far.
func (in *Reader) Offset() int64 { return in.lines.offset }

// Has reports whether rows can have a value of that name: in CSV only where
// there is a column of it.
func (in *Reader) Has(name string) bool {
	if in.format == JSONL {
		return true
	}
	for _, column := range in.csv.columns {
		if column == name {
			return true
		}
	}
	return false
}

// Ignored returns the columns of a CSV file that mean nothing here.
func (in *Reader) Ignored() []string {
	var ignored []string
	for _, name := range in.csv.columns {
		if !isOrderColumn(name) && !isRejectsColumn(name) {
			ignored = append(ignored, name)
		}
	}
	return ignored
}

// Next returns the next row, or io.EOF, or the error of reading, after which
// there is nothing more. A row with something wrong is not an error but a Row
// with Err. Empty lines are passed over.
func (in *Reader) Next() (Row, error) {
	first, err := in.lines.nextFilled()
	if err != nil {
		return Row{}, err
	}
	if first.over {
		return badLine(first, errTooLong), nil
	}
	var row Row
	if in.format == JSONL {
		row = readObject(first)
	} else {
		row = in.readRecord(first)
	}
	in.signs.see(row, in.format, time.Now())
	return row, nil
}

// Warnings returns what the rows read so far have in common that the
// operator should know, a sentence each. Call it
// when Next has returned io.EOF.
func (in *Reader) Warnings() []string { return in.signs.warnings() }

var errTooLong = fmt.Errorf("is longer than %d KiB", MaxRow>>10)

// badLine is a row that could not even be taken apart.
func badLine(ln line, err error) Row {
	return Row{Line: ln.no, Err: err, raw: ln.text}
}

// checkText finds what no row may have in it, quoted or not.
func checkText(text string) error {
	if strings.IndexByte(text, 0) >= 0 {
		return errors.New("has a NUL byte in it")
	}
	switch {
	case utf8.ValidString(text):
		return nil
	case looksLikeGBK(text):
		return errGBK
	}
	return errors.New("is not valid UTF-8")
}
