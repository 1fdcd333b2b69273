package eventstream

import (
	"context"

	"github.com/redis/go-redis/v9"
)

// neverTwice keeps go-redis from sending an XREADGROUP again whose answer was
// lost. Redis has given those events to us, and would give the next ones to the
// second try: the later events of an order would come before the earlier ones.
// After such a failure the stream is begun anew, with what we hold.
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

// once is a command with the flag that go-redis keeps for those that must not be
// repeated.
type once struct{ redis.Cmder }

func (once) NoRetry() bool { return true }
