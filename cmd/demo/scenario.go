package main

import (
	"fmt"
	"time"

	"payscore-collector/internal/simulator"
)

// scenario is how fast everything goes, and what goes wrong when.
type scenario struct {
	settings map[string]string // the worker's environment
	acts     []act             // by time
}

// act is how the platform behaves from a time after the start.
type act struct {
	from   time.Duration
	faults simulator.Faults
}

// compressed is the demo: the same code as in production, with seconds for days.
var compressed = scenario{
	settings: map[string]string{
		"COLLECT_WINDOW":   "always",
		"COLLECT_SCHEDULE": "1s,2s,3s",
		"CONFIRM_SCHEDULE": "500ms,1s,2s",
		// The platform refuses a second collect of an order within a second.
		"MIN_GAP":       "1200ms",
		"GIVE_UP_AFTER": "12s",
		"SWEEP_EVERY":   "500ms",
		"CALL_TIMEOUT":  "5s",
		"COLLECT_RATE":  "150",
		"ADMIN_ADDR":    "", // off: the port may be taken
	},
	acts: []act{
		{0, everyday},
		// The platform refuses every call, as after the merchant's certificate was
		// replaced; the worker stops its calls.
		{4 * time.Second, refusing(calm)},
		// The first probe comes 5 s after the first refusal. Without everyday
		// faults it succeeds; else one in ten would fail, and the next probe would
		// come 10 s later. The orders that have waited are more than the platform takes.
		// The last ones are paid undisturbed: after three failures in a row an order
		// rests for 10 s, which would be a long end.
		{6500 * time.Millisecond, limited(calm)},
	},
}

// calm is a healthy platform, which needs some time for an answer and more for the
// money.
var calm = simulator.Faults{
	Latency:       simulator.Duration(10 * time.Millisecond),
	LatencyJitter: simulator.Duration(40 * time.Millisecond),
	PayDelay:      simulator.Duration(200 * time.Millisecond),
}

// limited takes fewer calls than COLLECT_RATE, so that the worker meets 429 and must
// slow down. The worker learns of it after some calls: of ten in a row that are refused
// it would conclude that every call is, and wait for a probe.
func limited(f simulator.Faults) simulator.Faults {
	f.MaxRate = 143
	return f
}

// everyday fails about one call in ten.
var everyday = func() simulator.Faults {
	f := calm
	f.Error5xx = 0.03
	f.DropBefore = 0.02
	f.DropAfter = 0.02
	f.WrongSignature = 0.02
	f.MissingSignature = 0.01
	f.HTML502 = 0.01
	return f
}()

func refusing(f simulator.Faults) simulator.Faults {
	f.SignError = true
	return f
}

// misbehave starts the acts whose time has come.
func (s *stage) misbehave(elapsed time.Duration) error {
	for len(s.acts) > 0 && elapsed >= s.acts[0].from {
		if err := s.sim.SetFaults(s.acts[0].faults); err != nil {
			return fmt.Errorf("set the platform's faults: %w", err)
		}
		s.acts = s.acts[1:]
	}
	return nil
}
