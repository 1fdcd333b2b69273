package explain

import (
	"time"

	"payscore-collector/internal/ledger"
	"payscore-collector/tasks"
)

// Fact is one line of what is known of an order. Where one name has several lines, only
// the first one carries it.
type Fact struct{ Name, Words string }

// Facts is what people ask first of an order: where it stands and why, its money, and
// what comes next.
func (t Teller) Facts(o ledger.Order, s Situation, hooks ledger.HookWait) []Fact {
	var list []Fact
	add := func(name string, lines ...string) {
		for _, words := range lines {
			if words != "" {
				list = append(list, Fact{name, words})
				name = ""
			}
		}
	}
	add(t.say("order", "商户服务订单号"), o.OutOrderNo)
	add(t.say("merchant", "商户号"), o.MchID)
	add("appid", o.AppID)
	add(t.say("service", "服务ID"), o.ServiceID)
	add(t.say("state", "状态"), t.State(o))
	add(t.say("reason", "原因"), t.Reason(o.State, o.Reason))
	add(t.say("sync", "同步"), t.Sync(o))
	add(t.say("total", "总金额"), t.Total(o))
	add(t.say("paid", "已付"), YuanOf(o.PaidAmount))
	add(t.say("still owed", "未付"), StillOwed(o))
	add(t.say("owed since", "欠款起始"), t.OwedSince(o))
	add(t.say("paid by", "付款方式"), t.PaidBy(o))
	add(t.say("payments", "各笔付款"), t.Payments(o)...)
	add(t.say("transaction", "交易单号"), Printable(o.TransactionID))
	add(t.say("order_id", "微信支付服务订单号"), Printable(o.OrderID))
	add(t.say("calls", "请求次数"), t.Calls(o))
	add(t.say("opened", "入队时间"), t.WithAge(o.OpenedAt))
	if !o.LastAttemptAt.IsZero() {
		add(t.say("last call", "最近请求"), t.WithAge(o.LastAttemptAt))
	}
	causes := t.WhyOrder(s, o)
	add(t.say("schedule", "催收计划"), t.Schedule(o, s))
	add(t.say("next", "下一步"), t.Next(s, o, causes))
	if !o.EndedAt.IsZero() {
		add(t.say("ended", "终态时间"), t.WithAge(o.EndedAt))
	}
	add(t.say("held back", "受阻原因"), t.HeldBack(causes)...)
	add("webhook", t.Webhook(hooks))
	if e := o.LastError; e != nil && o.State != tasks.Paid {
		add(t.say("last error", "最近错误"), t.LastError(o))
		if e.RequestID != "" {
			add(t.say("for support", "联系客服"),
				t.say("give WeChat Pay's support this Request-ID: %s", "请向微信支付客服提供 Request-ID：%s", Printable(e.RequestID)))
		}
	}
	return list
}

// Alarms are what an operator must not overlook about an order.
func (t Teller) Alarms(o ledger.Order) []string {
	var list []string
	if !o.LatePaymentAt.IsZero() {
		came := t.say("a payment", "一笔付款")
		if o.PaidAmount != nil {
			came = Yuan(*o.PaidAmount)
		}
		list = append(list, t.say("PAID AFTER ITS END: %s, learnt of on %s, came in for an order that had already ended as %s. Billing must decide what becomes of the money.",
			"终态之后又付款：%s，获知时间 %s，该订单此前已以 %s 结束。请由计费系统决定如何处理这笔款。", came, t.WithAge(o.LatePaymentAt), o.State))
	}
	if d := o.AmountDiffers; d != nil {
		list = append(list, t.say("AMOUNTS DIFFER in %s: %s was expected, and on %s WeChat Pay signed %s. Ask WeChat Pay's support which is right.",
			"金额矛盾：%s 应为 %s，而微信支付于 %s签名的是 %s。请向微信支付客服核实。", Printable(d.Field), Yuan(d.Known), t.WithAge(d.At), Yuan(d.Said)))
	}
	if o.Sync != nil && o.Sync.State == ledger.SyncFailed {
		list = append(list, t.say("WECHAT PAY COULD NOT BE TOLD that the user paid elsewhere, and may deduct once more. Remove the reason and withdraw the order again with --paid-at, or report the payment on the merchant platform.",
			"同步失败：未能告知微信支付用户已通过其他方式付款，微信支付可能再次扣款。请排除原因后用 --paid-at 重新撤回，或在商户平台同步该订单。"))
	}
	return list
}

// StateWords says what a state means for the merchant who is owed money.
func (t Teller) StateWords(s tasks.State) string { return t.word(states[s]) }

// State is an order's state and what it means.
func (t Teller) State(o ledger.Order) string {
	payScore, elsewhere := ways(o)
	words := t.StateWords(o.State)
	switch {
	case o.State == tasks.Paid && payScore && elsewhere:
		words = t.say("a part through PayScore, and the rest elsewhere, as the merchant told WeChat Pay", "一部分通过微信支付分，其余通过其他方式，由商户同步给微信支付")
	case o.State == tasks.Paid && elsewhere:
		words = t.say("elsewhere, as the merchant told WeChat Pay", "通过其他方式，由商户同步给微信支付")
	case o.State == tasks.Queued && collectLeftOpen(o):
		words = t.say("a collect call was begun, and its result is not known", "已发起催收扣款，结果未知")
	case o.State == tasks.Queued && len(o.Past) > 0:
		words = t.say("not tried since it was reopened", "重新打开后尚未催收")
	case StillOwed(o) != "":
		words = t.say("a part of the money is in", "已部分到账")
	case o.State == tasks.Exhausted && !o.LatePaymentAt.IsZero():
		words = t.say("given up, before the money came in", "放弃催收之后款已到账")
	}
	return t.explained(string(o.State), words)
}

