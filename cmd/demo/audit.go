package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"payscore-collector/internal/audit"
	"payscore-collector/internal/explain"
	"payscore-collector/internal/ledger"
	"payscore-collector/internal/simulator"
	"payscore-collector/tasks"
)

// pair is one order from both sides.
type pair struct {
	recorded *ledger.Order // nil: the ledger has no such order
	truth    simulator.OrderTruth
}

// evidence is what the ledger and the platform know when all is over.
type evidence struct {
	orders   []pair
	stats    ledger.Stats
	platform simulator.Report
	minGap   time.Duration
	rate     float64 // COLLECT_RATE, calls a second
}

// evidence asks both sides about every order. The platform is asked behind the
// worker's back, not by its API.
func (s *stage) evidence(ctx context.Context, orders []orderPlan) (evidence, error) {
	e := evidence{platform: s.sim.Report(), minGap: s.cfg.MinGap, rate: s.cfg.Rate}
	var err error
	if e.stats, err = s.ledger.Stats(ctx); err != nil {
		return e, fmt.Errorf("read the ledger's counters: %w", err)
	}
	for _, o := range orders {
		var p pair
		recorded, err := s.ledger.Get(ctx, o.OutOrderNo)
		switch {
		case err == nil:
			p.recorded = &recorded
		case !errors.Is(err, ledger.ErrNotFound):
			return e, fmt.Errorf("read order %s: %w", o.OutOrderNo, err)
		}
		p.truth, _ = s.sim.Order(o.OutOrderNo)
		e.orders = append(e.orders, p)
	}
	return e, nil
}

// difference is one thing that the two sides do not agree on.
type difference struct {
	order string // out_order_no; empty where it is about all of them
	text  string
}

// audit holds the ledger against the platform, order by order, and the promises
// that one can see from the outside against the platform's own log of calls.
func (e evidence) audit() []difference {
	var found []difference
	count := ledger.Stats{Orders: map[tasks.State]int64{}}
	for _, p := range e.orders {
		for _, text := range p.compare(e.minGap) {
			found = append(found, difference{p.truth.Audit.OutOrderNo, text})
		}
		if p.recorded != nil {
			count.Orders[p.recorded.State]++
			if p.recorded.State == tasks.Paid {
				count.PaidAmount += recordedPaid(*p.recorded)
			}
		}
	}
	for _, state := range tasks.States {
		if e.stats.Orders[state] != count.Orders[state] {
			found = append(found, difference{text: fmt.Sprintf("the ledger counts %d %s orders, and has %d", e.stats.Orders[state], state, count.Orders[state])})
		}
	}
	if e.stats.PaidAmount != count.PaidAmount {
		found = append(found, difference{text: fmt.Sprintf("the ledger counts %s paid, and its orders have %s", explain.Yuan(e.stats.PaidAmount), explain.Yuan(count.PaidAmount))})
	}
	if n := e.platform.RejectedSignatures; n > 0 {
		found = append(found, difference{text: fmt.Sprintf("the platform refused %d of our signatures for good reason", n)})
	}
	return found
}

// compare says what is wrong with one order, if anything.
func (p pair) compare(minGap time.Duration) []string {
	if p.recorded == nil {
		return []string{"is not in the ledger"}
	}
	var wrong []string
	differ := func(format string, args ...any) { wrong = append(wrong, fmt.Sprintf(format, args...)) }
	r, t := *p.recorded, p.truth.Audit

	switch want := standing(p.truth); {
	case r.State.Open():
		differ("has not ended: it is %s, and the platform says %s", r.State, describe(p.truth))
	case r.State != want:
		differ("is recorded as %s, and the platform says %s", r.State, describe(p.truth))
	}
	if paid := recordedPaid(r); paid != t.PaidAmount {
		differ("has %s recorded as paid, and the platform %s", explain.Yuan(paid), explain.Yuan(t.PaidAmount))
	}
	for _, d := range audit.Payments(r.Payments, audit.Platform(t.Payments)) {
		differ("%s", d.Text)
	}
	if r.State == tasks.Paid {
		if r.TotalAmount == nil || *r.TotalAmount != t.TotalAmount {
			differ("has another total recorded than the platform's %s", explain.Yuan(t.TotalAmount))
		}
		if want := lastTransaction(p.truth); r.TransactionID != want || want == "" {
			differ("has transaction_id %q recorded, and the platform %q", r.TransactionID, want)
		}
	}
	if t.CollectCalls > r.CollectCalls || t.QueryCalls > r.QueryCalls {
		differ("was called more often than recorded: collect %d, recorded %d; query %d, recorded %d", t.CollectCalls, r.CollectCalls, t.QueryCalls, r.QueryCalls)
	}
	if t.MostAtOnce > 1 {
		differ("had %d calls in flight at once", t.MostAtOnce)
	}
	if t.CallsAfterEnd > 0 {
		differ("was called %d times after its end had been told", t.CallsAfterEnd)
	}
	if t.LeastGapMS != nil && time.Duration(*t.LeastGapMS)*time.Millisecond < minGap {
		differ("was collected again after %d ms, and MIN_GAP is %s", *t.LeastGapMS, minGap)
	}
	return wrong
}

// standing is how an order must have ended, going by what the platform knows.
func standing(t simulator.OrderTruth) tasks.State {
	e := t.Entity
	switch {
	case e == nil:
		return tasks.Rejected // the platform knows no such order
	case e.State == simulator.StateRevoked, e.State == simulator.StateExpired:
		return tasks.Closed
	case e.State == simulator.StateDone && t.Audit.PaidAmount > 0:
		return tasks.Paid
	case e.State == simulator.StateDoing && e.StateDescription == simulator.DescriptionMchComplete:
		return tasks.Exhausted // still owed
	}
	return tasks.Rejected // not confirmed, not completed, or nothing was owed
}

// describe is the platform's word on an order, by the fields that judge it.
func describe(t simulator.OrderTruth) string {
	s := t.Audit.State
	if t.Audit.StateDescription != "" {
		s += " " + t.Audit.StateDescription
	}
	if t.Audit.CollectionState != "" {
		s += " " + t.Audit.CollectionState
	}
	return s
}

func recordedPaid(o ledger.Order) int64 {
	if o.PaidAmount == nil {
		return 0
	}
	return *o.PaidAmount
}

func lastTransaction(t simulator.OrderTruth) string {
	if t.Entity == nil || t.Entity.Collection == nil {
		return ""
	}
	id := ""
	for _, d := range t.Entity.Collection.Details {
		if d.TransactionID != "" {
			id = d.TransactionID
		}
	}
	return id
}

// writeAudit ends the demo, and reports whether nothing was found.
func writeAudit(w io.Writer, orders int, found []difference) bool {
	differing := map[string]bool{}
	fmt.Fprintln(w)
	for _, d := range found {
		if d.order == "" {
			fmt.Fprintln(w, "DIFFERENCE:", d.text)
			continue
		}
		differing[d.order] = true
		fmt.Fprintln(w, "DIFFERENCE:", d.order, d.text)
	}
	fmt.Fprintf(w, "audit: %d of %d agree\n", orders-len(differing), orders)
	return len(found) == 0
}
