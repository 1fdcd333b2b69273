package ledger_test

import (
	"fmt"
	"slices"
	"strings"

	"pgregory.net/rapid"

	"payscore-collector/internal/ledger"
)

// The model's half of money.lua: what a signed message says of an order's
// payments, and what follows from it.

// modelFacts draws a message: a list of some of an order's payments, in any order,
// or one of the whole, or a sum alone, or nothing of payments; one of them may come without its
// transaction_id or with another amount, and the sum or the total may be off.
func modelFacts(t *rapid.T) ledger.Facts {
	all := []ledger.Payment{through(1, 300, longTx), elsewhere(2, 300), through(3, 400, "T3")}
	if rapid.IntRange(0, 5).Draw(t, "odd") == 0 {
		all[0].TransactionID = ""
	}
	if rapid.IntRange(0, 9).Draw(t, "off") == 0 {
		all[2].Amount++
	}
	total := rapid.SampledFrom([]int64{1000, 1000, 1000, 800, 2000}).Draw(t, "total")
	f := said(total)
	switch rapid.SampledFrom([]string{"nothing", "list", "list", "sum", "whole"}).Draw(t, "says") {
	case "list":
		f = said(total, rapid.Permutation(all).Draw(t, "payments")[:rapid.IntRange(1, 3).Draw(t, "how many")]...)
		if rapid.IntRange(0, 9).Draw(t, "sum is off") == 0 {
			*f.Paid += 100
		}
	case "whole":
		f = said(total, through(1, total, longTx))
	case "sum":
		f.Paid = fen(rapid.SampledFrom([]int64{300, 1000, 1002}).Draw(t, "sum"))
		f.PaidType = rapid.SampledFrom([]string{"NEWTON", "MCH"}).Draw(t, "by")
		f.TransactionID = longTx
	}
	f.OrderID = rapid.SampledFrom([]string{"", "1000", longOrderID}).Draw(t, "order_id")
	return f
}

// modelHeard is what heard of money.lua returns.
type modelHeard struct {
	anew, through, grown, more, relisted, differs, late, lowered bool
	paid                                                         int64
}

func (h modelHeard) news() []ledger.News {
	var list []ledger.News
	if h.late {
		list = append(list, ledger.Late)
	}
	if h.differs {
		list = append(list, ledger.Differs)
	}
	if h.lowered {
		list = append(list, ledger.Lowered)
	}
	return list
}

func value(n *int64) int64 {
	if n == nil {
		return 0
	}
	return *n
}

// totals are what has come in: in all, through PayScore, and as listed.
func (o *modelOrder) totals() (all, through, listed int64) {
	var other int64
	for _, p := range o.payments {
		listed += p.Amount
		if p.PaidType == "MCH" {
			other += p.Amount
		}
	}
	all = max(listed, o.paid)
	if o.pt == "MCH" && o.tx == "" {
		return all, listed - other, listed
	}
	return all, all - other, listed
}

// same reports whether two entries of lists are of one payment.
func same(k, p ledger.Payment) bool {
	if k.TransactionID != "" && p.TransactionID != "" {
		return k.TransactionID == p.TransactionID
	}
	return k.Seq == p.Seq && (k.TransactionID == p.TransactionID || k.PaidType == p.PaidType && k.Amount == p.Amount)
}

