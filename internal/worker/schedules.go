package worker

import (
	"math/rand/v2"

	"payscore-collector/internal/collect"
	"payscore-collector/internal/config"
	"payscore-collector/internal/ledger"
)

// policy returns the policy of the settings.
func policy(w config.Work) collect.Policy {
	return collect.Policy{
		Schedule: w.CollectSchedule,
		Confirm:  w.ConfirmSchedule,
		Window: collect.Window{
			Always: w.Window.Always, From: w.Window.From, To: w.Window.To, Location: w.Location,
		},
		MinGap: w.MinGap,
		GiveUp: w.GiveUpAfter,
		Rand:   rand.Float64,
	}
}

// schedules returns the schedules of a merchant's orders.
func schedules(cfg config.Worker, mchid string) collect.Schedules {
	s := collect.Schedules{Named: map[string]collect.Policy{}}
	for name, terms := range cfg.Schedules.Named {
		s.Named[name] = policy(terms.In(cfg.Work))
	}
	for _, d := range cfg.Schedules.Defaults {
		if d.MchID == "" || d.MchID == mchid {
			s.Defaults = append(s.Defaults, collect.Default{ServiceID: d.ServiceID, AtLeast: d.AtLeast, Below: d.Below, Schedule: d.Schedule})
		}
	}
	return s
}

// publishedSchedules returns them as other commands show them.
func publishedSchedules(cfg config.Worker) (list []ledger.NamedSchedule, defaults []ledger.DefaultSchedule) {
	for _, name := range cfg.Schedules.Names() {
		w := cfg.Schedules.Named[name].In(cfg.Work)
		list = append(list, ledger.NamedSchedule{
			Name: name, CollectSchedule: w.CollectSchedule.String(), CollectWindow: w.Window.String(),
			MinGap: w.MinGap.String(), GiveUpAfter: w.GiveUpAfter.String(),
		})
	}
	for _, d := range cfg.Schedules.Defaults {
		defaults = append(defaults, ledger.DefaultSchedule(d))
	}
	return list, defaults
}
