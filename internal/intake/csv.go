package intake

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// header is the first row of a CSV file.
type header struct{ columns []string }

func (in *Reader) readHeader(first line) (header, error) {
	if first.over {
		return header{}, &FormatError{fmt.Sprintf("has no header row: its first line %v", errTooLong)}
	}
	if err := checkText(first.text); errors.Is(err, errGBK) {
		return header{}, &FormatError{"is not in UTF-8, but probably in GBK: " + toUTF8}
	} else if err != nil {
		return header{}, &FormatError{fmt.Sprintf("cannot be read: its header row %v", err)}
	}
	if strings.ContainsRune(first.text, '\r') {
		return header{}, &FormatError{"has lines that end in CR alone: save it with LF or CRLF"}
	}
	row, err := in.split(first, header{})
	if err != nil {
		return header{}, &FormatError{fmt.Sprintf("cannot be read: its header row %v", err)}
	}
	for i := range row {
		row[i] = strings.TrimSpace(row[i])
	}
	for i, name := range row {
		if isOrderColumn(name) && slices.Contains(row[:i], name) {
			return header{}, &FormatError{fmt.Sprintf("has the column %s twice: leave one of them", name)}
		}
	}
	if !slices.Contains(row, colOutOrderNo) {
		hint := ""
		for sep, name := range map[string]string{";": "semicolons", "\t": "tabs"} {
			if strings.Contains(first.text, sep) {
				hint = "; its columns are separated by " + name + ": save it again with commas"
			}
		}
		return header{}, &FormatError{fmt.Sprintf("has no column %s: its header row has %s%s", colOutOrderNo, quoteAll(row), hint)}
	}
	return header{columns: row}, nil
}

// quoteAll lists names for people, not endlessly.
func quoteAll(names []string) string {
	const most = 30
	var b strings.Builder
	for i, name := range names {
		if i > 0 {
			b.WriteString(", ")
		}
		if i == most {
			fmt.Fprintf(&b, "and %d more", len(names)-most)
			break
		}
		fmt.Fprintf(&b, "%q", shorten(name, 60))
	}
	return b.String()
}

// readRecord reads the row that begins with a line.
//
// Where a row with line breaks in it proves wrong, only its first line is
// given up, and reading goes on at its second: a quote that somebody forgot to
// close must not take the orders behind it along.
func (in *Reader) readRecord(first line) Row {
	fields, err := in.split(first, in.csv)
	if err != nil {
		return badLine(first, err)
	}
	row := Row{Line: first.no, fields: fields}
	for i, name := range in.csv.columns {
		if err := row.set(name, fromText(strings.TrimSpace(fields[i]))); err != nil {
			row.Err = err
		}
	}
	return row
}

// fromText takes off what keeps a spreadsheet from reading a value as a number, as
// "outcomes list --csv --excel" writes it: ="0012" is 0012.
func fromText(s string) string {
	if text, ok := strings.CutPrefix(s, `="`); ok {
		if text, ok = strings.CutSuffix(text, `"`); ok {
			return text
		}
	}
	return s
}

// split takes apart the row that begins with a line, reading more lines where
// it has line breaks within quotes. With an error, it has put back all lines
// but the first. A header without columns allows any number of fields.
func (in *Reader) split(first line, h header) ([]string, error) {
	var s splitter
	var more []line
	give := func(err error) ([]string, error) {
		in.lines.putBack(more...)
		return nil, err
	}
	size := 0
	for ln := first; ; {
		size += len(ln.text) + 1
		if err := checkText(ln.text); err != nil && len(more) == 0 {
			return give(err)
		} else if err != nil || ln.over || size > MaxRow+1 || len(more) == MaxRowLines {
			return give(s.unclosed(h))
		}
		open, err := s.feed(ln.text)
		switch {
		case err != nil && len(more) > 0:
			return give(s.unclosed(h))
		case err != nil:
			return give(err)
		case !open && len(h.columns) > 0 && len(s.fields) != len(h.columns):
			return give(fmt.Errorf("has %d fields where the header row has %d", len(s.fields), len(h.columns)))
		case !open:
			return s.fields, nil
		// No value of ours has a line break in it, so it need not be sought
		// where such a quote ends.
		case len(s.fields) < len(h.columns) && isOrderColumn(h.columns[len(s.fields)]):
			return give(s.unclosed(h))
		}
		ln, err = in.lines.next()
		if err != nil {
			return give(s.unclosed(h)) // the error comes again, after the lines put back
		}
		more = append(more, ln)
	}
}

// splitter takes one row apart, line by line. It is more lenient than
// encoding/csv about quotes within an unquoted field, which exports of free
// text are full of, and as strict about all else.
type splitter struct {
	fields []string
	quoted strings.Builder // the quoted field that the last line left open
	open   bool
	first  int // the field, from 0, that the first line left open
}

// feed takes the next line of the row, and reports whether a quoted field goes
// on beyond it.
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
				s.fields = append(s.fields, strings.TrimSpace(field))
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

// unclosed is the error of a row whose first line leaves a quote open that
// leads nowhere.
func (s *splitter) unclosed(h header) error {
	where := fmt.Sprintf("field %d", s.first+1)
	if s.first < len(h.columns) {
		where = "column " + h.columns[s.first]
	}
	return fmt.Errorf("has a quote in %s that is not closed", where)
}