// hear is heard of money.lua.
func (o *modelOrder) hear(f ledger.Facts, fresh, done bool) (h modelHeard) {
	was := *o
	was.payments = slices.Clone(o.payments)
	listed := len(o.payments) > 0
	all0, through0, _ := o.totals()
	said := value(f.Paid)
	older, newer := said < o.paid, said > o.paid
	var alarms []string
	alarm := func(field string, known, said int64) {
		alarms = append(alarms, fmt.Sprintf("%s %d %d", field, known, said))
	}
	if f.OrderID != "" {
		o.oid = f.OrderID
	}
	if !older {
		if f.TransactionID != "" {
			o.tx = f.TransactionID
		}
		if f.PaidType != "" {
			o.pt = f.PaidType
		}
		o.paid = said
		switch total := value(f.Total); {
		case o.total == 0:
			o.total = total
		case total > o.total && (fresh || done || newer):
			alarm("total_amount", o.total, total)
			o.total = total
		case total < o.total:
			if o.state == "paid" {
				alarm("total_amount", o.total, total)
			}
			h.lowered = o.state != "paid"
			o.total = total
		}
	}
	gained, other := 0, [2]int64{}
	for _, p := range f.Payments {
		i := slices.IndexFunc(o.payments, func(k ledger.Payment) bool { return k.TransactionID != "" && k.TransactionID == p.TransactionID })
		if i < 0 {
			i = slices.IndexFunc(o.payments, func(k ledger.Payment) bool { return same(k, p) })
		}
		if i < 0 {
			o.payments = append(o.payments, p)
			gained++
			h.relisted = h.relisted || p.PaidType != "MCH" && listed
			continue
		}
		k := &o.payments[i]
		if k.Amount != p.Amount {
			other = [2]int64{k.Amount, p.Amount}
		}
		if p.Amount > k.Amount {
			k.Amount = p.Amount
			gained++
			h.relisted = h.relisted || p.PaidType != "MCH" && listed
		}
		if k.TransactionID == "" {
			k.TransactionID = p.TransactionID
		}
	}
	all, through, sum := o.totals()
	untold := f.Payments == nil && f.PaidType == "MCH"
	h.through, h.grown = through > through0 && !untold, all > all0
	h.more, h.paid = h.grown || listed && gained > 0, o.paid-was.paid
	if other[0] > 0 {
		alarm("payments", other[0], other[1])
	}
	if done && len(o.payments) > 0 && sum != o.paid && !untold {
		alarm("payments", sum, o.paid)
	}
	switch {
	case older && f.Paid != nil:
		if done {
			alarm("paid_amount", was.paid, said)
		}
	case f.Paid != nil && o.total > 0 && (o.paid > o.total || done && o.paid < o.total):
		alarm("paid_amount", o.total, o.paid)
	case o.state == "paid" && was.paid > 0 && newer && was.total == o.total:
		alarm("paid_amount", was.paid, said)
	}
	if !listed && !o.open() && !h.grown {
		o.payments = nil
	}
	given := o.alarms
	if o.state == "paid" && !h.more {
		*o, h.paid = was, 0
	}
	h.anew = o.oid != was.oid || o.total != was.total || o.paid != was.paid || o.tx != was.tx || o.pt != was.pt ||
		!slices.Equal(o.payments, was.payments)
	o.alarms = slices.Clone(given)
	for _, a := range alarms {
		if !slices.Contains(o.alarms, a) {
			o.alarms, h.differs = append(o.alarms, a), true
			if len(o.alarms) > 5 {
				o.alarms = o.alarms[1:]
			}
		}
	}
	return h
}

// beside is beside of money.lua.
func (o *modelOrder) beside(h *modelHeard) (kind string) {
	if o.state == "paid" {
		if h.more {
			return "paid"
		}
		return ""
	}
	h.late = h.through || h.grown && o.state != "withdrawn"
	o.late = o.late || h.late
	switch {
	case h.late || h.relisted:
		return "paid"
	case h.anew:
		return "attempted"
	}
	return ""
}

// aside is aside of settle.lua: a message about an order that its step does not
// settle.
func (m *model) aside(no string, f ledger.Facts, done bool, answered int64) (news []ledger.News, money bool) {
	o := m.orders[no]
	h := o.hear(f, false, done)
	kind := ""
	if o.open() && h.anew {
		kind = "attempted"
	} else if !o.open() {
		kind = o.beside(&h)
	}
	o.attempts += answered
	if kind == "" && answered > 0 {
		kind = "attempted"
	}
	if kind != "" {
		m.emit(kind, no)
	}
	return h.news(), h.more || done
}

// listing is a list of payments as the model and the ledger write it.
func listing(list []ledger.Payment) string {
	list = slices.Clone(list)
	slices.SortStableFunc(list, func(a, b ledger.Payment) int { return int(a.Seq - b.Seq) })
	var b strings.Builder
	for _, p := range list {
		fmt.Fprintf(&b, "[%d %s %d %s]", p.Seq, p.TransactionID, p.Amount, p.PaidType)
	}
	return b.String()
}
