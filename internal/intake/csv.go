package intake

import (
	"encoding/csv"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// readHeader reads the first row of a CSV file.
func (in *Reader) readHeader(first line) error {
	if first.over {
		return &FormatError{fmt.Sprintf("has no header row: its first line %v", errTooLong)}
	}
	if strings.ContainsRune(first.text, '\r') {
		return &FormatError{"has lines that end in CR alone: save it with LF or CRLF"}
	}
	row, err := in.split(first)
	switch {
	case errors.Is(err, errGBK):
		return &FormatError{"is not in UTF-8, but probably in GBK: " + toUTF8}
	case err != nil:
		return &FormatError{fmt.Sprintf("cannot be read: its header row %v", err)}
	}
	for i := range row {
		row[i] = strings.TrimSpace(row[i])
		if isOrderColumn(row[i]) && slices.Contains(row[:i], row[i]) {
			return &FormatError{fmt.Sprintf("has the column %s twice: leave one of them", row[i])}
		}
	}
	if !slices.Contains(row, colOutOrderNo) {
		hint := ""
		for sep, name := range map[string]string{";": "semicolons", "\t": "tabs"} {
			if strings.Contains(first.text, sep) {
				hint = "; its columns are separated by " + name + ": save it again with commas"
			}
		}
		return &FormatError{fmt.Sprintf("has no column %s: its header row is %q%s", colOutOrderNo, shorten(strings.Join(row, ","), 300), hint)}
	}
	in.columns = row
	return nil
}

// readRecord reads the row that begins with a line.
func (in *Reader) readRecord(first line) Row {
	fields, err := in.split(first)
	if err == nil && len(fields) != len(in.columns) {
		err = fmt.Errorf("has %d fields where the header row has %d", len(fields), len(in.columns))
	}
	if err != nil {
		return badLine(first, err)
	}
	row := Row{Line: first.no, fields: fields}
	for i, name := range in.columns {
		if err := row.set(name, fromText(strings.TrimSpace(fields[i]))); err != nil {
			row.Err = err
		}
	}
	return row
}

// fromText removes what keeps a spreadsheet from reading a value as a number, as
// "outcomes list --csv --excel" writes it: ="0012" is 0012.
func fromText(s string) string {
	if text, ok := strings.CutPrefix(s, `="`); ok {
		if text, ok = strings.CutSuffix(text, `"`); ok {
			return text
		}
	}
	return s
}

// split returns the fields of the row that begins with a line, and reads more lines
// while a quote is open. Where the quote leads nowhere, only the first line is a bad
// row, and the others are put back: one forgotten quote must not take the orders
// behind it along.
func (in *Reader) split(first line) ([]string, error) {
	if err := checkText(first.text); err != nil {
		return nil, err
	}
	fields, open := in.splitter.fields(first.text)
	if open == "" {
		return fields, nil
	}
	fields = fields[:len(fields)-1]
	where, ours := fmt.Sprintf("field %d", len(fields)+1), false
	columns := in.columns
	if len(fields) < len(columns) {
		where, ours = "column "+columns[len(fields)], isOrderColumn(columns[len(fields)])
	}
	var more []line
	size := len(first.text)
	for !ours && len(more) < MaxRowLines { // no value of an order has a line break in it
		ln, err := in.lines.next()
		if err != nil {
			break // next returns it again, after the lines put back
		}
		more = append(more, ln)
		open += "\n" + ln.text
		if size += 1 + len(ln.text); ln.over || size > MaxRow || checkText(ln.text) != nil {
			break
		}
		if !strings.Contains(ln.text, `"`) {
			continue
		}
		r := csv.NewReader(strings.NewReader(open))
		r.TrimLeadingSpace = true
		rest, err := r.Read()
		if _, still := new(splitter).fields(open); err != nil && still != "" {
			continue
		}
		if err != nil || len(columns) > 0 && len(fields)+len(rest) != len(columns) {
			break // the quote that closed it is another row's
		}
		return append(fields, rest...), nil
	}
	in.lines.putBack(more...)
	return nil, fmt.Errorf("has a quote in %s that is not closed, or closed before the field's end", where)
}

// splitter splits the text of rows. A csv.Reader of its own for each row would cost
// more than the splitting.
type splitter struct {
	text strings.Reader
	csv  *csv.Reader
}

// fields splits the text of a row. Where the last field is a quote that the text does
// not close, open is the text from that quote on. Quotes within an unquoted field are
// part of it: exports of free text are full of them.
func (s *splitter) fields(text string) (fields []string, open string) {
	if !strings.Contains(text, `"`) { // as in most rows
		return strings.Split(text, ","), ""
	}
	if s.csv == nil {
		s.csv = csv.NewReader(&s.text)
		s.csv.LazyQuotes, s.csv.TrimLeadingSpace, s.csv.FieldsPerRecord = true, true, -1
	}
	// What no row may contain, in a line of its own behind the text, ends up in the
	// last field exactly where that is open.
	const behind = "\n\x00"
	s.text.Reset(text + behind)
	fields, err := s.csv.Read()
	if err != nil { // not with LazyQuotes
		return nil, text
	}
	last := len(fields) - 1
	if strings.HasSuffix(fields[last], behind) {
		_, column := s.csv.FieldPos(last)
		return fields, text[column-1:]
	}
	_, _ = s.csv.Read() // the line behind the text
	return fields, ""
}
