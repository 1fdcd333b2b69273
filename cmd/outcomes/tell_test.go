package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"payscore-collector/internal/collect"
	"payscore-collector/internal/config"
	"payscore-collector/internal/explain"
	"payscore-collector/internal/ledger"
	"payscore-collector/internal/testkit"
	"payscore-collector/tasks"
)

// shanghai is a fixed zone, for texts that are the same on every machine.
var shanghai = time.FixedZone("CST", 8*60*60)

// fileName makes the name of a file of the name of a subtest.
var fileName = strings.NewReplacer(",", "", "'", "", " ", "_")

var china, _ = time.LoadLocation("Asia/Shanghai")

// window is a collection window of every day, by Shanghai's clock.
func window(from, to time.Duration) collect.Window {
	return collect.Window{From: from, To: to, Location: china}
}

func TestTell(t *testing.T) {
	now := time.Date(2026, 11, 20, 4, 0, 0, 0, time.UTC)
	ago := func(d time.Duration) time.Time { return now.Add(-d) }
	schedules := &collect.Schedules{
		Named: map[string]collect.Policy{
			"gentle": {Schedule: []time.Duration{24 * time.Hour, 72 * time.Hour}, Window: window(14*time.Hour, 20*time.Hour), MinGap: 12 * time.Hour, GiveUp: 1440 * time.Hour},
			"small":  {Schedule: []time.Duration{72 * time.Hour}, Window: collect.Window{Always: true, Location: china}, GiveUp: 720 * time.Hour},
		},
		Defaults: []config.ScheduleDefault{{ServiceID: "500001", Below: 100, Schedule: "small"}},
	}

	for name, c := range map[string]struct {
		order ledger.Order
		in    explain.Situation
		hooks ledger.HookWait
	}{
		"paid after a refusal": {
			order: ledger.Order{
				MchID: mchA, OutOrderNo: "BIKE-42", AppID: "wx1", ServiceID: "500001", State: tasks.Paid,
				OrderID: "1000", TransactionID: "4200001", PaidType: "NEWTON", TotalAmount: ptr[int64](1230), PaidAmount: ptr[int64](1230),
				Attempts: 2, CollectCalls: 2, QueryCalls: 2,
				OpenedAt: ago(3 * time.Hour), LastAttemptAt: ago(95 * time.Minute), EndedAt: ago(95 * time.Minute),
				LastError: &ledger.LastError{Message: "the connection was reset"},
				Log: []ledger.Entry{
					{At: ago(3 * time.Hour), Call: "collect", Verdict: "declined", HTTPStatus: 403, Code: "TRADE_ERROR", DetailCode: "271316574", Message: "扣款失败", RequestID: "08A1-271316574", Failed: true},
					{At: ago(2 * time.Hour), Call: "query", Verdict: "owed", HTTPStatus: 200, RequestID: "08A2-0"},
					{At: ago(2 * time.Hour), Call: "collect", Verdict: "unknown", Message: "the connection was reset", Failed: true},
					{At: ago(95 * time.Minute), Call: "query", Verdict: "paid", HTTPStatus: 200, RequestID: "08A3-0"},
				},
			},
		},
		"paid in parts, and a part elsewhere": {
			order: ledger.Order{
				MchID: mchA, OutOrderNo: "PARTS", AppID: "wx1", ServiceID: "500001", State: tasks.Paid,
				OrderID: "1000", TransactionID: "4200002", PaidType: "MCH", TotalAmount: ptr[int64](1230), PaidAmount: ptr[int64](1230),
				OpenedAt: ago(3 * time.Hour), EndedAt: ago(95 * time.Minute), OwedSince: ago(50 * time.Hour), BillingAmount: ptr[int64](1250),
				Payments: []ledger.Payment{
					{Seq: 1, TransactionID: "4200001", Amount: 400, PaidType: "NEWTON", PaidAt: ago(3 * time.Hour)},
					{Seq: 2, TransactionID: "4200002", Amount: 30, PaidType: "NEWTON"},
					{Seq: 3, Amount: 800, PaidType: "MCH", PaidAt: ago(96 * time.Minute)},
				},
			},
		},
		"not tried yet, and billing says what is owed": {
			order: ledger.Order{
				MchID: mchA, OutOrderNo: "SAID", AppID: "wx1", ServiceID: "500001", State: tasks.Queued,
				BillingAmount: ptr[int64](1250), OwedSince: ago(50 * time.Hour),
				OpenedAt: ago(time.Second), NextDueAt: now.Add(26 * time.Hour), Next: ledger.Collect,
			},
		},
		"a fen after it was given up": {
			order: ledger.Order{
				MchID: mchA, OutOrderNo: "LATE-FEN", AppID: "wx1", ServiceID: "500001", State: tasks.Exhausted, Reason: "gave_up",
				TransactionID: "4200001", PaidType: "NEWTON", TotalAmount: ptr[int64](10000), PaidAmount: ptr[int64](1),
				OpenedAt: ago(900 * time.Hour), EndedAt: ago(95 * time.Minute), LatePaymentAt: ago(time.Minute),
				Payments: []ledger.Payment{{Seq: 1, TransactionID: "4200001", Amount: 1, PaidType: "NEWTON", PaidAt: ago(2 * time.Minute)}},
			},
		},
		"reopened, and its worker died in the collect": {
			order: ledger.Order{
				MchID: mchA, OutOrderNo: "DIED", AppID: "wx1", ServiceID: "500001", State: tasks.Queued,
				CollectCalls: 1, OpenedAt: ago(2 * time.Hour), NextDueAt: now, Next: ledger.Resolve,
				Past: []ledger.PastEnd{{State: tasks.Withdrawn, Reason: "waived", EndedAt: ago(time.Hour), ReopenedAt: ago(time.Minute)}},
			},
		},
		"reopened": {
			order: ledger.Order{
				MchID: mchA, OutOrderNo: "AGAIN", AppID: "wx1", ServiceID: "500001", State: tasks.Queued,
				OpenedAt: ago(2 * time.Hour), NextDueAt: now, Next: ledger.Recheck,
				Past: []ledger.PastEnd{{State: tasks.Withdrawn, Reason: "waived", EndedAt: ago(time.Hour), ReopenedAt: ago(time.Minute)}},
			},
		},
		"not tried yet": {
			order: ledger.Order{
				MchID: mchA, OutOrderNo: "NEW", AppID: "wx1", ServiceID: "500001", State: tasks.Queued,
				OpenedAt: ago(time.Second), NextDueAt: now.Add(26 * time.Hour), Next: ledger.Collect,
			},
		},
		"held back by the merchant's fault": {
			order: ledger.Order{
				MchID: mchA, OutOrderNo: "OLD", AppID: "wx1", ServiceID: "500001", State: tasks.Awaiting,
				TotalAmount: ptr[int64](5), Attempts: 8, CollectCalls: 9, QueryCalls: 11,
				OpenedAt: ago(50 * time.Hour), LastAttemptAt: ago(time.Minute), NextDueAt: ago(2 * time.Minute), Next: ledger.Recheck,
				LastError: &ledger.LastError{HTTPStatus: 401, Code: "SIGN_ERROR", Message: "签名错误", RequestID: "08A9\x1b[31m"},
				Log:       []ledger.Entry{{At: ago(time.Minute), Call: "query", Verdict: "merchant_fault", HTTPStatus: 401, Code: "SIGN_ERROR", RequestID: "08A9\x1b[31m", Failed: true}},
			},
			in: explain.Situation{Holds: ledger.Holds{Merchant: ledger.Hold{Kind: ledger.HoldFault, Since: ago(2 * time.Minute), NextProbe: now.Add(30 * time.Second)}}},
		},
		"held back for its service": {
			order: ledger.Order{
				MchID: mchA, OutOrderNo: "SVC", AppID: "wx1", ServiceID: "500001", State: tasks.Awaiting,
				OpenedAt: ago(0), NextDueAt: now.Add(time.Minute), Next: ledger.Confirm,
			},
			in: explain.Situation{Holds: ledger.Holds{Services: []ledger.Hold{
				{Kind: ledger.HoldService, Owner: tasks.Owner{AppID: "wx1", ServiceID: "500001"}, Since: ago(time.Minute), NextProbe: ago(time.Second)},
				{Kind: ledger.HoldService, Owner: tasks.Owner{AppID: "wx2", ServiceID: "500002"}, Since: ago(time.Minute), NextProbe: now},
			}}},
		},
		"paid in part, and no worker runs": {
			order: ledger.Order{
				MchID: mchA, OutOrderNo: "PART", AppID: "wx1", ServiceID: "500001", State: tasks.Awaiting,
				TotalAmount: ptr[int64](1000), PaidAmount: ptr[int64](100), PaidType: "NEWTON", CollectCalls: 1, Attempts: 1,
				OpenedAt: ago(time.Hour), NextDueAt: ago(30 * time.Minute), Next: ledger.Confirm,
				Log: []ledger.Entry{{At: ago(40 * time.Minute), Call: "notification", Verdict: "owed"}},
			},
		},
		"queued at night, in a paused queue": {
			order: ledger.Order{
				MchID: mchA, OutOrderNo: "NIGHT", AppID: "wx1", ServiceID: "500001", State: tasks.Queued,
				OpenedAt: ago(0), NextDueAt: now, Next: ledger.Collect,
			},
			in: explain.Situation{
				Window: window(13*time.Hour, 22*time.Hour), Workers: 1,
				MchID: mchA, PausedSince: ago(5 * time.Minute),
			},
		},
		"due when the window opens": {
			order: ledger.Order{
				MchID: mchA, OutOrderNo: "DAWN", AppID: "wx1", ServiceID: "500001", State: tasks.Queued,
				OpenedAt: ago(0), NextDueAt: now.Add(time.Hour), Next: ledger.Collect,
			},
			in: explain.Situation{Window: window(13*time.Hour, 22*time.Hour), Workers: 1},
		},
		"by a schedule of its own, whose window opens later": {
			order: ledger.Order{
				MchID: mchA, OutOrderNo: "GENTLE", AppID: "wx1", ServiceID: "500001", State: tasks.Queued, Schedule: "gentle",
				OpenedAt: ago(0), NextDueAt: now.Add(2 * time.Hour), Next: ledger.Collect,
			},
			in: explain.Situation{Window: window(8*time.Hour, 22*time.Hour), Workers: 1, Schedules: schedules},
		},
		"by the default schedule of its amount": {
			order: ledger.Order{
				MchID: mchA, OutOrderNo: "SMALL", AppID: "wx1", ServiceID: "500001", State: tasks.Awaiting, TotalAmount: ptr[int64](99),
				Attempts: 1, CollectCalls: 1, OpenedAt: ago(time.Hour), LastAttemptAt: ago(time.Hour), NextDueAt: now.Add(71 * time.Hour), Next: ledger.Recheck,
				Log: []ledger.Entry{{At: ago(time.Hour), Call: "collect", Verdict: "declined", HTTPStatus: 403, Code: "TRADE_ERROR", Failed: true}},
			},
			in: explain.Situation{Window: window(8*time.Hour, 22*time.Hour), Workers: 1, Schedules: schedules},
		},
		"by a schedule that no worker knows": {
			order: ledger.Order{
				MchID: mchA, OutOrderNo: "GONE", AppID: "wx1", ServiceID: "500001", State: tasks.Queued, Schedule: "gone",
				OpenedAt: ago(0), NextDueAt: now, Next: ledger.Collect,
			},
			in: explain.Situation{Window: window(8*time.Hour, 22*time.Hour), Workers: 1, Schedules: schedules},
		},
		"rejected": {
			order: ledger.Order{
				MchID: mchA, OutOrderNo: "NO", AppID: "wx1", ServiceID: "500001", State: tasks.Rejected, Reason: "not_completed",
				OpenedAt: ago(0), EndedAt: now,
			},
			hooks: ledger.HookWait{Ends: 1, Since: ago(time.Minute), Failures: 3, Next: now.Add(time.Minute)},
		},
		"given up, reopened, withdrawn, and paid all the same": {
			order: ledger.Order{
				MchID: mchA, OutOrderNo: "LATE", AppID: "wx1", ServiceID: "500001", State: tasks.Withdrawn, Reason: "用户已付款",
				PaidType: "NEWTON", TransactionID: "4200001", TotalAmount: ptr[int64](1230), PaidAmount: ptr[int64](1230),
				OpenedAt: ago(4 * time.Hour), EndedAt: ago(time.Hour), LatePaymentAt: ago(time.Minute),
				AmountDiffers: &ledger.Difference{At: ago(time.Minute), Field: "total_amount", Known: 1000, Said: 1230},
				Past:          []ledger.PastEnd{{State: tasks.Exhausted, Reason: "gave_up", EndedAt: ago(3 * time.Hour), ReopenedAt: ago(2 * time.Hour)}},
				Log: []ledger.Entry{
					{At: ago(3 * time.Hour), Call: "query", Verdict: "owed", HTTPStatus: 200, RequestID: "08A1-0"},
					{At: ago(time.Minute), Call: "notification", Verdict: "paid", RequestID: "08A2-0"},
				},
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			var b bytes.Buffer
			c.in.Work = true
			c.in.Holds.Now = now
			if name != "paid in part, and no worker runs" {
				c.in.Workers = 1
			}
			for lang, suffix := range map[explain.Language]string{explain.English: "", explain.Chinese: ".zh"} {
				b.Reset()
				if err := tell(&b, explain.Teller{Now: now, Zone: shanghai, Lang: lang}, c.order, c.in, c.hooks); err != nil {
					t.Fatal(err)
				}
				testkit.Golden(t, "tell/"+fileName.Replace(name)+suffix, b.String())
			}
		})
	}
}

