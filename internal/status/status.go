// Package status reads from Redis what the package explain judges: why a merchant's
// orders are not collected. It reads a fixed number of keys, whatever the number of
// orders, and changes nothing.
package status

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"

	"payscore-collector/internal/asynqx"
	"payscore-collector/internal/collect"
	"payscore-collector/internal/config"
	"payscore-collector/internal/explain"
	"payscore-collector/internal/ledger"
	"payscore-collector/internal/redisconn"
	"payscore-collector/tasks"
)

// Read returns a merchant's situation, in one round trip. full is what FullMemory returns, which is the
// same for every merchant.
func Read(ctx context.Context, rdb redis.UniversalClient, l *ledger.Ledger, full explain.Memory) (explain.Situation, error) {
	var read func() (explain.Situation, error)
	ledger.Ask(ctx, rdb, func(q *ledger.Questions) { read = Ask(q, l, full) })
	return read()
}

// Ask asks what Read returns.
func Ask(q *ledger.Questions, l *ledger.Ledger, full explain.Memory) func() (explain.Situation, error) {
	holds, workers, queue := l.AskHolds(q), l.AskWorkers(q), asynqx.Ask(q, tasks.QueueName(l.MchID()))
	firstDue, hooks := l.AskFirstDue(q), l.AskHooksWaiting(q)
	return func() (explain.Situation, error) {
		s := explain.Situation{MchID: l.MchID(), Full: full}
		fail := func(what string, err error) (explain.Situation, error) {
			return explain.Situation{}, fmt.Errorf("read %s of merchant %s: %w", what, l.MchID(), err)
		}
		var err error
		if s.Holds, err = holds(); err != nil {
			return fail("the holds", err)
		}
		all, now, err := workers()
		if err != nil {
			return fail("the workers", err)
		}
		inForce(&s, all, now)
		state, err := queue()
		if err != nil {
			return fail("the queue", err)
		}
		s.PausedSince = state.PausedSince
		due, err := firstDue()
		if err != nil {
			return fail("the due index", err)
		}
		s.Work = !due.IsZero()
		if s.Work && !state.Busy {
			s.NextWork = due
			if !state.Next.IsZero() && state.Next.Before(due) {
				s.NextWork = state.Next
			}
		}
		waiting, age, err := hooks()
		if err != nil {
			return fail("the webhooks", err)
		}
		s.HooksWaiting, s.HooksSince = waiting, now.Add(-age)
		return s, nil
	}
}

// ReadOrder returns an order, its merchant's situation and what of it waits for billing's
// receiver, in one round trip. The error is ledger.ErrNotFound if there is no such order.
func ReadOrder(ctx context.Context, rdb redis.UniversalClient, l *ledger.Ledger, no string) (o ledger.Order, s explain.Situation, w ledger.HookWait, err error) {
	var (
		order     func() (ledger.Order, error)
		situation func() (explain.Situation, error)
		hooks     func() (ledger.HookWait, error)
	)
	ledger.Ask(ctx, rdb, func(q *ledger.Questions) {
		order, situation, hooks = l.AskGet(q, no), Ask(q, l, explain.Memory{}), l.AskHookWaitOf(q, no)
	})
	if o, err = order(); err != nil {
		return o, s, w, err
	}
	if s, err = situation(); err != nil {
		return o, s, w, err
	}
	w, err = hooks()
	return o, s, w, err
}

// inForce counts the workers that live and takes over the settings of the one that
// reported last. Where workers differ, the window is one that is open: one of them
// collects.
func inForce(s *explain.Situation, workers []ledger.Worker, now time.Time) {
	for i, w := range workers {
		window, known := Window(w.Settings)
		if i == 0 {
			s.Seen = w.Seen
		}
		alive := w.Alive(now)
		if alive {
			s.Workers++
		}
		// The newest report of a worker that lives goes before that of one that is gone.
		if i == 0 || alive && s.Workers == 1 {
			s.Rate, s.Window, s.Schedules = w.Settings.Rate, window, Schedules(w.Settings, s.MchID)
		}
		if alive && known && s.Window.Location != nil && !s.Window.Contains(now) && window.Contains(now) {
			s.Window = window
		}
	}
}

// Window returns the collection window of a worker's settings; ok is false where they
// have none.
func Window(s ledger.Settings) (window collect.Window, ok bool) {
	if s.CollectWindow == "" {
		return collect.Window{}, false
	}
	w, err := config.ParseWindow(s.CollectWindow)
	if err != nil {
		return collect.Window{}, false
	}
	zone, err := time.LoadLocation(s.Timezone)
	if err != nil {
		return collect.Window{}, false
	}
	return collect.PolicyOf(config.Work{Window: w, Location: zone}).Window, true
}

// Schedules returns the schedules of a merchant's orders by a worker's settings; nil where
// the worker's release has none, or one that cannot be read.
func Schedules(s ledger.Settings, mchid string) *collect.Schedules {
	zone, err := time.LoadLocation(s.Timezone)
	if s.CollectWindow == "" || err != nil {
		return nil
	}
	all := config.Schedules{Named: map[string]config.Terms{}}
	for _, n := range s.Schedules {
		schedule, err := config.ParseSchedule(n.CollectSchedule)
		window, err2 := config.ParseWindow(n.CollectWindow)
		gap, err3 := time.ParseDuration(n.MinGap)
		giveUp, err4 := time.ParseDuration(n.GiveUpAfter)
		if errors.Join(err, err2, err3, err4) != nil {
			return nil
		}
		all.Named[n.Name] = config.Terms{CollectSchedule: schedule, Window: &window, MinGap: &gap, GiveUpAfter: &giveUp}
	}
	for _, d := range s.Defaults {
		all.Defaults = append(all.Defaults, config.ScheduleDefault(d))
	}
	return new(collect.SchedulesOf(all, config.Work{Location: zone}, mchid))
}

// FullMemory returns the memory of a Redis that is full, as far as INFO tells: such a
// Redis answers, and refuses every write. It is zero for any other Redis.
func FullMemory(ctx context.Context, rdb redis.UniversalClient) explain.Memory {
	used, limit, err := redisconn.Memory(ctx, rdb)
	if err != nil || limit == 0 || used < limit {
		return explain.Memory{} // a Redis that refuses INFO may serve all the same
	}
	return explain.Memory{Used: used, Limit: limit}
}
