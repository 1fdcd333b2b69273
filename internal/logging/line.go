package logging

import (
	"bytes"
	"io"

	"payscore-collector/internal/textsafe"
)

// oneLine writes each log line as one line without control characters, even if
// it contains words from outside. zerolog escapes the characters below the space, but
// not the second set of control characters and the bidirectional ones, and its console
// format writes messages unchanged.
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

// isPlain reports whether a line is printable ASCII with one line end, as most are.
func isPlain(line []byte) bool {
	for i, b := range line {
		if (b < 0x20 || b > 0x7e) && !(b == '\n' && i == len(line)-1) {
			return false
		}
	}
	return true
}
