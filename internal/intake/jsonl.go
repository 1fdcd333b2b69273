package intake

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
)

// member is one name and value of an object.
type member struct {
	name  string
	value json.RawMessage
}

// ReadObject reads the row that is one JSON object, as on a line of JSONL.
func ReadObject(text string) Row {
	if len(text) > MaxRow {
		return badLine(line{text: shorten(text, MaxShown), over: true}, errTooLong)
	}
	return readObject(line{text: text})
}

// readObject reads the row on a line of JSONL.
func readObject(ln line) Row {
	if err := checkText(ln.text); err != nil {
		return badLine(ln, err)
	}
	members, err := objectMembers(ln.text)
	if err != nil {
		return badLine(ln, err)
	}
	row := Row{Line: ln.no, raw: ln.text}
	seen := map[string]bool{}
	for _, m := range members {
		if !isOrderColumn(m.name) {
			continue
		}
		if seen[m.name] {
			row.Err = fmt.Errorf("has %s twice", m.name)
			return row
		}
		seen[m.name] = true
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
	case c == '"':
		var s string
		err := json.Unmarshal(m.value, &s)
		return s, err
	case m.name == colAmount && (c == '-' || c >= '0' && c <= '9'):
		return string(m.value), nil
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
		m := member{name: name.(string)} // a name is all the decoder takes there
		if err := dec.Decode(&m.value); err != nil {
			return nil, notJSON(err)
		}
		members = append(members, m)
	}
	if _, err := dec.Token(); err != nil {
		return nil, notJSON(err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("has more behind its JSON object")
	}
	return members, nil
}

func notJSON(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errors.New("is not a whole JSON object: it ends too early")
	}
	return fmt.Errorf("is not a JSON object: %w", err)
}
