package explain

import (
	"fmt"
	"time"

	"payscore-collector/internal/collect"
	"payscore-collector/internal/config"
	"payscore-collector/internal/ledger"
	"payscore-collector/internal/payscore"
	"payscore-collector/tasks"
)

// Situation is what decides whether a merchant's orders are collected at one moment.
// The package status reads it. Times are Redis's clock.
type Situation struct {
	MchID string
	// Workers is how many workers live, and Seen when the last one reported; zero
	// where none ever has.
	Workers int
	Seen    time.Time
	// Full is the memory of a Redis that is full and refuses writes; zero of any other.
	Full Memory
	// PausedSince is when the merchant's queue was paused; zero where it is not.
	PausedSince time.Time
	// Holds are what slows and stops calls, and the time of the situation.
	Holds ledger.Holds
	// Rate is COLLECT_RATE, 0 where it is not known; Window is when collect calls are
	// made, with a nil Location where that is not known. Both are the living workers',
	// or the last one's.
	Rate   float64
	Window collect.Window
	// Schedules are those of SCHEDULES_FILE; nil where that is not known.
	Schedules *collect.Schedules
	// Work reports whether there is something left to do for any order, and NextWork
	// when the first of it is due; NextWork is zero where something is due now.
	Work     bool
	NextWork time.Time
	// HooksWaiting is how many orders have final states that billing has not accepted, and
	// HooksSince when the oldest of those was written.
	HooksWaiting int64
	HooksSince   time.Time
}

// Memory is Redis's memory, in bytes.
type Memory struct{ Used, Limit int64 }

// Code names a cause. Logs, metrics and the API carry codes, so a code is never renamed.
type Code string

// The causes, in the order of Why.
const (
	RedisRefuses    Code = "redis_refuses"
	NoWorker        Code = "no_worker"
	QueuePaused     Code = "queue_paused"
	Paused          Code = "paused"
	HoldFault       Code = "hold_fault"
	HoldDown        Code = "hold_down"
	HoldThrottled   Code = "hold_throttled"
	HoldService     Code = "hold_service"
	OutsideWindow   Code = "outside_window"
	NotDue          Code = "not_due"
	Slowed          Code = "slowed"
	WebhooksWaiting Code = "webhooks_waiting"
	ClockJumped     Code = "clock_jumped"
)

// Codes lists every code, in the order of Why.
var Codes = []Code{
	RedisRefuses, NoWorker, QueuePaused, Paused, HoldFault, HoldDown, HoldThrottled, HoldService,
	OutsideWindow, NotDue, Slowed, WebhooksWaiting, ClockJumped,
}

// Cause is one thing that keeps orders from being collected, or that an operator must
// know about the merchant.
type Cause struct {
	Code  Code   `json:"code"`
	Words string `json:"words"`
	// Service is the appid:service_id of HoldService.
	Service string `json:"service,omitempty"`
	// Stops: nothing is collected as long as the cause holds. Other causes slow the
	// collection, stop a part of it, or only want attention.
	Stops bool      `json:"stops"`
	Since time.Time `json:"since,omitzero"`
	Until time.Time `json:"until,omitzero"` // when it ends, or is probed; zero where that is not known

	own bool // it is the order's own due time
}

const (
	// hooksLate is how long a final state may wait before billing's receiver counts as
	// one that does not accept it.
	hooksLate = 30 * time.Second
	// pausedLook is for how long a pause puts an order off at once; see PAUSE_LOOK in
	// hold.lua.
	pausedLook = time.Hour
	// jumpShown is how long a jump of Redis's clock stays a cause.
	jumpShown = 24 * time.Hour
)

