package explain

import (
	"fmt"

	"payscore-collector/internal/ledger"
)

// Payments is a line for every payment of an order that WeChat Pay has signed.
func (t Teller) Payments(o ledger.Order) []string {
	p := t.phrases()
	var lines []string
	for _, pay := range o.Payments {
		line := Yuan(pay.Amount)
		if !pay.PaidAt.IsZero() {
			line = fmt.Sprintf(p.paymentAt, line, t.At(pay.PaidAt))
		}
		way := Printable(pay.PaidType)
		switch pay.PaidType {
		case "NEWTON":
			way = p.throughPayScore
		case "MCH":
			way = p.elsewhere
		}
		line += ", " + way
		if pay.TransactionID != "" {
			line += ", " + fmt.Sprintf(p.transaction, Printable(pay.TransactionID))
		}
		lines = append(lines, line)
	}
	return lines
}

// ways reports the ways on which money came in. Records of earlier releases list no
// payments, but have the latest one's paid_type and, where a part came through
// PayScore, a transaction_id.
func ways(o ledger.Order) (payScore, elsewhere bool) {
	if len(o.Payments) == 0 {
		return o.PaidType == "NEWTON" || o.PaidType == "MCH" && o.TransactionID != "", o.PaidType == "MCH"
	}
	for _, p := range o.Payments {
		payScore = payScore || p.PaidType == "NEWTON"
		elsewhere = elsewhere || p.PaidType == "MCH"
	}
	return payScore, elsewhere
}

// PaidBy says which way an order was paid.
func (t Teller) PaidBy(o ledger.Order) string {
	p := t.phrases()
	switch payScore, elsewhere := ways(o); {
	case payScore && elsewhere:
		return p.byBoth
	case payScore:
		return p.byPayScore
	case elsewhere:
		return p.byMerchant
	}
	return Printable(o.PaidType)
}

// PaidElsewhere says of an order, in few words, that money came in elsewhere; it is
// empty where none did.
func (t Teller) PaidElsewhere(o ledger.Order) string {
	switch payScore, elsewhere := ways(o); {
	case payScore && elsewhere:
		return t.phrases().partElsewhere
	case elsewhere:
		return t.phrases().allElsewhere
	}
	return ""
}

// Total is what an order comes to. Where WeChat Pay has signed no total, it is what
// billing said, and says so; it is empty where neither is known.
func (t Teller) Total(o ledger.Order) string {
	if o.TotalAmount == nil && o.BillingAmount != nil {
		return fmt.Sprintf(t.phrases().totalSaid, Yuan(*o.BillingAmount))
	}
	return YuanOf(o.TotalAmount)
}

// TotalBrief is Total for a column of a table, a dash where nothing is known.
func (t Teller) TotalBrief(o ledger.Order) string {
	if o.TotalAmount == nil && o.BillingAmount != nil {
		return fmt.Sprintf(t.phrases().totalSaidBrief, Yuan(*o.BillingAmount))
	}
	return OrDash(YuanOf(o.TotalAmount))
}

// OwedSince is since when an order is owed, as billing says; empty where it has not.
func (t Teller) OwedSince(o ledger.Order) string {
	if o.OwedSince.IsZero() {
		return ""
	}
	return fmt.Sprintf(t.phrases().owedSince, t.WithAge(o.OwedSince))
}
