package main

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"payscore-collector/internal/ledger"
	"payscore-collector/internal/payscore"
	"payscore-collector/tasks"
)

// report writes what a person wants to know of the run.
func (e evidence) report(w io.Writer, took time.Duration) {
	e.reportOutcomes(w, took)
	e.reportCalls(w)
	e.reportRetries(w)
	e.reportFaults(w)
	e.reportBeside(w)
}

func heading(w io.Writer, format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	fmt.Fprintf(w, "\n%s\n%s\n", text, strings.Repeat("-", len([]rune(text))))
}

var outcomeWords = map[tasks.State]string{
	tasks.Queued:    "not tried",
	tasks.Awaiting:  "not ended",
	tasks.Paid:      "the money is in, says WeChat Pay's signature",
	tasks.Closed:    "cancelled or expired, says WeChat Pay's signature",
	tasks.Rejected:  "there is nothing to collect",
	tasks.Withdrawn: "stopped by billing",
	tasks.Exhausted: "given up, still owed",
}

func (e evidence) reportOutcomes(w io.Writer, took time.Duration) {
	heading(w, "What became of %d orders in %.1f s", len(e.orders), took.Seconds())
	type sum struct{ orders, fen int64 }
	sums := map[tasks.State]sum{}
	var all sum
	for _, p := range e.orders {
		if p.recorded == nil {
			continue
		}
		s := sums[p.recorded.State]
		s.orders++
		all.orders++
		s.fen += recordedPaid(*p.recorded)
		all.fen += recordedPaid(*p.recorded)
		sums[p.recorded.State] = s
	}
	fmt.Fprintf(w, "%-10s %7s %12s\n", "outcome", "orders", "money in")
	for _, state := range tasks.States {
		if s := sums[state]; s.orders > 0 {
			fmt.Fprintf(w, "%-10s %7d %12s   %s\n", state, s.orders, yuan(s.fen), outcomeWords[state])
		}
	}
	fmt.Fprintf(w, "%-10s %7d %12s\n", "all", all.orders, yuan(all.fen))
}

func (e evidence) reportCalls(w io.Writer) {
	var collects, queries, paidOrders, paidCollects, paidQueries int64
	byVerdict := map[payscore.Verdict]map[payscore.Call]int{}
	for call := range e.calls() {
		if byVerdict[call.verdict] == nil {
			byVerdict[call.verdict] = map[payscore.Call]int{}
		}
		byVerdict[call.verdict][call.call]++
	}
	for _, p := range e.orders {
		if p.recorded == nil {
			continue
		}
		collects += p.recorded.CollectCalls
		queries += p.recorded.QueryCalls
		if p.recorded.State == tasks.Paid {
			paidOrders++
			paidCollects += p.recorded.CollectCalls
			paidQueries += p.recorded.QueryCalls
		}
	}
	heading(w, "%d calls: %d collect, %d query", collects+queries, collects, queries)
	fmt.Fprintf(w, "%-15s %7s %7s\n", "verdict", "collect", "query")
	for _, v := range payscore.Verdicts {
		if n := byVerdict[v]; n != nil {
			fmt.Fprintf(w, "%-15s %7d %7d\n", v, n[payscore.CallCollect], n[payscore.CallQuery])
		}
	}
	if paidOrders > 0 {
		n := float64(paidOrders)
		fmt.Fprintf(w, "for each paid order: %.1f collect calls, %.1f queries; ", float64(paidCollects)/n, float64(paidQueries)/n)
	}
	fmt.Fprintf(w, "most calls in one second: %d (COLLECT_RATE is %g)\n", e.platform.MostCallsInASecond, e.rate)
}

// oneCall is a call as its order's log has it.
type oneCall struct {
	call    payscore.Call
	verdict payscore.Verdict
	answers int // HTTP status
	last    bool
}

// calls yields the calls of every order's log.
func (e evidence) calls() func(yield func(oneCall) bool) {
	return func(yield func(oneCall) bool) {
		for _, p := range e.orders {
			if p.recorded == nil {
				continue
			}
			for i, entry := range p.recorded.Log {
				if !yield(callOf(entry, i == len(p.recorded.Log)-1)) {
					return
				}
			}
		}
	}
}

func callOf(entry ledger.Entry, last bool) oneCall {
	return oneCall{payscore.Call(entry.Call), payscore.Verdict(entry.Verdict), entry.HTTPStatus, last}
}

