package main

import (
	"fmt"
	"strings"
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

// reasonWords explain the reasons that an end can have, and why WeChat Pay need
// not be told of a withdrawn order. A reason that is not here is a code of WeChat
// Pay's, for which there are codeWords.
var reasonWords = map[string]string{
	payscore.ReasonRevoked:      "the merchant cancelled it",
	payscore.ReasonExpired:      "the user never confirmed it",
	payscore.ReasonNotConfirmed: "the user has not confirmed it",
	payscore.ReasonNotCompleted: "the merchant has not completed it",
	payscore.ReasonNothingOwed:  "it is finished, and nothing was owed",
	payscore.ReasonWrongService: "it exists under another appid or service_id",
	collect.ReasonGaveUp:        "its time (GIVE_UP_AFTER) is over",
	collect.ReasonPaid:          "the user paid through WeChat Pay",
}

// planWords say what the next step does; syncPlanWords, what that of a withdrawn
// order does, of which WeChat Pay is to be told.
var (
	planWords = map[ledger.Plan]string{
		ledger.Collect:  "collect",
		ledger.Recheck:  "query, and collect if it is still owed",
		ledger.Confirm:  "query whether the money is in",
		ledger.Resolve:  "query what the last call did",
		ledger.Inspect:  "query why it was refused",
		ledger.Final:    "query for the last time",
		ledger.TellPaid: "tell WeChat Pay that the user paid elsewhere",
	}
	syncPlanWords = map[ledger.Plan]string{
		ledger.Recheck: "query, and tell WeChat Pay if it is still owed there",
		ledger.Confirm: "query whether WeChat Pay knows",
	}
)

// syncWords say how far WeChat Pay has been told of a withdrawn order.
var syncWords = map[ledger.SyncState]string{
	ledger.SyncPending: "WeChat Pay is to be told that the user paid elsewhere",
	ledger.SyncDone:    "WeChat Pay knows that the user paid elsewhere, and deducts no more",
	ledger.SyncFailed:  "WeChat Pay could not be told, and may go on deducting",
	ledger.SyncNoNeed:  "WeChat Pay need not be told",
}

// gateWords say why a merchant's calls are stopped.
var gateWords = map[string]string{
	string(ledger.GateFault):     "WeChat Pay refuses the merchant's signature",
	string(ledger.GateDown):      "WeChat Pay does not answer properly",
	string(ledger.GateThrottled): "WeChat Pay throttles every call",
}

// reasonText is why an order ended, with its explanation. That of a withdrawn one is
// billing's own words.
func reasonText(state tasks.State, why string) string {
	switch {
	case why == "":
		return ""
	case state == tasks.Withdrawn:
		return `"` + printable(why) + `"`
	}
	return explainedReason(why)
}

func explainedReason(why string) string {
	if reasonWords[why] == "" && codeWords[why] != "" {
		return explained(why, codeWords)
	}
	return explained(why, reasonWords)
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
// recolour the terminal. The wide space of Chinese texts stays.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsGraphic(r) {
			return '?'
		}
		return r
	}, s)
}
