package collect

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hibiken/asynq"

	"payscore-collector/internal/asynqx"
	"payscore-collector/internal/ledger"
	"payscore-collector/internal/payscore"
	"payscore-collector/internal/testkit"
	"payscore-collector/internal/testkit/redistest"
	"payscore-collector/tasks"
)

func TestStep(t *testing.T) {
	t.Parallel()
	srv := redistest.Start(t)
	declined := collectReply(payscore.Declined)

	// declinedOnce is an order that was declined, and is due for its second attempt.
	declinedOnce := func(t *testing.T) *fixture {
		b := newFixture(t, srv)
		b.platform.collect = says(declined)
		b.open("A")
		if err := b.run("A"); err != nil {
			t.Fatal(err)
		}
		b.wants("A", tasks.Awaiting, ledger.Recheck, "collect")
		if round := b.num("A", "round"); round != 2 {
			t.Fatalf("round %d: a wait this long begins a new one", round)
		}
		b.makeDue("A")
		return b
	}

	t.Run("a first attempt collects at once, a later one queries first", func(t *testing.T) {
		t.Parallel()
		b := declinedOnce(t)
		if err := b.run("A"); err != nil {
			t.Fatal(err)
		}
		b.wants("A", tasks.Awaiting, ledger.Recheck, "query collect")
		if o := b.get("A"); o.Attempts != 2 || o.CollectCalls != 2 || o.QueryCalls != 1 || len(o.Log) != 3 {
			t.Errorf("%+v", o)
		}
	})
	t.Run("what the query shows is kept, although the collect is declined", func(t *testing.T) {
		t.Parallel()
		b := declinedOnce(t)
		owed := queryReply(payscore.Owed)
		owed.Order = &payscore.Order{State: "DONE", OrderID: "7", TotalAmount: 150, Collection: &payscore.Collection{
			State: "USER_PAYING", TotalAmount: 150, PaidAmount: 50, Details: []payscore.Detail{{Seq: 1, Amount: 50, TransactionID: "42", PaidType: "NEWTON"}},
		}}
		b.platform.query = says(owed)
		if err := b.run("A"); err != nil {
			t.Fatal(err)
		}
		b.wants("A", tasks.Awaiting, ledger.Recheck, "query collect")
		o := b.get("A")
		if o.TotalAmount == nil || *o.TotalAmount != 150 || o.PaidAmount == nil || *o.PaidAmount != 50 || o.OrderID != "7" || len(o.Payments) != 1 {
			t.Errorf("%+v", o)
		}
		if o.LastError == nil || o.LastError.Code != declined.Code || o.Attempts != 2 {
			t.Errorf("the declined collect is not recorded: %+v", o)
		}
	})
	t.Run("a query that finds it paid does not collect", func(t *testing.T) {
		t.Parallel()
		b := declinedOnce(t)
		paid := queryReply(payscore.Paid)
		paid.Order = &payscore.Order{OrderID: "7", TotalAmount: 150, Collection: &payscore.Collection{
			State: "USER_PAID", TotalAmount: 150, PaidAmount: 150, Details: []payscore.Detail{{TransactionID: "42", PaidType: "NEWTON"}},
		}}
		b.platform.query = says(paid)
		if err := b.run("A"); err != nil {
			t.Fatal(err)
		}
		b.wants("A", tasks.Paid, "", "query")
		o := b.get("A")
		if o.TransactionID != "42" || o.PaidAmount == nil || *o.PaidAmount != 150 || o.PaidType != "NEWTON" || o.OrderID != "7" {
			t.Errorf("%+v", o)
		}
		if s, _ := b.ledger.Stats(t.Context()); s.PaidAmount != 150 || s.Orders[tasks.Paid] != 1 || s.Orders[tasks.Awaiting] != 0 {
			t.Errorf("%+v", s)
		}
		if e := b.events("A"); e != "opened attempted paid" {
			t.Errorf("events: %s", e)
		}
	})
	t.Run("MIN_GAP holds between the query and the collect", func(t *testing.T) {
		t.Parallel()
		b := declinedOnce(t)
		last := time.Now().Add(-minute)
		b.set("A", "collected", last.UnixMilli())
		if err := b.run("A"); err != nil {
			t.Fatal(err)
		}
		b.wants("A", tasks.Awaiting, ledger.Recheck, "query")
		if due := b.get("A").NextDueAt; due.Before(last.Add(5*minute).Truncate(time.Millisecond)) || due.After(last.Add(5*minute+second)) {
			t.Errorf("due %s after the last collect", due.Sub(last))
		}
	})
	t.Run("outside the window it queries and does not collect", func(t *testing.T) {
		t.Parallel()
		b := declinedOnce(t)
		// A window that opened and closed an hour ago.
		now := time.Now().UTC()
		from := time.Duration(now.Add(-2*hour).Hour()) * hour
		b.settings.Policy.Window = Window{From: from, To: (from + hour) % (24 * hour), Location: time.UTC}
		if b.settings.Policy.Window.To == 0 {
			b.settings.Policy.Window.To = 24 * hour
		}
		if err := b.run("A"); err != nil {
			t.Fatal(err)
		}
		b.wants("A", tasks.Awaiting, ledger.Recheck, "query")
		if due := b.get("A").NextDueAt; !b.settings.Policy.Window.Contains(due) || due.Before(now) {
			t.Errorf("due at %s", due)
		}
	})
	t.Run("a lease lost during the query: no collect, nothing written", func(t *testing.T) {
		t.Parallel()
		b := declinedOnce(t)
		b.platform.query = func(context.Context) payscore.Reply {
			b.set("A", "token", "another worker's")
			return queryReply(payscore.Owed)
		}
		before := b.get("A")
		if err := b.run("A"); err != nil {
			t.Fatal(err)
		}
		b.wants("A", tasks.Awaiting, ledger.Recheck, "query")
		if o := b.get("A"); o.Attempts != before.Attempts || len(o.Log) != len(before.Log) {
			t.Errorf("%+v", o)
		}
		if b.events("A") != "opened attempted" {
			t.Errorf("events: %s", b.events("A"))
		}
	})
	t.Run("a lease lost during the collect: its reply is discarded", func(t *testing.T) {
		b := parallelWithA(t, srv)
		b.platform.collect = func(context.Context) payscore.Reply {
			b.set("A", "token", "another worker's")
			return payscore.Reply{Verdict: payscore.BadRequest, Reason: "PARAM_ERROR", Sent: true}
		}
		if err := b.run("A"); err != nil {
			t.Fatal(err)
		}
		b.wants("A", tasks.Queued, ledger.Resolve, "collect")
	})
	t.Run("withdrawn during the query: no collect", func(t *testing.T) {
		t.Parallel()
		b := declinedOnce(t)
		b.platform.query = func(context.Context) payscore.Reply {
			b.set("A", "state", "withdrawn")
			return queryReply(payscore.Owed)
		}
		_ = b.run("A")
		if o := b.get("A"); o.State != tasks.Withdrawn || len(o.Log) != 2 {
			t.Errorf("%+v", o)
		}
		if made := b.platform.made(); made != "query" {
			t.Errorf("calls: %s", made)
		}
	})
	t.Run("a worker that stops after the query does not begin a collect", func(t *testing.T) {
		t.Parallel()
		b := declinedOnce(t)
		b.platform.query = func(context.Context) payscore.Reply {
			b.Stop()
			return queryReply(payscore.Owed)
		}
		if _, ok := again(b.run("A")); !ok {
			t.Error("not put back")
		}
		b.wants("A", tasks.Awaiting, ledger.Recheck, "query")
	})
	t.Run("a hold began during the query: postponed", func(t *testing.T) {
		t.Parallel()
		b := declinedOnce(t)
		b.platform.query = func(context.Context) payscore.Reply {
			if err := b.rdb.HSet(t.Context(), b.keys.Hold(), "merchant", fmt.Sprintf("fault %d 1 5000 0", time.Now().UnixMilli())).Err(); err != nil {
				t.Error(err)
			}
			return queryReply(payscore.Owed)
		}
		if after, ok := again(b.run("A")); !ok || after < 4*second || after > faultAgain {
			t.Errorf("put back for %s", after)
		}
		b.wants("A", tasks.Awaiting, ledger.Recheck, "query")
	})
	t.Run("a hold began before the slot: nothing was called, nothing is counted", func(t *testing.T) {
		b := parallelWithA(t, srv)
		asked := time.Now()
		claim, err := b.ledger.Claim(t.Context(), "A", "token", 1, b.limits(b.settings.Policy))
		if err != nil || claim.Code != ledger.Granted {
			t.Fatal(claim, err)
		}
		b.hold.hold(second, time.Now())
		if _, ok := again(b.step(t.Context(), b.named.Load(), claim, asked)); !ok {
			t.Error("not put back")
		}
		b.wants("A", tasks.Queued, ledger.Collect, "")
		if o := b.get("A"); o.CollectCalls != 0 || o.Attempts != 0 || b.num("A", "collected") != 0 || b.num("A", "lease") != 0 {
			t.Errorf("%+v", o)
		}
		if b.events("A") != "opened" {
			t.Errorf("events: %s", b.events("A"))
		}
	})
	t.Run("a slot missed by a second is given back, unless it is a probe's", func(t *testing.T) {
		b := parallelWithA(t, srv)
		claim, err := b.ledger.Claim(t.Context(), "A", "token", 1, b.limits(b.settings.Policy))
		if err != nil || claim.Code != ledger.Granted {
			t.Fatal(claim, err)
		}
		claim.Wait = -missedBy // as if the process had been frozen for so long
		if _, ok := again(b.step(t.Context(), b.named.Load(), claim, time.Now())); !ok {
			t.Error("not put back")
		}
		b.wants("A", tasks.Queued, ledger.Collect, "")
		claim, err = b.ledger.Claim(t.Context(), "A", "token2", 1, b.limits(b.settings.Policy))
		if err != nil || claim.Code != ledger.Granted {
			t.Fatal(claim, err)
		}
		claim.Wait, claim.Probe = -missedBy, true
		_ = b.step(t.Context(), b.named.Load(), claim, time.Now())
		b.wants("A", tasks.Awaiting, ledger.Confirm, "collect")
	})
	t.Run("a call has its deadline well inside the lease", func(t *testing.T) {
		b := parallelWithA(t, srv)
		b.platform.collect = func(ctx context.Context) payscore.Reply {
			deadline, ok := ctx.Deadline()
			lease := time.UnixMilli(b.num("A", "lease"))
			if left := lease.Sub(deadline); !ok || left < settleMargin-sendMargin-100*time.Millisecond {
				t.Errorf("the lease ends only %s after the call's deadline", left)
			}
			return collectReply(payscore.Accepted)
		}
		_ = b.run("A")
		b.wants("A", tasks.Awaiting, ledger.Confirm, "collect")
	})
	t.Run("a merchant's fault is logged loudly and uses up no attempt", func(t *testing.T) {
		b := parallelWithA(t, srv)
		b.platform.collect = says(payscore.Reply{
			Verdict: payscore.MerchantFault, Scope: payscore.ScopeMerchant, HTTPStatus: 401, Code: "SIGN_ERROR",
			DetailCode: "270924332", RequestID: "08AB-270924332", Sent: true,
		})
		if _, later := again(b.run("A")); !later {
			t.Error("not put back for the probe")
		}
		b.wants("A", tasks.Queued, ledger.Recheck, "collect")
		o := b.get("A")
		if o.Attempts != 0 || o.CollectCalls != 1 || o.LastError == nil || o.LastError.Code != "SIGN_ERROR" {
			t.Errorf("%+v", o)
		}
		if h, err := b.ledger.Holds(t.Context()); err != nil || h.Merchant.Kind != ledger.HoldFault {
			t.Errorf("holds %+v, %v; want the merchant's for a fault", h, err)
		}
		if !b.hold.holds("") || b.count(b.metrics.GateClosings) != 1 {
			t.Error("the workers of this process do not wait")
		}
		stopped := b.logs.Events("calls_stopped", "request_id", "08AB-270924332")
		if len(stopped) != 1 || !strings.Contains(stopped[0]["message"].(string), "WECHATPAY_SERIAL_NO") {
			t.Errorf("the log: %s", b.logs)
		}
	})
}

