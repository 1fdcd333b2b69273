package tasks

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"unicode"
	"unicode/utf8"

	"payscore-collector/internal/ledger"
	"payscore-collector/internal/textsafe"
)

// MaxReason is the longest reason of a withdrawal, or of any other change, in characters.
const MaxReason = 200

// MaxBy is the longest name of who makes a change, in characters; the rest is cut off.
const MaxBy = 80

// ValidateReason checks why somebody changes something: it is 1 to MaxReason printable
// characters, without line breaks.
func ValidateReason(reason string) error {
	if strings.TrimSpace(reason) == "" {
		return &FieldError{"reason", "is missing; say why, for those who ask later"}
	}
	return validateText("reason", reason, MaxReason)
}

func validateText(field, text string, most int) error {
	switch n := utf8.RuneCountInString(text); {
	case n > most:
		return &FieldError{field, fmt.Sprintf("is %d characters long; at most %d are allowed", n, most)}
	case !utf8.ValidString(text):
		return &FieldError{field, "is not valid UTF-8"}
	}
	for i, r := range []rune(text) {
		if !unicode.IsGraphic(r) { // which has the wide space of Chinese texts, and no line breaks
			return &FieldError{field, fmt.Sprintf("has %q at position %d; only printable characters are allowed", r, i+1)}
		}
	}
	return nil
}

// program is who makes a change that does not say so: this very program.
var program = "go:" + filepath.Base(os.Args[0])

// deed returns what the ledger records of a change.
func deed(by, reason, token string) ledger.Deed {
	if by == "" {
		by = program
	}
	return ledger.Deed{By: textsafe.Clip(by, MaxBy), Reason: reason, Token: token}
}
