package worker_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"payscore-collector/internal/config"
	"payscore-collector/internal/explain"
	"payscore-collector/internal/simulator"
	"payscore-collector/internal/status"
	"payscore-collector/internal/testkit/workertest"
	"payscore-collector/tasks"
)

// The schedules of the configuration reach the orders that name them, those that a default
// names for them, and the commands that explain them.
func TestOrdersWithSchedules(t *testing.T) {
	t.Parallel()
	r := workertest.New(t, func(c *config.Worker) {
		c.CollectSchedule, c.GiveUpAfter = config.Schedule{10 * time.Hour}, 5000*time.Hour
		c.Schedules = config.Schedules{
			Named: map[string]config.Terms{
				"gentle": {CollectSchedule: config.Schedule{100 * time.Hour}, MinGap: new(12 * time.Hour)},
				"night":  {Window: new(config.Window{From: 2 * time.Hour, To: 3 * time.Hour})},
				"small":  {CollectSchedule: config.Schedule{1000 * time.Hour}},
			},
			Defaults: []config.ScheduleDefault{
				{MchID: "1", Schedule: "night"}, // another merchant's
				{Below: 500, Schedule: "small"},
			},
		}
	})
	for _, no := range []string{"PLAIN", "GENTLE", "SMALL", "GONE"} {
		r.Add(simulator.Order{OutOrderNo: no, TotalAmount: 100, Fate: "declines:9"})
	}
	for no, change := range map[string]func(*tasks.Order){
		"PLAIN":  func(*tasks.Order) {},
		"GENTLE": func(o *tasks.Order) { o.Schedule = "gentle" },
		"SMALL":  func(o *tasks.Order) { o.Amount = 100 },
		"GONE":   func(o *tasks.Order) { o.Schedule = "gone" },
	} {
		o := r.Order(no)
		change(&o)
		if res, err := r.Producer.Enqueue(t.Context(), o); err != nil || res.Status != tasks.Accepted {
			t.Fatal(res, err)
		}
	}
	r.Work()
	for no, wait := range map[string]time.Duration{"PLAIN": 10 * time.Hour, "GENTLE": 100 * time.Hour, "SMALL": 1000 * time.Hour, "GONE": 10 * time.Hour} {
		r.Eventually("an attempt at "+no, func() bool { return r.Get(no).Attempts == 1 })
		if got := time.Until(r.Get(no).NextDueAt); got < wait*85/100 || got > wait*115/100 {
			t.Errorf("%s is due in %s, want %s", no, got, wait)
		}
	}
	if !strings.Contains(r.Logs.String(), `"event":"schedule_unknown"`) {
		t.Error("the log does not name the schedule that does not exist")
	}

	var s explain.Situation
	r.Eventually("the schedules to be published", func() bool {
		var err error
		s, err = status.Read(context.Background(), r.Redis.Client, r.Ledger, explain.Memory{})
		return err == nil && s.Schedules != nil
	})
	if len(s.Schedules.Named) != 3 {
		t.Fatalf("%+v", s.Schedules)
	}
	if diff := cmp.Diff([]config.ScheduleDefault{{Below: 500, Schedule: "small"}}, s.Schedules.Defaults); diff != "" {
		t.Errorf("the defaults (-want +got):\n%s", diff)
	}
	if g := s.Schedules.Named["gentle"]; g.MinGap != 12*time.Hour || g.Schedule[0] != 100*time.Hour || g.GiveUp != r.Cfg.GiveUpAfter || !g.Window.Always {
		t.Errorf("gentle is published as %+v", g)
	}
	if n := s.Schedules.Named["night"]; n.Window.From != 2*time.Hour || n.Window.To != 3*time.Hour || n.Schedule[0] != 10*time.Hour {
		t.Errorf("night is published as %+v", n)
	}
	teller := explain.Teller{Now: time.Now(), Zone: time.UTC}
	if text := teller.Schedule(r.Get("GENTLE"), s); !strings.HasPrefix(text, "gentle: waits of 4 days; at any time; at least 12 hours between") {
		t.Error(text)
	}
	if text := teller.ScheduleUnknown(r.Get("GONE"), s); !strings.Contains(text, "SCHEDULE UNKNOWN: the order names the schedule gone") {
		t.Error(text)
	}
}
