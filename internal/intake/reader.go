package intake

import (
	"errors"
	"fmt"
	"io"
	"slices"
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
	colSchedule   = "schedule"
)

// The names that Rejects adds. A Reader ignores them, so that a corrected file of
// rejects can be read as it is.
const (
	colLine   = "line"
	colReason = "reason"
	colRaw    = "raw"
)

var (
	orderColumns   = []string{colMchID, colOutOrderNo, colAppID, colServiceID, colAt, colAmount, colOwedSince, colSchedule}
	rejectsColumns = []string{colLine, colReason, colRaw}
)

func isOrderColumn(name string) bool   { return slices.Contains(orderColumns, name) }
func isRejectsColumn(name string) bool { return slices.Contains(rejectsColumns, name) }

// Row is one row of a file. The zero Row stands for an order that comes from no file.
type Row struct {
	Line int64 // where the row starts, from 1

	// What the row says, empty where it says nothing. Numbers and names are checked
	// only for what Excel leaves in them.
	MchID, OutOrderNo, AppID, ServiceID string
	At                                  time.Time
	Amount                              int64 // fen; 0 where the row has none
	OwedSince                           time.Time
	Schedule                            string

	// Err is why the row cannot be an order; it continues where "line N:" ends. The
	// fields above then hold what could be understood.
	Err error

	// The row for Rejects: the fields of a CSV row, or else its text.
	fields []string
	raw    string
}

// set gives the row one of an order's values. The error begins with the name.
func (r *Row) set(name, value string) error {
	var target *string
	var err error
	switch name {
	case colMchID:
		target = &r.MchID
	case colOutOrderNo:
		target = &r.OutOrderNo
	case colAppID:
		target = &r.AppID
	case colServiceID:
		target = &r.ServiceID
	case colSchedule:
		target = &r.Schedule
	case colAt:
		r.At, err = parsed(value, ParseTime)
	case colOwedSince:
		r.OwedSince, err = parsed(value, ParseTime)
	case colAmount:
		r.Amount, err = parsed(value, ParseAmount)
	}
	if target != nil {
		if err = excelTrace(value); err == nil {
			*target = value
		}
	}
	if err != nil {
		return fmt.Errorf("%s %w", name, err)
	}
	return nil
}

// parsed is the zero value where the row has none.
func parsed[T any](value string, parse func(string) (T, error)) (T, error) {
	if value == "" {
		var zero T
		return zero, nil
	}
	return parse(value)
}

// Reader reads the rows of one file. It is not safe for concurrent use.
type Reader struct {
	lines   *lines
	format  Format
	columns []string // of a CSV file
	signs   signs
}

// NewReader starts to read a file, including a CSV file's header row. Without a format
// it is guessed: JSONL where the file begins with a brace. The error is a FormatError,
// or one of reading.
func NewReader(r io.Reader, format Format) (*Reader, error) {
	in := &Reader{lines: newLines(r), format: format}
	if err := in.skipMark(); err != nil {
		return nil, err
	}
	first, err := in.lines.nextFilled()
	switch {
	case errors.Is(err, io.EOF) && format != JSONL:
		return nil, &FormatError{"is empty: no header row; " + nameColumns}
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
	if err := in.readHeader(first); err != nil {
		return nil, err
	}
	return in, nil
}

const inUTF16 = `is in UTF-16: save it as "CSV UTF-8", or convert it by "iconv -f UTF-16 -t UTF-8"`

// marks are the beginnings of files that are no text in UTF-8.
var marks = []struct{ bytes, problem string }{
	{"\xff\xfe", inUTF16},
	{"\xfe\xff", inUTF16},
	{"\x1f\x8b", `is compressed: feed it in by "zcat FILE | enqueue file -"`},
	{"PK\x03\x04", "is a ZIP archive or an Excel workbook: save the sheet as CSV UTF-8"},
}

// skipMark skips the byte order mark of UTF-8, and refuses those of other encodings.
func (in *Reader) skipMark() error {
	const utf8BOM = "\xef\xbb\xbf"
	r := in.lines.r
	// Of a shorter file, Peek returns what there is.
	start, err := r.Peek(4)
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	// In UTF-16 without a mark, every second byte of ASCII text is 0.
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

// Offset returns how many bytes have been read so far.
func (in *Reader) Offset() int64 { return in.lines.offset }

// Has reports whether rows can have a value of that name: in CSV only where there is a
// column of it.
func (in *Reader) Has(name string) bool {
	return in.format == JSONL || slices.Contains(in.columns, name)
}

// Ignored returns the columns of a CSV file that have no meaning here.
func (in *Reader) Ignored() []string {
	var ignored []string
	for _, name := range in.columns {
		if !isOrderColumn(name) && !isRejectsColumn(name) {
			ignored = append(ignored, name)
		}
	}
	return ignored
}

// Next returns the next row, or io.EOF, or the error of reading, which ends the file. A
// row that is wrong is not an error but a Row with Err. Blank lines are skipped.
func (in *Reader) Next() (Row, error) {
	first, err := in.lines.nextFilled()
	if err != nil {
		return Row{}, err
	}
	if first.over {
		return badLine(first, errTooLong), nil
	}
	read := in.readRecord
	if in.format == JSONL {
		read = func(ln line) Row { return readObject(ln, in.signs.ignoredName) }
	}
	row := read(first)
	in.signs.see(row, in.format, time.Now())
	return row, nil
}

// Warnings returns what the rows have in common that the operator should know, a
// sentence each. Call it when Next has returned io.EOF.
func (in *Reader) Warnings() []string { return in.signs.warnings() }

var errTooLong = fmt.Errorf("is longer than %d KiB", MaxRow>>10)

// badLine is a row that could not even be split.
func badLine(ln line, err error) Row {
	return Row{Line: ln.no, Err: err, raw: ln.text}
}

// checkText finds what no row may contain, quoted or not.
func checkText(text string) error {
	switch {
	case strings.IndexByte(text, 0) >= 0:
		return errors.New("has a NUL byte in it")
	case utf8.ValidString(text):
		return nil
	case looksLikeGBK(text):
		return errGBK
	}
	return errors.New("is not valid UTF-8")
}
