package main

import (
	"bytes"
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"payscore-collector/internal/config"
	"payscore-collector/internal/ledger"
	"payscore-collector/tasks"
)

func TestGet(t *testing.T) {
	s := newStore(t)
	s.settle(mchA, "A|1*", paid(1230))
	s.open(mchA, "BOTH")
	s.open(mchB, "BOTH")

	t.Run("--json is the ledger's order with its log", func(t *testing.T) {
		o := s.run("get", "A|1*", "--json")
		o.wantStatus(t, config.ExitOK)
		var got map[string]any
		if err := json.Unmarshal([]byte(o.stdout), &got); err != nil {
			t.Fatalf("%v in %s", err, o.stdout)
		}
		log := got["log"].([]any)
		if len(log) != 2 || log[0].(map[string]any)["call"] != "collect" {
			t.Errorf("the log is not the two calls, oldest first: %v", log)
		}
		for _, name := range []string{"opened_at", "last_attempt_at", "ended_at"} {
			if _, err := time.Parse(time.RFC3339, got[name].(string)); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			delete(got, name)
		}
		delete(got, "log")
		want := map[string]any{
			"mchid": mchA, "out_order_no": "A|1*", "appid": "wxd678efh567hg6787", "service_id": "500001",
			"state": "paid", "order_id": "1000", "transaction_id": "4200001", "paid_type": "NEWTON",
			"total_amount": 1230.0, "paid_amount": 1230.0, "attempts": 1.0, "collect_calls": 1.0, "query_calls": 0.0,
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("(-want +got)\n%s", diff)
		}
	})
	t.Run("people read yuan and the story", func(t *testing.T) {
		o := s.run("get", "A|1*")
		o.wantStatus(t, config.ExitOK)
		wantContains(t, "stdout", o.stdout, "¥12.30", "paid: the money is in", "taken; that is no payment yet", "08AB-0")
	})
	t.Run("no such order is status 4 and a sentence", func(t *testing.T) {
		o := s.run("get", "NOBODY")
		o.wantStatus(t, exitNoOrder)
		wantContains(t, "stderr", o.stderr, "there is no order NOBODY in any ledger", mchA+", "+mchB)
		o = s.run("get", "A|1*", "--json", "--mchid", mchB)
		o.wantStatus(t, exitNoOrder)
		wantContains(t, "stderr", o.stderr, "there is no order A|1* in the ledger of merchant "+mchB)
		if o.stdout != "" {
			t.Errorf("stdout has %q", o.stdout)
		}
	})
	t.Run("a number of two merchants is ambiguous until one is named", func(t *testing.T) {
		o := s.run("get", "BOTH")
		o.wantStatus(t, config.ExitUsage)
		wantContains(t, "stderr", o.stderr, "order BOTH is in the ledgers of merchants "+mchA+", "+mchB+": say which with --mchid")
		for _, flag := range []string{"--mchid", "--wechatpay-mchid"} {
			o = s.run("get", "BOTH", flag, mchB)
			o.wantStatus(t, config.ExitOK)
			wantContains(t, "stdout", o.stdout, mchB, "queued: not tried yet")
		}
		o = runWith(t, map[string]string{"REDIS_URL": s.url, "WECHATPAY_MCHID": mchA}, "get", "BOTH")
		o.wantStatus(t, config.ExitOK)
		wantContains(t, "stdout", o.stdout, mchA)
	})
	t.Run("no ledger at all", func(t *testing.T) {
		o := newStore(t).run("get", "A1")
		o.wantStatus(t, exitNoOrder)
		wantContains(t, "stderr", o.stderr, "merchants: none")
	})
}

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

2026-11-20 09:00:00.000  collect  403  declined: the deduction failed                  TRADE_ERROR 271316574     08A1-271316574
2026-11-20 10:00:00.000  query    200  still owed                                      -                         08A2-0
2026-11-20 10:00:00.000  collect  -    no answer to rely on; it may have taken effect  the connection was reset  -
2026-11-20 10:25:00.000  query    200  paid                                            -                         08A3-0
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
`,
		},
		"held back by the merchant's fault, with more calls than the log keeps": {
			order: ledger.Order{
				MchID: mchA, OutOrderNo: "OLD", AppID: "wx1", ServiceID: "500001", State: tasks.Awaiting,
				TotalAmount: ptr[int64](5), Attempts: 8, CollectCalls: 9, QueryCalls: 11,
				OpenedAt: ago(50 * time.Hour), LastAttemptAt: ago(time.Minute), NextDueAt: now, Next: ledger.Recheck,
				Log: []ledger.Entry{{At: ago(time.Minute), Call: "query", Verdict: "merchant_fault", HTTPStatus: 401, Code: "SIGN_ERROR", RequestID: "08A9\x1b[31m", Failed: true}},
			},
			gate: ledger.GateStatus{Kind: "fault", ClosedAt: ago(2 * time.Minute), ProbeAt: now.Add(30 * time.Second)},
			want: `order      OLD
merchant   1900000001
appid      wx1
service    500001
state      awaiting: tried; the money is not in
total      ¥0.05
calls      9 collect, 11 query; answered attempts: 8
opened     2026-11-18 10:00:00 (2 days ago)
last call  2026-11-20 11:59:00 (60 seconds ago)
next       2026-11-20 12:00:00 (now): query, and collect if it is still owed
held back  calls are stopped since 2026-11-20 11:58:00 (2 minutes ago), because WeChat Pay refuses the merchant's signature; the next probe is in 30 seconds

the last 1 of 20 calls:
2026-11-20 11:59:00.000  query  401  the merchant's set-up is refused; not the order's fault  SIGN_ERROR  08A9?[31m
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
`,
		},
		"rejected, paid by others": {
			order: ledger.Order{
				MchID: mchA, OutOrderNo: "NO", AppID: "wx1", ServiceID: "500001", State: tasks.Rejected, Reason: "not_completed",
				PaidType: "MCH", OpenedAt: ago(0), EndedAt: now,
			},
			gate: ledger.GateStatus{},
			want: `order     NO
merchant  1900000001
appid     wx1
service   500001
state     rejected: there is nothing to collect
reason    not_completed: the merchant has not completed it
paid by   MCH: the merchant told WeChat Pay so
calls     0 collect, 0 query; answered attempts: 0
opened    2026-11-20 12:00:00 (now)
ended     2026-11-20 12:00:00 (now)
`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			var b bytes.Buffer
			tell(&b, clock{now, shanghai}, c.order, c.gate)
			if diff := cmp.Diff(c.want, b.String()); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}
