package intake

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"
)

// member is one name and value of an object.
type member struct {
	name  string
	value string // as it is written
}

// ReadObject reads the row that is one JSON object, as on a line of JSONL.
func ReadObject(text string) Row {
	if len(text) > MaxRow {
		return badLine(line{text: shorten(text, MaxShown), over: true}, errTooLong)
	}
	return readObject(line{text: text}, func(string) {})
}

// readObject reads the row on a line of JSONL. It passes the names that mean nothing
// here to ignored.
func readObject(ln line, ignored func(name string)) Row {
	if err := checkText(ln.text); err != nil {
		return badLine(ln, err)
	}
	members, err := objectMembers(ln.text)
	if err != nil {
		return badLine(ln, err)
	}
	row := Row{Line: ln.no, raw: ln.text}
	for i, m := range members {
		if !isOrderColumn(m.name) {
			ignored(m.name)
			continue
		}
		if slices.ContainsFunc(members[:i], func(before member) bool { return before.name == m.name }) {
			row.Err = fmt.Errorf("has %s twice", m.name)
			return row
		}
		value, err := stringValue(m)
		if err == nil {
			err = row.set(m.name, value)
		}
		if err != nil && row.Err == nil {
			row.Err = err
		}
	}
	return row
}

// stringValue is "" for null, as for a member that is not there.
func stringValue(m member) (string, error) {
	switch c := m.value[0]; {
	case c == '"' && !strings.Contains(m.value, `\`):
		return m.value[1 : len(m.value)-1], nil
	case c == '"':
		var s string
		err := json.Unmarshal([]byte(m.value), &s)
		return s, err
	case m.name == colAmount && (c == '-' || c >= '0' && c <= '9'):
		return m.value, nil
	case c == '-' || c >= '0' && c <= '9':
		return "", fmt.Errorf("%s is a number; write it in quotes, because numbers lose leading zeros", m.name)
	case c == 'n':
		return "", nil
	default:
		return "", fmt.Errorf("%s is not a string; write it in quotes", m.name)
	}
}

// objectMembers returns the members in the order of the text, which decoding
// into a map would lose, and with it what was written twice.
func objectMembers(text string) ([]member, error) {
	if members, ok := flatMembers(text); ok {
		return members, nil
	}
	return decodedMembers(text)
}

// decodedMembers is objectMembers for any text, and says what is wrong with it.
func decodedMembers(text string) ([]member, error) {
	dec := json.NewDecoder(strings.NewReader(text))
	open, err := dec.Token()
	if err != nil {
		return nil, notJSON(err)
	}
	if open != json.Delim('{') {
		return nil, errors.New("is not a JSON object")
	}
	var members []member
	for dec.More() {
		name, err := dec.Token()
		if err != nil {
			return nil, notJSON(err)
		}
		var value json.RawMessage
		if err := dec.Decode(&value); err != nil {
			return nil, notJSON(err)
		}
		members = append(members, member{name.(string), string(value)}) // a name is all the decoder takes there
	}
	if _, err := dec.Token(); err != nil {
		return nil, notJSON(err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("has more behind its JSON object")
	}
	return members, nil
}

// flatMembers is objectMembers for an object as billing systems write it, without nesting
// and escapes. Of any other text it returns false. A decoder for each row would take most
// of the time of a million rows.
func flatMembers(text string) ([]member, bool) {
	rest, found := strings.CutPrefix(trimSpace(text), "{")
	if !found {
		return nil, false
	}
	members := make([]member, 0, 4)
	for more := true; more; {
		var m member
		var name string
		if name, rest, found = cutString(trimSpace(rest)); !found {
			return nil, false
		}
		m.name = name[1 : len(name)-1]
		if rest, found = strings.CutPrefix(trimSpace(rest), ":"); !found {
			return nil, false
		}
		rest = trimSpace(rest)
		if m.value, rest, found = cutString(rest); !found {
			end := strings.IndexAny(rest, ",} \t\r\n")
			if end <= 0 || !json.Valid([]byte(rest[:end])) {
				return nil, false
			}
			m.value, rest = rest[:end], rest[end:]
		}
		members = append(members, m)
		rest, more = strings.CutPrefix(trimSpace(rest), ",")
	}
	return members, trimSpace(rest) == "}"
}

// trimSpace removes what JSON calls white space from the beginning.
func trimSpace(s string) string { return strings.TrimLeft(s, " \t\r\n") }

// cutString cuts a string of JSON without escapes off the beginning of s.
func cutString(s string) (text, rest string, found bool) {
	if s == "" || s[0] != '"' {
		return "", s, false
	}
	for i := 1; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"':
			return s[:i+1], s[i+1:], true
		case c == '\\' || c < ' ' || c >= utf8.RuneSelf:
			return "", s, false
		}
	}
	return "", s, false
}

func notJSON(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errors.New("is not a whole JSON object: it ends too early")
	}
	return fmt.Errorf("is not a JSON object: %w", err)
}
