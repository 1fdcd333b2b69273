package explain

import (
	"strings"

	"payscore-collector/internal/ledger"
)

// BookKind is a kind of exception between WeChat Pay's bill of a day and the ledger. Its
// values are part of the interface.
type BookKind string

// The kinds of exceptions.
const (
	PaidInBillOnly   BookKind = "paid_in_bill_only"
	PaidInLedgerOnly BookKind = "paid_in_ledger_only"
	AmountDiffers    BookKind = "amount_differs"
	PaidTwice        BookKind = "paid_twice"
	Refunded         BookKind = "refunded"
	UnknownOrder     BookKind = "unknown_order"
)

// BookKinds lists every kind, the gravest first.
var BookKinds = []BookKind{PaidTwice, AmountDiffers, PaidInBillOnly, PaidInLedgerOnly, UnknownOrder, Refunded}

// Alone reports whether a kind is only information, which asks for nothing.
func (k BookKind) Alone() bool { return k == Refunded }

// BookException is what a reader learns of an exception.
type BookException struct {
	Kind   BookKind
	Bill   int64        // fen that the bill names
	Ledger int64        // fen that WeChat Pay has signed
	State  ledger.State // of the order; empty where the ledger does not have it
	Total  int64        // of a paid_twice: what the order comes to
	Paid   int64        // of a paid_twice: what was paid in all
	Others []string     // of a paid_twice: the other transaction_ids
	Repeat bool         // of an amount_differs: the bill has the payment more than once
	NoID   bool         // of a paid_in_ledger_only: WeChat Pay named no transaction_id
	Edge   bool         // of a paid_in_ledger_only: the neighbouring day's bill was searched too
}

// BookWord is a kind in a few words.
func (t Teller) BookWord(k BookKind) string { return t.word(bookWords[k].what) }

// BookRemedy says what to do about a kind.
func (t Teller) BookRemedy(k BookKind) string { return t.word(bookWords[k].remedy) }

var bookWords = map[BookKind]struct{ what, remedy text }{
	PaidTwice: {
		text{"paid more than once", "重复支付"},
		text{"Refund what is too much: the parameters are below, ready to be copied.", "请退还多付的部分：退款参数见下，可直接复制。"},
	},
	AmountDiffers: {
		text{"the amounts differ", "金额不一致"},
		text{"Compare the payment in the merchant platform (pay.weixin.qq.com) by its transaction_id, and ask WeChat Pay's support with it.", "请用微信支付单号（transaction_id）在商户平台（pay.weixin.qq.com）核对该笔支付，并联系微信支付客服。"},
	},
	PaidInBillOnly: {
		text{"in the bill, not in the ledger", "账单有，台账无"},
		text{"Workers query these orders at once; run the command again in a minute. What is still listed then: outcomes get NO.", "worker 会立即查询这些订单，请一分钟后重新执行本命令；仍列出的，请执行 outcomes get NO。"},
	},
	PaidInLedgerOnly: {
		text{"in the ledger, not in the bill", "台账有，账单无"},
		text{"WeChat Pay signed these payments. Do not withdraw them; ask its support with the transaction_id.", "这些支付有微信支付的签名。请勿撤销，请凭微信支付单号联系微信支付客服。"},
	},
	UnknownOrder: {
		text{"PayScore orders that were never enqueued", "从未入队的支付分订单"},
		text{"Find out which system completed these orders, and let it enqueue them; book the payments by hand.", "请查明是哪个系统完结了这些订单，让它入队；这些支付请手工入账。"},
	},
	Refunded: {
		text{"refunded", "已退款"},
		text{"Information only: book the refund.", "仅供参考：请登记退款。"},
	},
}

