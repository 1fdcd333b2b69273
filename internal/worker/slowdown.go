package worker

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// slowDown holds asynq's connection back after an error. asynq fetches its
// next task in a loop without a pause on errors: a Redis that is full
// (maxmemory, noeviction) refuses even that, and was seen to be asked 25,000
// times a second.
type slowDown struct{}

const slowDownBy = 200 * time.Millisecond

func (slowDown) DialHook(next redis.DialHook) redis.DialHook {
	return func(ctx context.Context, network, addr string) (net.Conn, error) { return next(ctx, network, addr) }
}

func (slowDown) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		err := next(ctx, cmd)
		// What is not found is no trouble of Redis's. Were it one, asynq's
		// recovery of a hundred leases whose tasks are gone would take half a
		// minute, every minute, and hold up the worker's end as long.
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

func (slowDown) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error { return next(ctx, cmds) }
}
