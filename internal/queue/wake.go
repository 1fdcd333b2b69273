package queue

import (
	"context"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// WakeChannel is the channel of Redis on which whoever gives merchants something to do
// publishes their mchids, separated by blanks: workers have no fetchers for a merchant
// without work. Nothing depends on a message that is lost: the workers look for
// themselves, every SWEEP_EVERY. The name lies among asynq's channels, so that an ACL
// that was written for asynq allows it.
const WakeChannel = "asynq:payscore:wake"

// WakeBulk stands among the mchids on WakeChannel and says that there is a bulk action to
// do. Earlier releases take it for a merchant that they do not serve.
const WakeBulk = "bulk"

// wakeAgain is how long a Client takes a merchant that it has woken to be awake: workers
// stay awake for longer.
const wakeAgain = time.Second

// Wake tells the workers that merchants have something to do. An error means no more than
// a lost message does.
func (c *Client) Wake(ctx context.Context, mchids ...string) error {
	var sleepy []string
	now := time.Now()
	for _, mchid := range mchids {
		if woken, ok := c.woken.Load(mchid); !ok || now.Sub(woken.(time.Time)) >= wakeAgain {
			sleepy = append(sleepy, mchid)
		}
	}
	if len(sleepy) == 0 {
		return nil
	}
	err := Wake(ctx, c.rdb, sleepy...)
	if err == nil {
		for _, mchid := range sleepy {
			c.woken.Store(mchid, now)
		}
	}
	return err
}

// Wake is Client.Wake without its memory.
func Wake(ctx context.Context, rdb redis.UniversalClient, mchids ...string) error {
	return rdb.Publish(ctx, WakeChannel, strings.Join(mchids, " ")).Err()
}