// Reason is why an order ended, with its explanation. That of a withdrawn one is
// billing's own words.
func (t Teller) Reason(state tasks.State, why string) string {
	switch {
	case why == "":
		return ""
	case state == tasks.Withdrawn:
		return `"` + Printable(why) + `"`
	}
	return t.reason(why)
}

func (t Teller) reason(why string) string {
	words, ok := reasons[why]
	if !ok {
		words = codes[why]
	}
	return t.explained(why, t.word(words))
}

// Sync says how far WeChat Pay has been told of a withdrawal. It is empty where there
// is nothing to tell.
func (t Teller) Sync(o ledger.Order) string {
	s := o.Sync
	if s == nil {
		if o.State != tasks.Withdrawn || !o.LatePaymentAt.IsZero() {
			return ""
		}
		return t.say("none: WeChat Pay was not told, and keeps deducting by itself (enqueue withdraw NO --reason TEXT --paid-at TIME tells it)",
			"无：未同步给微信支付，微信支付会继续自行扣款（同步：enqueue withdraw NO --reason TEXT --paid-at TIME）")
	}
	reason, paidAt := "", ""
	switch {
	case s.State == ledger.SyncFailed && s.Reason == "PARAM_ERROR":
		// The order is known, so the fault is the time: the call carries nothing else.
		reason = t.say("PARAM_ERROR: the time of payment is refused", "PARAM_ERROR：付款时间被拒绝")
	case s.Reason != "":
		reason = t.reason(s.Reason)
	}
	if !s.PaidAt.IsZero() {
		paidAt = t.say("billing says that it was paid on %s", "计费系统填写的付款时间：%s", t.WithAge(s.PaidAt))
	}
	return t.also(t.explained(string(s.State), t.word(syncs[s.State])), reason, paidAt)
}

// Webhook says that billing's receiver has not accepted an order's final states; empty
// where it has, or they are on their way.
func (t Teller) Webhook(w ledger.HookWait) string {
	if w.Ends == 0 || w.Failures == 0 && t.Now.Sub(w.Since) < hooksLate {
		return ""
	}
	return t.say("billing's receiver has not accepted %d of its final states, the oldest of %s; failures in a row: %d, next try %s",
		"计费系统尚未接收该订单的 %d 个终态，最早的是 %s；连续失败 %d 次，下次重试 %s", w.Ends, t.WithAge(w.Since), w.Failures, t.Age(w.Next))
}

// StillOwed is what is left of an order that was paid in part; empty for any other.
func StillOwed(o ledger.Order) string {
	owed := o.State.Open() || o.State == tasks.Exhausted
	if !owed || o.TotalAmount == nil || o.PaidAmount == nil || *o.PaidAmount <= 0 || *o.PaidAmount >= *o.TotalAmount {
		return ""
	}
	return Yuan(*o.TotalAmount - *o.PaidAmount)
}

// Calls counts an order's calls.
func (t Teller) Calls(o ledger.Order) string {
	text := t.say("%d collect, %d query", "催收扣款 %d 次，查询 %d 次", o.CollectCalls, o.QueryCalls)
	if o.Sync != nil {
		text += t.say(", %d sync", "，同步 %d 次", o.Sync.Calls)
	}
	return t.also(text, t.say("answered attempts: %d", "得到结果的催收 %d 次", o.Attempts))
}

// Working reports whether there is something left to do for an order.
func Working(o ledger.Order) bool {
	return o.State.Open() || o.Sync != nil && o.Sync.State == ledger.SyncPending
}

// overdue is how long after its due time a worker should have claimed an order.
const overdue = time.Minute

// Next says what comes next, when, and why not sooner; causes are those of WhyOrder.
func (t Teller) Next(s Situation, o ledger.Order, causes []Cause) string {
	if o.NextDueAt.IsZero() {
		return ""
	}
	s = s.of(o)
	words, ok := syncPlans[o.Next]
	if o.Sync == nil || !ok {
		words = plans[o.Next]
	}
	why := ""
	switch {
	case o.NextDueAt.After(t.Now):
		why = t.say("not sooner: %s", "等待原因：%s", t.whyThen(s, o))
	case len(causes) == 0 && t.Now.Sub(o.NextDueAt) > overdue:
		why = t.say("overdue: no worker has claimed it", "已过期：没有 worker 领取")
	}
	return t.also(t.explained(t.Due(o.NextDueAt), t.word(words)), why)
}

// HeldBack says for each cause, but for the order's own due time, why the order is not
// worked on.
func (t Teller) HeldBack(causes []Cause) []string {
	var list []string
	for _, c := range causes {
		if !c.own {
			list = append(list, c.Words)
		}
	}
	return list
}

// Nothing is a cause in a sentence of its own: where it stops a merchant's collection,
// that nothing is collected.
func (t Teller) Nothing(c Cause) string {
	if c.Stops {
		return t.say("nothing is collected: %s", "已停止催收：%s", c.Words)
	}
	return c.Words
}
