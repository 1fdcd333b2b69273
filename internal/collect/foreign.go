package collect

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"time"

	"github.com/hibiken/asynq"

	"payscore-collector/internal/asynqx"
	"payscore-collector/internal/logging"
	"payscore-collector/internal/queue"
	"payscore-collector/tasks"
)

// Other asynq clients may give their tasks any of asynq's options, and some of
// these keep a task from ever meeting a worker: a group waits for an aggregator,
// a task past its deadline fails unseen until it lies in the archive, and one
// without retries goes there at its first failure. So the order of such a task is
// enqueued like any other, and the task is removed: HandleError does it when
// asynq reports a failure, takeUpForeign for whatever lies in a state that no
// worker fetches from.

// Bounds of takeUpForeign for each state and interval. asynq reads a page in one
// script, which blocks Redis for less than a millisecond.
const (
	foreignPage  = 100
	foreignPages = 10
	foreignTime  = 5 * time.Second
)

// foreignPlace is where the next takeUpForeign continues.
type foreignPlace struct {
	archived, retry int    // page, from 0
	groups          uint64 // cursor of SSCAN
}

// isOurs reports whether a worker or a producer of this module made the task. Its
// order is in the ledger then, and the sweep takes care of it.
func isOurs(headers map[string]string) bool { return headers[queue.HeaderMadeAt] != "" }

// HandleError is asynq's ErrorHandler. It enqueues the order of another client's
// task that failed without having met the handler, and counts an unusable task
// that goes to the archive without having met it. It never panics: asynq would
// take the process down.
func (c *Collector) HandleError(ctx context.Context, t *asynq.Task, failure error) {
	defer func() {
		if p := recover(); p != nil {
			c.count(c.metrics.Panics)
			c.log.Error().Str(logging.FieldEvent, "task_error_panicked").Interface("panic", p).
				Str("stack", string(debug.Stack())).Msg("the handler of a failed task panicked")
		}
	}()
	retried, _ := asynq.GetRetryCount(ctx)
	most, _ := asynq.GetMaxRetry(ctx)
	last := retried >= most
	switch {
	case isOurs(t.Headers()), errors.Is(failure, asynq.SkipRetry):
		return // Process has logged it
	case !last && (retried > 0 || !errors.Is(failure, context.DeadlineExceeded)):
		return // asynq retries it
	}
	id, _ := asynq.GetTaskID(ctx)
	p, err := c.decode(t)
	if err == nil && t.Type() != tasks.TypeCollect {
		err = fmt.Errorf("a task of type %s is only made by workers", t.Type())
	}
	if err != nil {
		if last {
			c.unusable(id, err)
		}
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), foreignTime)
	defer cancel()
	res, err := c.producer.Enqueue(ctx, tasks.Order{Payload: p})
	if err != nil {
		// The task stays in asynq, where the sweep finds it.
		c.trouble.Error().Str(logging.FieldEvent, "foreign_task_failed").Str(logging.FieldTaskID, id).
			Str(logging.FieldOutOrderNo, p.OutOrderNo).Err(err).Msg("order of a failed task not enqueued")
		return
	}
	c.tookUp(id, p, res, failure.Error())
}

// unusable counts and logs a task that can never be worked on.
func (c *Collector) unusable(id string, err error) {
	c.count(c.metrics.Unusable)
	c.log.Error().Str(logging.FieldEvent, "task_unusable").Str(logging.FieldTaskID, id).Err(err).Msg("unusable task archived")
}

// tookUp names the order of another client's task in the log, once: when it is
// new in the ledger, or cannot be taken into it.
func (c *Collector) tookUp(id string, p tasks.Payload, res tasks.Result, why string) {
	e := c.log.Debug()
	if res.Status == tasks.Accepted || res.Status == tasks.Conflict {
		e = c.log.Warn()
	}
	e.Str(logging.FieldEvent, "foreign_task_taken_up").Str(logging.FieldTaskID, id).
		Str(logging.FieldOutOrderNo, p.OutOrderNo).Str(logging.FieldOutcome, string(res.Status)).
		Str(logging.FieldReason, why).Msg("another client's task did not meet a worker; its order was enqueued")
}