// BookDetail says in a sentence what an exception is.
func (t Teller) BookDetail(e BookException) string {
	bill, signed := Yuan(e.Bill), Yuan(e.Ledger)
	switch e.Kind {
	case PaidTwice:
		return t.say("%s was paid in all, and the order comes to %s; its other payments: %s",
			"共支付 %s，订单金额为 %s；其他支付：%s", Yuan(e.Paid), Yuan(e.Total), OrDash(strings.Join(e.Others, ", ")))
	case AmountDiffers:
		if e.Repeat {
			return t.say("the bill has this payment more than once, %s in all, and WeChat Pay signed %s",
				"账单中该笔支付出现多次，共 %s；微信支付签名的金额为 %s", bill, signed)
		}
		return t.say("the bill says %s, and WeChat Pay signed %s", "账单金额为 %s，微信支付签名的金额为 %s", bill, signed)
	case PaidInBillOnly:
		switch {
		case e.State.Open():
			return t.say("the bill has a payment of %s that WeChat Pay has not signed yet; the order is %s and is queried at once",
				"账单中有一笔 %s 的支付，尚无微信支付的签名；订单为 %s，将立即查询", bill, e.State)
		case e.State == ledger.Paid:
			return t.say("the bill has a payment of %s that is not among the order's payments; the order is paid, and WeChat Pay's last signed reply did not name it",
				"账单中有一笔 %s 的支付，不在该订单的支付记录中；订单已支付，微信支付最后一次签名应答未提及该笔", bill)
		}
		return t.say("the bill has a payment of %s that WeChat Pay has not signed; the order is %s, and workers query it once",
			"账单中有一笔 %s 的支付，没有微信支付的签名；订单为 %s，worker 会查询一次", bill, e.State)
	case PaidInLedgerOnly:
		switch {
		case e.NoID:
			return t.say("WeChat Pay signed a payment of %s without a transaction_id, so it cannot be found in the bill",
				"微信支付签名了一笔 %s 的支付，但没有 transaction_id，无法在账单中查找", signed)
		case e.Edge:
			return t.say("WeChat Pay signed a payment of %s around midnight, and neither this bill nor the neighbouring day's has it",
				"微信支付签名了一笔午夜前后 %s 的支付，当日与相邻日的账单中均没有", signed)
		}
		return t.say("WeChat Pay signed a payment of %s, and the bill does not have it", "微信支付签名了一笔 %s 的支付，账单中没有", signed)
	case UnknownOrder:
		return t.say("WeChat Pay collected %s for a PayScore order that was never enqueued", "微信支付为一笔从未入队的支付分订单扣款 %s", bill)
	case Refunded:
		return t.say("%s was refunded", "已退款 %s", bill)
	}
	return ""
}

// BookHeads are the names of the columns of a list of exceptions of one kind, and the third
// and fourth are amounts.
func (t Teller) BookHeads() []string {
	return []string{t.say("ORDER", "商户服务订单号"), t.say("STATE", "状态"), t.say("BILL", "账单"), t.say("LEDGER", "台账"), t.say("TRANSACTION", "交易单号"), t.say("DETAIL", "说明")}
}

// BookTitle is the first line of what came of a day.
func (t Teller) BookTitle(mchid, date string) string {
	return t.say("Books of %s, merchant %s", "%s 对账，商户号 %s", date, mchid)
}

// BookFacts are what a day comes to, by name.
func (t Teller) BookFacts(rows, payScore, bill, orders, signed, matched, matchedAmount, waiting, waitingAmount int64) []Fact {
	facts := []Fact{
		{t.say("bill", "账单"), t.say("%d rows, of which %d of PayScore orders: %s", "共 %d 行，其中支付分 %d 行：%s", rows, payScore, Yuan(bill))},
		{t.say("ledger", "台账"), t.say("%d orders, %s", "%d 笔订单，%s", orders, Yuan(signed))},
		{t.say("both agree on", "一致"), t.say("%d orders, %s", "%d 笔订单，%s", matched, Yuan(matchedAmount))},
	}
	if waiting > 0 {
		facts = append(facts, Fact{t.say("waiting", "待核对"), t.say("%d payments around midnight, %s: the next day's bill may have them", "午夜前后 %d 笔支付，%s：可能在次日账单中", waiting, Yuan(waitingAmount))})
	}
	return facts
}

// BookCount says how many exceptions there are. information are those that ask for nothing.
func (t Teller) BookCount(exceptions, information int64) string {
	s := t.say("%d exceptions", "%d 项差异", exceptions)
	if exceptions == 1 {
		s = t.say("1 exception", "1 项差异")
	}
	if information > 0 {
		s += t.say(", %d refunds for information", "，另有 %d 笔退款供参考", information)
	}
	return s
}

// BookLeftOut says that exceptions are not listed.
func (t Teller) BookLeftOut(n int64) string {
	return t.say("%d more are not listed", "另有 %d 项未列出", n)
}

// BookRefund introduces the body of a request that refunds a payment.
func (t Teller) BookRefund() string {
	return t.say("refund: POST /v3/refund/domestic/refunds", "退款：POST /v3/refund/domestic/refunds")
}
