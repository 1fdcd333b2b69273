package explain

import (
	"slices"
	"time"

	"payscore-collector/internal/ledger"
	"payscore-collector/internal/payscore"
	"payscore-collector/tasks"
)

// Moment is one line of an order's story.
type Moment struct {
	At        time.Time // zero where it is not known
	What      string    // a call, or what happened
	Words     string    // what came of it
	Codes     string    // of a call: HTTP status, code and detail code, or a dash
	RequestID string    // of a call, or a dash
}

// StoryHeads are the names of a moment's fields: its time, how long ago that is, and the
// rest.
func (t Teller) StoryHeads() []string {
	return []string{
		t.say("WHEN (%s)", "时间 (%s)", t.ZoneName()), "", t.say("WHAT", "事件"), t.say("WHAT CAME OF IT", "结果"),
		t.say("CODES", "错误码"), "REQUEST-ID",
	}
}

// Story is what is known of an order's past, oldest first: its calls and notifications
// as far as the log reaches, when it was opened, and how it ended, each time. A call
// that was begun, and whose result is not known, comes last.
func (t Teller) Story(o ledger.Order) []Moment {
	var list []Moment
	add := func(at time.Time, what, words string) { list = append(list, Moment{At: at, What: what, Words: words}) }
	ended, reopened := t.say("ended", "终态"), t.say("reopened", "重新打开")

	add(o.OpenedAt, t.say("opened", "入队"), t.say("enqueued by billing", "计费系统入队"))
	if gone := callsGone(o); gone > 0 {
		at := o.LastAttemptAt
		if len(o.Log) > 0 {
			at = o.Log[0].At
		}
		add(at, "…", t.say("%d earlier calls are no longer in the log", "更早的 %d 次请求已不在日志中", gone))
	}
	for _, e := range o.Log {
		call := e.Call
		if name, ok := calls[payscore.Call(call)]; ok {
			call = t.word(name)
		}
		list = append(list, Moment{
			At: e.At, What: Printable(call), Words: t.Cause(e),
			Codes: OrDash(Printable(CodesText(e.HTTPStatus, e.Code, e.DetailCode))), RequestID: OrDash(Printable(e.RequestID)),
		})
	}
	for _, past := range o.Past {
		if !past.EndedAt.IsZero() {
			add(past.EndedAt, ended, t.ending(past.State, past.Reason))
		}
		words := t.say("reopened by billing", "计费系统重新打开")
		if a, ok := actionAt(o, ledger.ActReopen, past.ReopenedAt); ok {
			words = t.who(a.By, a.Reason)
		}
		add(past.ReopenedAt, reopened, words)
	}
	if !o.EndedAt.IsZero() {
		words := t.ending(o.State, o.Reason)
		if o.State == tasks.Paid {
			words = t.State(o)
		}
		add(o.EndedAt, ended, words)
	}
	for _, a := range o.Actions {
		if a.Action != ledger.ActReopen { // which stands above
			add(a.At, t.action(a.Action), t.who(a.By, a.Reason))
		}
	}
	if d := o.AmountDiffers; d != nil {
		add(d.At, t.say("AMOUNTS DIFFER", "金额矛盾"), t.say("%s: %s was expected, %s is signed", "%s：应为 %s，签名的是 %s", Printable(d.Field), Yuan(d.Known), Yuan(d.Said)))
	}
	if l := o.TotalLowered; l != nil {
		add(l.At, t.say("lowered", "金额调低"), t.say("the merchant lowered the total from %s to %s", "商户将总金额从 %s 调低为 %s", Yuan(l.From), Yuan(l.To)))
	}
	if !o.LatePaymentAt.IsZero() {
		words := t.say("a payment", "一笔付款")
		if o.PaidAmount != nil {
			words = Yuan(*o.PaidAmount)
		}
		add(o.LatePaymentAt, t.say("PAID AFTER END", "终态之后又付款"), words)
	}
	// Moments of one time keep this order: a call comes before the end that it brought.
	slices.SortStableFunc(list, func(a, b Moment) int { return a.At.Compare(b.At) })
	if collectLeftOpen(o) {
		add(time.Time{}, t.word(calls[payscore.CallCollect]), t.say("begun, and its result is not known; a query comes next", "已发起，结果未知，下一步先查询"))
	}
	return list
}

// collectLeftOpen reports whether a collect call was begun that the log does not have:
// it is under way, or its worker died in it. It reports false where that is unknown:
// the log has lost entries, or its newest collect is the one whose result is unknown.
func collectLeftOpen(o ledger.Order) bool {
	if o.Next != ledger.Resolve || len(o.Log) >= ledger.LogEntries || o.LogGone {
		return false
	}
	var logged int64
	verdict := ""
	for _, e := range o.Log {
		if e.Call == string(payscore.CallCollect) {
			logged++
			verdict = e.Verdict
		}
	}
	return o.CollectCalls > logged && verdict != string(payscore.Unknown)
}

// ending is how an order ended, in few words.
func (t Teller) ending(state tasks.State, why string) string {
	if why = t.Reason(state, why); why == "" {
		return t.explained(string(state), t.StateWords(state))
	}
	return t.explained(string(state), why)
}

// callsGone is how many calls the log of an order has lost, because it was full or the
// order ended long ago. A call that is under way is counted, and not in the log yet.
func callsGone(o ledger.Order) int64 {
	if len(o.Log) < ledger.LogEntries && !o.LogGone {
		return 0
	}
	made := o.CollectCalls + o.QueryCalls
	for _, e := range o.Log {
		if e.Call == string(payscore.CallCollect) || e.Call == string(payscore.CallQuery) {
			made--
		}
	}
	return made
}
