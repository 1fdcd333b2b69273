package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"payscore-collector/internal/ledger"
	"payscore-collector/tasks"
)

// shanghai is a fixed zone, for texts that are the same on every machine.
var shanghai = time.FixedZone("CST", 8*60*60)

func TestTell(t *testing.T) {
	now := time.Date(2026, 11, 20, 4, 0, 0, 0, time.UTC)
	ago := func(d time.Duration) time.Time { return now.Add(-d) }

	for name, c := range map[string]struct {
		order ledger.Order
		gate  ledger.GateStatus
		want  string
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
			want: `order        BIKE-42
merchant     1900000001
appid        wx1
service      500001
state        paid: the money is in
total        ¥12.30
paid         ¥12.30
paid by      NEWTON: through PayScore
transaction  4200001
order_id     1000
calls        2 collect, 2 query; answered attempts: 2
opened       2026-11-20 09:00:00 (3 hours ago)
last call    2026-11-20 10:25:00 (95 minutes ago)
ended        2026-11-20 10:25:00 (95 minutes ago)

WHEN (UTC+08:00)                     WHAT     WHAT CAME OF IT                                                           CODES                      REQUEST-ID
2026-11-20 09:00:00  3 hours ago     opened   handed over by billing
2026-11-20 09:00:00  3 hours ago     collect  the deduction failed: balance, card or risk control                       403 TRADE_ERROR 271316574  08A1-271316574
2026-11-20 10:00:00  2 hours ago     query    still owed                                                                200                        08A2-0
2026-11-20 10:00:00  2 hours ago     collect  no answer to rely on; it may have taken effect: the connection was reset  -                          -
2026-11-20 10:25:00  95 minutes ago  query    paid                                                                      200                        08A3-0
2026-11-20 10:25:00  95 minutes ago  ended    paid: the money is in
`,
		},
		"not tried yet": {
			order: ledger.Order{
				MchID: mchA, OutOrderNo: "NEW", AppID: "wx1", ServiceID: "500001", State: tasks.Queued,
				OpenedAt: ago(time.Second), NextDueAt: now.Add(26 * time.Hour), Next: ledger.Collect,
			},
			want: `order     NEW
merchant  1900000001
appid     wx1
service   500001
state     queued: not tried yet
calls     0 collect, 0 query; answered attempts: 0
opened    2026-11-20 11:59:59 (1 second ago)
next      2026-11-21 14:00:00 (in 26 hours): collect

WHEN (UTC+08:00)                   WHAT    WHAT CAME OF IT         CODES  REQUEST-ID
2026-11-20 11:59:59  1 second ago  opened  handed over by billing
`,
		},
		"held back by the merchant's fault": {
			order: ledger.Order{
				MchID: mchA, OutOrderNo: "OLD", AppID: "wx1", ServiceID: "500001", State: tasks.Awaiting,
				TotalAmount: ptr[int64](5), Attempts: 8, CollectCalls: 9, QueryCalls: 11,
				OpenedAt: ago(50 * time.Hour), LastAttemptAt: ago(time.Minute), NextDueAt: ago(2 * time.Minute), Next: ledger.Recheck,
				LastError: &ledger.LastError{HTTPStatus: 401, Code: "SIGN_ERROR", Message: "签名错误", RequestID: "08A9\x1b[31m"},
				Log:       []ledger.Entry{{At: ago(time.Minute), Call: "query", Verdict: "merchant_fault", HTTPStatus: 401, Code: "SIGN_ERROR", RequestID: "08A9\x1b[31m", Failed: true}},
			},
			gate: ledger.GateStatus{Kind: "fault", ClosedAt: ago(2 * time.Minute), ProbeAt: now.Add(30 * time.Second)},
			want: `order        OLD
merchant     1900000001
appid        wx1
service      500001
state        awaiting: tried; the money is not in
total        ¥0.05
calls        9 collect, 11 query; answered attempts: 8
opened       2026-11-18 10:00:00 (2 days ago)
last call    2026-11-20 11:59:00 (60 seconds ago)
next         2026-11-20 11:58:00 (due for 2 minutes): query, and collect if it is still owed
held back    calls are stopped since 2026-11-20 11:58:00 (2 minutes ago), because WeChat Pay refuses the merchant's signature; the next probe is in 30 seconds
last error   the signature is refused: key, serial number or clock; not the order's fault (401 SIGN_ERROR "签名错误")
for support  give WeChat Pay's support this Request-ID: 08A9?[31m

WHEN (UTC+08:00)                     WHAT    WHAT CAME OF IT                                                               CODES           REQUEST-ID
2026-11-18 10:00:00  2 days ago      opened  handed over by billing
2026-11-20 11:59:00  60 seconds ago  query   the signature is refused: key, serial number or clock; not the order's fault  401 SIGN_ERROR  08A9?[31m
`,
		},
		"held back for its service": {
			order: ledger.Order{
				MchID: mchA, OutOrderNo: "SVC", AppID: "wx1", ServiceID: "500001", State: tasks.Awaiting,
				OpenedAt: ago(0), NextDueAt: now.Add(time.Minute), Next: ledger.Confirm,
			},
			gate: ledger.GateStatus{Services: []string{"wx1:500001", "wx2:500002"}},
			want: `order      SVC
merchant   1900000001
appid      wx1
service    500001
state      awaiting: tried; the money is not in
calls      0 collect, 0 query; answered attempts: 0
opened     2026-11-20 12:00:00 (now)
next       2026-11-20 12:01:00 (in 60 seconds): query whether the money is in
held back  calls for wx1:500001 (appid:service_id) are stopped, because WeChat Pay gives this merchant no permission for it

WHEN (UTC+08:00)          WHAT    WHAT CAME OF IT         CODES  REQUEST-ID
2026-11-20 12:00:00  now  opened  handed over by billing
`,
		},
		"paid in part, and no worker runs": {
			order: ledger.Order{
				MchID: mchA, OutOrderNo: "PART", AppID: "wx1", ServiceID: "500001", State: tasks.Awaiting,
				TotalAmount: ptr[int64](1000), PaidAmount: ptr[int64](100), PaidType: "NEWTON", CollectCalls: 1, Attempts: 1,
				OpenedAt: ago(time.Hour), NextDueAt: ago(30 * time.Minute), Next: ledger.Confirm,
				Log: []ledger.Entry{{At: ago(40 * time.Minute), Call: "notification", Verdict: "owed"}},
			},
			want: `order       PART
merchant    1900000001
appid       wx1
service     500001
state       awaiting: a part of the money is in
total       ¥10.00
paid        ¥1.00
still owed  ¥9.00
paid by     NEWTON: through PayScore
calls       1 collect, 0 query; answered attempts: 1
opened      2026-11-20 11:00:00 (60 minutes ago)
next        2026-11-20 11:30:00 (due for 30 minutes): query whether the money is in; overdue: no worker has taken it up

WHEN (UTC+08:00)                     WHAT          WHAT CAME OF IT                       CODES  REQUEST-ID
2026-11-20 11:00:00  60 minutes ago  opened        handed over by billing
2026-11-20 11:20:00  40 minutes ago  notification  WeChat Pay reports a payment in part  -      -
`,
		},
		"rejected": {
			order: ledger.Order{
				MchID: mchA, OutOrderNo: "NO", AppID: "wx1", ServiceID: "500001", State: tasks.Rejected, Reason: "not_completed",
				OpenedAt: ago(0), EndedAt: now,
			},
			want: `order     NO
merchant  1900000001
appid     wx1
service   500001
state     rejected: there is nothing to collect
reason    not_completed: the merchant has not completed it
calls     0 collect, 0 query; answered attempts: 0
opened    2026-11-20 12:00:00 (now)
ended     2026-11-20 12:00:00 (now)

WHEN (UTC+08:00)          WHAT    WHAT CAME OF IT                                             CODES  REQUEST-ID
2026-11-20 12:00:00  now  opened  handed over by billing
2026-11-20 12:00:00  now  ended   rejected: not_completed: the merchant has not completed it
`,
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
			want: `!! PAID AFTER ITS END: ¥12.30 came in, as was learnt on 2026-11-20 11:59:00 (60 seconds ago), of an order that had ended as withdrawn. Billing must decide what becomes of the money.

!! AMOUNTS DIFFER: total_amount was ¥10.00, and on 2026-11-20 11:59:00 (60 seconds ago) a payment said ¥12.30. Ask WeChat Pay's support which is right.

order        LATE
merchant     1900000001
appid        wx1
service      500001
state        withdrawn: stopped by billing
reason       "用户已付款"
total        ¥12.30
paid         ¥12.30
paid by      NEWTON: through PayScore
transaction  4200001
calls        0 collect, 0 query; answered attempts: 0
opened       2026-11-20 08:00:00 (4 hours ago)
ended        2026-11-20 11:00:00 (60 minutes ago)

WHEN (UTC+08:00)                     WHAT            WHAT CAME OF IT                                       CODES  REQUEST-ID
2026-11-20 08:00:00  4 hours ago     opened          handed over by billing
2026-11-20 09:00:00  3 hours ago     query           still owed                                            200    08A1-0
2026-11-20 09:00:00  3 hours ago     ended           exhausted: gave_up: its time (GIVE_UP_AFTER) is over
2026-11-20 10:00:00  2 hours ago     reopened        opened again by billing
2026-11-20 11:00:00  60 minutes ago  ended           withdrawn: "用户已付款"
2026-11-20 11:59:00  60 seconds ago  notification    WeChat Pay reports that all is paid                   -      08A2-0
2026-11-20 11:59:00  60 seconds ago  AMOUNTS DIFFER  total_amount was ¥10.00, now ¥12.30
2026-11-20 11:59:00  60 seconds ago  PAID AFTER END  paid all the same ¥12.30
`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			var b bytes.Buffer
			if err := tell(&b, clock{now, shanghai}, c.order, c.gate); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, b.String()); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

// How far WeChat Pay knows of a withdrawal, in each of its states.
func TestTell_Sync(t *testing.T) {
	now := time.Date(2026, 11, 20, 4, 0, 0, 0, time.UTC)
	const when = "; billing says that it was paid on 2026-11-20 09:00:00 (3 hours ago)"
	for name, c := range map[string]struct {
		state  ledger.SyncState
		reason string
		want   []string
	}{
		"none":            {"", "", []string{"sync      none: WeChat Pay was not told, and goes on deducting by itself (enqueue withdraw NO"}},
		"pending":         {ledger.SyncPending, "", []string{"sync      pending: WeChat Pay is to be told that the user paid elsewhere" + when, "in 60 seconds): query, and tell WeChat Pay if it is still owed there\n", "0 query, 2 sync;"}},
		"done":            {ledger.SyncDone, "", []string{"sync      done: WeChat Pay knows that the user paid elsewhere, and deducts no more" + when}},
		"failed":          {ledger.SyncFailed, "gave_up", []string{"!! WECHAT PAY COULD NOT BE TOLD", "sync      failed: WeChat Pay could not be told, and may go on deducting; gave_up: its time (GIVE_UP_AFTER) is over" + when}},
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
			if err := tell(&b, clock{now, shanghai}, o, ledger.GateStatus{}); err != nil {
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

// A log that is full says how much it has lost, and one that is not never does.
func TestStory_OfManyCalls(t *testing.T) {
	at := time.Date(2026, 11, 20, 4, 0, 0, 0, time.UTC)
	o := ledger.Order{OpenedAt: at, CollectCalls: 30, QueryCalls: 31}
	for i := range ledger.LogEntries {
		e := ledger.Entry{At: at.Add(time.Duration(i+1) * time.Minute), Call: "query", Verdict: "owed"}
		if i%10 == 0 {
			e.Call = "notification"
		}
		o.Log = append(o.Log, e)
	}
	lines := story(o)
	if len(lines) != 2+ledger.LogEntries || lines[1].words != "16 calls before this have left the log" {
		t.Errorf("%d lines, the second says %q", len(lines), lines[1].words)
	}
	o.Log = o.Log[1:] // a call is under way
	if lines := story(o); len(lines) != len(o.Log)+1 {
		t.Errorf("%d lines of %d calls", len(lines), len(o.Log))
	}
}
