package explain

import (
	"strconv"
	"strings"

	"payscore-collector/internal/ledger"
	"payscore-collector/internal/payscore"
)

// messageColumns is how much of a message fits into a line.
const messageColumns = 60

// Cause is what a call came to, and why.
func (t Teller) Cause(e ledger.Entry) string {
	verdict := payscore.Verdict(e.Verdict)
	words := t.verdict(verdict, payscore.Call(e.Call))
	if words == "" {
		words = e.Verdict
	}
	explained := ""
	// Behind a 5xx or a broken answer, a code decides nothing.
	if verdict != payscore.Unavailable && verdict != payscore.Unknown {
		explained = t.code(e.Code, e.DetailCode)
	}
	switch {
	case explained != "":
		words = explained
	case e.Message != "" && t.code(e.Code, "") == "":
		words = t.say("%s: %s", "%s：%s", words, Fit(e.Message, messageColumns))
	}
	return Printable(words)
}

func (t Teller) verdict(v payscore.Verdict, call payscore.Call) string {
	words, ok := verdicts[v][call]
	if !ok {
		words = verdicts[v][anyCall]
	}
	return t.word(words)
}

// code explains a code, by the detail code where that is known.
func (t Teller) code(code, detail string) string {
	if words, ok := codes[detail]; ok {
		return t.word(words)
	}
	return t.word(codes[code])
}

// ErrorCause is Cause for an error of which only the codes are known.
func (t Teller) ErrorCause(e ledger.LastError) string {
	words := t.code(e.Code, e.DetailCode)
	if e.HTTPStatus >= 500 {
		words = t.verdict(payscore.Unavailable, payscore.CallQuery)
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
	if e.Code == "" {
		return words
	}
	said := CodesText(e.HTTPStatus, e.Code, e.DetailCode)
	if e.Message != "" {
		said += ` "` + e.Message + `"`
	}
	return words + " (" + Printable(said) + ")"
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
