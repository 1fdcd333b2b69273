package collect

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hibiken/asynq"

	"payscore-collector/internal/asynqx"
	"payscore-collector/internal/ledger"
	"payscore-collector/internal/owner"
	"payscore-collector/internal/payscore"
	"payscore-collector/internal/testkit/redistest"
	"payscore-collector/tasks"
)

func TestProcess(t *testing.T) {
	t.Parallel()
	srv := redistest.Start(t)

	t.Run("an unusable task goes to the archive", func(t *testing.T) {
		b := parallel(t, srv, func(s *Settings) { s.ServiceID = "" })
		own := b.mchid
		bad := []*asynq.Task{
			asynq.NewTask(tasks.TypeCollect, nil),
			asynq.NewTask(tasks.TypeCollect, []byte("no JSON")),
			asynq.NewTask(tasks.TypeCollect, []byte(`["a"]`)),
			asynq.NewTask(tasks.TypeCollect, []byte(`{"mchid":"`+own+`","out_order_no":"A","service_id":"5"} {}`)),
			asynq.NewTask(tasks.TypeCollect, []byte(`{"mchid":"1234","out_order_no":"A","service_id":"5"}`)),
			asynq.NewTask(tasks.TypeCollect, []byte(`{"mchid":"`+own+`","out_order_no":"no such/number","service_id":"5"}`)),
			asynq.NewTask(tasks.TypeCollect, []byte(`{"mchid":"`+own+`","out_order_no":"A"}`)), // and no default
			asynq.NewTask("email:send", []byte(`{"mchid":"`+own+`","out_order_no":"A","service_id":"5"}`)),
		}
		for i, task := range bad {
			ctx, cancel := context.WithTimeout(t.Context(), 10*second)
			err := b.Process(ctx, task)
			cancel()
			if !errors.Is(err, asynq.SkipRetry) || !asynqx.IsFailure(err) {
				t.Errorf("%s: %v", task.Payload(), err)
			}
			if n := b.count(b.metrics.Unusable); n != float64(i+1) {
				t.Errorf("%s: counted %v unusable tasks", task.Payload(), n)
			}
		}
		if log := b.logs.String(); strings.Count(log, `"level":"error"`) != len(bad) {
			t.Errorf("the log: %s", log)
		}
		if b.platform.made() != "" {
			t.Error("a call was made")
		}
	})
	t.Run("another client's task opens its record, with the merchant's defaults", func(t *testing.T) {
		b := parallel(t, srv)
		task := asynq.NewTask(tasks.TypeCollect, fmt.Appendf(nil, `{"mchid":%q,"out_order_no":"A"}`, b.mchid))
		if after, ok := again(b.Process(t.Context(), task)); !ok || after < 9*second || after > 10*second {
			t.Errorf("put back for %s", after)
		}
		b.wants("A", tasks.Awaiting, ledger.Confirm, "collect")
		if o := b.get("A"); o.AppID != "wxdefault" || o.ServiceID != "500default" || o.Attempts != 1 || o.CollectCalls != 1 {
			t.Errorf("%+v", o)
		}
		if r := b.platform.requests[0]; r != (payscore.Request{Owner: owner.Owner{MchID: b.mchid, AppID: "wxdefault", ServiceID: "500default"}, OutOrderNo: "A"}) {
			t.Errorf("called with %+v", r)
		}
		if e := b.events("A"); e != "opened attempted" {
			t.Errorf("events: %s", e)
		}
		// The same task again is too early, and the ledger has the due time.
		if err := b.Process(t.Context(), task); err != nil {
			t.Error(err)
		}
		if b.platform.made() != "" {
			t.Error("called again")
		}
	})
	t.Run("the sweep leaves the record of another client's task to that task for a while", func(t *testing.T) {
		b := parallel(t, srv)
		if err := b.rdb.HSet(t.Context(), b.keys.Hold(), "merchant", fmt.Sprintf("fault 1 %d 30000 0", time.Now().Add(20*time.Second).UnixMilli())).Err(); err != nil {
			t.Fatal(err)
		}
		before := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond) // it waits for the hold
		defer cancel()
		_ = b.Process(ctx, asynq.NewTask(tasks.TypeCollect, fmt.Appendf(nil, `{"mchid":%q,"out_order_no":"A"}`, b.mchid)))
		score, err := b.rdb.ZScore(t.Context(), b.keys.Due(), "A").Result()
		if want := before.Add(tasks.EnqueueGrace).UnixMilli(); err != nil || int64(score) < want {
			t.Errorf("the sweep takes it at %.0f (%v), want %d or later", score, err, want)
		}
	})
	t.Run("a task of an earlier round does nothing", func(t *testing.T) {
		b := parallel(t, srv)
		p := b.open("A")
		b.set("A", "round", 5)
		for _, round := range []int64{0, 1, 4, 6} {
			if err := b.process(t.Context(), asynq.NewTask(tasks.TypeCollect, nil), p, round); err != nil {
				t.Errorf("round %d: %v", round, err)
			}
		}
		b.wants("A", tasks.Queued, ledger.Collect, "")
	})
	t.Run("an ended order is left alone", func(t *testing.T) {
		b := parallel(t, srv)
		p := b.open("A")
		b.platform.collect = says(payscore.Reply{Verdict: payscore.BadRequest, Reason: "PARAM_ERROR", Code: "PARAM_ERROR", HTTPStatus: 400, Sent: true})
		if err := b.run("A"); err != nil {
			t.Error(err)
		}
		b.wants("A", tasks.Rejected, "", "collect")
		for _, round := range []int64{ledger.NoRound, 1, 2} {
			if err := b.process(t.Context(), asynq.NewTask(tasks.TypeCollect, nil), p, round); err != nil {
				t.Error(err)
			}
		}
		b.wants("A", tasks.Rejected, "", "")
		if n := b.count(b.metrics.Ended, "rejected"); n != 1 {
			t.Errorf("counted %v ends", n)
		}
	})
	t.Run("too early", func(t *testing.T) {
		b := parallel(t, srv)
		p := b.open("A")
		for _, tt := range []struct {
			in    time.Duration
			round int64
			back  bool
		}{
			{20 * second, 1, true},               // the queue carries it
			{20 * second, ledger.NoRound, false}, // a task that may be one of many
			{hour, 1, false},                     // the sweep makes a new one
		} {
			b.set("A", "due", time.Now().Add(tt.in).UnixMilli())
			after, back := again(b.process(t.Context(), asynq.NewTask(tasks.TypeCollect, nil), p, tt.round))
			if back != tt.back || back && (after < tt.in-2*second || after > tt.in+2*second) {
				t.Errorf("%+v: put back %t for %s", tt, back, after)
			}
		}
		b.wants("A", tasks.Queued, ledger.Collect, "")
		// By so little that it waits where it is.
		due := time.Now().Add(80 * time.Millisecond)
		b.set("A", "due", due.UnixMilli())
		_ = b.run("A")
		b.wants("A", tasks.Awaiting, ledger.Confirm, "collect")
		if now := time.Now(); now.Before(due.Truncate(time.Millisecond)) {
			t.Errorf("called %s too early", due.Sub(now))
		}
	})
	t.Run("a worker that stops puts its tasks back", func(t *testing.T) {
		b := parallelWithA(t, srv)
		b.hold.hold(hour, time.Now()) // so that it waits
		done := make(chan error, 1)
		go func() { done <- b.run("A") }()
		b.Stop()
		if after, ok := again(<-done); !ok || after != second {
			t.Errorf("put back: %t for %s", ok, after)
		}
		b.wants("A", tasks.Queued, ledger.Collect, "")
	})
	t.Run("a cancelled task makes no call", func(t *testing.T) {
		b := parallel(t, srv)
		p := b.open("A")
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := b.process(ctx, asynq.NewTask(tasks.TypeCollect, nil), p, 1); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		b.wants("A", tasks.Queued, ledger.Collect, "")
	})
	t.Run("one of fifty workers gets the order", func(t *testing.T) {
		b := parallel(t, srv)
		p := b.open("A")
		var all sync.WaitGroup
		start := make(chan struct{})
		late := make(chan error, 50)
		for i := range 50 {
			all.Go(func() {
				<-start
				late <- b.process(t.Context(), asynq.NewTask(tasks.TypeCollect, nil), p, []int64{1, ledger.NoRound}[i%2])
			})
		}
		b.platform.collect = func(context.Context) payscore.Reply {
			// The call lasts until all others have been turned away.
			for range 49 {
				if err := <-late; err != nil {
					t.Errorf("one that was turned away: %v", err)
				}
			}
			return collectReply(payscore.Accepted)
		}
		close(start)
		all.Wait()
		if _, ok := again(<-late); !ok {
			t.Error("the winner's task was not put back for the query")
		}
		b.wants("A", tasks.Awaiting, ledger.Confirm, "collect")
		if b.platform.atOnce != 1 {
			t.Errorf("%d calls at once", b.platform.atOnce)
		}
	})
}
