package main

import (
	"fmt"
	"io"

	"payscore-collector/internal/explain"
	"payscore-collector/internal/ledger"
	"payscore-collector/tasks"
)

// tell writes an order for people: what an operator must see to, what is known of
// it, then its story.
func tell(w io.Writer, t explain.Teller, o ledger.Order, s explain.Situation, hooks ledger.HookWait) error {
	for _, text := range t.Alarms(o) {
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
	field("state", t.State(o))
	field("reason", t.Reason(o.State, o.Reason))
	field("sync", t.Sync(o))
	field("total", t.Total(o))
	field("paid", explain.YuanOf(o.PaidAmount))
	field("still owed", explain.StillOwed(o))
	field("owed since", t.OwedSince(o))
	field("paid by", t.PaidBy(o))
	name := "payments"
	for _, words := range t.Payments(o) {
		g.add(name, words)
		name = ""
	}
	field("transaction", explain.Printable(o.TransactionID))
	field("order_id", explain.Printable(o.OrderID))
	field("calls", t.Calls(o))
	field("opened", t.WithAge(o.OpenedAt))
	if !o.LastAttemptAt.IsZero() {
		field("last call", t.WithAge(o.LastAttemptAt))
	}
	causes := t.WhyOrder(s, o)
	field("next", t.Next(s, o, causes))
	if !o.EndedAt.IsZero() {
		field("ended", t.WithAge(o.EndedAt))
	}
	name = "held back"
	for _, words := range t.HeldBack(causes) {
		g.add(name, words)
		name = ""
	}
	field("webhook", t.Webhook(hooks))
	if e := o.LastError; e != nil && o.State != tasks.Paid {
		field("last error", t.LastError(o))
		if e.RequestID != "" {
			field("for support", "give WeChat Pay's support this Request-ID: "+explain.Printable(e.RequestID))
		}
	}
	g.add() // an empty line
	if err := g.write(w); err != nil {
		return err
	}
	return tellStory(w, t, o)
}

// tellStory writes what happened to an order, a line each, oldest first.
func tellStory(w io.Writer, t explain.Teller, o ledger.Order) error {
	var g grid
	g.add("WHEN ("+t.ZoneName()+")", "", "WHAT", "WHAT CAME OF IT", "CODES", "REQUEST-ID")
	for _, m := range t.Story(o) {
		g.add(t.At(m.At), t.Age(m.At), m.What, m.Words, m.Codes, m.RequestID)
	}
	if what, words := t.Unfinished(o); what != "" {
		g.add("-", "", what, words)
	}
	return g.write(w)
}