// A network withholds Redis's answers for some seconds, while the steps of a worker ask
// for slots. When the answers come, those slots have gone by: other workers have made
// their own calls in the meantime, and go on.
func TestSlotsBehindALateAnswerAreGivenBack(t *testing.T) {
	t.Parallel()
	for name, patience := range map[string]time.Duration{
		"the answers come late":                            minute,
		"the answers are lost, and the questions repeated": second,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const steps, rate = 64, 32
			proxy := redistest.StartProxy(t, redistest.Start(t).Client.Options().Addr, nil)
			b := newFixture(t, &redistest.Server{URL: fmt.Sprintf("redis://%s?protocol=2&pool_size=%d&read_timeout=%s", proxy.Addr, 2*steps, patience)},
				func(s *Settings) { s.Rate = rate })
			b.open("FIRST")
			if _, ok := again(b.run("FIRST")); !ok {
				t.Fatal("the first order was not called")
			}
			b.wants("FIRST", tasks.Awaiting, ledger.Confirm, "collect")
			nos := b.openDue(steps)
			before := proxy.Count("evalsha")
			proxy.Withhold(true)
			var running sync.WaitGroup
			for _, no := range nos {
				running.Go(func() { _ = b.process(t.Context(), asynq.NewTask(tasks.TypeCollect, nil), b.payload(no), 1) })
			}
			testkit.Eventually(t, "every step to ask", func() bool { return proxy.Count("evalsha") >= before+steps })
			<-time.After(3 * second)
			proxy.Withhold(false)
			running.Wait()
			// A claim reserves its slot up to claimHorizon ahead, and slots are 5 % further
			// apart than the rate asks for. The slots of that time were reserved, and have
			// gone by.
			const reserved = int(claimHorizon * rate * 100 / 105 / second)
			if made := strings.Count(b.platform.made(), "collect"); made > steps-reserved {
				t.Errorf("%d of %d orders were called, want %d at most: the slots of the others had gone by", made, steps, steps-reserved)
			}
			for _, no := range nos {
				if o := b.get(no); o.CollectCalls != o.Attempts {
					t.Errorf("%s: %d collect calls are counted for %d attempts", no, o.CollectCalls, o.Attempts)
				}
			}
		})
	}
}

