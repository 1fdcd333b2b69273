package webhook

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
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

	t.Run("delivers what the stream has, signed, one after another", func(t *testing.T) {
		b := newBench(t, srv)
		b.end("A")
		b.pay("A")
		b.deliver("A")
		taken := b.receiver.Taken()
		if diff := cmp.Diff(b.ends(), taken); diff != "" {
			t.Error(diff)
		}
		if diff := cmp.Diff([]string{"order.withdrawn", "order.paid"}, types(taken)); diff != "" {
			t.Error(diff)
		}
		b.clean()
		line := b.logs.Events("webhook_delivered")[0]
		for field, want := range map[string]any{
			"mchid": b.ledger.MchID(), "out_order_no": "A", "event_id": taken[0].ID, "event_type": "order.withdrawn",
			"http_status": 204.0, "attempt": 1.0, "level": "info",
		} {
			if line[field] != want {
				t.Errorf("%s is %v in the log, want %v", field, line[field], want)
			}
		}
		if _, there := line["elapsed_ms"]; !there {
			t.Error("the log has no elapsed_ms")
		}
		if b.counted(delivered) != 2 || b.counted(failed) != 0 {
			t.Errorf("counted: %v delivered, %v failed", b.counted(delivered), b.counted(failed))
		}
	})

	t.Run("carries every payment of the order, as the interface has them", func(t *testing.T) {
		b := newBench(t, srv)
		b.end("A")
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
		if code, _, err := b.ledger.Notice(t.Context(), ledger.Notice{OutOrderNo: "A", Paid: true, Facts: facts}); err != nil || code != ledger.NoticeEnded {
			t.Fatal(code, err)
		}
		var bodies []string
		b.receiver.Answer = func(w http.ResponseWriter, _ *http.Request, e ledger.Event) {
			body, err := json.Marshal(e)
			if err != nil {
				t.Error(err)
			}
			bodies = append(bodies, string(body))
			w.WriteHeader(http.StatusNoContent)
		}
		b.deliver("A")
		ends := b.ends()
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
			t.Errorf("%d bytes", len(bodies[1]))
		}
	})

	t.Run("a receiver that fails is asked again, and the order's next end waits", func(t *testing.T) {
		b := newBench(t, srv)
		statuses := []int{500, 404, 410, 301, 0, 429}
		left := statuses
		b.receiver.Answer = func(w http.ResponseWriter, _ *http.Request, _ ledger.Event) {
			if len(left) > 0 {
				w.Header().Set("Location", b.receiver.Server.URL+"/elsewhere")
				status := left[0]
				left = left[1:]
				if status == 0 { // no answer at all
					panic(http.ErrAbortHandler)
				}
				w.WriteHeader(status)
			}
		}
		b.end("A")
		b.pay("A")
		for range len(statuses) + 1 {
			b.deliver("A")
		}
		got, taken := b.receiver.Got(), b.receiver.Taken()
		if len(got) != len(statuses)+2 {
			t.Fatalf("%d requests for %d failures and two ends", len(got), len(statuses))
		}
		for _, e := range got[:len(statuses)] {
			if e.ID != got[0].ID {
				t.Errorf("%s came while %s was not taken", e.ID, got[0].ID)
			}
		}
		if diff := cmp.Diff(b.ends(), taken); diff != "" {
			t.Error(diff)
		}
		if b.counted(failed) != float64(len(statuses)) || b.counted(delivered) != 2 {
			t.Errorf("counted: %v failed, %v delivered", b.counted(failed), b.counted(delivered))
		}
		attempts := b.logs.Events("webhook_failed")
		for i, line := range attempts {
			if line["attempt"] != float64(i+1) || line["level"] != "warn" {
				t.Errorf("line %d: %v", i, line)
			}
		}
		if !strings.HasPrefix(attempts[3]["reason"].(string), "it answered 301: it redirects to ") || attempts[4]["reason"] != "the connection was closed before the answer was complete" {
			t.Errorf("%v %v", attempts[3], attempts[4])
		}
		b.clean()
	})

	t.Run("a worker that dies between the request and the settlement: the same webhook-id again, in order", func(t *testing.T) {
		t.Parallel()
		b := newBench(t, srv, func(s *Settings) { s.Timeout = 2 * time.Second })
		b.end("A")
		b.pay("A")
		b.faults.Fail("hooksettle", 1000) // for as long as it lives
		if err := b.Process(t.Context(), b.task("A", b.relay()[0].Round)); err == nil || !strings.Contains(err.Error(), "settle") {
			t.Fatalf("%v", err)
		}
		b.faults.Mend()
		// Nobody has it before the lease is over; then it comes by itself.
		b.until(20*time.Second, "the order to be delivered", func() bool {
			for _, o := range b.relay() {
				if err := b.Process(t.Context(), b.task("A", o.Round)); err != nil {
					t.Fatal(err)
				}
			}
			return b.waiting() == 0
		})
		got := b.receiver.Got()
		if diff := cmp.Diff([]string{"order.withdrawn", "order.withdrawn", "order.paid"}, types(got)); diff != "" {
			t.Error(diff)
		}
		if got[0].ID != got[1].ID {
			t.Errorf("%s came again as %s", got[0].ID, got[1].ID)
		}
	})

	t.Run("lost answers of Redis deliver nothing twice", func(t *testing.T) {
		b := newBench(t, srv)
		b.end("A")
		b.pay("A")
		b.faults.Lose("hookclaim", 2)
		b.faults.Lose("hooksettle", 3)
		b.deliver("A")
		got := b.receiver.Got()
		if diff := cmp.Diff(b.ends(), got); diff != "" {
			t.Error(diff)
		}
		b.clean()
	})

	t.Run("an answer that was lost after the handing out costs the grace", func(t *testing.T) {
		b := newBench(t, srv, func(s *Settings) { s.Grace = 100 * time.Millisecond })
		b.end("A")
		b.faults.Lose("hooktake", 1)
		if _, err := b.Relay(t.Context()); !errors.Is(err, redistest.ErrInjected) {
			t.Fatalf("%v", err)
		}
		b.deliver("A")
	})

	t.Run("an end that failed for longer than RETENTION is given up, loudly", func(t *testing.T) {
		b := newBench(t, srv, func(s *Settings) { s.Retention = 300 * time.Millisecond })
		b.receiver.Answer = func(w http.ResponseWriter, _ *http.Request, e ledger.Event) {
			if e.Type == "order.withdrawn" {
				w.WriteHeader(http.StatusInternalServerError)
			}
		}
		b.end("A")
		b.pay("A")
		b.until(10*time.Second, "the end to be given up", func() bool {
			for _, o := range b.relay() {
				if err := b.Process(t.Context(), b.task("A", o.Round)); err != nil {
					t.Fatal(err)
				}
			}
			return b.waiting() == 0
		})
		taken := b.receiver.Taken()
		if diff := cmp.Diff([]string{"order.paid"}, types(taken)); diff != "" {
			t.Error(diff)
		}
		lines := b.logs.Events("webhook_given_up")
		if len(lines) != 1 || lines[0]["level"] != "error" || lines[0]["out_order_no"] != "A" || lines[0]["event_type"] != "order.withdrawn" || lines[0]["state"] != "withdrawn" {
			t.Errorf("the log says: %v", lines)
		}
		if b.counted(givenUp) != 1 {
			t.Errorf("%v given up", b.counted(givenUp))
		}
		b.clean()
	})

	t.Run("an old end is tried before it is given up", func(t *testing.T) {
		b := newBench(t, srv, func(s *Settings) { s.Retention = time.Nanosecond })
		b.end("A")
		b.deliver("A")
		if taken := b.receiver.Taken(); len(taken) != 1 || b.counted(givenUp) != 0 {
			t.Errorf("taken: %v", taken)
		}
	})

	t.Run("an entry that is no event holds nothing up", func(t *testing.T) {
		b := newBench(t, srv)
		if err := b.rdb.Do(t.Context(), "XADD", b.keys.Outcomes(), "*", "type", "order.paid", "no", "A", "state", "unheard-of").Err(); err != nil {
			t.Fatal(err)
		}
		b.end("A")
		b.deliver("A")
		if taken := b.receiver.Taken(); len(taken) != 1 || b.counted(givenUp) != 1 || len(b.logs.Events("webhook_given_up")) != 1 {
			t.Errorf("taken: %v; log: %s", taken, b.logs)
		}
	})

	t.Run("a task whose time is over sends nothing more", func(t *testing.T) {
		b := newBench(t, srv)
		b.end("A")
		ctx, cancel := context.WithCancel(t.Context())
		d := delivery{Sender: b.Sender, no: "A", token: "mine"}
		claim, err := b.ledger.ClaimHook(t.Context(), "A", "mine", b.relay()[0].Round, d.lease())
		if err != nil {
			t.Fatal(err)
		}
		if set := d.one(t.Context(), claim, time.Now().Add(-b.Timeout)); set.Done || set.Failed {
			t.Errorf("a process that stood still since its claim: %+v", set)
		}
		cancel()
		if set := d.one(ctx, claim, time.Now()); set.Done || set.Failed {
			t.Errorf("a cancelled one: %+v", set)
		}
		b.Stop()
		if set := d.one(t.Context(), claim, time.Now()); set.Done || set.Failed {
			t.Errorf("at the worker's end: %+v", set)
		}
		if got := b.receiver.Got(); len(got) != 0 {
			t.Errorf("%v were sent", got)
		}
	})

	t.Run("ends that failed before take half of the places at most", func(t *testing.T) {
		b := newBench(t, srv)
		b.end("A")
		b.receiver.Answer = func(w http.ResponseWriter, _ *http.Request, _ ledger.Event) { w.WriteHeader(500) }
		b.deliver("A")
		b.receiver.Answer = nil
		for range retriesAtOnce {
			b.retries <- struct{}{}
		}
		b.deliver("A")
		if taken := b.receiver.Taken(); len(taken) != 0 {
			t.Error("it was delivered where no place was left")
		}
		b.end("B")
		b.deliver("B") // a first attempt needs no such place
		<-b.retries
		b.deliver("A")
		if taken := b.receiver.Taken(); len(taken) != 2 || len(b.retries) != retriesAtOnce-1 {
			t.Errorf("taken: %v, places: %d", types(taken), len(b.retries))
		}
	})

	t.Run("a task that is none is archived, and logged", func(t *testing.T) {
		b := newBench(t, srv)
		other, err := json.Marshal(job{"1", "A", 1})
		if err != nil {
			t.Fatal(err)
		}
		for _, bad := range []*asynq.Task{
			asynq.NewTask(tasks.TypeCollect, nil), asynq.NewTask(queue.TypeWebhook, []byte("{")),
			asynq.NewTask(queue.TypeWebhook, other), b.task("A B", 1),
		} {
			if err := b.Process(t.Context(), bad); !errors.Is(err, asynq.SkipRetry) {
				t.Errorf("%s: %v", bad.Payload(), err)
			}
		}
		if n := len(b.logs.Events("webhook_task_unusable")); n != 4 {
			t.Errorf("%d lines", n)
		}
	})
}
