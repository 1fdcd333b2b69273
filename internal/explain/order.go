package explain

import (
	"fmt"
	"time"

	"payscore-collector/internal/ledger"
	"payscore-collector/tasks"
)

// Alarms are what an operator must not overlook about an order.
func (t Teller) Alarms(o ledger.Order) []string {
	p := t.phrases()
	var list []string
	if !o.LatePaymentAt.IsZero() {
		came := p.aPayment
		if o.PaidAmount != nil {
			came = Yuan(*o.PaidAmount)
		}
		list = append(list, fmt.Sprintf(p.alarmLate, came, t.WithAge(o.LatePaymentAt), o.State))
	}
	if d := o.AmountDiffers; d != nil {
		list = append(list, fmt.Sprintf(p.alarmDiffers, Printable(d.Field), Yuan(d.Known), t.WithAge(d.At), Yuan(d.Said)))
	}
	if o.Sync != nil && o.Sync.State == ledger.SyncFailed {
		list = append(list, p.alarmSync)
	}
	return list
}

// StateWords says what a state means for the merchant who is owed money.
func (t Teller) StateWords(s tasks.State) string { return t.phrases().states[s] }

// State is an order's state and what it means.
func (t Teller) State(o ledger.Order) string {
	p := t.phrases()
	payScore, elsewhere := ways(o)
	switch {
	case o.State == tasks.Paid && payScore && elsewhere:
		return p.paidBoth
	case o.State == tasks.Paid && elsewhere:
		return p.paidElsewhere
	case o.State == tasks.Queued && collectLeftOpen(o):
		return p.queuedBegun
	case o.State == tasks.Queued && len(o.Past) > 0:
		return p.queuedAgain
	case StillOwed(o) != "":
		return string(o.State) + ": " + p.paidInPart
	}
	return explained(o.State, p.states)
}

// Reason is why an order ended, with its explanation. That of a withdrawn one is
// billing's own words.
func (t Teller) Reason(state tasks.State, why string) string {
	switch {
	case why == "":
		return ""
	case state == tasks.Withdrawn:
		return `"` + Printable(why) + `"`
	}
	return t.phrases().reason(why)
}

func (p *phrasebook) reason(why string) string {
	if p.reasons[why] == "" && p.codes[why] != "" {
		return explained(why, p.codes)
	}
	return explained(why, p.reasons)
}

// Sync says how far WeChat Pay has been told of a withdrawal. It is empty where there
// is nothing to tell.
func (t Teller) Sync(o ledger.Order) string {
	p, s := t.phrases(), o.Sync
	switch {
	case s == nil && o.State == tasks.Withdrawn && o.LatePaymentAt.IsZero():
		return p.syncNone
	case s == nil:
		return ""
	}
	text := explained(s.State, p.syncs)
	switch {
	case s.State == ledger.SyncFailed && s.Reason == "PARAM_ERROR":
		// The order is known: it is all else that the call carries.
		text += "; " + p.syncTime
	case s.Reason != "":
		text += "; " + p.reason(s.Reason)
	}
	if !s.PaidAt.IsZero() {
		text += "; " + fmt.Sprintf(p.syncPaidAt, t.WithAge(s.PaidAt))
	}
	return text
}

// Webhook says that billing's receiver has not taken an order's ends; empty where it
// has, or they are on their way.
func (t Teller) Webhook(w ledger.HookWait) string {
	if w.Ends == 0 || w.Failures == 0 && t.Now.Sub(w.Since) < hooksLate {
		return ""
	}
	return fmt.Sprintf(t.phrases().webhook, w.Ends, t.WithAge(w.Since), w.Failures, t.Age(w.Next))
}

// StillOwed is what is left of an order that was paid in part; empty for any other.
func StillOwed(o ledger.Order) string {
	owed := o.State.Open() || o.State == tasks.Exhausted
	if !owed || o.TotalAmount == nil || o.PaidAmount == nil || *o.PaidAmount <= 0 || *o.PaidAmount >= *o.TotalAmount {
		return ""
	}
	return Yuan(*o.TotalAmount - *o.PaidAmount)
}

// Calls counts an order's calls.
func (t Teller) Calls(o ledger.Order) string {
	p := t.phrases()
	text := fmt.Sprintf(p.callCounts, o.CollectCalls, o.QueryCalls)
	if o.Sync != nil {
		text += fmt.Sprintf(p.syncCount, o.Sync.Calls)
	}
	return text + "; " + fmt.Sprintf(p.attempts, o.Attempts)
}

// Working reports whether there is something left to do for an order.
func Working(o ledger.Order) bool {
	return o.State.Open() || o.Sync != nil && o.Sync.State == ledger.SyncPending
}

// overdue is how long after its due time a worker should have taken an order up.
const overdue = time.Minute

// Next says what comes next, when, and why not sooner; causes are those of WhyOrder.
func (t Teller) Next(s Situation, o ledger.Order, causes []Cause) string {
	if o.NextDueAt.IsZero() {
		return ""
	}
	p := t.phrases()
	words := p.plans[o.Next]
	if o.Sync != nil && p.syncPlans[o.Next] != "" {
		words = p.syncPlans[o.Next]
	}
	text := t.Due(o.NextDueAt) + ": " + words
	switch {
	case o.NextDueAt.After(t.Now):
		text += "; " + fmt.Sprintf(p.notSooner, t.whyThen(s, o))
	case len(causes) == 0 && t.Now.Sub(o.NextDueAt) > overdue:
		text += "; " + p.overdue
	}
	return text
}

// HeldBack says for each cause, but for the order's own due time, why the order is not
// worked on.
func (t Teller) HeldBack(causes []Cause) []string {
	var list []string
	for _, c := range causes {
		if !c.own {
			list = append(list, c.Words)
		}
	}
	return list
}

// Nothing is a cause in a sentence of its own: where it stops a merchant's collection,
// that nothing is collected.
func (t Teller) Nothing(c Cause) string {
	if c.Stops {
		return fmt.Sprintf(t.phrases().nothingCollected, c.Words)
	}
	return c.Words
}
