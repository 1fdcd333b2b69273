package explain

import (
	"strconv"
	"strings"

	"payscore-collector/internal/ledger"
	"payscore-collector/internal/payscore"
)

// messageColumns is how much of a message has a place in a line.
const messageColumns = 60

// Cause is what a call came to, and why.
func (t Teller) Cause(e ledger.Entry) string {
	p, verdict := t.phrases(), payscore.Verdict(e.Verdict)
	words := p.calls[payscore.Call(e.Call)][verdict]
	if words == "" {
		words = p.verdicts[verdict]
	}
	if words == "" {
		words = e.Verdict
	}
	known := false
	// Behind a 5xx or a broken answer, whatever a code says decides nothing.
	if verdict != payscore.Unavailable && verdict != payscore.Unknown {
		if text := p.code(e.Code, e.DetailCode); text != "" {
			words, known = text, true
		}
	}
	if e.Message != "" && !known && p.codes[e.Code] == "" {
		words += ": " + Fit(e.Message, messageColumns)
	}
	return Printable(words)
}

// code explains a code, by the detail code where that is known.
func (p *phrasebook) code(code, detail string) string {
	if text := p.details[detail]; text != "" {
		return text
	}
	return p.codes[code]
}

// ErrorCause is Cause for an error of which no more is known than its codes.
func (t Teller) ErrorCause(e ledger.LastError) string {
	p := t.phrases()
	words := p.code(e.Code, e.DetailCode)
	if e.HTTPStatus >= 500 {
		words = p.calls[payscore.CallQuery][payscore.Unavailable]
	}
	if words == "" {
		words = Fit(e.Message, messageColumns)
	}
	return Printable(words)
}

// LastError is an order's newest call that failed: why, and in WeChat Pay's own words.
// It is empty where none failed.
func (t Teller) LastError(o ledger.Order) string {
	e := o.LastError
	if e == nil {
		return ""
	}
	words := t.ErrorCause(*e)
	for _, call := range o.Log {
		if call.Failed {
			words = t.Cause(call)
		}
	}
	said := ""
	if e.Code != "" {
		said = CodesText(e.HTTPStatus, e.Code, e.DetailCode)
		if e.Message != "" {
			said += ` "` + e.Message + `"`
		}
		said = " (" + Printable(said) + ")"
	}
	return words + said
}

// CodesText is an HTTP status, WeChat Pay's code and the detail code, as far as they
// are there.
func CodesText(status int, code, detail string) string {
	var parts []string
	if status != 0 {
		parts = append(parts, strconv.Itoa(status))
	}
	for _, s := range []string{code, detail} {
		if s != "" {
			parts = append(parts, s)
		}
	}
	return strings.Join(parts, " ")
}
