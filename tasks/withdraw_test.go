package tasks_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"

	"payscore-collector/internal/ledger"
	"payscore-collector/internal/queue"
	"payscore-collector/tasks"
)

func TestProducer_Withdraw(t *testing.T) {
	onBothRedises(t, func(t *testing.T, b *fixture) {
		want := func(got, want string) {
			t.Helper()
			if got != want {
				t.Errorf("%s, want %s", got, want)
			}
		}
		none := time.Time{}
		k := ledger.KeysOf(merchant)

		want(b.withdraw("NOBODY", "waived", none), "absent")
		want(b.withdraw("NOBODY", "paid", paidAt), "absent")
		if n, err := b.rdb.DBSize(t.Context()).Result(); n != 0 || err != nil {
			t.Errorf("%d keys were written for an order that is not there, %v", n, err)
		}

		// Waived: WeChat Pay is not notified, and nothing is left to do.
		b.open("WAIVED")
		want(b.withdraw("WAIVED", "免单", none), "accepted withdrawn")
		first := b.get("WAIVED")
		if first.Reason != "免单" || first.Sync != nil || first.EndedAt.IsZero() {
			t.Errorf("%+v", first)
		}
		for range 3 {
			want(b.withdraw("WAIVED", "another reason", none), "duplicate withdrawn")
		}
		if diff := cmp.Diff(first, b.get("WAIVED")); diff != "" {
			t.Errorf("repeating changed it\n%s", diff)
		}
		if diff := cmp.Diff([]string{"order.opened queued", "order.withdrawn withdrawn"}, b.events("WAIVED")); diff != "" {
			t.Error(diff)
		}

		// Paid elsewhere: a task tells WeChat Pay.
		b.open("PAID")
		before := len(pending(t, b.rdb))
		want(b.withdraw("PAID", "paid", paidAt), "accepted withdrawn")
		infos := pending(t, b.rdb)
		if last := infos[len(infos)-1]; len(infos) != before+1 || last.Type != queue.TypeSync || last.ID != merchant+":PAID:2" ||
			string(last.Payload) != `{"mchid":"1900000001","out_order_no":"PAID","appid":"wx1","service_id":"500001"}` {
			t.Errorf("%d tasks were queued, the last one is %s %s %s", len(infos)-before, last.Type, last.ID, last.Payload)
		}
		if o := b.get("PAID"); o.Sync == nil || o.Sync.State != ledger.SyncPending || !o.Sync.PaidAt.Equal(paidAt) || o.Next != ledger.TellPaid {
			t.Errorf("%+v %+v", o, o.Sync)
		}
		if at, err := b.rdb.HGet(t.Context(), k.Order("PAID"), "paidat").Result(); at != "20260102100000" || err != nil {
			t.Errorf("the time of payment is %q in the record, %v", at, err)
		}
		for range 3 {
			want(b.withdraw("PAID", "paid", paidAt.Add(time.Hour)), "duplicate withdrawn")
		}
		want(b.withdraw("PAID", "waived", none), "duplicate withdrawn")
		if o := b.get("PAID"); !o.Sync.PaidAt.Equal(paidAt) || o.Reason != "paid" || len(pending(t, b.rdb)) != before+1 {
			t.Errorf("repeating changed it: %+v %+v", o, o.Sync)
		}
		b.agrees("WAIVED", "PAID")

		// Waived at first, and then paid elsewhere after all.
		want(b.withdraw("WAIVED", "paid", paidAt), "accepted withdrawn")
		if o := b.get("WAIVED"); o.Sync == nil || o.Sync.State != ledger.SyncPending || o.Reason != "免单" || !o.EndedAt.Equal(first.EndedAt) {
			t.Errorf("%+v %+v", o, o.Sync)
		}
		if diff := cmp.Diff([]string{"order.opened queued", "order.withdrawn withdrawn", "order.attempted withdrawn pending"}, b.events("WAIVED")); diff != "" {
			t.Error(diff)
		}
		b.agrees("WAIVED", "PAID")

		// What became of the telling decides whether it is begun again.
		b.told("PAID", ledger.SyncDone, "")
		want(b.withdraw("PAID", "paid", paidAt), "duplicate withdrawn")
		b.told("WAIVED", ledger.SyncNoNeed, "REVOKED")
		want(b.withdraw("WAIVED", "paid", paidAt), "duplicate withdrawn")
		b.open("REFUSED")
		want(b.withdraw("REFUSED", "paid", paidAt), "accepted withdrawn")
		b.told("REFUSED", ledger.SyncFailed, "PARAM_ERROR")
		b.agrees("WAIVED", "PAID", "REFUSED")
		want(b.withdraw("REFUSED", "paid", none), "duplicate withdrawn")
		want(b.withdraw("REFUSED", "paid", paidAt.Add(time.Hour)), "accepted withdrawn")
		if o := b.get("REFUSED"); o.Sync.State != ledger.SyncPending || o.Sync.Reason != "" || !o.Sync.PaidAt.Equal(paidAt.Add(time.Hour)) || o.Sync.Calls != 1 {
			t.Errorf("%+v %+v", o, o.Sync)
		}
		b.agrees("WAIVED", "PAID", "REFUSED")
	})
}

