// Package textsafe decides what may appear in a log, an error or on a terminal.
//
// It cleans words that come from outside this program, so that they cannot control a
// terminal, forge a line or reorder text: WeChat Pay and any proxy on the way,
// billing's receiver, Redis and PostgreSQL all send such words, most of them unsigned.
// It also recognises what may be a secret.
package textsafe

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// Replacement stands for every character that is removed.
const Replacement = '?'

// Clean returns s as one line of graphic characters. Line ends, tabs and line separators
// become blanks. Control characters of both sets, including escape, invisible and
// bidirectional characters, and bytes that are not UTF-8 become Replacement. The wide
// space of Chinese texts stays.
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

// isClean reports whether s is printable ASCII, as most texts are.
func isClean(s string) bool {
	for i := range len(s) {
		if s[i] < 0x20 || s[i] > 0x7e {
			return false
		}
	}
	return true
}

// Clip returns the cleaned s, cut to at most most runes, with an ellipsis after a cut.
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
