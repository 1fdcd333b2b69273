// Package asynqx is what a worker does with asynq itself: the keys and the state of a
// queue, the server of a queue and its log. Collecting and webhooks share it. The names
// of queues and tasks, and enqueueing, are in package queue.
package asynqx

import (
	"cmp"
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// Keys are asynq's keys of one queue. They are read directly because asynq's
// Inspector hides some facts, and fails when a single task is damaged. A
// test compares them with asynq itself.
type Keys struct {
	Pending, Active                   string // lists of task IDs
	Lease, Scheduled, Retry, Archived string // sorted sets of task IDs by time
	Paused                            string // Unix time; exists while the queue is paused
	Groups                            string // set of the names of all groups

	// Mark is ours, among asynq's: it is there as long as the queue was not lost.
	Mark string
}

// KeysOf returns the keys of a queue.
func KeysOf(queue string) Keys {
	prefix := "asynq:{" + queue + "}:"
	return Keys{
		Pending: prefix + "pending", Active: prefix + "active",
		Lease: prefix + "lease", Scheduled: prefix + "scheduled", Retry: prefix + "retry", Archived: prefix + "archived",
		Paused: prefix + "paused", Groups: prefix + "groups",
		Mark: prefix + "payscore",
	}
}

// Stirring are the keys that are missing while the queue has nothing to do: no task
// waits, is worked on, or could be recovered, and it is not paused. A task in work without
// a lease is not among them: asynq recovers it never.
func (k Keys) Stirring() []string {
	return []string{k.Pending, k.Lease, k.Scheduled, k.Retry, k.Groups, k.Paused}
}

// Group returns the key of one group's tasks (sorted set).
func (k Keys) Group(name string) string { return strings.TrimSuffix(k.Groups, "groups") + "g:" + name }

// queues is asynq's set of the names of all queues.
const queues = "asynq:queues"

// Register adds the queue to asynq's set of queues: asynq does so once, and not
// again after Redis has lost its data.
func Register(ctx context.Context, rdb redis.UniversalClient, queue string) error {
	return rdb.SAdd(ctx, queues, queue).Err()
}

// groupsPage is how many groups Sizes reads.
const groupsPage = 100

// Sizes returns how many tasks of a queue are in each state, active ones without a
// lease counted apart. It reads sizes only. "aggregating" counts the tasks of about
// a hundred groups at most: any number of groups may exist.
func Sizes(ctx context.Context, rdb redis.UniversalClient, queue string) (map[string]int64, error) {
	k := KeysOf(queue)
	pipe := rdb.Pipeline()
	pending, active := pipe.LLen(ctx, k.Pending), pipe.LLen(ctx, k.Active)
	leased, scheduled := pipe.ZCard(ctx, k.Lease), pipe.ZCard(ctx, k.Scheduled)
	retry, archived := pipe.ZCard(ctx, k.Retry), pipe.ZCard(ctx, k.Archived)
	grouped := pipe.SScan(ctx, k.Groups, 0, "", groupsPage)
	if _, err := pipe.Exec(ctx); err != nil {
		return nil, err
	}
	var aggregating int64
	if groups, _ := grouped.Val(); len(groups) > 0 {
		pipe := rdb.Pipeline()
		var sizes []*redis.IntCmd
		for _, group := range groups {
			sizes = append(sizes, pipe.ZCard(ctx, k.Group(group)))
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

// State is what keeps a queue from being worked on, or shows when it will be.
type State struct {
	PausedSince time.Time // zero where it is not paused
	Busy        bool      // a task waits for a worker or is worked on
	Next        time.Time // when the first scheduled or retried task is due; zero for none
}

// Read returns the state of a queue, in one round trip.
func Read(ctx context.Context, rdb redis.UniversalClient, queue string) (State, error) {
	pipe := rdb.Pipeline()
	read := Ask(pipe, queue)
	_, _ = pipe.Exec(ctx) // each command has its own error
	return read()
}

// Ask asks what Read returns as part of a pipeline, and returns what reads the answer when
// that has run.
func Ask(pipe redis.Pipeliner, queue string) func() (State, error) {
	k, ctx := KeysOf(queue), context.Background()
	paused := pipe.MGet(ctx, k.Paused) // and not GET, to which a missing key is an error
	pending, active := pipe.LLen(ctx, k.Pending), pipe.LLen(ctx, k.Active)
	waiting := []*redis.ZSliceCmd{pipe.ZRangeWithScores(ctx, k.Scheduled, 0, 0), pipe.ZRangeWithScores(ctx, k.Retry, 0, 0)}
	return func() (State, error) {
		if err := cmp.Or(paused.Err(), pending.Err(), active.Err(), waiting[0].Err(), waiting[1].Err()); err != nil {
			return State{}, err
		}
		s := State{Busy: pending.Val()+active.Val() > 0}
		if since, ok := paused.Val()[0].(string); ok {
			n, _ := strconv.ParseInt(since, 10, 64)
			s.PausedSince = time.Unix(n, 0)
		}
		for _, first := range waiting {
			for _, z := range first.Val() {
				if at := time.Unix(int64(z.Score), 0); s.Next.IsZero() || at.Before(s.Next) {
					s.Next = at
				}
			}
		}
		return s, nil
	}
}
