package audit

import (
	"cmp"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"time"

	"payscore-collector/internal/ledger"
	"payscore-collector/internal/simulator"
	"payscore-collector/tasks"
)

// RecoveryCounts are the counters of the recovery.
type RecoveryCounts map[ledger.RecoveryKey]ledger.RecoveryCount

// Add counts an order by its record, if it has ended: the rule of recovery.lua once more.
// cause is its first decline, which no order shows; see FirstDeclines.
func (counts RecoveryCounts) Add(o ledger.Order, cause string) {
	if o.State.Open() {
		return
	}
	opened := cmp.Or(o.OpenedAt, o.EndedAt)
	date := ledger.BookDateOf(opened)
	owed := deref(cmp.Or(o.TotalAmount, o.BillingAmount))
	type incoming struct {
		at        time.Time
		fen, seq  int64
		elsewhere bool
	}
	ended := o.EndedAt.Truncate(time.Second)
	var list []incoming
	var sum int64
	for _, p := range o.Payments {
		list = append(list, incoming{cmp.Or(p.PaidAt, ended), p.Amount, p.Seq, p.PaidType == simulator.PaidTypeMch || p.PaidType == "" && p.TransactionID == ""})
		sum += p.Amount
	}
	if rest := deref(o.PaidAmount) - sum; rest > 0 {
		list = append(list, incoming{ended, rest, 0, o.PaidType == simulator.PaidTypeMch && o.TransactionID == ""})
		sum += rest
	}
	slices.SortStableFunc(list, func(a, b incoming) int { return cmp.Or(b.at.Compare(a.at), cmp.Compare(b.seq, a.seq)) })
	var paid int64
	if o.State == tasks.Paid {
		paid = 1
	}
	add := func(kind ledger.RecoveryKind, value string, c ledger.RecoveryCount) {
		key := ledger.RecoveryKey{Day: date, Kind: kind, Value: value}
		c.Plus(counts[key])
		counts[key] = c
	}
	whole := ledger.RecoveryCount{Orders: 1, Owed: owed, Paid: paid, Fen: sum}
	add(ledger.RecoveryState, string(o.State[0]), whole)
	add(ledger.RecoveryAttempts, strconv.FormatInt(min(o.Attempts, ledger.MostAttempts), 10), whole)
	add(ledger.RecoveryCause, cause, whole)
	for i, p := range list {
		c := ledger.RecoveryCount{Fen: p.fen}
		if i == 0 {
			c.Paid = paid
		}
		lag := 0
		for _, days := range slices.Backward(ledger.RecoveryLags) {
			if p.at.Sub(opened) <= time.Duration(days)*24*time.Hour {
				lag = days
			}
		}
		whose := ledger.ByUnknown
		switch {
		case p.elsewhere:
			whose = ledger.ByElsewhere
		case o.PaidBy == ledger.PaidByCollect:
			whose = ledger.ByCollect
		case o.PaidBy == ledger.PaidByUser:
			whose = ledger.ByUser
		}
		add(ledger.RecoveryLag, strconv.Itoa(lag), c)
		add(ledger.RecoveryWhose, whose, c)
		add(ledger.RecoveryHour, strconv.Itoa(p.at.In(ledger.China).Hour()), c)
	}
}

// Differ compares the ledger's counters with counts, which are a recount.
func (counts RecoveryCounts) Differ(recorded map[ledger.RecoveryKey]ledger.RecoveryCount) []Difference {
	var found []Difference
	keys := maps.Clone(counts)
	maps.Copy(keys, recorded)
	for key := range keys {
		if has, want := recorded[key], counts[key]; has != want {
			found = append(found, Difference{WrongCount, fmt.Sprintf("the counter %s %c%s is %+v, and a recount of the orders gives %+v", key.Day, key.Kind, key.Value, has, want)})
		}
	}
	slices.SortFunc(found, func(a, b Difference) int { return cmp.Compare(a.Text, b.Text) })
	return found
}

// FirstDeclines are the codes of the first declined collect of each order, by its number.
type FirstDeclines map[string]string

var notInCauses = regexp.MustCompile(`[^0-9A-Za-z_]`)

// Take reads an order's next event.
func (causes FirstDeclines) Take(e ledger.Event) {
	if _, known := causes[e.OutOrderNo]; known || e.Verdict != "declined" {
		return
	}
	cause := notInCauses.ReplaceAllString(cmp.Or(e.DetailCode, e.Code, "declined"), "_")
	causes[e.OutOrderNo] = cause[:min(len(cause), 40)]
}
