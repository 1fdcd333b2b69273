package explain

import (
	"strconv"
	"time"

	"payscore-collector/internal/eventstream"
	"payscore-collector/internal/ledger"
)

// HookHeads are the names of the columns of HookRow. The third and the fifth are numbers.
func (t Teller) HookHeads() []string {
	return []string{
		t.say("ORDER", "商户服务订单号"), t.say("MERCHANT", "商户号"), t.say("EVENTS", "事件数"),
		t.say("OLDEST", "最早事件") + " (" + t.ZoneName() + ")", t.say("FAILURES", "连续失败"),
		t.say("NEXT TRY", "下次重试"), t.say("LAST FAILURE", "最近失败"),
	}
}

// HookRow is an order whose webhooks wait, under HookHeads.
func (t Teller) HookRow(w ledger.HookWait) []string {
	failure := ""
	if w.Last != nil {
		failure = t.say("%s, %s", "%s，%s", Fit(Printable(w.Last.Why), reasonColumns), t.Age(w.Last.At))
	}
	return []string{
		w.OutOrderNo, w.MchID, strconv.FormatInt(w.Ends, 10), t.WithAge(w.Since), strconv.FormatInt(w.Failures, 10),
		t.dueOrNow(w.Next), OrDash(failure),
	}
}

func (t Teller) dueOrNow(at time.Time) string {
	if !at.After(t.Now) {
		return t.say("now", "现在")
	}
	return t.Age(at)
}

// NoHooks says that no webhook waits.
func (t Teller) NoHooks() string {
	return t.say("billing has accepted every webhook", "计费系统已接收全部 webhook")
}

// HookRetry says what was made due.
func (t Teller) HookRetry(r ledger.HookRetry) string {
	return t.say("%s: orders whose webhooks are delivered now: %d", "%s：立即投递 webhook 的订单数：%d", r.MchID, r.Retried)
}

// HookNotWaiting says of a named order that it has nothing to retry.
func (t Teller) HookNotWaiting(no string) string {
	return t.say("%s: no webhook of this order waits", "%s：该订单没有等待投递的 webhook", no)
}

// HookReplay says what is delivered again.
func (t Teller) HookReplay(r ledger.HookReplay) string {
	if r.First.IsZero() {
		return t.say("%s: the webhooks have not taken any event since %s (%s) from the stream; they deliver all of them without a replay",
			"%s：自 %s（%s）以来的事件 webhook 尚未取出，无需重放即会全部投递", r.MchID, t.At(r.Since), t.ZoneName())
	}
	return t.say("%s: the final states among the events from %s to %s (%s) are delivered again, with the same ids",
		"%s：%s 至 %s（%s）的事件中的终态将以相同 id 重新投递", r.MchID, t.At(r.First), t.At(r.Last), t.ZoneName())
}

// ReaderHeads are the names of the columns of ReaderRow. Those from the third to the
// fifth are numbers.
func (t Teller) ReaderHeads() []string {
	return []string{
		t.say("READER", "消费组"), t.say("MERCHANT", "商户号"), t.say("UNREAD", "未读"), t.say("PENDING", "未确认"), t.say("MEMBERS", "成员数"),
		t.say("OLDEST UNFINISHED", "最早未完成") + " (" + t.ZoneName() + ")", t.say("LAST SEEN", "最近读取"),
	}
}

// ReaderRow is a reader of the stream, under ReaderHeads.
func (t Teller) ReaderRow(s eventstream.Standing) []string {
	lag, oldest, seen := "-", "-", "-"
	if s.Lag != nil {
		lag = strconv.FormatInt(*s.Lag, 10)
	}
	if !s.Oldest.IsZero() {
		oldest = t.WithAge(s.Oldest)
	}
	if !s.LastSeen.IsZero() {
		seen = t.Age(s.LastSeen)
	}
	return []string{Printable(s.Group), s.MchID, lag, strconv.FormatInt(s.Pending, 10), strconv.Itoa(s.Members), oldest, seen}
}

// NoReaders says that nothing reads the stream.
func (t Teller) NoReaders() string { return t.say("no readers", "没有消费组") }

// ReaderDestroyed says that a reader's place is gone.
func (t Teller) ReaderDestroyed(s eventstream.Standing) string {
	return t.say("%s: reader %s is destroyed, and keeps no events in Redis any more", "%s：消费组 %s 已删除，不再占用 Redis 中的事件", s.MchID, Printable(s.Group))
}
