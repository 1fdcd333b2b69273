package main

import (
	"cmp"
	"fmt"
	"io"
	"iter"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"payscore-collector/internal/explain"
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

// words are those that the command outcomes has for the same things.
var words explain.Teller

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
			fmt.Fprintf(w, "%-10s %7d %12s   %s\n", state, s.orders, explain.Yuan(s.fen), words.StateWords(state))
		}
	}
	fmt.Fprintf(w, "%-10s %7d %12s\n", "all", all.orders, explain.Yuan(all.fen))
}

func (e evidence) reportCalls(w io.Writer) {
	var collects, queries, paidOrders, paidCollects, paidQueries int64
	byVerdict := map[payscore.Verdict]map[payscore.Call]int{}
	for entry := range e.calls() {
		verdict := payscore.Verdict(entry.Verdict)
		if byVerdict[verdict] == nil {
			byVerdict[verdict] = map[payscore.Call]int{}
		}
		byVerdict[verdict][payscore.Call(entry.Call)]++
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

// calls yields the calls in every order's log, and whether each is the order's last.
func (e evidence) calls() iter.Seq2[ledger.Entry, bool] {
	return func(yield func(ledger.Entry, bool) bool) {
		for _, p := range e.orders {
			if p.recorded == nil {
				continue
			}
			for i, entry := range p.recorded.Log {
				if !yield(entry, i == len(p.recorded.Log)-1) {
					return
				}
			}
		}
	}
}

// followedUp reports whether a call has to be followed by another one; false for a call
// that did its part.
func followedUp(e ledger.Entry) bool {
	switch payscore.Verdict(e.Verdict) {
	case payscore.NotCollectable:
		return payscore.Call(e.Call) == payscore.CallCollect
	case payscore.Declined, payscore.InProgress, payscore.Throttled, payscore.MerchantFault,
		payscore.NotFound, payscore.Unavailable, payscore.Unknown:
		return true
	}
	return false
}

func (e evidence) reportRetries(w io.Writer) {
	causes := map[string]int{}
	total := 0
	for entry, last := range e.calls() {
		if followedUp(entry) && !last {
			entry.Message = "" // of a kind that no code names: one line for all
			causes[words.Cause(entry)]++
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
		fmt.Fprintf(w, line, r.recorded, r.platform, s.orders, explain.Yuan(s.recorded), explain.Yuan(s.platform))
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
			recorded, money = string(p.recorded.State), explain.Yuan(recordedPaid(*p.recorded))
			tx = cmp.Or(p.recorded.TransactionID, tx)
		}
		a := p.truth.Audit
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%d\n", a.OutOrderNo, a.Fate, recorded, money, tx,
			describe(p.truth), explain.Yuan(a.PaidAmount), cmp.Or(lastTransaction(p.truth), "-"), a.CollectCalls+a.QueryCalls)
	}
	_ = t.Flush()
}
