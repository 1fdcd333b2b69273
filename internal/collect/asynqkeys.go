package collect

import (
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"payscore-collector/tasks"
)

// Keys of asynq that the sweep and the metrics read, since asynq's Inspector
// either does not tell or fails when a single task is damaged. A test holds
// them against asynq itself.

const asynqQueues = "asynq:queues"

type queueKeys struct{ pending, active, lease, scheduled, retry, archived, paused, groups string }

// group is the key of one group's tasks (zset); groups has the names of all (set).
func (k queueKeys) group(name string) string {
	return strings.TrimSuffix(k.groups, "groups") + "g:" + name
}

func asynqKeys(mchid string) queueKeys {
	prefix := "asynq:{" + tasks.QueueName(mchid) + "}:"
	return queueKeys{
		pending: tasks.PendingKey(mchid), active: prefix + "active", lease: prefix + "lease",
		scheduled: prefix + "scheduled", retry: prefix + "retry", archived: prefix + "archived",
		paused: prefix + "paused", groups: prefix + "groups",
	}
}

// QueueSizes returns how many tasks of a merchant's queue are in each state,
// active ones without a lease counted apart. It reads sizes only; asynq's own
// GetQueueInfo fails when a single task's hash is missing. "aggregating" counts
// the tasks of about a hundred groups at most: any number of groups may exist.
func QueueSizes(ctx context.Context, rdb redis.UniversalClient, mchid string) (map[string]int64, error) {
	k := asynqKeys(mchid)
	pipe := rdb.Pipeline()
	pending, active := pipe.LLen(ctx, k.pending), pipe.LLen(ctx, k.active)
	leased, scheduled := pipe.ZCard(ctx, k.lease), pipe.ZCard(ctx, k.scheduled)
	retry, archived := pipe.ZCard(ctx, k.retry), pipe.ZCard(ctx, k.archived)
	grouped := pipe.SScan(ctx, k.groups, 0, "", foreignPage)
	if _, err := pipe.Exec(ctx); err != nil {
		return nil, err
	}
	var aggregating int64
	if groups, _ := grouped.Val(); len(groups) > 0 {
		pipe := rdb.Pipeline()
		var sizes []*redis.IntCmd
		for _, group := range groups {
			sizes = append(sizes, pipe.ZCard(ctx, k.group(group)))
		}
		if _, err := pipe.Exec(ctx); err != nil {
			return nil, err
		}
		for _, size := range sizes {
			aggregating += size.Val()
		}
	}
	return map[string]int64{
		"pending": pending.Val(), "active": active.Val(), "scheduled": scheduled.Val(),
		"retry": retry.Val(), "archived": archived.Val(), "aggregating": aggregating,
		"active_unleased": max(0, active.Val()-leased.Val()),
	}, nil
}

// Queue is what keeps a merchant's queue from working, or shows when it will.
type Queue struct {
	PausedSince time.Time // zero where it is not paused
	PauseKey    string    // asynq's key, whose removal resumes the queue
	Busy        bool      // a task waits for a worker or is worked on
	Next        time.Time // when the first task comes that is scheduled or retried; zero for none
}

// ReadQueue returns the state of a merchant's queue, in one round trip.
func ReadQueue(ctx context.Context, rdb redis.UniversalClient, mchid string) (Queue, error) {
	k := asynqKeys(mchid)
	pipe := rdb.Pipeline()
	paused := pipe.MGet(ctx, k.paused) // and not GET, to which a missing key is an error
	pending, active := pipe.LLen(ctx, k.pending), pipe.LLen(ctx, k.active)
	waiting := []*redis.ZSliceCmd{pipe.ZRangeWithScores(ctx, k.scheduled, 0, 0), pipe.ZRangeWithScores(ctx, k.retry, 0, 0)}
	if _, err := pipe.Exec(ctx); err != nil {
		return Queue{}, err
	}
	q := Queue{PauseKey: k.paused, Busy: pending.Val()+active.Val() > 0}
	if since, ok := paused.Val()[0].(string); ok {
		n, _ := strconv.ParseInt(since, 10, 64)
		q.PausedSince = time.Unix(n, 0)
	}
	for _, first := range waiting {
		for _, z := range first.Val() {
			if at := time.Unix(int64(z.Score), 0); q.Next.IsZero() || at.Before(q.Next) {
				q.Next = at
			}
		}
	}
	return q, nil
}
