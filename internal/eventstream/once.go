package eventstream

import (
	"context"

	"github.com/redis/go-redis/v9"
)

// neverTwice stops go-redis from repeating an XREADGROUP whose reply was lost. Redis has
// given those events to this member, and would give the next ones to the repetition: the
// later events of an order would be delivered before the earlier ones. After such a
// failure the stream is read from the start of what this member holds.
type neverTwice struct{}

func (neverTwice) DialHook(next redis.DialHook) redis.DialHook { return next }

func (neverTwice) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

func (neverTwice) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if cmd.Name() == "xreadgroup" {
			cmd = once{cmd}
		}
		return next(ctx, cmd)
	}
}

// once is a command that go-redis must not repeat.
type once struct{ redis.Cmder }

func (once) NoRetry() bool { return true }