// Each state of sync has its words.
func TestTell_Sync(t *testing.T) {
	now := time.Date(2026, 11, 20, 4, 0, 0, 0, time.UTC)
	const when = "; billing says that it was paid on 2026-11-20 09:00:00 (3 hours ago)"
	for name, c := range map[string]struct {
		state  ledger.SyncState
		reason string
		want   []string
	}{
		"none":            {"", "", []string{"sync      none: WeChat Pay was not told, and keeps deducting by itself (enqueue withdraw NO"}},
		"pending":         {ledger.SyncPending, "", []string{"sync      pending: WeChat Pay must still be told that the user paid elsewhere" + when, "in 60 seconds): query, and tell WeChat Pay if it is still owed there", "0 query, 2 sync;"}},
		"done":            {ledger.SyncDone, "", []string{"sync      done: WeChat Pay knows that the user paid elsewhere, and deducts no more" + when}},
		"failed":          {ledger.SyncFailed, "gave_up", []string{"!! WECHAT PAY COULD NOT BE TOLD", "sync      failed: WeChat Pay could not be told, and may still deduct; gave_up: GIVE_UP_AFTER has passed" + when}},
		"failed by time":  {ledger.SyncFailed, "PARAM_ERROR", []string{"!! WECHAT PAY COULD NOT BE TOLD", "; PARAM_ERROR: the time of payment is refused" + when}},
		"failed by rule":  {ledger.SyncFailed, "INVALID_REQUEST", []string{"; INVALID_REQUEST: refused: against one of WeChat Pay's rules" + when}},
		"not needed":      {ledger.SyncNoNeed, "paid_through_wechat", []string{"sync      not_needed: WeChat Pay need not be told; paid_through_wechat: the user paid through WeChat Pay" + when}},
		"not needed, too": {ledger.SyncNoNeed, "REVOKED", []string{"; REVOKED: the merchant cancelled it" + when}},
	} {
		t.Run(name, func(t *testing.T) {
			o := ledger.Order{
				MchID: mchA, OutOrderNo: "A", AppID: "wx1", ServiceID: "500001", State: tasks.Withdrawn, Reason: "REVOKED",
				OpenedAt: now, EndedAt: now,
			}
			if c.state != "" {
				o.Sync = &ledger.Sync{State: c.state, Reason: c.reason, PaidAt: now.Add(-3 * time.Hour), Calls: 2}
			}
			if c.state == ledger.SyncPending {
				o.NextDueAt, o.Next = now.Add(time.Minute), ledger.Recheck
			}
			var b bytes.Buffer
			if err := tell(&b, explain.Teller{Now: now, Zone: shanghai}, o, explain.Situation{}, ledger.HookWait{}); err != nil {
				t.Fatal(err)
			}
			// The reason is billing's own words, whatever they look like.
			wantContains(t, "stdout", b.String(), append(c.want, "reason    \"REVOKED\"\n")...)
			if alarm := strings.Contains(b.String(), "!!"); alarm != (c.state == ledger.SyncFailed) {
				t.Errorf("an alarm: %v\n%s", alarm, b.String())
			}
		})
	}
}
