package worker

import (
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"payscore-collector/internal/testkit/redistest"
)

func TestSlowDown(t *testing.T) {
	t.Parallel()
	srv := redistest.Start(t)
	rdb := redis.NewClient(srv.Client.Options())
	defer rdb.Close()
	rdb.AddHook(commandHook(slowDown))
	for _, tt := range []struct {
		name, script string
		slow         bool
	}{
		{"an answer", `return 1`, false},
		{"nothing", `return nil`, false},
		{"asynq's error for a missing task", `return redis.error_reply("NOT FOUND")`, false},
		{"Redis in trouble", `return redis.error_reply("OOM command not allowed")`, true},
	} {
		fastest := time.Hour
		for range 10 {
			start := time.Now()
			_ = rdb.Eval(t.Context(), tt.script, nil).Err()
			fastest = min(fastest, time.Since(start))
		}
		if tt.slow != (fastest >= slowDownBy) {
			t.Errorf("%s: each of ten took %s at least", tt.name, fastest)
		}
	}
}
