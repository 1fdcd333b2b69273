package main

import (
	"payscore-collector/internal/ledger"
	"payscore-collector/internal/payscore"
)

// verdictWords say what a call came to, where no code says it better.
var verdictWords = map[payscore.Verdict]string{
	payscore.Accepted:       "taken; that is no payment yet",
	payscore.InProgress:     "a deduction is running",
	payscore.Declined:       "the deduction failed",
	payscore.Owed:           "still owed",
	payscore.Paid:           "paid",
	payscore.Closed:         "cancelled by the merchant, or never confirmed",
	payscore.NotCollectable: "cannot be collected as it is",
	payscore.NotFound:       "WeChat Pay knows no such order",
	payscore.BadRequest:     "the order's data are malformed",
	payscore.Throttled:      "too fast; not the order's fault",
	payscore.MerchantFault:  "the merchant's set-up is refused; not the order's fault",
	payscore.Unavailable:    "WeChat Pay is in trouble; it may have taken effect",
	payscore.Unknown:        "no answer to rely on; it may have taken effect",
}

// callWords are for the verdicts that mean something else after other calls than
// a collect.
var callWords = map[payscore.Call]map[payscore.Verdict]string{
	payscore.CallQuery: {
		payscore.InProgress:  "changing, or paid in part",
		payscore.Unavailable: "WeChat Pay is in trouble",
		payscore.Unknown:     "no answer to rely on",
	},
	payscore.CallSync: {
		payscore.Accepted: "taken; a query is to show that it is known",
	},
	payscore.CallNotification: {
		payscore.Paid:       "WeChat Pay reports that all is paid",
		payscore.Owed:       "WeChat Pay reports a payment in part",
		payscore.InProgress: "WeChat Pay reports a payment in part",
	},
}

// detailWords explain the finer codes, codeWords the codes.
var (
	detailWords = map[string]string{
		"271316574": "the deduction failed: balance, card or risk control",
		"271316657": "refused: it does not wait for payment",
		"271316754": "a deduction is running",
		"271302262": "refused: its state does not allow it",
		"271302332": "refused: still to be confirmed or completed",
		"271302333": "refused: it is cancelled",
		"271317510": "WeChat Pay knows no such order",
		"268435472": "too fast; not the order's fault",
		"268503786": "no permission for this appid and service_id; not the order's fault",
		"270924332": "the signature is refused; not the order's fault",
		"271302144": "the mchid is not known; not the order's fault",
		"271302149": "mchid and appid are not bound together; not the order's fault",
		"268435464": "a parameter is out of range",
	}
	codeWords = map[string]string{
		"PARAM_ERROR":         "the order's data are malformed",
		"INVALID_REQUEST":     "refused: against one of WeChat Pay's rules",
		"INVALID_ORDER_STATE": "refused: its state does not allow it",
		"ORDER_DONE":          "refused: it is finished, says an error",
		"ORDER_CANCELED":      "refused: it is cancelled, says an error",
		"SIGN_ERROR":          "the signature is refused: key, serial number or clock; not the order's fault",
		"NO_AUTH":             "mchid, appid and service_id are not bound together, or PayScore is not open; not the order's fault",
		"TRADE_ERROR":         "the deduction failed: balance, card or risk control",
		"ORDER_NOT_EXIST":     "WeChat Pay knows no such order",
		"FREQUENCY_LIMITED":   "too fast; not the order's fault",
		"RATELIMIT_EXCEEDED":  "too fast; not the order's fault",
		"SYSTEM_ERROR":        "WeChat Pay is in trouble; it may have taken effect",
	}
)

// messageColumns is how much of a message has a place in a line.
const messageColumns = 60

// cause is what a call came to, and why, in plain words.
func cause(e ledger.Entry) string {
	verdict := payscore.Verdict(e.Verdict)
	words := callWords[payscore.Call(e.Call)][verdict]
	if words == "" {
		words = verdictWords[verdict]
	}
	if words == "" {
		words = e.Verdict
	}
	known := false
	// Behind a 5xx or a broken answer, whatever a code says decides nothing.
	if verdict != payscore.Unavailable && verdict != payscore.Unknown {
		if text := codeCause(e.Code, e.DetailCode); text != "" {
			words, known = text, true
		}
	}
	if e.Message != "" && !known && codeWords[e.Code] == "" {
		words += ": " + fit(e.Message, messageColumns)
	}
	return printable(words)
}

// codeCause explains a code, by the finer one where that is known.
func codeCause(code, detail string) string {
	if text := detailWords[detail]; text != "" {
		return text
	}
	return codeWords[code]
}

// errorCause is cause for an error of which no more is known than its codes.
func errorCause(e ledger.LastError) string {
	words := codeCause(e.Code, e.DetailCode)
	if e.HTTPStatus >= 500 {
		words = callWords[payscore.CallQuery][payscore.Unavailable]
	}
	if words == "" {
		words = fit(e.Message, messageColumns)
	}
	return printable(words)
}