// Why names every cause that holds for a merchant: why nothing is collected, why it is
// slow, and what else an operator must know. It is empty where all is well.
func (t Teller) Why(s Situation) []Cause {
	now := s.Holds.Now
	t.Now = now
	var list []Cause
	add := func(c Cause) { list = append(list, c) }

	if s.Full.Limit > 0 {
		add(Cause{Code: RedisRefuses, Words: t.say("Redis cannot serve: its memory is full (%d of %d bytes), and it refuses every write: raise maxmemory",
			"Redis 无法服务：内存已满（已用 %d 字节，上限 %d 字节），拒绝所有写入，请调大 maxmemory", s.Full.Used, s.Full.Limit), Stops: true})
	}
	// Workers cannot report to a Redis that refuses writes.
	if s.Workers == 0 && s.Full.Limit == 0 && s.Work {
		words := t.say("no worker has reported for this merchant", "没有 worker 为该商户报到过")
		if !s.Seen.IsZero() {
			words = t.say("no worker runs for this merchant; the last one reported at %s", "没有 worker 为该商户运行，最近一次报到是 %s", t.AtZone(s.Seen))
		}
		add(Cause{Code: NoWorker, Words: words, Stops: true, Since: s.Seen})
	}
	if !s.PausedSince.IsZero() {
		add(Cause{Code: QueuePaused, Words: t.say("the queue has been paused since %s; to resume: worker resume --mchid %s --reason TEXT",
			"队列自 %s起被暂停，恢复命令：worker resume --mchid %s --reason TEXT", t.AtZone(s.PausedSince), s.MchID), Stops: true, Since: s.PausedSince})
	}
	if p := s.Holds.Pause; p != nil {
		add(Cause{Code: Paused, Words: t.paused(s.MchID, *p), Stops: true, Since: p.Since, Until: p.Until})
	}
	if h := s.Holds.Merchant; h.Kind != ledger.HoldNone {
		code := map[ledger.HoldKind]Code{ledger.HoldFault: HoldFault, ledger.HoldDown: HoldDown, ledger.HoldThrottled: HoldThrottled}[h.Kind]
		add(Cause{Code: code, Words: t.hold(h), Stops: true, Since: h.Since, Until: h.NextProbe})
	}
	for _, h := range s.Holds.Services {
		add(Cause{Code: HoldService, Words: t.hold(h), Service: h.Scope(), Since: h.Since, Until: h.NextProbe})
	}
	if opens := s.opens(); !opens.IsZero() && s.Work {
		add(Cause{Code: OutsideWindow, Words: t.say("it is outside the collection window (%s); the window opens at %s",
			"当前不在催收时段内（%s），下次开始时间 %s", windowText(s.Window), t.in(s.Window.Location).AtZone(opens)), Stops: true, Until: opens})
	}
	if s.Work && s.NextWork.After(now) {
		add(Cause{Code: NotDue, Words: t.say("no order is due before %s", "%s之前没有到期的订单", t.AtZone(s.NextWork)), Stops: true, Until: s.NextWork})
	}
	if s.Holds.Share > 0 && s.Holds.Share < 1 {
		words := t.say("WeChat Pay throttles calls: %.0f %% of COLLECT_RATE now", "微信支付限频，当前请求速率为 COLLECT_RATE 的 %.0f %%", 100*s.Holds.Share)
		if s.Rate > 0 {
			words = t.say("WeChat Pay throttles calls: %s calls a second now, of %s (COLLECT_RATE)", "微信支付限频，当前每秒 %s 次请求，上限 %s (COLLECT_RATE)", rateText(s.Rate*s.Holds.Share), rateText(s.Rate))
		}
		add(Cause{Code: Slowed, Words: words})
	}
	if s.HooksWaiting > 0 && now.Sub(s.HooksSince) > hooksLate {
		add(Cause{Code: WebhooksWaiting, Words: t.say("billing's receiver does not accept webhooks: %d orders wait, the oldest since %s",
			"计费系统未接收 webhook：%d 笔订单等待中，最早自 %s", s.HooksWaiting, t.AtZone(s.HooksSince)), Since: s.HooksSince})
	}
	if j := s.Holds.Jump; j.By != 0 && now.Sub(j.At).Abs() < jumpShown {
		jump := text{"ahead", "向前"}
		if j.By < 0 {
			jump = text{"back", "向后"}
		}
		add(Cause{Code: ClockJumped, Words: t.say("Redis's clock jumped %s by %s at %s: see redis_clock_jumped in the runbook",
			"Redis 的时钟%s跳变 %s，发生时间 %s，处理方法见 runbook 的 redis_clock_jumped", t.word(jump), t.Duration(j.By.Abs()), t.AtZone(j.At)), Since: j.At})
	}
	return list
}

// WhyOrder names every cause that keeps one order from being worked on now: those of
// its merchant that concern it, and its own due time. It is empty where the order has
// ended or a worker may claim it.
func (t Teller) WhyOrder(s Situation, o ledger.Order) []Cause {
	if !Working(o) {
		return nil
	}
	s = s.of(o)
	var list []Cause
	for _, c := range t.Why(s) {
		switch c.Code {
		case HoldService:
			if c.Service != o.Owner().Scope() {
				continue
			}
			c.Stops = true
		case Paused:
			if !mayCollect(o) {
				continue // queries and syncs are made all the same
			}
		case OutsideWindow:
			if !mayCollect(o) || !o.NextDueAt.Before(c.Until) {
				continue // queries are made at any time; or the order waits for its own time
			}
		case NotDue, WebhooksWaiting:
			continue
		}
		list = append(list, c)
	}
	if o.NextDueAt.After(s.Holds.Now) {
		own := Cause{
			Code: NotDue, Words: t.say("it is not due before %s: %s", "%s之前未到期：%s", t.AtZone(o.NextDueAt), t.whyThen(s, o)),
			Stops: true, Until: o.NextDueAt, own: true,
		}
		if mayCollect(o) && opensAt(s.Window, o.NextDueAt) {
			own.Code = OutsideWindow
		}
		list = append(list, own)
	}
	return list
}

