package main

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"payscore-collector/internal/ledger"
	"payscore-collector/tasks"
)

// moment is one line of an order's story.
type moment struct {
	at        time.Time
	what      string
	words     string
	codes     string
	requestID string
}

// tellStory writes what happened to an order, a line each, oldest first.
func tellStory(w io.Writer, c clock, o ledger.Order) error {
	var g grid
	g.add("WHEN ("+c.zoneName()+")", "", "WHAT", "WHAT CAME OF IT", "CODES", "REQUEST-ID")
	for _, m := range story(o) {
		g.add(c.at(m.at), c.age(m.at), m.what, m.words, m.codes, m.requestID)
	}
	return g.write(w)
}

// story is what is known of an order's past: its calls and notifications as far
// as the log reaches, when it was opened, and how it ended, each time.
func story(o ledger.Order) []moment {
	list := []moment{{at: o.OpenedAt, what: "opened", words: "handed over by billing"}}
	if gone := callsGone(o); gone > 0 {
		list = append(list, moment{at: o.Log[0].At, what: "…", words: fmt.Sprintf("%d calls before this have left the log", gone)})
	}
	for _, e := range o.Log {
		list = append(list, moment{e.At, printable(e.Call), cause(e), orDash(printable(codesText(e.HTTPStatus, e.Code, e.DetailCode))), orDash(printable(e.RequestID))})
	}
	for _, p := range o.Past {
		if !p.EndedAt.IsZero() {
			list = append(list, moment{at: p.EndedAt, what: "ended", words: ending(p.State, p.Reason)})
		}
		list = append(list, moment{at: p.ReopenedAt, what: "reopened", words: "opened again by billing"})
	}
	if !o.EndedAt.IsZero() {
		words := ending(o.State, o.Reason)
		if o.State == tasks.Paid {
			words = stateText(o)
		}
		list = append(list, moment{at: o.EndedAt, what: "ended", words: words})
	}
	if d := o.AmountDiffers; d != nil {
		list = append(list, moment{at: d.At, what: "AMOUNTS DIFFER", words: fmt.Sprintf("%s was %s, now %s", printable(d.Field), yuan(d.Known), yuan(d.Said))})
	}
	if !o.LatePaymentAt.IsZero() {
		list = append(list, moment{at: o.LatePaymentAt, what: "PAID AFTER END", words: strings.TrimSpace("paid all the same " + yuanText(o.PaidAmount))})
	}
	// What was written at one moment stays as it is: a call, and the end that it
	// brought.
	slices.SortStableFunc(list, func(a, b moment) int { return a.at.Compare(b.at) })
	return list
}

// ending is how an order ended, in few words.
func ending(state tasks.State, why string) string {
	if why = reasonText(state, why); why == "" {
		return explained(state, stateWords)
	}
	return string(state) + ": " + why
}

// callsGone is how many calls the log of an order has lost, being full. A call
// that is under way is counted, and not in the log yet.
func callsGone(o ledger.Order) int64 {
	if len(o.Log) < ledger.LogEntries {
		return 0
	}
	made := o.CollectCalls + o.QueryCalls
	for _, e := range o.Log {
		if e.Call == "collect" || e.Call == "query" {
			made--
		}
	}
	return made
}

// codesText is the status, WeChat Pay's code and the finer one.
func codesText(status int, code, detail string) string {
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
