package main

import (
	"fmt"
	"strings"
	"time"
	"unicode"

	"payscore-collector/internal/collect"
	"payscore-collector/internal/ledger"
	"payscore-collector/internal/payscore"
	"payscore-collector/tasks"
)

// stateWords say what a state means for the one who is owed money.
var stateWords = map[tasks.State]string{
	tasks.Queued:    "not tried yet",
	tasks.Awaiting:  "tried; the money is not in",
	tasks.Paid:      "the money is in",
	tasks.Closed:    "over at WeChat Pay without payment",
	tasks.Rejected:  "there is nothing to collect",
	tasks.Withdrawn: "stopped by billing",
	tasks.Exhausted: "given up; still owed",
}

// reasonWords explain the reasons that an end can have. A reason that is not
// here is a code of WeChat Pay's, or billing's own text.
var reasonWords = map[string]string{
	"REVOKED":                   "the merchant cancelled it",
	"EXPIRED":                   "the user never confirmed it",
	"not_confirmed":             "the user has not confirmed it",
	"not_completed":             "the merchant has not completed it",
	"nothing_owed":              "it is finished, and nothing was owed",
	"wrong_appid_or_service_id": "it exists under another appid or service_id",
	"ORDER_NOT_EXIST":           "WeChat Pay knows no such order",
	"PARAM_ERROR":               "WeChat Pay calls its data malformed",
	collect.ReasonGaveUp:        "GIVE_UP_AFTER is over",
}

// verdictWords say what a call came to.
var verdictWords = map[payscore.Verdict]string{
	payscore.Accepted:       "taken; that is no payment yet",
	payscore.InProgress:     "a deduction is running",
	payscore.Declined:       "declined: the deduction failed",
	payscore.Owed:           "still owed",
	payscore.Paid:           "paid",
	payscore.Closed:         "cancelled or expired",
	payscore.NotCollectable: "cannot be collected as it is",
	payscore.NotFound:       "no such order",
	payscore.BadRequest:     "malformed",
	payscore.Throttled:      "too fast; not the order's fault",
	payscore.MerchantFault:  "the merchant's set-up is refused; not the order's fault",
	payscore.Unavailable:    "WeChat Pay is in trouble",
	payscore.Unknown:        "no answer to rely on; it may have taken effect",
}

// planWords say what the next step does.
var planWords = map[ledger.Plan]string{
	ledger.Collect: "collect",
	ledger.Recheck: "query, and collect if it is still owed",
	ledger.Confirm: "query whether the money is in",
	ledger.Resolve: "query what the last call did",
	ledger.Inspect: "query why it was refused",
	ledger.Final:   "query for the last time",
}

// gateWords say why a merchant's calls are stopped.
var gateWords = map[string]string{
	string(ledger.GateFault): "WeChat Pay refuses the merchant's signature",
	string(ledger.GateDown):  "WeChat Pay does not answer properly",
}

// explained is a word with its explanation behind it, where there is one.
func explained[K ~string](word K, words map[K]string) string {
	if text := words[word]; text != "" {
		return string(word) + ": " + text
	}
	return printable(string(word))
}

// yuan writes fen as people write money. It takes every int64.
func yuan(fen int64) string {
	sign, u := "", uint64(fen)
	if fen < 0 {
		sign, u = "-", -u
	}
	return fmt.Sprintf("%s¥%d.%02d", sign, u/100, u%100)
}

// printable takes out of a word from outside whatever could move the cursor or
// recolour the terminal.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, s)
}

// clock writes times for people, as seen from now.
type clock struct {
	now  time.Time
	zone *time.Location
}

const (
	toSecond = "2006-01-02 15:04:05"
	toMilli  = "2006-01-02 15:04:05.000"
)

func (c clock) at(t time.Time) string { return t.In(c.zone).Format(toSecond) }

// withAge is the time and how long ago, or how far ahead, that is.
func (c clock) withAge(t time.Time) string { return c.at(t) + " (" + c.age(t) + ")" }

// age is in words, in the largest unit of which there are two, or at least one.
func (c clock) age(t time.Time) string {
	d := c.now.Sub(t)
	format := "%s ago"
	if d < 0 {
		d, format = -d, "in %s"
	}
	if d < time.Second {
		return "now"
	}
	return fmt.Sprintf(format, inWords(d))
}

func inWords(d time.Duration) string {
	const day = 24 * time.Hour
	for _, unit := range []struct {
		d    time.Duration
		name string
	}{{day, "day"}, {time.Hour, "hour"}, {time.Minute, "minute"}} {
		if d >= 2*unit.d {
			return fmt.Sprintf("%d %ss", d/unit.d, unit.name)
		}
	}
	if d >= 2*time.Second {
		return fmt.Sprintf("%d seconds", d/time.Second)
	}
	return "1 second"
}
