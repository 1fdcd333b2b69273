package collect

import (
	"context"
	"strings"
	"testing"

	"github.com/hibiken/asynq"

	"payscore-collector/internal/ledger"
	"payscore-collector/internal/payscore"
	"payscore-collector/internal/testkit/redistest"
	"payscore-collector/tasks"
)

// notice is a notification's, of a payment of the whole.
func notice(no string) ledger.Notice {
	amount := int64(1250)
	return ledger.Notice{
		OutOrderNo: no, Paid: true,
		Facts: ledger.Facts{TransactionID: "4200", PaidType: "NEWTON", Total: &amount, Paid: &amount},
		Entry: ledger.Entry{Call: "notification", Verdict: "paid"},
	}
}

// notify does what the receiver of notifications does.
func (b *fixture) notify(n ledger.Notice) ledger.NoticeCode {
	b.t.Helper()
	code, news, err := b.ledger.Notice(b.t.Context(), n)
	if err != nil {
		b.t.Fatal(err)
	}
	b.Noticed(n, code, news)
	return code
}

func TestCollector_Noticed(t *testing.T) {
	t.Parallel()
	srv := redistest.Start(t)

	t.Run("a final state is logged and counted once, as after a query", func(t *testing.T) {
		b := parallelWithA(t, srv)
		for range 3 {
			b.notify(notice("A"))
		}
		if n := b.count(b.metrics.Ended, "paid"); n != 1 {
			t.Errorf("counted %v ends", n)
		}
		if ended := b.logs.Events("order_ended"); len(ended) != 1 || ended[0]["transaction_id"] != "4200" || ended[0]["paid_amount"] != 1250. {
			t.Errorf("%v, want one order_ended with transaction 4200 and 1250 fen", ended)
		}
	})
	t.Run("a payment beside another end is loud", func(t *testing.T) {
		b := parallelWithA(t, srv)
		if _, err := b.producer.Withdraw(t.Context(), tasks.Withdrawal{MchID: b.mchid, OutOrderNo: "A", Reason: "waived"}); err != nil {
			t.Fatal(err)
		}
		for range 3 {
			b.notify(notice("A"))
		}
		if n := b.count(b.metrics.News, "late"); n != 1 || len(b.logs.Events("paid_after_its_end")) != 1 {
			t.Errorf("counted %v: %s", n, b.logs.String())
		}
		if n := b.count(b.metrics.Ended, "paid"); n != 0 {
			t.Errorf("counted %v ends", n)
		}
	})
	t.Run("another amount is loud", func(t *testing.T) {
		b := parallelWithA(t, srv)
		b.set("A", "total", 1000)
		b.notify(notice("A"))
		if n := b.count(b.metrics.News, "differs"); n != 1 || !b.logs.HasEvent("amounts_differ") {
			t.Errorf("counted %v: %s", n, b.logs.String())
		}
	})
	t.Run("an unknown order and a repeat are not", func(t *testing.T) {
		b := parallelWithA(t, srv)
		b.notify(notice("A"))
		before := b.logs.String()
		if code := b.notify(notice("B")); code != ledger.NoticeAbsent {
			t.Errorf("%s", code)
		}
		b.notify(notice("A"))
		if after := b.logs.String(); after != before {
			t.Errorf("%s", after)
		}
	})
}

// The end comes from the other side while a step is under way.
func TestStepIsOvertakenByANotification(t *testing.T) {
	t.Parallel()
	srv := redistest.Start(t)

	t.Run("in a collect call: its result yields to the end, and no call follows", func(t *testing.T) {
		b := parallelWithA(t, srv)
		b.platform.collect = func(context.Context) payscore.Reply {
			b.notify(notice("A"))
			return collectReply(payscore.Accepted)
		}
		if err := b.run("A"); err != nil {
			t.Error(err)
		}
		b.wants("A", tasks.Paid, "", "collect")
		for _, round := range []int64{ledger.NoRound, 1, 2} {
			if err := b.process(t.Context(), asynq.NewTask(tasks.TypeCollect, nil), b.payload("A"), round); err != nil {
				t.Error(err)
			}
		}
		b.wants("A", tasks.Paid, "", "")
		if e := b.events("A"); e != "opened paid attempted" {
			t.Errorf("events: %s", e)
		}
		if o := b.get("A"); len(o.Log) != 2 || o.CollectCalls != 1 || *o.PaidAmount != 1250 {
			t.Errorf("%+v", o)
		}
		if n := b.count(b.metrics.Ended, "paid"); n != 1 {
			t.Errorf("counted %v ends", n)
		}
		if log := b.logs.String(); strings.Contains(log, `"level":"warn"`) {
			t.Errorf("nothing is wrong: %s", log)
		}
	})
	t.Run("between the query and the collect: the order is not collected", func(t *testing.T) {
		b := parallel(t, srv)
		b.platform.collect = says(collectReply(payscore.Declined))
		b.open("A")
		if err := b.run("A"); err != nil {
			t.Fatal(err)
		}
		b.makeDue("A")
		b.platform.made()
		b.platform.query = func(context.Context) payscore.Reply {
			b.notify(notice("A"))
			return queryReply(payscore.Owed)
		}
		if err := b.run("A"); err != nil {
			t.Error(err)
		}
		b.wants("A", tasks.Paid, "", "query")
		if e := b.events("A"); e != "opened attempted paid" {
			t.Errorf("events: %s", e)
		}
	})
	t.Run("before the confirming query was due: it is not made", func(t *testing.T) {
		b := parallelWithA(t, srv)
		if _, ok := again(b.run("A")); !ok {
			t.Fatal("the queue does not carry the confirming query")
		}
		b.wants("A", tasks.Awaiting, ledger.Confirm, "collect")
		b.notify(notice("A"))
		if err := b.run("A"); err != nil {
			t.Error(err)
		}
		b.wants("A", tasks.Paid, "", "")
		if o := b.get("A"); o.QueryCalls != 0 || o.CollectCalls != 1 {
			t.Errorf("%+v", o)
		}
	})
}
