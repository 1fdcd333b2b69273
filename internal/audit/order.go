package audit

import (
	"fmt"
	"time"

	"payscore-collector/internal/ledger"
	"payscore-collector/internal/simulator"
	"payscore-collector/tasks"
)

// Expected returns the final state that an order must reach, going by what the
// platform knows. An order that billing withdrew is Withdrawn instead.
func Expected(truth simulator.OrderReport) tasks.State {
	switch {
	case truth.State == simulator.StateDone && truth.CollectionState == simulator.CollectionUserPaid:
		return tasks.Paid
	case truth.State == simulator.StateRevoked, truth.State == simulator.StateExpired:
		return tasks.Closed
	case truth.State == simulator.StateDoing && truth.CollectionState == simulator.CollectionUserPaying:
		return tasks.Exhausted // still owed
	}
	return tasks.Rejected // unknown, not confirmed, not completed, or nothing was owed
}

// Describe is the platform's word on an order, by the fields that Expected judges.
func Describe(truth simulator.OrderReport) string {
	s := truth.State
	for _, word := range []string{truth.StateDescription, truth.CollectionState} {
		if word != "" {
			s += " " + word
		}
	}
	return s
}

// Order compares one order of the ledger with what the platform knows of it, and
// the calls that the platform saw with the promises: one call at a time, none after
// the order's final state was shown, and at least minGap between two collects.
func Order(recorded ledger.Order, truth simulator.OrderReport, minGap time.Duration) []Difference {
	var found []Difference
	differ := func(kind Kind, format string, args ...any) {
		found = append(found, Difference{kind, fmt.Sprintf(format, args...)})
	}
	switch want := Expected(truth); {
	case recorded.State.Open():
		differ(Unfinished, "has not ended: it is %s, and the platform says %s", recorded.State, Describe(truth))
	case recorded.State != want:
		differ(WrongState, "is recorded as %s, and the platform says %s", recorded.State, Describe(truth))
	}
	if paid := deref(recorded.PaidAmount); paid != truth.PaidAmount {
		differ(WrongAmount, "has %d fen recorded as paid, and the platform %d", paid, truth.PaidAmount)
	}
	found = append(found, Payments(recorded.Payments, Platform(truth.Payments))...)
	if recorded.State == tasks.Paid {
		if total := deref(recorded.TotalAmount); total != truth.TotalAmount {
			differ(WrongAmount, "has a total of %d fen recorded, and the platform %d", total, truth.TotalAmount)
		}
		if last := LastTransaction(truth); recorded.TransactionID != last {
			differ(Differs, "has transaction_id %q recorded, and the platform %q", recorded.TransactionID, last)
		}
	}
	if truth.CollectCalls > recorded.CollectCalls || truth.QueryCalls > recorded.QueryCalls {
		differ(Uncounted, "was called more often than recorded: collect %d, recorded %d; query %d, recorded %d",
			truth.CollectCalls, recorded.CollectCalls, truth.QueryCalls, recorded.QueryCalls)
	}
	if truth.MostAtOnce > 1 {
		differ(AtOnce, "had %d calls in flight at once", truth.MostAtOnce)
	}
	if truth.CallsAfterEnd > 0 {
		differ(AfterEnd, "was called %d times after its final state had been shown", truth.CallsAfterEnd)
	}
	if truth.LeastGapMS != nil && time.Duration(*truth.LeastGapMS)*time.Millisecond < minGap {
		differ(TooSoon, "was collected again after %d ms, and MIN_GAP is %s", *truth.LeastGapMS, minGap)
	}
	return found
}

// Stats compares the ledger's counters with its orders.
func Stats(stats ledger.Stats, orders []ledger.Order) []Difference {
	var found []Difference
	count, paid := map[tasks.State]int64{}, int64(0)
	for _, o := range orders {
		count[o.State]++
		if o.State == tasks.Paid {
			paid += deref(o.PaidAmount)
		}
	}
	for _, state := range tasks.States {
		if stats.Orders[state] != count[state] {
			found = append(found, Difference{WrongCount, fmt.Sprintf("the ledger counts %d %s orders, and has %d", stats.Orders[state], state, count[state])})
		}
	}
	if stats.PaidAmount != paid {
		found = append(found, Difference{WrongCount, fmt.Sprintf("the ledger counts %d fen paid, and its orders have %d", stats.PaidAmount, paid)})
	}
	return found
}

// LastTransaction returns the transaction_id of an order's latest payment through
// PayScore, or "".
func LastTransaction(truth simulator.OrderReport) string {
	id := ""
	for _, p := range truth.Payments {
		if p.TransactionID != "" {
			id = p.TransactionID
		}
	}
	return id
}

func deref(fen *int64) int64 {
	if fen == nil {
		return 0
	}
	return *fen
}