// mayCollect reports whether an order's next step may be a collect call.
func mayCollect(o ledger.Order) bool {
	return o.State.Open() && (o.Next == ledger.Collect || o.Next == ledger.Recheck)
}

// whyThen says why an order is due when it is, and not sooner.
func (t Teller) whyThen(s Situation, o ledger.Order) string {
	switch {
	case s.Holds.Pause != nil && mayCollect(o) && o.NextDueAt.Sub(s.Holds.Now) <= pausedLook:
		return t.say("the pause may have put it off; it is due at once when the pause ends", "可能因暂停而推迟，暂停结束后立即到期")
	case mayCollect(o) && opensAt(s.Window, o.NextDueAt):
		return t.say("the collection window (%s) opens then", "届时进入催收时段（%s）", windowText(s.Window))
	case o.State == tasks.Queued && o.Next == ledger.Collect && o.LastAttemptAt.IsZero():
		return t.say("billing asked for that time", "计费系统指定的时间")
	case o.Next == ledger.Recheck && o.LastError != nil && payscore.ErrorIsTrouble(o.LastError.HTTPStatus, o.LastError.Code, o.LastError.DetailCode):
		return t.word(plansDue[ledger.Resolve])
	}
	if name, p := s.scheduleOf(o); p != nil && o.State.Open() { // its times are not those of the settings
		switch o.Next {
		case ledger.Recheck:
			return t.say("its schedule %s says so", "按催收计划 %s 的安排", Printable(name))
		case ledger.Final:
			return t.say("give_up_after of its schedule %s ends then", "届时达到催收计划 %s 的期限 (give_up_after)", Printable(name))
		}
	}
	return t.word(plansDue[o.Next])
}

// opens returns when the window opens; zero where it is open, or not known.
func (s Situation) opens() time.Time {
	if s.Window.Location == nil || s.Window.Contains(s.Holds.Now) {
		return time.Time{}
	}
	return s.Window.Earliest(s.Holds.Now)
}

// opensAt reports whether the window opens at a time.
func opensAt(w collect.Window, at time.Time) bool {
	if w.Location == nil || w.Always || !w.Contains(at) {
		return false
	}
	return !w.Contains(at.Add(-time.Second))
}

// paused says that a person has stopped the collect calls of a merchant.
func (t Teller) paused(mchid string, p ledger.Pause) string {
	until := t.say("until worker resume --mchid %s --reason TEXT", "直到执行 worker resume --mchid %s --reason TEXT", mchid)
	if !p.Until.IsZero() {
		until = t.say("until %s, or worker resume --mchid %s --reason TEXT", "直到 %s，或执行 worker resume --mchid %s --reason TEXT", t.AtZone(p.Until), mchid)
	}
	return t.say("collect calls are paused since %s, %s, %s; queries and notifications continue",
		"催收扣款自 %s起暂停，%s，%s；查询和通知照常", t.AtZone(p.Since), t.who(p.By, p.Reason), until)
}

func (t Teller) hold(h ledger.Hold) string {
	probe := t.say("the next order that is due is the probe", "下一笔到期的订单将用于探测")
	if h.NextProbe.After(t.Now) {
		probe = t.say("the next probe is %s", "%s探测", t.Age(h.NextProbe))
	}
	if h.Kind == ledger.HoldService {
		return t.say("calls for %s (appid:service_id) are stopped since %s, because WeChat Pay gives this merchant no permission for it; %s",
			"%s (appid:service_id) 的请求自 %s起停止，微信支付未给该商户相应权限；%s", Printable(h.Scope()), t.AtZone(h.Since), probe)
	}
	return t.say("calls are stopped since %s, because %s; %s", "请求自 %s起停止，原因：%s；%s", t.AtZone(h.Since), t.word(holds[h.Kind]), probe)
}

func (t Teller) in(zone *time.Location) Teller {
	t.Zone = zone
	return t
}

// windowText is a window as people write it, with its zone.
func windowText(w collect.Window) string {
	return config.Window{From: w.From, To: w.To}.String() + " " + w.Location.String()
}

// rateText is calls a second, without false precision.
func rateText(rate float64) string {
	if rate < 10 {
		return fmt.Sprintf("%.2g", rate)
	}
	return fmt.Sprintf("%.0f", rate)
}
