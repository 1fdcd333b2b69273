package explain

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"payscore-collector/internal/ledger"
	"payscore-collector/internal/payscore"
	"payscore-collector/tasks"
)

// Moment is one line of an order's story.
type Moment struct {
	At        time.Time
	What      string // a call, or what happened
	Words     string // what came of it
	Codes     string // of a call: HTTP status, code and detail code, or a dash
	RequestID string // of a call, or a dash
}

// Story is what is known of an order's past, oldest first: its calls and notifications
// as far as the log reaches, when it was opened, and how it ended, each time.
func (t Teller) Story(o ledger.Order) []Moment {
	p := t.phrases()
	list := []Moment{{At: o.OpenedAt, What: p.whatOpened, Words: p.opened}}
	if gone := callsGone(o); gone > 0 {
		list = append(list, Moment{At: o.Log[0].At, What: "…", Words: fmt.Sprintf(p.callsGone, gone)})
	}
	for _, e := range o.Log {
		list = append(list, Moment{e.At, Printable(e.Call), t.Cause(e), OrDash(Printable(CodesText(e.HTTPStatus, e.Code, e.DetailCode))), OrDash(Printable(e.RequestID))})
	}
	for _, past := range o.Past {
		if !past.EndedAt.IsZero() {
			list = append(list, Moment{At: past.EndedAt, What: p.whatEnded, Words: t.ending(past.State, past.Reason)})
		}
		list = append(list, Moment{At: past.ReopenedAt, What: p.whatReopened, Words: p.reopened})
	}
	if !o.EndedAt.IsZero() {
		words := t.ending(o.State, o.Reason)
		if o.State == tasks.Paid {
			words = t.State(o)
		}
		list = append(list, Moment{At: o.EndedAt, What: p.whatEnded, Words: words})
	}
	if d := o.AmountDiffers; d != nil {
		list = append(list, Moment{At: d.At, What: p.whatDiffers, Words: fmt.Sprintf(p.differs, Printable(d.Field), Yuan(d.Known), Yuan(d.Said))})
	}
	if l := o.TotalLowered; l != nil {
		list = append(list, Moment{At: l.At, What: p.whatLowered, Words: fmt.Sprintf(p.lowered, Yuan(l.From), Yuan(l.To))})
	}
	if !o.LatePaymentAt.IsZero() {
		list = append(list, Moment{At: o.LatePaymentAt, What: p.whatLate, Words: strings.TrimSpace(p.late + " " + YuanOf(o.PaidAmount))})
	}
	// What was written at one moment stays as it is: a call, and the end that it
	// brought.
	slices.SortStableFunc(list, func(a, b Moment) int { return a.At.Compare(b.At) })
	return list
}

// Unfinished is the call that was begun and of which no reply is known, as the end of
// a story; empty where there is none.
func (t Teller) Unfinished(o ledger.Order) (what, words string) {
	if !collectLeftOpen(o) {
		return "", ""
	}
	return string(payscore.CallCollect), t.phrases().begun
}

// collectLeftOpen reports whether a collect was begun that the log does not have:
// it is under way, or its worker died in it. Where the log has lost entries, or
// its newest collect is what has to be looked at, nothing can be told.
func collectLeftOpen(o ledger.Order) bool {
	if o.Next != ledger.Resolve || len(o.Log) >= ledger.LogEntries {
		return false
	}
	var logged int64
	verdict := ""
	for _, e := range o.Log {
		if e.Call == string(payscore.CallCollect) {
			logged++
			verdict = e.Verdict
		}
	}
	return o.CollectCalls > logged && verdict != string(payscore.Unknown)
}

// ending is how an order ended, in few words.
func (t Teller) ending(state tasks.State, why string) string {
	if why = t.Reason(state, why); why == "" {
		return explained(state, t.phrases().states)
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
		if e.Call == string(payscore.CallCollect) || e.Call == string(payscore.CallQuery) {
			made--
		}
	}
	return made
}

// OrDash is s, or a dash for an empty one.
func OrDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
