package main

import (
	"fmt"
	"io"
	"strconv"
	"text/tabwriter"

	"payscore-collector/internal/ledger"
	"payscore-collector/internal/payscore"
)

// tell writes an order for people: what is known of it, then its story, a line
// a call.
func tell(w io.Writer, c clock, o ledger.Order, gate ledger.GateStatus) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	field := func(name, value string) {
		if value != "" {
			fmt.Fprintf(t, "%s\t%s\n", name, value)
		}
	}
	field("order", o.OutOrderNo)
	field("merchant", o.MchID)
	field("appid", o.AppID)
	field("service", o.ServiceID)
	field("state", explained(o.State, stateWords))
	field("reason", explained(o.Reason, reasonWords))
	if o.TotalAmount != nil {
		field("total", yuan(*o.TotalAmount))
	}
	if o.PaidAmount != nil {
		field("paid", yuan(*o.PaidAmount))
	}
	field("paid by", paidBy(o.PaidType))
	field("transaction", printable(o.TransactionID))
	field("order_id", printable(o.OrderID))
	field("calls", fmt.Sprintf("%d collect, %d query; answered attempts: %d", o.CollectCalls, o.QueryCalls, o.Attempts))
	field("opened", c.withAge(o.OpenedAt))
	if !o.LastAttemptAt.IsZero() {
		field("last call", c.withAge(o.LastAttemptAt))
	}
	if !o.NextDueAt.IsZero() {
		field("next", c.withAge(o.NextDueAt)+": "+planWords[o.Next])
	}
	if !o.EndedAt.IsZero() {
		field("ended", c.withAge(o.EndedAt))
	}
	field("held back", heldBack(c, o, gate))
	_ = t.Flush() // w is buffered: its errors come up when that is flushed
	tellLog(w, c, o)
}

func paidBy(paidType string) string {
	switch paidType {
	case "NEWTON":
		return "NEWTON: through PayScore"
	case "MCH":
		return "MCH: the merchant told WeChat Pay so"
	}
	return printable(paidType)
}

// heldBack says why an open order's calls wait for something that is not the
// order's, if they do.
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

func tellLog(w io.Writer, c clock, o ledger.Order) {
	if len(o.Log) == 0 {
		return
	}
	fmt.Fprintln(w)
	if calls := o.CollectCalls + o.QueryCalls; calls > int64(len(o.Log)) {
		fmt.Fprintf(w, "the last %d of %d calls:\n", len(o.Log), calls)
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, e := range o.Log {
		words := verdictWords[payscore.Verdict(e.Verdict)]
		if words == "" {
			words = e.Verdict
		}
		status := "-"
		if e.HTTPStatus != 0 {
			status = strconv.Itoa(e.HTTPStatus)
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\n", e.At.In(c.zone).Format(toMilli), e.Call, status,
			orDash(printable(words)), codes(e), orDash(printable(e.RequestID)))
	}
	_ = t.Flush()
}

// codes are WeChat Pay's code and the finer one; where there is none, what was
// said instead, which is ours.
func codes(e ledger.Entry) string {
	s := e.Code
	if e.DetailCode != "" {
		s += " " + e.DetailCode
	}
	if s == "" {
		s = e.Message
	}
	return orDash(printable(s))
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