// A Redis that needs more than a second for every script is no reason to give back
// slots: no call would ever be made.
func TestAnswerTimes(t *testing.T) {
	t.Parallel()
	var a answerTimes
	now := time.Now()
	for _, step := range []struct{ after, took, late time.Duration }{
		{0, 3 * second, 0}, // from the start on
		{second, 2 * second, 0},
		{2 * second, 10 * time.Millisecond, 0},
		{3 * second, 3010 * time.Millisecond, 3 * second},
		{hour, 3010 * time.Millisecond, 3 * second}, // after a long outage
		{hour + 4*second, 2010 * time.Millisecond, 2 * second},
		{hour + 6*second, 2010 * time.Millisecond, 0}, // it has become slow
		{hour + 7*second, 3510 * time.Millisecond, 1500 * time.Millisecond},
		{hour + 8*second, 10 * time.Millisecond, 0},
	} {
		if late := a.late(step.took, now.Add(step.after)); late != step.late {
			t.Errorf("after %s, an answer that took %s is late by %s, want %s", step.after, step.took, late, step.late)
		}
	}
}

func TestStoppedMessage(t *testing.T) {
	const base = "https://api.mch.weixin.qq.com"
	for want, r := range map[string]payscore.Reply{
		"by itself: the connection was refused (" + base + ")": {Verdict: payscore.Unavailable, Message: "the connection was refused"},
		"by itself: WeChat Pay says: SYSTEM_ERROR busy":        {Verdict: payscore.Unknown, HTTPStatus: 500, Code: "SYSTEM_ERROR", Message: "busy"},
		"by itself: a proxy sent it":                           {Verdict: payscore.Unknown, HTTPStatus: 502, Message: "a proxy sent it"},
	} {
		if got := stoppedMessage(r, base, 0); !strings.HasPrefix(got, "CALLS STOPPED for this merchant: WeChat Pay does not answer properly; ") || !strings.HasSuffix(got, want) {
			t.Errorf("got %q, want at its end %q", got, want)
		}
	}
}