// cause says why a call had to be followed by another one; empty for a call
// that did its part.
func (c oneCall) cause() string {
	switch c.verdict {
	case payscore.NotCollectable:
		if c.call == payscore.CallCollect {
			return "refused in unsigned words about the order; looked at the order itself"
		}
	case payscore.Declined:
		return "the user cannot pay just now"
	case payscore.InProgress:
		return "a deduction is running"
	case payscore.Throttled:
		return "429, too fast"
	case payscore.MerchantFault:
		return "401, the merchant's fault and not the order's"
	case payscore.NotFound:
		return "no such order; asked once more"
	case payscore.Unavailable:
		return "5xx or a proxy's page; may have taken effect"
	case payscore.Unknown:
		if c.answers == 0 {
			return "the connection broke; may have taken effect"
		}
		return "a reply without WeChat Pay's signature; may have taken effect"
	}
	return ""
}

func (e evidence) reportRetries(w io.Writer) {
	causes := map[string]int{}
	total := 0
	for call := range e.calls() {
		if cause := call.cause(); cause != "" && !call.last {
			causes[cause]++
			total++
		}
	}
	heading(w, "%d calls had to be followed up, because", total)
	names := slices.SortedFunc(maps.Keys(causes), func(a, b string) int {
		return cmp.Or(causes[b]-causes[a], strings.Compare(a, b))
	})
	for _, name := range names {
		fmt.Fprintf(w, "%6d   %s\n", causes[name], name)
	}
}

// faultWords explain the platform's names of faults, in the order of the report.
var faultWords = []struct{ name, words string }{
	{"error_5xx", "500, 502 or 503; half of them took effect"},
	{"drop_before", "connection reset before taking effect"},
	{"drop_after", "connection reset after taking effect"},
	{"wrong_signature", "true reply, wrong signature"},
	{"missing_signature", "true reply, no signature"},
	{"html_502", "a proxy's HTML page"},
	{"max_rate", "429, more calls in a second than it takes"},
	{"sign_error", "401, the merchant's certificate refused"},
}

func (e evidence) reportFaults(w io.Writer) {
	var total int64
	for _, n := range e.platform.Faults {
		total += n
	}
	heading(w, "%d of %d calls went wrong on purpose", total, e.platform.Calls)
	for _, f := range faultWords {
		if n := e.platform.Faults[f.name]; n > 0 {
			fmt.Fprintf(w, "%6d   %s\n", n, f.words)
		}
	}
}

// reportBeside sums up what the two sides say of each other's orders.
func (e evidence) reportBeside(w io.Writer) {
	type row struct{ recorded, platform string }
	type sum struct{ orders, recorded, platform int64 }
	sums := map[row]sum{}
	for _, p := range e.orders {
		r := row{"missing", describe(p.truth)}
		s := sum{1, 0, p.truth.Audit.PaidAmount}
		if p.recorded != nil {
			r.recorded = string(p.recorded.State)
			s.recorded = recordedPaid(*p.recorded)
		}
		was := sums[r]
		sums[r] = sum{was.orders + s.orders, was.recorded + s.recorded, was.platform + s.platform}
	}
	heading(w, "What the ledger recorded beside what the platform knows")
	const line = "%-10s %-30s %6v %12s %12s\n"
	fmt.Fprintf(w, line, "recorded", "platform", "orders", "recorded", "at platform")
	for _, r := range slices.SortedFunc(maps.Keys(sums), func(a, b row) int {
		return cmp.Or(strings.Compare(a.recorded, b.recorded), strings.Compare(a.platform, b.platform))
	}) {
		s := sums[r]
		fmt.Fprintf(w, line, r.recorded, r.platform, s.orders, yuan(s.recorded), yuan(s.platform))
	}
}

// list has a line for every order.
func (e evidence) list(w io.Writer) {
	heading(w, "Every order")
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprint(t, "order\tfate\trecorded\tmoney\ttransaction\tplatform\tmoney\ttransaction\tcalls\n")
	for _, p := range e.orders {
		recorded, money, tx := "missing", "-", "-"
		if p.recorded != nil {
			recorded, money = string(p.recorded.State), yuan(recordedPaid(*p.recorded))
			tx = cmp.Or(p.recorded.TransactionID, tx)
		}
		a := p.truth.Audit
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%d\n", a.OutOrderNo, a.Fate, recorded, money, tx,
			describe(p.truth), yuan(a.PaidAmount), cmp.Or(lastTransaction(p.truth), "-"), a.CollectCalls+a.QueryCalls)
	}
	_ = t.Flush()
}

// yuan writes fen as people write money.
func yuan(fen int64) string {
	sign := ""
	if fen < 0 {
		sign, fen = "-", -fen
	}
	return fmt.Sprintf("%s¥%d.%02d", sign, fen/100, fen%100)
}