// takeUpForeign searches the archive, the retries and the groups of the
// merchant's queue for tasks that no worker meets. The ledger lets one worker an
// interval do it.
func (s *Sweeper) takeUpForeign(ctx context.Context, keys asynqx.Keys) {
	ctx, cancel := context.WithTimeout(ctx, foreignTime)
	defer cancel()
	queue := tasks.QueueName(s.c.mchid)
	err := errors.Join(
		s.takeUpPages(ctx, keys.Archived, &s.foreign.archived, func(page int) ([]*asynq.TaskInfo, error) {
			return s.inspector.ListArchivedTasks(queue, asynq.PageSize(foreignPage), asynq.Page(page))
		}),
		s.takeUpPages(ctx, keys.Retry, &s.foreign.retry, func(page int) ([]*asynq.TaskInfo, error) {
			return s.inspector.ListRetryTasks(queue, asynq.PageSize(foreignPage), asynq.Page(page))
		}),
		s.takeUpGroups(ctx, keys),
	)
	if err != nil && ctx.Err() == nil {
		s.c.count(s.c.metrics.SweepErrors)
		s.c.log.Error().Str(logging.FieldEvent, "foreign_tasks_unread").Err(err).Msg("tasks of other clients not taken up; the next sweep retries")
	}
}

// takeUpPages takes tasks up from one of asynq's sorted sets, beginning at *page.
// It stays on a page for as long as tasks leave it, since later ones move up.
func (s *Sweeper) takeUpPages(ctx context.Context, key string, page *int, list func(page int) ([]*asynq.TaskInfo, error)) error {
	for range foreignPages {
		size, err := s.rdb.ZCard(ctx, key).Result()
		if err != nil {
			return err
		}
		if int64(*page)*foreignPage >= size {
			*page = 0
			return nil
		}
		infos, err := list(*page + 1)
		if err != nil {
			return err
		}
		left, err := s.takeUp(ctx, infos)
		if err != nil {
			return err
		}
		if left == 0 {
			*page++
		}
	}
	return nil
}

// takeUpGroups takes up the tasks that wait in groups. asynq forgets a group with
// its last task.
func (s *Sweeper) takeUpGroups(ctx context.Context, keys asynqx.Keys) error {
	groups, next, err := s.rdb.SScan(ctx, keys.Groups, s.foreign.groups, "", foreignPage).Result()
	if err != nil {
		return err
	}
	s.foreign.groups = next
	for _, group := range groups[:min(len(groups), foreignPages*foreignPage)] {
		page := 0
		err := s.takeUpPages(ctx, keys.Group(group), &page, func(page int) ([]*asynq.TaskInfo, error) {
			return s.inspector.ListAggregatingTasks(tasks.QueueName(s.c.mchid), group, asynq.PageSize(foreignPage), asynq.Page(page))
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// takeUp enqueues the orders of tasks, and removes those tasks. A task that the
// handler has to judge goes back to the queue; an unusable one stays in the
// archive. left is how many tasks have left their state.
func (s *Sweeper) takeUp(ctx context.Context, infos []*asynq.TaskInfo) (left int, err error) {
	var orders []tasks.Order
	var from []*asynq.TaskInfo
	for _, info := range infos {
		t := asynq.NewTaskWithHeaders(info.Type, info.Payload, info.Headers)
		p, err := s.c.decode(t)
		ours := isOurs(info.Headers)
		usable := err == nil && (ours || t.Type() == tasks.TypeCollect)
		switch {
		case info.State == asynq.TaskStateRetry && (!usable || ours):
			// asynq retries it.
		case info.State == asynq.TaskStateArchived && !usable:
			// It was counted and logged when it was archived.
		case !usable || ours:
			if s.inspector.RunTask(info.Queue, info.ID) == nil {
				left++
			}
		case info.State == asynq.TaskStateArchived && s.c.settings.Retention > 0 && time.Since(info.LastFailedAt) >= s.c.settings.Retention:
			// It may have met a worker. Opened anew its order would be collected,
			// though it may have been withdrawn and have left the ledger since.
			if s.inspector.DeleteTask(info.Queue, info.ID) == nil {
				left++
				s.c.log.Error().Str(logging.FieldEvent, "task_outlived_order").Str(logging.FieldTaskID, info.ID).
					Str(logging.FieldOutOrderNo, p.OutOrderNo).Time("failed_at", info.LastFailedAt).
					Msg("archived task older than RETENTION removed; enqueue its order again if it is still owed")
			}
		default:
			orders, from = append(orders, tasks.Order{Payload: p}), append(from, info)
		}
	}
	i := 0
	for o, res := range s.c.producer.EnqueueAll(ctx, slices.Values(orders)) {
		info := from[i]
		i++
		if res.Status == tasks.Failed {
			return left, res.Err
		}
		s.c.tookUp(info.ID, o.Payload, res, info.State.String())
		// An error means that a worker has it by now, or that it has gone.
		if s.inspector.DeleteTask(info.Queue, info.ID) == nil {
			s.c.count(s.c.metrics.Foreign, info.State.String())
			left++
		}
	}
	return left, ctx.Err()
}
