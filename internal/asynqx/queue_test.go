package asynqx

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/hibiken/asynq"

	taskqueue "payscore-collector/internal/queue"
	"payscore-collector/internal/testkit/redistest"
)

// The keys are asynq's own, which it does not promise to keep.
func TestKeys(t *testing.T) {
	t.Parallel()
	rdb := redistest.Start(t).Client
	queue := taskqueue.Name("1900000001")
	keys := KeysOf(queue)
	client := asynq.NewClientFromRedisClient(rdb)
	inspector := asynq.NewInspectorFromRedisClient(rdb)
	enqueue := func(kind string, n int, opts ...asynq.Option) {
		t.Helper()
		for i := range n {
			opts := append(opts, asynq.Queue(queue), asynq.TaskID(fmt.Sprintf("%s-%d", kind, i)))
			if _, err := client.Enqueue(asynq.NewTask(kind, nil), opts...); err != nil {
				t.Fatal(err)
			}
		}
	}
	// One task in work, two to be retried, three in the archive; then the queue
	// is paused, and four are pending and five scheduled.
	release := make(chan struct{})
	server := asynq.NewServerFromRedisClient(rdb, asynq.Config{
		Concurrency: 4, Queues: map[string]int{queue: 1}, TaskCheckInterval: 10 * time.Millisecond,
		RetryDelayFunc: func(int, error, *asynq.Task) time.Duration { return time.Hour }, LogLevel: asynq.FatalLevel,
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
	deadline := time.Now().Add(20 * time.Second)
	for {
		sizes, err := Sizes(t.Context(), rdb, queue)
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
	if since, err := rdb.Get(t.Context(), keys.Paused).Int64(); err != nil || time.Since(time.Unix(since, 0)) > time.Minute {
		t.Errorf("paused at %d: %v", since, err)
	}
	if got := taskqueue.PendingKey("1900000001"); got != keys.Pending {
		t.Errorf("producers read %s, want %s", got, keys.Pending)
	}
	enqueue("pending", 4)
	enqueue("scheduled", 5, asynq.ProcessIn(time.Hour))

	sizes, err := Sizes(t.Context(), rdb, queue)
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
	leased, err := rdb.ZScore(t.Context(), keys.Lease, "work-0").Result()
	if err != nil || time.Until(time.Unix(int64(leased), 0)) < time.Second {
		t.Errorf("the lease of the task in work: %v %v", leased, err)
	}
	if err := rdb.ZRem(t.Context(), keys.Lease, "work-0").Err(); err != nil {
		t.Fatal(err)
	}
	if sizes, err := Sizes(t.Context(), rdb, queue); err != nil || sizes["active_unleased"] != 1 {
		t.Errorf("a task that lost its lease: %v %v", sizes, err)
	}
	all, err := rdb.SMembers(t.Context(), queues).Result()
	if err != nil || !slices.Contains(all, queue) {
		t.Errorf("%s holds %v, want %s in it: %v", queues, all, queue, err)
	}
}