func TestProducer_WithdrawOfEveryOtherEnd(t *testing.T) {
	onBothRedises(t, func(t *testing.T, b *fixture) {
		for _, state := range []tasks.State{tasks.Paid, tasks.Closed, tasks.Rejected, tasks.Exhausted} {
			no := strings.ToUpper(string(state))
			b.open(no)
			end(t, b.rdb, no, state)
			before := b.get(no)
			for _, at := range []time.Time{{}, paidAt, {}} {
				if got := b.withdraw(no, "x", at); got != "ended "+string(state) {
					t.Errorf("%s: %s", no, got)
				}
			}
			if diff := cmp.Diff(before, b.get(no)); diff != "" {
				t.Errorf("%s changed\n%s", no, diff)
			}
		}
		b.agrees("PAID", "CLOSED", "REJECTED", "EXHAUSTED")
	})
}

// A call that is under way when its order is withdrawn is written beside the
// end, and telling WeChat Pay waits for it.
func TestProducer_WithdrawUnderALease(t *testing.T) {
	onBothRedises(t, func(t *testing.T, b *fixture) {
		total := int64(1250)
		call := func(verdict string) []ledger.Entry { return []ledger.Entry{{Call: "collect", Verdict: verdict}} }

		b.open("WAIVED")
		c := b.claim("WAIVED")
		if got := b.withdraw("WAIVED", "waived", time.Time{}); got != "accepted withdrawn" {
			t.Fatal(got)
		}
		b.agrees("WAIVED")
		if again := b.claim("WAIVED"); again.Code != ledger.HasEnded {
			t.Errorf("it can be claimed: %s", again.Code)
		}
		res := b.settle(c, ledger.Settlement{State: tasks.Awaiting, Next: ledger.Confirm, Due: c.Now, Verdict: "accepted", Log: call("accepted")})
		if o := b.get("WAIVED"); res.Code != ledger.HasEnded || o.State != tasks.Withdrawn || o.Reason != "waived" || len(o.Log) != 1 || o.CollectCalls != 1 {
			t.Errorf("%+v, %+v", res, o)
		}
		b.agrees("WAIVED")

		b.open("ELSEWHERE")
		c = b.claim("ELSEWHERE")
		if got := b.withdraw("ELSEWHERE", "paid", paidAt); got != "accepted withdrawn" {
			t.Fatal(got)
		}
		if again := b.claim("ELSEWHERE"); again.Code != ledger.Leased {
			t.Errorf("two calls at once: %s", again.Code)
		}
		b.settle(c, ledger.Settlement{State: tasks.Awaiting, Next: ledger.Confirm, Due: c.Now, Verdict: "accepted", Log: call("accepted")})
		if sync := b.claim("ELSEWHERE"); sync.Code != ledger.Granted || sync.Plan != ledger.TellPaid || sync.Order.PaidAt != "20260102100000" {
			t.Errorf("%+v", sync)
		}

		// The call was a payment: both stand, and billing hears of it once.
		b.open("BOTH")
		c = b.claim("BOTH")
		b.withdraw("BOTH", "waived", time.Time{})
		paid := ledger.Settlement{
			State: tasks.Paid, VerifiedPaid: true, Call: "query", Verdict: "paid", Log: call("paid"),
			Facts: ledger.Facts{OrderID: "1000", TransactionID: "4200001", PaidType: "NEWTON", Total: &total, Paid: &total},
		}
		if res := b.settle(c, paid); res.Code != ledger.HasEnded || !slices.Contains(res.News, ledger.Late) {
			t.Errorf("%+v", res)
		}
		o := b.get("BOTH")
		if o.State != tasks.Withdrawn || o.Reason != "waived" || o.LatePaymentAt.IsZero() || o.TransactionID != "4200001" || *o.PaidAmount != total {
			t.Errorf("%+v", o)
		}
		if got := b.withdraw("BOTH", "waived", time.Time{}); got != "duplicate withdrawn" {
			t.Error(got)
		}
		if diff := cmp.Diff([]string{"order.opened queued", "order.withdrawn withdrawn", "order.paid withdrawn"}, b.events("BOTH")); diff != "" {
			t.Error(diff)
		}
		b.agrees("WAIVED", "ELSEWHERE", "BOTH")
	})
}

