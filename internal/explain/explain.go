// Package explain puts what the ledger knows into words for people: states, causes,
// alarms, the story of an order, and why nothing is collected. Its functions are pure:
// they read no clock, no Redis and no environment. The command outcomes and the demo
// show the same words, so that a sentence is written once.
package explain

import (
	"fmt"
	"strings"
	"time"

	"github.com/rivo/uniseg"

	"payscore-collector/internal/textsafe"
)

// Teller tells facts in one language, as they are seen at one moment from one time
// zone. The zero language is English. It is safe for concurrent use.
type Teller struct {
	Now  time.Time
	Zone *time.Location
	Lang Language
}

// Language is the language of a Teller's words.
type Language string

// English is the language of a Teller that names none.
const English Language = ""

// phrases has the words of every language. A further language is one more file like
// english.go.
var phrases = map[Language]*phrasebook{English: &english}

func (t Teller) phrases() *phrasebook {
	if p := phrases[t.Lang]; p != nil {
		return p
	}
	return &english
}

// Yuan writes fen as people write money. It takes every int64.
func Yuan(fen int64) string {
	sign, u := "", uint64(fen)
	if fen < 0 {
		sign, u = "-", -u
	}
	return fmt.Sprintf("%s¥%d.%02d", sign, u/100, u%100)
}

// YuanOf is Yuan of an amount that may be unknown, for which it is empty.
func YuanOf(fen *int64) string {
	if fen == nil {
		return ""
	}
	return Yuan(*fen)
}

// Printable replaces in a text from outside whatever could move the cursor or recolour
// the terminal. The wide space of Chinese texts stays.
func Printable(s string) string { return textsafe.Clean(s) }

// Width is how many columns of a terminal a text takes. Chinese characters take two,
// which counting runes gets wrong.
func Width(s string) int { return uniseg.StringWidth(s) }

// Fit cuts a text to so many columns.
func Fit(s string, columns int) string {
	if Width(s) <= columns {
		return s
	}
	var b strings.Builder
	taken := 1 // the ellipsis
	for g := uniseg.NewGraphemes(s); g.Next(); {
		if taken += g.Width(); taken > columns {
			break
		}
		b.WriteString(g.Str())
	}
	return b.String() + "…"
}

// explained is a word with its explanation behind it, where there is one.
func explained[K ~string](word K, words map[K]string) string {
	if text := words[word]; text != "" {
		return string(word) + ": " + text
	}
	return Printable(string(word))
}