// If the clock is minutes off, that is the reason, and is named first.
func TestStoppedMessage_Clock(t *testing.T) {
	refused := payscore.Reply{Verdict: payscore.MerchantFault, Scope: payscore.ScopeMerchant, HTTPStatus: 401, Code: "SIGN_ERROR"}
	for ahead, want := range map[time.Duration]string{
		10*time.Minute + time.Millisecond: "the clock of this machine, which is 10m0s ahead of Redis's;",
		-6 * time.Minute:                  "the clock of this machine, which is 6m0s behind Redis's;",
		50 * time.Second:                  "WECHATPAY_MCHID and the clock;",
		-50 * time.Second:                 "WECHATPAY_MCHID and the clock;",
	} {
		if got := stoppedMessage(refused, "", ahead); !strings.Contains(got, want) {
			t.Errorf("%s: %q lacks %q", ahead, got, want)
		}
	}
}

// A panic costs one retry; the effect of its call is unknown, so the order is queried.
func TestPanic(t *testing.T) {
	t.Parallel()
	srv := redistest.Start(t)
	for _, tt := range []struct {
		name  string
		spoil func(*fixture)
		calls string
	}{
		{"in a first collect", func(*fixture) {}, "collect"},
		{"at a verdict that nothing knows", func(b *fixture) {
			b.platform.collect = says(payscore.Reply{Verdict: "unheard_of", Sent: true})
		}, "collect"},
		{"in a query", func(b *fixture) { b.set("A", "next", "recheck") }, "query"},
		{"in the collect after a query", func(b *fixture) { b.set("A", "next", "recheck"); b.platform.query = says(queryReply(payscore.Owed)) }, "query collect"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := parallelWithA(t, srv)
			boom := func(context.Context) payscore.Reply { panic("boom") }
			b.platform.collect, b.platform.query = boom, boom
			tt.spoil(b)
			err := b.run("A")
			if _, later := again(err); err == nil || later || !asynqx.IsFailure(err) {
				t.Fatalf("the panic costs no retry: %v", err)
			}
			b.wants("A", tasks.Queued, ledger.Resolve, tt.calls)
			if n := b.count(b.metrics.Panics); n != 1 || !b.logs.HasEvent("step_panicked") {
				t.Errorf("%v panics counted; log %s", n, b.logs)
			}
			if b.num("A", "lease") != 0 {
				t.Error("the lease was not given back")
			}
			// The retry queries and does not collect: MIN_GAP has not passed.
			b.platform.collect, b.platform.query = says(collectReply(payscore.Accepted)), says(queryReply(payscore.Owed))
			b.set("A", "due", 1)
			_ = b.run("A")
			if made := b.platform.made(); made != "query" {
				t.Errorf("after the panic: %q", made)
			}
		})
	}
}
