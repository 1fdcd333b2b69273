package main

import (
	"fmt"
	"io"
	"time"

	"payscore-collector/internal/ledger"
	"payscore-collector/tasks"
)

// tell writes an order for people: what somebody must see to, what is known of
// it, then its story.
func tell(w io.Writer, c clock, o ledger.Order, gate ledger.GateStatus) error {
	for _, text := range alarms(c, o) {
		if _, err := fmt.Fprintf(w, "!! %s\n\n", text); err != nil {
			return err
		}
	}
	var g grid
	field := func(name, value string) {
		if value != "" {
			g.add(name, value)
		}
	}
	field("order", o.OutOrderNo)
	field("merchant", o.MchID)
	field("appid", o.AppID)
	field("service", o.ServiceID)
	field("state", stateText(o))
	field("reason", reasonText(o.State, o.Reason))
	field("sync", syncText(c, o))
	field("total", yuanText(o.TotalAmount))
	field("paid", yuanText(o.PaidAmount))
	field("still owed", stillOwed(o))
	field("paid by", paidBy(o))
	field("transaction", printable(o.TransactionID))
	field("order_id", printable(o.OrderID))
	field("calls", callsText(o))
	field("opened", c.withAge(o.OpenedAt))
	if !o.LastAttemptAt.IsZero() {
		field("last call", c.withAge(o.LastAttemptAt))
	}
	held := heldBack(c, o, gate)
	field("next", nextText(c, o, held != ""))
	if !o.EndedAt.IsZero() {
		field("ended", c.withAge(o.EndedAt))
	}
	field("held back", held)
	if e := o.LastError; e != nil && o.State != tasks.Paid {
		field("last error", lastErrorText(o))
		if e.RequestID != "" {
			field("for support", "give WeChat Pay's support this Request-ID: "+printable(e.RequestID))
		}
	}
	g.add() // an empty line
	if err := g.write(w); err != nil {
		return err
	}
	return tellStory(w, c, o)
}

// alarms are what nobody may overlook.
func alarms(c clock, o ledger.Order) []string {
	var list []string
	if !o.LatePaymentAt.IsZero() {
		came := "a payment"
		if o.PaidAmount != nil {
			came = yuan(*o.PaidAmount)
		}
		list = append(list, fmt.Sprintf("PAID AFTER ITS END: %s came in, as was learnt on %s, of an order that had ended as %s. Billing must decide what becomes of the money.",
			came, c.withAge(o.LatePaymentAt), o.State))
	}
	if d := o.AmountDiffers; d != nil {
		list = append(list, fmt.Sprintf("AMOUNTS DIFFER: %s was %s, and on %s a payment said %s. Ask WeChat Pay's support which is right.",
			printable(d.Field), yuan(d.Known), c.withAge(d.At), yuan(d.Said)))
	}
	if o.Sync != nil && o.Sync.State == ledger.SyncFailed {
		list = append(list, "WECHAT PAY COULD NOT BE TOLD that the user paid elsewhere, and may deduct once more. See to the reason, and withdraw the order again with --paid-at, or tell it on the merchant platform.")
	}
	return list
}

func stateText(o ledger.Order) string {
	switch {
	case o.State == tasks.Paid && o.PaidType == "MCH":
		return "paid: elsewhere, as the merchant told WeChat Pay"
	case stillOwed(o) != "":
		return string(o.State) + ": a part of the money is in"
	}
	return explained(o.State, stateWords)
}

// syncText says how far WeChat Pay knows of a withdrawal.
func syncText(c clock, o ledger.Order) string {
	s := o.Sync
	switch {
	case s == nil && o.State == tasks.Withdrawn && o.LatePaymentAt.IsZero():
		return "none: WeChat Pay was not told, and goes on deducting by itself (enqueue withdraw NO --reason TEXT --paid-at TIME tells it)"
	case s == nil:
		return ""
	}
	text := explained(s.State, syncWords)
	switch {
	case s.State == ledger.SyncFailed && s.Reason == "PARAM_ERROR":
		// The order is known: it is all else that the call carries.
		text += "; PARAM_ERROR: the time of payment is refused"
	case s.Reason != "":
		text += "; " + explainedReason(s.Reason)
	}
	if !s.PaidAt.IsZero() {
		text += "; billing says that it was paid on " + c.withAge(s.PaidAt)
	}
	return text
}

