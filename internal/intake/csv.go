package intake

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// nameColumns is the remedy where a header row is missing or names no order number.
const nameColumns = `begin the file with a row of column names, such as "out_order_no,at"`

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
		hint := "; " + nameColumns
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
// while a quote is open. Where the row is wrong, only its first line is a bad row, and
// the others are put back: one forgotten quote must not take the orders behind it
// along. A header, before there are columns, may have any number of fields.
func (in *Reader) split(first line) ([]string, error) {
	var s splitter
	var more []line
	bad := func(err error) ([]string, error) {
		in.lines.putBack(more...)
		return nil, err
	}
	columns, size := in.columns, 0
	for ln := first; ; {
		size += len(ln.text) + 1
		if err := checkText(ln.text); err != nil && len(more) == 0 {
			return bad(err)
		} else if err != nil || ln.over || size > MaxRow+1 || len(more) == MaxRowLines {
			return bad(s.unclosed(columns))
		}
		open, err := s.feed(ln.text)
		switch {
		case err != nil && len(more) > 0:
			return bad(s.unclosed(columns))
		case err != nil:
			return bad(err)
		case !open && len(more) > 0 && len(columns) > 0 && len(s.fields) != len(columns):
			return bad(s.unclosed(columns)) // the quote that closed it is another row's
		case !open && len(columns) > 0 && len(s.fields) != len(columns):
			return bad(fmt.Errorf("has %d fields where the header row has %d", len(s.fields), len(columns)))
		case !open:
			return s.fields, nil
		case len(s.fields) < len(columns) && isOrderColumn(columns[len(s.fields)]):
			return bad(s.unclosed(columns)) // no value of an order has a line break in it
		}
		ln, err = in.lines.next()
		if err != nil {
			return bad(s.unclosed(columns)) // next returns it again, after the lines put back
		}
		more = append(more, ln)
	}
}

// splitter splits one row, line by line. encoding/csv does not fit: it refuses quotes
// within an unquoted field and blanks behind a closing quote, of which exports are
// full, or, with LazyQuotes, takes the comma behind such a quote for text; and a quote
// that is never closed costs it the rest of the file.
type splitter struct {
	fields []string
	quoted strings.Builder // the quoted field that the last line left open
	open   bool
	first  int // the field, from 0, that the first line left open
}

// feed takes the next line of the row, and reports whether a quoted field continues
// behind it.
func (s *splitter) feed(text string) (open bool, err error) {
	continued := s.open
	if continued {
		s.quoted.WriteByte('\n')
	}
	for {
		if !s.open {
			start := strings.TrimLeft(text, " \t")
			if !strings.HasPrefix(start, `"`) {
				field, rest, more := strings.Cut(text, ",")
				s.fields = append(s.fields, field)
				if !more {
					return false, nil
				}
				text = rest
				continue
			}
			s.open = true
			text = start[1:]
		}
		part, rest, closed := strings.Cut(text, `"`)
		s.quoted.WriteString(part)
		if !closed {
			if !continued {
				s.first = len(s.fields)
			}
			return true, nil
		}
		if strings.HasPrefix(rest, `"`) {
			s.quoted.WriteByte('"')
			text = rest[1:]
			continue
		}
		s.open = false
		s.fields = append(s.fields, s.quoted.String())
		s.quoted.Reset()
		rest = strings.TrimLeft(rest, " \t")
		if rest == "" {
			return false, nil
		}
		if rest[0] != ',' {
			return false, errors.New("has more behind the closing quote of a field; a quote within quotes is written twice")
		}
		text = rest[1:]
	}
}

// unclosed is the error of a row whose first line opens a quote that leads nowhere.
func (s *splitter) unclosed(columns []string) error {
	where := fmt.Sprintf("field %d", s.first+1)
	if s.first < len(columns) {
		where = "column " + columns[s.first]
	}
	return fmt.Errorf("has a quote in %s that is not closed", where)
}
