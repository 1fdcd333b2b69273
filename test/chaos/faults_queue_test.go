package chaos

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/redis/go-redis/v9"
)

// queueFaults are what is done to asynq's keys. Where Redis is away just then,
// they miss.
func queueFaults(f profile) []fault {
	lost := func(name string, keys func(ctx context.Context, e *env, r *rand.Rand) ([]string, error)) fault {
		return fault{name: name, takes: time.Second, do: func(e *env, r *rand.Rand, _ *worker) bool {
			ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
			defer cancel()
			found, err := keys(ctx, e, r)
			if err != nil || len(found) == 0 {
				return false
			}
			n, err := e.delete(ctx, found)
			return err == nil && n > 0
		}}
	}
	named := func(names ...string) func(context.Context, *env, *rand.Rand) ([]string, error) {
		return func(_ context.Context, e *env, _ *rand.Rand) ([]string, error) {
			keys := make([]string, len(names))
			for i, name := range names {
				keys[i] = e.queueKey(name)
			}
			return keys, nil
		}
	}
	return []fault{
		lost("every asynq:* key deleted", func(ctx context.Context, e *env, _ *rand.Rand) ([]string, error) {
			return e.scan(ctx, "asynq:*")
		}),
		lost("asynq's leases deleted: active tasks without one", named("lease")),
		lost("asynq's list of active tasks deleted", named("active")),
		lost("asynq's waiting tasks deleted: records without a place", named("pending", "retry", "scheduled")),
		lost("some records of asynq's tasks deleted", func(ctx context.Context, e *env, r *rand.Rand) ([]string, error) {
			keys, err := e.scan(ctx, e.queueKey("t:*"))
			r.Shuffle(len(keys), func(i, j int) { keys[i], keys[j] = keys[j], keys[i] })
			return keys[:(len(keys)+2)/3], err
		}),
		{name: "queue paused, and forgotten for a while", takes: 5 * time.Second, do: func(e *env, r *rand.Rand, _ *worker) bool {
			ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
			defer cancel()
			if e.rdb.Set(ctx, e.queueKey("paused"), time.Now().Unix(), 0).Err() != nil {
				return false
			}
			wait(between(r, 3*time.Second, 6*time.Second))
			e.retry("resume the queue", func(ctx context.Context) error { return e.rdb.Del(ctx, e.queueKey("paused")).Err() })
			return true
		}},
	}
}

// scan returns the keys of a pattern, on every master.
func (e *env) scan(ctx context.Context, pattern string) ([]string, error) {
	var keys []string
	err := e.eachMaster(ctx, func(ctx context.Context, c *redis.Client) error {
		for it := c.Scan(ctx, 0, pattern, 1000).Iterator(); ; {
			if !it.Next(ctx) {
				return it.Err()
			}
			keys = append(keys, it.Val())
		}
	})
	return keys, err
}

// eachMaster asks one master after the other.
func (e *env) eachMaster(ctx context.Context, do func(context.Context, *redis.Client) error) error {
	switch c := e.rdb.(type) {
	case *redis.ClusterClient:
		// One at a time: ForEachMaster asks all at once.
		type master struct{ c *redis.Client }
		found := make(chan master, 64)
		err := c.ForEachMaster(ctx, func(_ context.Context, m *redis.Client) error {
			found <- master{m}
			return nil
		})
		close(found)
		for m := range found {
			if err == nil {
				err = do(ctx, m.c)
			}
		}
		return err
	case *redis.Client:
		return do(ctx, c)
	}
	return nil
}

// delete deletes keys, wherever each of them is.
func (e *env) delete(ctx context.Context, keys []string) (int64, error) {
	var n int64
	for len(keys) > 0 {
		part := keys[:min(len(keys), 500)]
		keys = keys[len(part):]
		pipe := e.rdb.Pipeline()
		var cmds []*redis.IntCmd
		for _, k := range part {
			cmds = append(cmds, pipe.Unlink(ctx, k))
		}
		if _, err := pipe.Exec(ctx); err != nil {
			return n, err
		}
		for _, c := range cmds {
			n += c.Val()
		}
	}
	return n, nil
}