// What an order was before it was reopened is remembered, the latest ends.
func TestProducer_ReopenRemembers(t *testing.T) {
	onBothRedises(t, func(t *testing.T, b *fixture) {
		b.open("A")
		reopen := order("A")
		reopen.Reopen = true
		for i := range 12 {
			b.withdraw("A", fmt.Sprintf("理由 %d", i), paidAt)
			ended := b.get("A").EndedAt
			if res, err := b.producer.Enqueue(t.Context(), reopen); err != nil || res.Status != tasks.Accepted {
				t.Fatalf("%+v %v", res, err)
			}
			o := b.get("A")
			last := o.Past[len(o.Past)-1]
			if o.State != tasks.Queued || o.Sync != nil || o.Reason != "" || last.State != tasks.Withdrawn ||
				last.Reason != fmt.Sprintf("理由 %d", i) || !last.EndedAt.Equal(ended) || last.ReopenedAt.Before(ended) {
				t.Fatalf("%+v", o)
			}
		}
		if past := b.get("A").Past; len(past) != 10 || past[0].Reason != "理由 2" {
			t.Errorf("%d ends are remembered, the first is %+v", len(past), past[0])
		}
		for o, err := range b.ledger.Select(t.Context(), ledger.Filter{State: tasks.Queued}) {
			if err != nil || o.Past != nil {
				t.Errorf("a listing has the past: %+v, %v", o.Past, err)
			}
		}
		b.agrees("A")
	})
}

func TestWithdrawal_Validate(t *testing.T) {
	good := tasks.Withdrawal{MchID: merchant, OutOrderNo: "A", Reason: "paid"}
	with := func(change func(*tasks.Withdrawal)) tasks.Withdrawal {
		w := good
		change(&w)
		return w
	}
	why := func(reason string) tasks.Withdrawal {
		return with(func(w *tasks.Withdrawal) { w.Reason = reason })
	}
	at := func(t time.Time) tasks.Withdrawal { return with(func(w *tasks.Withdrawal) { w.PaidAt = t }) }
	now := time.Now()
	for name, tt := range map[string]struct {
		w    tasks.Withdrawal
		want string // none: valid
	}{
		"a reason":                      {good, ""},
		"a Chinese reason":              {why("用户　已付款：¥12.50（柜台）"), ""},
		"200 characters":                {why(strings.Repeat("长", 200)), ""},
		"201 characters":                {why(strings.Repeat("长", 201)), "reason is 201 characters long; at most 200 are allowed"},
		"none":                          {why(""), "reason is missing; say why, for those who ask later"},
		"blanks":                        {why("  \t"), "reason is missing; say why, for those who ask later"},
		"a line break":                  {why("a\nb"), `reason has '\n' at position 2; only printable characters are allowed`},
		"an escape":                     {why("订单\x1b[31m"), `reason has '\x1b' at position 3; only printable characters are allowed`},
		"broken UTF-8":                  {why("a\xff"), "reason is not valid UTF-8"},
		"no mchid":                      {with(func(w *tasks.Withdrawal) { w.MchID = "" }), "mchid is missing; name it, or set WECHATPAY_MCHID"},
		"no number":                     {with(func(w *tasks.Withdrawal) { w.OutOrderNo = "" }), "out_order_no is missing"},
		"a bad number":                  {with(func(w *tasks.Withdrawal) { w.OutOrderNo = "A B" }), "out_order_no has ' ' at position 2; only digits, letters and _ | * - are allowed"},
		"paid a moment ago":             {at(now), ""},
		"paid by a clock that is ahead": {at(now.Add(4 * time.Minute)), ""},
		"paid in the future":            {at(now.Add(6 * time.Minute)), "paid_at lies in the future; it is when the user paid"},
		"paid long ago":                 {at(now.AddDate(-9, 0, 0)), ""},
		"paid before all this":          {at(now.AddDate(-11, 0, 0)), "paid_at lies more than ten years back; it is when the user paid"},
	} {
		t.Run(name, func(t *testing.T) {
			got := ""
			if err := tt.w.Validate(); err != nil {
				got = err.Error()
			}
			if got != tt.want {
				t.Errorf("%q, want %q", got, tt.want)
			}
		})
	}
	t.Run("what is invalid is not asked of Redis", func(t *testing.T) {
		rdb := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1", MaxRetries: -1})
		defer rdb.Close()
		p := tasks.NewProducer(rdb)
		if res, err := p.Withdraw(t.Context(), why("")); res.Status != tasks.Invalid || res.Err == nil || err != nil {
			t.Errorf("%+v %v", res, err)
		}
		if res, err := p.Withdraw(t.Context(), good); res.Status != tasks.Failed || res.Err == nil || err == nil {
			t.Errorf("%+v %v", res, err)
		}
	})
}
