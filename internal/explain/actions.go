package explain

import (
	"slices"
	"time"

	"payscore-collector/internal/ledger"
)

// actions says what each action does.
var actions = map[string]text{
	ledger.ActWithdraw:   {"withdrawn", "撤回"},
	ledger.ActReopen:     {"reopened", "重新打开"},
	ledger.ActCollectNow: {"collect now", "立即催收"},
	ledger.ActPause:      {"paused", "暂停"},
	ledger.ActResume:     {"resumed", "恢复"},
	ledger.ActBulk:       {"bulk action", "批量操作"},

	ledger.ActRetryWebhooks:  {"webhooks retried", "重试 webhook"},
	ledger.ActReplayWebhooks: {"webhooks replayed", "重放 webhook"},
	ledger.ActDestroyReader:  {"reader removed", "删除读取方"},

	ledger.ActAcknowledge: {"acknowledged", "确认"},
}

// action is an action in words; one that this release does not know stands for itself.
func (t Teller) action(name string) string {
	if words := t.word(actions[name]); words != "" {
		return words
	}
	return Printable(name)
}

// who is who did something, and why.
func (t Teller) who(by, reason string) string {
	if reason == "" {
		return t.say("by %s", "操作人 %s", Printable(by))
	}
	return t.say("by %s: \"%s\"", "操作人 %s：“%s”", Printable(by), Printable(reason))
}

// actionAt returns the action of a name that was done to an order at a time.
func actionAt(o ledger.Order, name string, at time.Time) (ledger.Action, bool) {
	i := slices.IndexFunc(o.Actions, func(a ledger.Action) bool { return a.Action == name && a.At.Equal(at) })
	if i < 0 {
		return ledger.Action{}, false
	}
	return o.Actions[i], true
}

// AuditHeads are the names of the columns in a list of actions.
func (t Teller) AuditHeads() []string {
	return []string{
		t.say("WHEN (%s)", "时间 (%s)", t.ZoneName()), t.say("MERCHANT", "商户号"), t.say("WHAT", "操作"), t.say("ORDER", "商户服务订单号"),
		t.say("BY", "操作人"), t.say("WHY", "原因"), t.say("DETAIL", "说明"),
	}
}

// AuditRow is an action as a row of a list.
func (t Teller) AuditRow(a ledger.Audited) []string {
	return []string{
		t.At(a.At), a.MchID, t.action(a.Action.Action), OrDash(Printable(a.OutOrderNo)), Printable(a.By), OrDash(Printable(a.Reason)), Printable(a.Detail),
	}
}

// NoActions says that a trail is empty.
func (t Teller) NoActions() string { return t.say("no actions found", "没有操作记录") }

// MoreActions says that a list shows so many actions, and not all.
func (t Teller) MoreActions(shown int) string {
	return t.say("there are more than these %d; --limit 0 lists all", "超过 %d 条，未全部列出；--limit 0 列出全部", shown)
}
