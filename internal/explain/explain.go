// Package explain puts what the ledger knows into words for people: states, causes,
// alarms, the story of an order, and why nothing is collected. Its functions are pure:
// they read no clock, no Redis and no environment. Every sentence stands beside its
// translation, at the only place that says it.
package explain

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"github.com/rivo/uniseg"

	"payscore-collector/internal/textsafe"
)

// Teller tells facts in one language, as they are seen at one moment from one time
// zone. It is safe for concurrent use.
type Teller struct {
	Now  time.Time
	Zone *time.Location
	Lang Language
}

// Language is the language of a Teller's words.
type Language string

// The languages. Any other one, such as an empty one, is English.
const (
	English Language = "en"
	Chinese Language = "zh"
)

// text is a word, or a format of fmt's, in every language. Formats that need another
// order of their arguments number them (%[2]s).
type text struct{ en, zh string }

func (t Teller) word(w text) string {
	if t.Lang == Chinese {
		return w.zh
	}
	return w.en
}

// say is fmt.Sprintf in the teller's language.
func (t Teller) say(en, zh string, args ...any) string {
	if t.Lang == Chinese {
		return fmt.Sprintf(zh, args...)
	}
	return fmt.Sprintf(en, args...)
}

// also joins what is said with a semicolon; empty texts are left out.
func (t Teller) also(texts ...string) string {
	var said []string
	for _, s := range texts {
		if s != "" {
			said = append(said, s)
		}
	}
	return strings.Join(said, t.say("; ", "；"))
}

// explained is a word that programs know, with its explanation.
func (t Teller) explained(word, explanation string) string {
	if explanation == "" {
		return Printable(word)
	}
	return t.say("%s: %s", "%s：%s", word, explanation)
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

// OrDash is s, or a dash for an empty one.
func OrDash(s string) string { return cmp.Or(s, "-") }

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
