package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"payscore-collector/internal/audit"
	"payscore-collector/internal/explain"
	"payscore-collector/internal/ledger"
	"payscore-collector/internal/payscore"
	"payscore-collector/internal/simulator"
	"payscore-collector/tasks"
)

// words are those that the command outcomes has for the same things.
var words = explain.Teller{Zone: tasks.China}

// evidence is what the ledger and the platform know when the worker has stopped.
type evidence struct {
	recorded map[string]ledger.Order // by out_order_no
	stats    ledger.Stats
	platform simulator.Report
	minGap   time.Duration
	rate     float64 // COLLECT_RATE, calls a second
}

// evidence asks both sides about every order. The platform is asked behind the
// worker's back, not through its API.
func (s *stage) evidence(ctx context.Context) (evidence, error) {
	e := evidence{recorded: map[string]ledger.Order{}, platform: s.sim.Report(), minGap: s.cfg.MinGap, rate: s.cfg.Rate}
	var err error
	if e.stats, err = s.ledger.Stats(ctx); err != nil {
		return e, fmt.Errorf("read the ledger's counters: %w", err)
	}
	for _, o := range e.platform.Orders {
		recorded, err := s.ledger.Get(ctx, o.OutOrderNo)
		switch {
		case err == nil:
			e.recorded[o.OutOrderNo] = recorded
		case !errors.Is(err, ledger.ErrNotFound):
			return e, fmt.Errorf("read order %s: %w", o.OutOrderNo, err)
		}
	}
	return e, nil
}

// report writes what a person wants to know of the run.
func (e evidence) report(w io.Writer, took time.Duration) {
	e.reportOutcomes(w, took)
	e.reportCalls(w)
	e.reportFaults(w)
	e.reportBothSides(w)
}

func heading(w io.Writer, format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	fmt.Fprintf(w, "\n%s\n%s\n", text, strings.Repeat("-", len([]rune(text))))
}

func (e evidence) reportOutcomes(w io.Writer, took time.Duration) {
	heading(w, "What became of %d orders in %.1f s", len(e.platform.Orders), took.Seconds())
	orders, paid := map[tasks.State]int{}, map[tasks.State]int64{}
	var all int64
	for _, o := range e.recorded {
		orders[o.State]++
		paid[o.State] += fen(o.PaidAmount)
		all += fen(o.PaidAmount)
	}
	fmt.Fprintf(w, "%-10s %7s %12s\n", "outcome", "orders", "money in")
	for _, state := range tasks.States {
		if n := orders[state]; n > 0 {
			fmt.Fprintf(w, "%-10s %7d %12s   %s\n", state, n, explain.Yuan(paid[state]), words.StateWords(state))
		}
	}
	fmt.Fprintf(w, "%-10s %7d %12s\n", "all", len(e.recorded), explain.Yuan(all))
}

func (e evidence) reportCalls(w io.Writer) {
	var all, paid struct{ orders, collects, queries int64 }
	type kind struct {
		verdict payscore.Verdict
		call    payscore.Call
	}
	calls := map[kind]int{}
	for _, o := range e.recorded {
		all.collects += o.CollectCalls
		all.queries += o.QueryCalls
		if o.State == tasks.Paid {
			paid.orders++
			paid.collects += o.CollectCalls
			paid.queries += o.QueryCalls
		}
		for _, entry := range o.Log {
			calls[kind{payscore.Verdict(entry.Verdict), payscore.Call(entry.Call)}]++
		}
	}
	heading(w, "%d calls: %d collect, %d query", all.collects+all.queries, all.collects, all.queries)
	fmt.Fprintf(w, "%-15s %7s %7s\n", "verdict", "collect", "query")
	for _, v := range payscore.Verdicts {
		collects, queries := calls[kind{v, payscore.CallCollect}], calls[kind{v, payscore.CallQuery}]
		if collects+queries > 0 {
			fmt.Fprintf(w, "%-15s %7d %7d   %s\n", v, collects, queries, words.Cause(ledger.Entry{Verdict: string(v)}))
		}
	}
	if n := float64(paid.orders); n > 0 {
		fmt.Fprintf(w, "for each paid order: %.1f collect calls, %.1f queries; ", float64(paid.collects)/n, float64(paid.queries)/n)
	}
	fmt.Fprintf(w, "most calls in one second: %d (COLLECT_RATE is %g)\n", e.platform.MostCallsInASecond, e.rate)
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

// state is what the ledger has recorded of an order.
func (e evidence) state(no string) string {
	return cmp.Or(string(e.recorded[no].State), "missing")
}

func (e evidence) reportBothSides(w io.Writer) {
	type row struct{ recorded, platform string }
	type sum struct{ orders, recorded, platform int64 }
	sums := map[row]sum{}
	for _, o := range e.platform.Orders {
		r := row{e.state(o.OutOrderNo), audit.Describe(o)}
		s := sums[r]
		sums[r] = sum{s.orders + 1, s.recorded + fen(e.recorded[o.OutOrderNo].PaidAmount), s.platform + o.PaidAmount}
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

// list writes a line for every order.
func (e evidence) list(w io.Writer) {
	heading(w, "Every order")
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprint(t, "order\tfate\trecorded\tmoney\ttransaction\tplatform\tmoney\ttransaction\tcalls\n")
	for _, o := range e.platform.Orders {
		r := e.recorded[o.OutOrderNo]
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%d\n", o.OutOrderNo, o.Fate,
			e.state(o.OutOrderNo), explain.Yuan(fen(r.PaidAmount)), cmp.Or(r.TransactionID, "-"),
			audit.Describe(o), explain.Yuan(o.PaidAmount), cmp.Or(audit.LastTransaction(o), "-"), o.CollectCalls+o.QueryCalls)
	}
	_ = t.Flush()
}

// audit writes every difference between the ledger and the platform, and reports
// whether it found none.
func (e evidence) audit(w io.Writer) (agrees bool) {
	fmt.Fprintln(w)
	agreeing := 0
	for _, o := range e.platform.Orders {
		found := []audit.Difference{{Text: "is not in the ledger"}}
		if recorded, ok := e.recorded[o.OutOrderNo]; ok {
			found = audit.Order(recorded, o, e.minGap)
		}
		for _, d := range found {
			fmt.Fprintln(w, "DIFFERENCE:", o.OutOrderNo, d.Text)
		}
		if len(found) == 0 {
			agreeing++
		}
	}
	inSum := audit.Stats(e.stats, slices.Collect(maps.Values(e.recorded)))
	if n := e.platform.RejectedSignatures; n > 0 {
		inSum = append(inSum, audit.Difference{Text: fmt.Sprintf("the platform refused %d of our signatures for good reason", n)})
	}
	for _, d := range inSum {
		fmt.Fprintln(w, "DIFFERENCE:", d.Text)
	}
	orders := len(e.platform.Orders)
	fmt.Fprintf(w, "audit: %d of %d agree\n", agreeing, orders)
	return agreeing == orders && len(inSum) == 0
}

func fen(amount *int64) int64 {
	if amount == nil {
		return 0
	}
	return *amount
}
