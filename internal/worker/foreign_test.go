package worker_test

import (
	"strings"
	"testing"
	"time"

	"github.com/hibiken/asynq"

	"payscore-collector/internal/ledger"
	"payscore-collector/internal/simulator"
	"payscore-collector/internal/testkit/workertest"
	"payscore-collector/tasks"
)

// Tasks of another asynq client whose options keep them from every worker: their
// orders are paid, and the one that cannot be read is logged.
func TestTasksThatNoWorkerMeets(t *testing.T) {
	t.Parallel()
	r := workertest.New(t)
	past := asynq.Deadline(time.Now().Add(-time.Minute))
	queue := asynq.Queue(tasks.QueueName(r.Sim.Merchant().MchID))
	enqueue := func(payload []byte, opts ...asynq.Option) {
		t.Helper()
		if _, err := r.Queue().Enqueue(r.RawTask(payload), append(opts, queue)...); err != nil {
			t.Fatal(err)
		}
	}
	for no, opts := range map[string][]asynq.Option{
		"GROUP": {asynq.Group("g")}, "DEADLINE": {past}, "ARCHIVED": {past, asynq.MaxRetry(0)},
	} {
		r.Add(simulator.Order{OutOrderNo: no})
		body, err := r.Order(no).Encode()
		if err != nil {
			t.Fatal(err)
		}
		enqueue(body, opts...)
	}
	enqueue([]byte("no JSON"), past, asynq.MaxRetry(0))
	r.Work()
	for _, no := range []string{"GROUP", "DEADLINE", "ARCHIVED"} {
		r.Eventually(no+" to be paid", func() bool {
			return r.Redis.Client.HGet(t.Context(), ledger.KeysOf(r.Sim.Merchant().MchID).Order(no), "state").Val() == string(tasks.Paid)
		})
		if log := r.Logs.String(); !strings.Contains(log, `"out_order_no":"`+no+`"`) {
			t.Errorf("the log does not name %s", no)
		}
	}
	r.Eventually("the unusable task to be logged", func() bool { return strings.Contains(r.Logs.String(), `"event":"task_unusable"`) })
}
