package webhook

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hibiken/asynq"

	"payscore-collector/internal/ledger"
	"payscore-collector/internal/queue"
	"payscore-collector/internal/testkit/redistest"
	"payscore-collector/tasks"
)

func types(events []ledger.Event) []string {
	var types []string
	for _, e := range events {
		types = append(types, e.Type)
	}
	return types
}

func TestProcess(t *testing.T) {
	t.Parallel()
	srv := redistest.Start(t)

	t.Run("delivers the events of the stream, signed, one after another", func(t *testing.T) {
		f := newFixture(t, srv)
		f.end("A")
		f.pay("A")
		f.deliver("A")
		taken := f.receiver.Taken()
		if diff := cmp.Diff(f.ends(), taken); diff != "" {
			t.Error(diff)
		}
		if diff := cmp.Diff([]string{"order.withdrawn", "order.paid"}, types(taken)); diff != "" {
			t.Error(diff)
		}
		f.clean()
		line := f.logs.Events("webhook_delivered")[0]
		for field, want := range map[string]any{
			"mchid": f.ledger.MchID(), "out_order_no": "A", "event_id": taken[0].ID, "event_type": "order.withdrawn",
			"http_status": 204.0, "attempt": 1.0, "level": "info",
		} {
			if line[field] != want {
				t.Errorf("%s is %v in the log, want %v", field, line[field], want)
			}
		}
		if _, there := line["elapsed_ms"]; !there {
			t.Error("the log has no elapsed_ms")
		}
		if f.counted(delivered) != 2 || f.counted(failed) != 0 {
			t.Errorf("counted: %v delivered, %v failed", f.counted(delivered), f.counted(failed))
		}
	})

	t.Run("carries every payment of the order, as the interface has them", func(t *testing.T) {
		f := newFixture(t, srv)
		f.end("A")
		at := time.Date(2026, 11, 23, 4, 0, 0, 0, time.UTC)
		facts := ledger.Facts{PaidType: "MCH", Total: new(int64), Paid: new(int64)}
		for i := range int64(ledger.MaxPayments) {
			p := ledger.Payment{Seq: i + 1, TransactionID: fmt.Sprintf("42000012345678901234567890%06d", i), Amount: tasks.MaxAmount / 100, PaidType: "NEWTON", PaidAt: at}
			if i == ledger.MaxPayments-1 {
				p.TransactionID, p.PaidType = "", "MCH"
			}
			facts.Payments = append(facts.Payments, p)
			*facts.Total += p.Amount
		}
		*facts.Paid = *facts.Total
		if code, _, err := f.ledger.Notice(t.Context(), ledger.Notice{OutOrderNo: "A", Paid: true, Facts: facts}); err != nil || code != ledger.NoticeEnded {
			t.Fatal(code, err)
		}
		var bodies []string
		f.receiver.Answer = func(w http.ResponseWriter, _ *http.Request, e ledger.Event) {
			body, err := json.Marshal(e)
			if err != nil {
				t.Error(err)
			}
			bodies = append(bodies, string(body))
			w.WriteHeader(http.StatusNoContent)
		}
		f.deliver("A")
		ends := f.ends()
		want, err := json.Marshal(ends[len(ends)-1])
		if err != nil || len(bodies) != 2 {
			t.Fatalf("%d bodies, %v", len(bodies), err)
		}
		if diff := cmp.Diff(string(want), bodies[1]); diff != "" {
			t.Error(diff)
		}
		for _, part := range []string{
			`"payments":[{"transaction_id":"42000012345678901234567890000000","amount":100000000000,"paid_type":"NEWTON","paid_at":"2026-11-23T04:00:00Z"},`,
			`,{"amount":100000000000,"paid_type":"MCH","paid_at":"2026-11-23T04:00:00Z","seq":50}]`,
		} {
			if !strings.Contains(bodies[1], part) {
				t.Errorf("%s is not in %s", part, bodies[1])
			}
		}
		// docs/events.md says so.
		if len(bodies[1]) > 16<<10 {
			t.Errorf("%d bytes, want 16 kB at most", len(bodies[1]))
		}
	})

	t.Run("a failed delivery is retried, and the order's next final state waits", func(t *testing.T) {
		f := newFixture(t, srv)
		statuses := []int{500, 404, 410, 301, 0, 429}
		var requests atomic.Int64
		f.receiver.Answer = func(w http.ResponseWriter, _ *http.Request, _ ledger.Event) {
			if i := int(requests.Add(1)) - 1; i < len(statuses) {
				w.Header().Set("Location", f.receiver.Server.URL+"/elsewhere")
				if statuses[i] == 0 { // no answer at all
					panic(http.ErrAbortHandler)
				}
				w.WriteHeader(statuses[i])
			}
		}
		f.end("A")
		f.pay("A")
		for range len(statuses) + 1 {
			f.deliver("A")
		}
		got, taken := f.receiver.Got(), f.receiver.Taken()
		if len(got) != len(statuses)+2 {
			t.Fatalf("%d requests for %d failures and two final states", len(got), len(statuses))
		}
		for _, e := range got[:len(statuses)] {
			if e.ID != got[0].ID {
				t.Errorf("%s was sent before %s was accepted", e.ID, got[0].ID)
			}
		}
		if diff := cmp.Diff(f.ends(), taken); diff != "" {
			t.Error(diff)
		}
		if f.counted(failed) != float64(len(statuses)) || f.counted(delivered) != 2 {
			t.Errorf("counted: %v failed, %v delivered", f.counted(failed), f.counted(delivered))
		}
		attempts := f.logs.Events("webhook_failed")
		for i, line := range attempts {
			if line["attempt"] != float64(i+1) || line["level"] != "warn" {
				t.Errorf("line %d: %v", i, line)
			}
		}
		if !strings.HasPrefix(attempts[3]["reason"].(string), "it answered 301: it redirects to ") || attempts[4]["reason"] != "the connection was closed before the answer was complete" {
			t.Errorf("%v %v", attempts[3], attempts[4])
		}
		f.clean()
	})

	t.Run("a worker that dies between the request and the settlement: the same webhook-id again, in order", func(t *testing.T) {
		t.Parallel()
		f := newFixture(t, srv, func(s *Settings) { s.Timeout = 2 * time.Second })
		f.end("A")
		f.pay("A")
		f.faults.Fail("hooksettle", 1000) // for as long as it lives
		if err := f.Process(t.Context(), f.task("A", f.relay()[0].Round)); err == nil || !strings.Contains(err.Error(), "settle") {
			t.Fatalf("%v", err)
		}
		f.faults.Mend()
		// No worker gets it before the lease ends; then the relay returns it.
		f.until("the order to be delivered", func() bool {
			for _, o := range f.relay() {
				if err := f.Process(t.Context(), f.task("A", o.Round)); err != nil {
					t.Fatal(err)
				}
			}
			return f.waiting() == 0
		})
		got := f.receiver.Got()
		if diff := cmp.Diff([]string{"order.withdrawn", "order.withdrawn", "order.paid"}, types(got)); diff != "" {
			t.Error(diff)
		}
		if got[0].ID != got[1].ID {
			t.Errorf("%s was repeated as %s", got[0].ID, got[1].ID)
		}
	})

	t.Run("lost replies of Redis deliver nothing twice", func(t *testing.T) {
		f := newFixture(t, srv)
		f.end("A")
		f.pay("A")
		f.faults.Lose("hookclaim", 2)
		f.faults.Lose("hooksettle", 3)
		f.deliver("A")
		got := f.receiver.Got()
		if diff := cmp.Diff(f.ends(), got); diff != "" {
			t.Error(diff)
		}
		f.clean()
	})

	t.Run("a lost reply of the relay only costs the grace", func(t *testing.T) {
		f := newFixture(t, srv, func(s *Settings) { s.Grace = 100 * time.Millisecond })
		f.end("A")
		f.faults.Lose("hooktake", 1)
		if _, err := f.Relay(t.Context()); !errors.Is(err, redistest.ErrInjected) {
			t.Fatalf("%v", err)
		}
		f.deliver("A")
	})

	t.Run("a webhook that failed for longer than RETENTION is abandoned, loudly", func(t *testing.T) {
		f := newFixture(t, srv, func(s *Settings) { s.Retention = 300 * time.Millisecond })
		f.receiver.Answer = func(w http.ResponseWriter, _ *http.Request, e ledger.Event) {
			if e.Type == "order.withdrawn" {
				w.WriteHeader(http.StatusInternalServerError)
			}
		}
		f.end("A")
		f.pay("A")
		f.until("the webhook to be abandoned", func() bool {
			for _, o := range f.relay() {
				if err := f.Process(t.Context(), f.task("A", o.Round)); err != nil {
					t.Fatal(err)
				}
			}
			return f.waiting() == 0
		})
		taken := f.receiver.Taken()
		if diff := cmp.Diff([]string{"order.paid"}, types(taken)); diff != "" {
			t.Error(diff)
		}
		lines := f.logs.Events("webhook_given_up")
		if len(lines) != 1 || lines[0]["level"] != "error" || lines[0]["out_order_no"] != "A" || lines[0]["event_type"] != "order.withdrawn" || lines[0]["state"] != "withdrawn" {
			t.Errorf("the log says: %v", lines)
		}
		if f.counted(givenUp) != 1 {
			t.Errorf("%v counted as given up, want 1", f.counted(givenUp))
		}
		f.clean()
	})

	t.Run("an old event is tried before it is abandoned", func(t *testing.T) {
		f := newFixture(t, srv, func(s *Settings) { s.Retention = time.Nanosecond })
		f.end("A")
		f.deliver("A")
		if taken := f.receiver.Taken(); len(taken) != 1 || f.counted(givenUp) != 0 {
			t.Errorf("taken: %v", taken)
		}
	})

	t.Run("an entry that is not an event delays nothing", func(t *testing.T) {
		f := newFixture(t, srv)
		if err := f.rdb.Do(t.Context(), "XADD", f.keys.Outcomes(), "*", "type", "order.paid", "no", "A", "state", "unheard-of").Err(); err != nil {
			t.Fatal(err)
		}
		f.end("A")
		f.deliver("A")
		if taken := f.receiver.Taken(); len(taken) != 1 || f.counted(givenUp) != 1 || len(f.logs.Events("webhook_given_up")) != 1 {
			t.Errorf("taken: %v; log: %s", taken, f.logs)
		}
	})

	t.Run("a task after its deadline sends nothing", func(t *testing.T) {
		f := newFixture(t, srv)
		f.end("A")
		ctx, cancel := context.WithCancel(t.Context())
		d := delivery{Sender: f.Sender, no: "A", token: "mine"}
		claim, err := f.ledger.ClaimHook(t.Context(), "A", "mine", f.relay()[0].Round, d.lease())
		if err != nil {
			t.Fatal(err)
		}
		if set := d.one(t.Context(), claim, time.Now().Add(-f.Timeout)); set.Done || set.Failed {
			t.Errorf("a process that was frozen since its claim: %+v, want no result", set)
		}
		cancel()
		if set := d.one(ctx, claim, time.Now()); set.Done || set.Failed {
			t.Errorf("a cancelled task: %+v, want no result", set)
		}
		f.Stop()
		if set := d.one(t.Context(), claim, time.Now()); set.Done || set.Failed {
			t.Errorf("while the worker stops: %+v, want no result", set)
		}
		if got := f.receiver.Got(); len(got) != 0 {
			t.Errorf("%v were sent", got)
		}
	})

	t.Run("retries take half of the places at most", func(t *testing.T) {
		f := newFixture(t, srv)
		f.end("A")
		f.receiver.Answer = func(w http.ResponseWriter, _ *http.Request, _ ledger.Event) { w.WriteHeader(500) }
		f.deliver("A")
		f.receiver.Answer = nil
		for range retriesAtOnce {
			f.retries <- struct{}{}
		}
		f.deliver("A")
		if taken := f.receiver.Taken(); len(taken) != 0 {
			t.Error("it was delivered although no place was left")
		}
		f.end("B")
		f.deliver("B") // a first attempt needs no such place
		<-f.retries
		f.deliver("A")
		if taken := f.receiver.Taken(); len(taken) != 2 || len(f.retries) != retriesAtOnce-1 {
			t.Errorf("taken: %v, places: %d", types(taken), len(f.retries))
		}
	})

	t.Run("an invalid task is archived, and logged", func(t *testing.T) {
		f := newFixture(t, srv)
		other, err := json.Marshal(job{"1", "A", 1})
		if err != nil {
			t.Fatal(err)
		}
		for _, bad := range []*asynq.Task{
			asynq.NewTask(tasks.TypeCollect, nil), asynq.NewTask(queue.TypeWebhook, []byte("{")),
			asynq.NewTask(queue.TypeWebhook, other), f.task("A B", 1),
		} {
			if err := f.Process(t.Context(), bad); !errors.Is(err, asynq.SkipRetry) {
				t.Errorf("%s: %v", bad.Payload(), err)
			}
		}
		if n := len(f.logs.Events("webhook_task_unusable")); n != 4 {
			t.Errorf("%d lines, want 4", n)
		}
	})
}
