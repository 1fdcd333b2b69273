package explain

import "payscore-collector/internal/ledger"

// WeChat Pay's names of the ways on which money comes in. Others may follow.
const (
	throughPayScore = "NEWTON"
	throughMerchant = "MCH"
)

// Payments is a line for every payment of an order that WeChat Pay has signed.
func (t Teller) Payments(o ledger.Order) []string {
	var lines []string
	for _, pay := range o.Payments {
		line := Yuan(pay.Amount)
		if !pay.PaidAt.IsZero() {
			line = t.say("%s on %s", "%s，支付于 %s", line, t.At(pay.PaidAt))
		}
		way := Printable(pay.PaidType)
		switch pay.PaidType {
		case throughPayScore:
			way = t.say("through PayScore", "通过微信支付分")
		case throughMerchant:
			way = t.say("elsewhere, as the merchant told WeChat Pay", "通过其他方式，由商户同步给微信支付")
		}
		line = t.say("%s, %s", "%s，%s", line, way)
		if pay.TransactionID != "" {
			line = t.say("%s, transaction %s", "%s，交易单号 %s", line, Printable(pay.TransactionID))
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
		elsewhere = o.PaidType == throughMerchant
		return o.PaidType == throughPayScore || elsewhere && o.TransactionID != "", elsewhere
	}
	for _, p := range o.Payments {
		payScore = payScore || p.PaidType == throughPayScore
		elsewhere = elsewhere || p.PaidType == throughMerchant
	}
	return payScore, elsewhere
}

// PaidBy says which way an order was paid.
func (t Teller) PaidBy(o ledger.Order) string {
	switch payScore, elsewhere := ways(o); {
	case payScore && elsewhere:
		return t.say("NEWTON and MCH: a part through PayScore, and the rest elsewhere, as the merchant told WeChat Pay",
			"NEWTON 和 MCH：一部分通过微信支付分，其余通过其他方式，由商户同步给微信支付")
	case payScore:
		return t.say("NEWTON: through PayScore", "NEWTON：通过微信支付分")
	case elsewhere:
		return t.say("MCH: elsewhere, as the merchant told WeChat Pay; no money moved through it", "MCH：通过其他方式，由商户同步给微信支付，微信支付没有扣款")
	}
	return Printable(o.PaidType)
}

// PaidElsewhere says of an order, in few words, that money came in elsewhere; it is
// empty where none did.
func (t Teller) PaidElsewhere(o ledger.Order) string {
	switch payScore, elsewhere := ways(o); {
	case payScore && elsewhere:
		return t.say("paid partly elsewhere", "部分通过其他方式支付")
	case elsewhere:
		return t.say("paid elsewhere", "通过其他方式支付")
	}
	return ""
}

// Total is what an order comes to. Where WeChat Pay has signed no total, it is what
// billing said, and says so; it is empty where neither is known.
func (t Teller) Total(o ledger.Order) string {
	if o.TotalAmount == nil && o.BillingAmount != nil {
		return t.say("%s, said by billing: WeChat Pay has signed no total yet", "%s，由计费系统填写：微信支付尚未给出签名的总金额", Yuan(*o.BillingAmount))
	}
	return YuanOf(o.TotalAmount)
}

// TotalBrief is Total for a column of a table, a dash where nothing is known.
func (t Teller) TotalBrief(o ledger.Order) string {
	if o.TotalAmount == nil && o.BillingAmount != nil {
		return t.say("%s (billing)", "%s（计费系统）", Yuan(*o.BillingAmount))
	}
	return OrDash(YuanOf(o.TotalAmount))
}

// OwedSince is since when an order is owed, as billing says; empty where it has not.
func (t Teller) OwedSince(o ledger.Order) string {
	if o.OwedSince.IsZero() {
		return ""
	}
	return t.say("%s, said by billing", "%s，由计费系统填写", t.WithAge(o.OwedSince))
}