func yuanText(fen *int64) string {
	if fen == nil {
		return ""
	}
	return yuan(*fen)
}

// stillOwed is what is left of an order that was paid in part.
func stillOwed(o ledger.Order) string {
	owed := o.State.Open() || o.State == tasks.Exhausted && o.LatePaymentAt.IsZero()
	if !owed || o.TotalAmount == nil || o.PaidAmount == nil || *o.PaidAmount <= 0 || *o.PaidAmount >= *o.TotalAmount {
		return ""
	}
	return yuan(*o.TotalAmount - *o.PaidAmount)
}

func paidBy(o ledger.Order) string {
	switch {
	case o.PaidType == "NEWTON":
		return "NEWTON: through PayScore"
	case o.PaidType == "MCH" && o.TransactionID != "":
		return "MCH: a part through PayScore, and the rest elsewhere, as the merchant told WeChat Pay"
	case o.PaidType == "MCH":
		return "MCH: elsewhere, as the merchant told WeChat Pay; no money moved through it"
	}
	return printable(o.PaidType)
}

func callsText(o ledger.Order) string {
	text := fmt.Sprintf("%d collect, %d query", o.CollectCalls, o.QueryCalls)
	if o.Sync != nil {
		text += fmt.Sprintf(", %d sync", o.Sync.Calls)
	}
	return text + fmt.Sprintf("; answered attempts: %d", o.Attempts)
}

// working reports whether there is something left to do for an order.
func working(o ledger.Order) bool {
	return o.State.Open() || o.Sync != nil && o.Sync.State == ledger.SyncPending
}

// overdue is how long after its due time somebody should have taken an order up.
const overdue = time.Minute

// nextText says what comes next, and when; held: it waits for something that is not
// the order's.
func nextText(c clock, o ledger.Order, held bool) string {
	if o.NextDueAt.IsZero() {
		return ""
	}
	words := planWords[o.Next]
	if o.Sync != nil && syncPlanWords[o.Next] != "" {
		words = syncPlanWords[o.Next]
	}
	text := c.due(o.NextDueAt) + ": " + words
	if !held && c.now.Sub(o.NextDueAt) > overdue {
		text += "; overdue: no worker has taken it up"
	}
	return text
}

// heldBack says why an order's calls wait for something that is not the order's,
// if they do.
func heldBack(c clock, o ledger.Order, gate ledger.GateStatus) string {
	if gate.Kind != "" {
		return closedGate(c, gate)
	}
	for _, pair := range gate.Services {
		if pair == o.AppID+":"+o.ServiceID {
			return closedService(pair)
		}
	}
	return ""
}

func closedGate(c clock, gate ledger.GateStatus) string {
	return fmt.Sprintf("calls are stopped since %s, because %s; the next probe is %s",
		c.withAge(gate.ClosedAt), gateWords[gate.Kind], c.age(gate.ProbeAt))
}

func closedService(pair string) string {
	return "calls for " + printable(pair) + " (appid:service_id) are stopped, because WeChat Pay gives this merchant no permission for it"
}

// lastErrorText is the newest call that failed: why, and in WeChat Pay's own words.
func lastErrorText(o ledger.Order) string {
	e := o.LastError
	words := errorCause(*e)
	for _, call := range o.Log {
		if call.Failed {
			words = cause(call)
		}
	}
	said := ""
	if e.Code != "" {
		said = codesText(e.HTTPStatus, e.Code, e.DetailCode)
		if e.Message != "" {
			said += ` "` + e.Message + `"`
		}
		said = " (" + printable(said) + ")"
	}
	return words + said
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
