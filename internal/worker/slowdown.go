package worker

import (
	"context"
	"errors"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

const slowDownBy = 200 * time.Millisecond

// slowDown delays asynq after an error of Redis. asynq fetches its next task in a loop
// without a pause on errors: it was seen to ask a Redis that was full (maxmemory,
// noeviction) 25,000 times a second.
func slowDown(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		err := next(ctx, cmd)
		// A missing task is not trouble with Redis. If it were delayed, asynq's
		// recovery of a hundred leases whose tasks are gone would take half a minute,
		// every minute, and delay the worker's end as long.
		if err == nil || errors.Is(err, redis.Nil) || strings.HasPrefix(err.Error(), "NOSCRIPT") || strings.HasPrefix(err.Error(), "NOT FOUND") {
			return err
		}
		if name := cmd.Name(); name == "evalsha" || name == "eval" {
			t := time.NewTimer(slowDownBy + rand.N(slowDownBy))
			defer t.Stop()
			select {
			case <-t.C:
			case <-ctx.Done():
			}
		}
		return err
	}
}
