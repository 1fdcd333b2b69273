package collect

import (
	"context"
	"strings"

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
