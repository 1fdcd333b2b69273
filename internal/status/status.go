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
	"golang.org/x/sync/errgroup"

	"payscore-collector/internal/asynqx"
	"payscore-collector/internal/collect"
	"payscore-collector/internal/config"
	"payscore-collector/internal/explain"
	"payscore-collector/internal/ledger"
	"payscore-collector/internal/redisconn"
	"payscore-collector/tasks"
)

// Read returns a merchant's situation. full is what FullMemory returns, which is the
// same for every merchant.
func Read(ctx context.Context, rdb redis.UniversalClient, l *ledger.Ledger, full explain.Memory) (explain.Situation, error) {
	s := explain.Situation{MchID: l.MchID(), Full: full}
	var (
		workers  []ledger.Worker
		now, due time.Time
		queue    asynqx.State
		age      time.Duration
	)
	// At once: where the processors are busy, each round trip waits for them.
	g, ctx := errgroup.WithContext(ctx)
	read := func(what string, do func() error) {
		g.Go(func() error {
			if err := do(); err != nil {
				return fmt.Errorf("read %s of merchant %s: %w", what, l.MchID(), err)
			}
			return nil
		})
	}
	read("the holds", func() (err error) { s.Holds, err = l.Holds(ctx); return err })
	read("the workers", func() (err error) { workers, now, err = l.Workers(ctx); return err })
	read("the queue", func() (err error) { queue, err = asynqx.Read(ctx, rdb, tasks.QueueName(l.MchID())); return err })
	read("the due index", func() (err error) { due, err = l.FirstDue(ctx); return err })
	read("the webhooks", func() (err error) { s.HooksWaiting, age, err = l.HooksWaiting(ctx); return err })
	if err := g.Wait(); err != nil {
		return explain.Situation{}, err
	}
	inForce(&s, workers, now)
	s.PausedSince = queue.PausedSince
	s.Work = !due.IsZero()
	if s.Work && !queue.Busy {
		s.NextWork = due
		if !queue.Next.IsZero() && queue.Next.Before(due) {
			s.NextWork = queue.Next
		}
	}
	s.HooksSince = now.Add(-age)
	return s, nil
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
	return collect.Window{Always: w.Always, From: w.From, To: w.To, Location: zone}, true
}

// Schedules returns the schedules of a merchant's orders by a worker's settings; nil where
// the worker's release has none, or one that cannot be read.
func Schedules(s ledger.Settings, mchid string) *collect.Schedules {
	if s.CollectWindow == "" {
		return nil
	}
	all := collect.Schedules{Named: map[string]collect.Policy{}}
	for _, n := range s.Schedules {
		window, ok := Window(ledger.Settings{CollectWindow: n.CollectWindow, Timezone: s.Timezone})
		schedule, err := config.ParseSchedule(n.CollectSchedule)
		gap, err2 := time.ParseDuration(n.MinGap)
		giveUp, err3 := time.ParseDuration(n.GiveUpAfter)
		if !ok || errors.Join(err, err2, err3) != nil {
			return nil
		}
		all.Named[n.Name] = collect.Policy{Schedule: schedule, Window: window, MinGap: gap, GiveUp: giveUp}
	}
	for _, d := range s.Defaults {
		if d.MchID == "" || d.MchID == mchid {
			all.Defaults = append(all.Defaults, collect.Default{ServiceID: d.ServiceID, AtLeast: d.AtLeast, Below: d.Below, Schedule: d.Schedule})
		}
	}
	return &all
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
