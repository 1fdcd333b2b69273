package logging

import (
	"bytes"
	"io"

	"payscore-collector/internal/textsafe"
)

// oneLine writes each log line as one line without control characters, whatever
// words from outside are in it. zerolog escapes the characters below the blank,
// but passes the second set of control characters and the bidirectional ones on,
// and its console format writes messages as they are.
type oneLine struct{ w io.Writer }

// Write takes one line, with its line end.
func (o oneLine) Write(line []byte) (int, error) {
	if isPlain(line) {
		return o.w.Write(line)
	}
	text, end := bytes.CutSuffix(line, []byte("\n"))
	clean := []byte(textsafe.Clean(string(text)))
	if end {
		clean = append(clean, '\n')
	}
	if _, err := o.w.Write(clean); err != nil {
		return 0, err
	}
	return len(line), nil
}

// isPlain tells the usual line: printable ASCII and one line end, at the end.
func isPlain(line []byte) bool {
	for i, b := range line {
		if (b < 0x20 || b > 0x7e) && !(b == '\n' && i == len(line)-1) {
			return false
		}
	}
	return true
}
