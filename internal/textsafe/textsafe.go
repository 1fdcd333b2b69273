// Package textsafe decides what may be said, in a log, an error or on a terminal.
//
// It cleans words that come from outside this program, so that they cannot control
// a terminal, forge a line or reorder what is read: WeChat Pay and any proxy on the
// way, billing's receiver, Redis and PostgreSQL all send such words, most of them
// unsigned. And it tells what may be a secret from what may be repeated.
package textsafe

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// Replacement stands for every character that is taken out.
const Replacement = '?'

// Clean returns s as one line of graphic characters. Line ends, tabs and line
// separators become blanks; control characters of both sets, escape among them,
// invisible and bidirectional ones, and what is not UTF-8 become Replacement. The
// wide space of Chinese texts stays.
func Clean(s string) string {
	if isClean(s) {
		return s
	}
	// A byte that is not UTF-8 arrives as utf8.RuneError with its own width.
	var b strings.Builder
	b.Grow(len(s))
	for i, width := 0, 0; i < len(s); i += width {
		var r rune
		r, width = utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError && width == 1:
			b.WriteRune(Replacement)
		case r == '\u2028', r == '\u2029', r == '\u0085', r == '\n', r == '\r', r == '\t', r == '\v', r == '\f':
			b.WriteByte(' ')
		case unicode.IsGraphic(r):
			b.WriteRune(r)
		default:
			b.WriteRune(Replacement)
		}
	}
	return b.String()
}

// isClean tells the usual text, printable ASCII, without looking at runes.
func isClean(s string) bool {
	for i := range len(s) {
		if s[i] < 0x20 || s[i] > 0x7e {
			return false
		}
	}
	return true
}

// Clip returns the cleaned s, cut to most runes with an ellipsis behind them.
func Clip(s string, most int) string {
	s = Clean(s)
	n := 0
	for i := range s {
		if n == most {
			return s[:i] + "…"
		}
		n++
	}
	return s
}
