package explain

import (
	"strconv"
	"strings"

	"payscore-collector/internal/ledger"
	"payscore-collector/tasks"
)

// reasonColumns is how much of a reason fits into a list, and codeColumns how much of a
// code: both come from outside.
const (
	reasonColumns = 60
	codeColumns   = 40
)

// None says that a list is empty.
func (t Teller) None() string { return t.say("no orders found", "没有符合条件的订单") }

// More says that a list shows so many orders, and not all.
func (t Teller) More(shown int) string {
	return t.say("there are more than these %d; --limit 0 lists all", "超过 %d 笔，未全部列出；--limit 0 列出全部", shown)
}

// Heads are the names of the columns in a list of orders in one state. Those from the
// third to the fifth are numbers.
func (t Teller) Heads(state tasks.State) []string {
	time := func(name string) string { return name + " (" + t.ZoneName() + ")" }
	heads := []string{t.say("ORDER", "商户服务订单号"), t.say("MERCHANT", "商户号"), t.say("TOTAL", "总金额"), t.say("PAID", "已付"), t.say("CALLS", "请求次数")}
	if state.Open() {
		return append(heads, time(t.say("NEXT", "下一步")), t.say("LAST ERROR", "最近错误"))
	}
	heads = append(heads, time(t.say("ENDED", "终态时间")))
	switch state {
	case tasks.Paid:
		return append(heads, t.say("TRANSACTION", "交易单号"))
	case tasks.Withdrawn:
		heads = append(heads, t.say("SYNC", "同步"))
	}
	return append(heads, t.say("WHY", "原因"))
}

// Row is an order's cells under Heads. Free text stands in the last one, cut to a line.
func (t Teller) Row(o ledger.Order) []string {
	calls := o.CollectCalls + o.QueryCalls
	if o.Sync != nil {
		calls += o.Sync.Calls
	}
	row := []string{o.OutOrderNo, o.MchID, t.TotalBrief(o), OrDash(YuanOf(o.PaidAmount)), strconv.FormatInt(calls, 10)}
	if o.State.Open() {
		return append(row, t.Due(o.NextDueAt), t.remarks(o, t.errorBrief(o.LastError)))
	}
	row = append(row, t.WithAge(o.EndedAt))
	words := Fit(t.Reason(o.State, o.Reason), reasonColumns)
	switch o.State {
	case tasks.Paid:
		words = Printable(o.TransactionID) + " " + t.PaidElsewhere(o)
	case tasks.Withdrawn:
		row = append(row, t.syncBrief(o))
	}
	return append(row, t.remarks(o, words))
}

func (t Teller) errorBrief(e *ledger.LastError) string {
	if e == nil {
		return ""
	}
	words := t.ErrorCause(*e)
	if e.Code != "" {
		words += " (" + Fit(strings.TrimSpace(Printable(e.Code+" "+e.DetailCode)), codeColumns) + ")"
	}
	return words
}

func (t Teller) syncBrief(o ledger.Order) string {
	switch {
	case o.Sync == nil:
		return t.say("none", "无")
	case o.Sync.State == ledger.SyncFailed:
		return t.say("FAILED", "失败 (failed)")
	case o.Sync.State == ledger.SyncPending && o.NextDueAt.After(t.Now):
		return t.say("pending, next %s", "待同步，%s", t.Age(o.NextDueAt))
	case o.Sync.State == ledger.SyncPending:
		return t.say("pending, due", "待同步，已到期")
	}
	return string(o.Sync.State)
}

// remarks puts the alarms, in few words, before a text.
func (t Teller) remarks(o ledger.Order, words string) string {
	if o.AmountDiffers != nil {
		words = t.say("AMOUNTS DIFFER", "金额矛盾") + " " + words
	}
	if !o.LatePaymentAt.IsZero() {
		words = t.say("PAID AFTER ITS END", "终态之后又付款") + " " + words
	}
	return OrDash(strings.TrimSpace(words))
}

// StatsHeads are the names of the columns of StatsRow.
func (t Teller) StatsHeads() []string {
	heads := []string{t.say("MERCHANT", "商户号")}
	for _, state := range tasks.States {
		heads = append(heads, strings.ToUpper(string(state)))
	}
	return append(heads, t.say("PAID AMOUNT", "已付合计"))
}

// StatsRow is a merchant's numbers; an empty mchid stands for all merchants together.
func (t Teller) StatsRow(mchid string, s ledger.Stats) []string {
	if mchid == "" {
		mchid = t.say("all", "合计")
	}
	row := []string{mchid}
	for _, state := range tasks.States {
		row = append(row, strconv.FormatInt(s.Orders[state], 10))
	}
	return append(row, Yuan(s.PaidAmount))
}
