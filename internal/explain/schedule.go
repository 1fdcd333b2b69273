package explain

import (
	"strings"

	"payscore-collector/internal/collect"
	"payscore-collector/internal/ledger"
)

// scheduleOf returns the schedule by which an order is collected. name is empty where the
// merchant's settings apply. policy is nil where the schedule is not known: the workers'
// file does not have it, or no worker has published one.
func (s Situation) scheduleOf(o ledger.Order) (name string, policy *collect.Policy) {
	if s.Schedules == nil {
		return o.Schedule, nil
	}
	name, _ = s.Schedules.Name(collect.TermsOf(o))
	if p, ok := s.Schedules.Named[name]; ok {
		return name, &p
	}
	return name, nil
}

// of returns the situation as it is for one order, whose schedule may have a window of its
// own.
func (s Situation) of(o ledger.Order) Situation {
	if _, p := s.scheduleOf(o); p != nil {
		s.Window = p.Window
	}
	return s
}

// Schedule says by which schedule of SCHEDULES_FILE an order is collected; empty where by
// none.
func (t Teller) Schedule(o ledger.Order, s Situation) string {
	name, p := s.scheduleOf(o)
	switch {
	case name == "":
		return ""
	case p == nil && s.Schedules == nil:
		return Printable(name)
	case p == nil:
		return t.explained(name, t.say("unknown to the workers, which collect the order by their settings", "worker 没有这个催收计划，按 worker 的设置催收"))
	}
	waits := make([]string, len(p.Schedule))
	for i, d := range p.Schedule {
		waits[i] = t.Duration(d)
	}
	window := t.say("at any time", "不限时段")
	if !p.Window.Always {
		window = windowText(p.Window)
	}
	gap, by := "", ""
	if p.MinGap > 0 {
		gap = t.say("at least %s between collect calls", "两次催收扣款至少间隔 %s", t.Duration(p.MinGap))
	}
	if o.Schedule == "" {
		by = t.say("by the defaults of SCHEDULES_FILE", "来自 SCHEDULES_FILE 的 defaults")
	}
	return t.explained(name, t.also(
		t.say("waits of %s", "间隔 %s", strings.Join(waits, t.say(", ", "，"))), window, gap,
		t.say("exhausted after %s", "%s后放弃", t.Duration(p.GiveUp)), by))
}

// ScheduleUnknown is the alarm of an order that names a schedule which the workers do not
// have; empty for any other.
func (t Teller) ScheduleUnknown(o ledger.Order, s Situation) string {
	if _, p := s.scheduleOf(o); p != nil || s.Schedules == nil || o.Schedule == "" || !o.State.Open() {
		return ""
	}
	return t.say("SCHEDULE UNKNOWN: the order names the schedule %s, which the workers' SCHEDULES_FILE does not have. It is collected by the workers' settings until the file has it.",
		"催收计划未知：该订单指定的催收计划 %s 不在 worker 的 SCHEDULES_FILE 中。补上之前，按 worker 的设置催收。", Printable(o.Schedule))
}
