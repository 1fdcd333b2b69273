package explain

import (
	"time"

	"payscore-collector/internal/ledger"
)

// BulkPreview says what a bulk action would be about.
func (t Teller) BulkPreview(matched, total int64) string {
	return t.say("orders that match: %d, %s in all; nothing was changed", "符合条件的订单 %d 笔，合计 %s；未做任何更改", matched, Yuan(total))
}

// BulkBegun says which bulk action was begun.
func (t Teller) BulkBegun(id string) string {
	return t.say("bulk action %[1]s has begun; workers do it, also after Ctrl-C. How far it is: outcomes bulk show %[1]s",
		"批量操作 %[1]s 已开始，由 worker 执行，按 Ctrl-C 不影响。查看进度：outcomes bulk show %[1]s", id)
}

// BulkWaits says that no worker has done anything for a while.
func (t Teller) BulkWaits(d time.Duration) string {
	return t.say("nothing has been done for %s: does a worker of this release run? It is continued as soon as one does",
		"已有 %s 没有进展：本版本的 worker 是否在运行？worker 启动后会继续执行", d)
}

// BulkProgress is how far a bulk action is, in a line.
func (t Teller) BulkProgress(p ledger.BulkProgress) string {
	counts := t.say("%d done, %d with nothing left to do, %d refused", "已执行 %d，无需执行 %d，拒绝 %d", p.Done, p.Duplicate, p.Refused)
	switch p.Stage {
	case ledger.BulkCounting:
		return t.say("%s: counting the orders, %d match so far", "%s：正在统计订单，已有 %d 笔符合条件", t.action(p.Action), p.Matched)
	case ledger.BulkRunning:
		return t.say("%s: %d of %d orders left; %s", "%s：剩余 %d / %d 笔；%s", t.action(p.Action), p.Left, p.Matched, counts)
	}
	return t.say("%s: all %d orders, %s in all: %s", "%s：全部 %d 笔，合计 %s：%s", t.action(p.Action), p.Matched, Yuan(p.Total), counts)
}

// BulkStory is a bulk action with who began it, and why.
func (t Teller) BulkStory(p ledger.BulkProgress) string {
	text := t.say("begun %s (%s) %s", "开始于 %s（%s），%s", t.At(p.CreatedAt), t.ZoneName(), t.who(p.By, p.Reason))
	if !p.Finished.IsZero() {
		text += t.say("; done %s", "；完成于 %s", t.At(p.Finished))
	}
	return text
}

// BulkRefused says that some orders were refused, and why that may be.
func (t Teller) BulkRefused(n int64) string {
	return t.say("orders refused: %d; their state forbids it, or they did not match any more when their turn came", "%d 笔被拒绝：订单状态不允许，或执行时已不符合条件", n)
}
