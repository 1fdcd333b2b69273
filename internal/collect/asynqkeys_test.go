package collect

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/hibiken/asynq"

	"payscore-collector/internal/testkit/redistest"
	"payscore-collector/tasks"
)

// The keys are asynq's own, which it does not promise to keep.
func TestAsynqKeys(t *testing.T) {
	t.Parallel()
	b := newFixture(t, redistest.Start(t))
	mchid := b.mchid
	queue, keys := tasks.QueueName(mchid), asynqKeys(mchid)
	client := asynq.NewClientFromRedisClient(b.rdb)
	inspector := asynq.NewInspectorFromRedisClient(b.rdb)
	enqueue := func(kind string, n int, opts ...asynq.Option) {
		t.Helper()
		for i := range n {
			opts := append(opts, asynq.Queue(queue), asynq.TaskID(fmt.Sprintf("%s-%d", kind, i)))
			if _, err := client.Enqueue(asynq.NewTask(kind, nil), opts...); err != nil {
				t.Fatal(err)
			}
		}
	}
	// One task in work, two to be retried, three in the archive; then nobody
	// fetches any more, and four are pending and five scheduled.
	release := make(chan struct{})
	server := asynq.NewServerFromRedisClient(b.rdb, asynq.Config{
		Concurrency: 4, Queues: map[string]int{queue: 1}, TaskCheckInterval: 10 * time.Millisecond,
		RetryDelayFunc: func(int, error, *asynq.Task) time.Duration { return hour }, LogLevel: asynq.FatalLevel,
	})
	failed := errors.New("failed")
	err := server.Start(asynq.HandlerFunc(func(_ context.Context, task *asynq.Task) error {
		switch task.Type() {
		case "work":
			<-release
			return nil
		case "archive":
			return asynq.SkipRetry
		}
		return failed
	}))
	if err != nil {
		t.Fatal(err)
	}
	defer server.Shutdown()
	defer close(release)
	enqueue("work", 1)
	enqueue("retry", 2)
	enqueue("archive", 3)
	want := map[string]int64{"active": 1, "retry": 2, "archived": 3}
	deadline := time.Now().Add(20 * second)
	for {
		sizes, err := QueueSizes(t.Context(), b.rdb, mchid)
		if err != nil {
			t.Fatal(err)
		}
		if sizes["active"] == want["active"] && sizes["retry"] == want["retry"] && sizes["archived"] == want["archived"] {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("sizes %v", sizes)
		}
		<-time.After(5 * time.Millisecond)
	}
	if err := inspector.PauseQueue(queue); err != nil {
		t.Fatal(err)
	}
	if since, err := b.rdb.Get(t.Context(), keys.paused).Int64(); err != nil || time.Since(time.Unix(since, 0)) > minute {
		t.Errorf("paused at %d: %v", since, err)
	}
	enqueue("pending", 4)
	enqueue("scheduled", 5, asynq.ProcessIn(hour))

	sizes, err := QueueSizes(t.Context(), b.rdb, mchid)
	if err != nil {
		t.Fatal(err)
	}
	info, err := inspector.GetQueueInfo(queue)
	if err != nil {
		t.Fatal(err)
	}
	for name, n := range map[string]int{
		"pending": info.Pending, "active": info.Active, "scheduled": info.Scheduled, "retry": info.Retry, "archived": info.Archived,
	} {
		if sizes[name] != int64(n) || n == 0 {
			t.Errorf("%s: %d, and asynq says %d", name, sizes[name], n)
		}
	}
	if sizes["active_unleased"] != 0 {
		t.Errorf("%d active tasks without a lease", sizes["active_unleased"])
	}
	leased, err := b.rdb.ZScore(t.Context(), keys.lease, "work-0").Result()
	if err != nil || time.Until(time.Unix(int64(leased), 0)) < second {
		t.Errorf("the lease of the task in work: %v %v", leased, err)
	}
	if err := b.rdb.ZRem(t.Context(), keys.lease, "work-0").Err(); err != nil {
		t.Fatal(err)
	}
	if sizes, err := QueueSizes(t.Context(), b.rdb, mchid); err != nil || sizes["active_unleased"] != 1 {
		t.Errorf("a task that lost its lease: %v %v", sizes, err)
	}
	queues, err := b.rdb.SMembers(t.Context(), asynqQueues).Result()
	if err != nil || !slices.Contains(queues, queue) {
		t.Errorf("%s holds %v: %v", asynqQueues, queues, err)
	}
}
