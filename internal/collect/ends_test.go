package collect

import (
	"testing"
	"time"

	"payscore-collector/internal/asynqx"
	"payscore-collector/internal/ledger"
	"payscore-collector/internal/payscore"
	"payscore-collector/internal/testkit/redistest"
	"payscore-collector/tasks"
)

// Every value that is accepted works, at the ends of its range too: an order is
// collected, its next attempt is due when the settings say, and sweeps continue.
func TestSettingsAtTheirEnds(t *testing.T) {
	t.Parallel()
	const centuries = 292 * 365 * 24 * hour
	srv := redistest.Start(t)
	for name, change := range map[string]func(*Settings){
		"COLLECT_RATE=0.01":               func(s *Settings) { s.Rate = 0.01 },
		"COLLECT_RATE=0.1":                func(s *Settings) { s.Rate = 0.1 },
		"COLLECT_RATE=100000":             func(s *Settings) { s.Rate = 100_000 },
		"CALL_TIMEOUT=1ms":                func(s *Settings) { s.CallTimeout = time.Millisecond },
		"CALL_TIMEOUT=2m":                 func(s *Settings) { s.CallTimeout = 2 * minute },
		"SWEEP_EVERY=1ms":                 func(s *Settings) { s.SweepEvery = time.Millisecond },
		"SWEEP_EVERY=24h":                 func(s *Settings) { s.SweepEvery = 24 * hour },
		"RETENTION=1ms":                   func(s *Settings) { s.Retention = time.Millisecond },
		"RETENTION of centuries":          func(s *Settings) { s.Retention = centuries },
		"MIN_GAP=0":                       func(s *Settings) { s.Policy.MinGap = 0 },
		"MIN_GAP of centuries":            func(s *Settings) { s.Policy.MinGap = centuries },
		"GIVE_UP_AFTER=1ms":               func(s *Settings) { s.Policy.GiveUp = time.Millisecond },
		"GIVE_UP_AFTER of centuries":      func(s *Settings) { s.Policy.GiveUp = centuries },
		"COLLECT_SCHEDULE=1ms":            func(s *Settings) { s.Policy.Schedule = []time.Duration{time.Millisecond} },
		"COLLECT_SCHEDULE of ten years":   func(s *Settings) { s.Policy.Schedule = []time.Duration{87600 * hour} },
		"CONFIRM_SCHEDULE of ten years":   func(s *Settings) { s.Policy.Confirm = []time.Duration{87600 * hour} },
		"COLLECT_WINDOW but for a minute": func(s *Settings) { s.Policy.Window = windowAround(-hour, -hour-minute) },
		// Its times are in whole minutes: this one stays open for a minute at least.
		"COLLECT_WINDOW of three minutes":  func(s *Settings) { s.Policy.Window = windowAround(-minute, 2*minute) },
		"COLLECT_WINDOW across midnight":   func(s *Settings) { s.Policy.Window = windowAround(-hour, 12*hour) },
		"all of them as short as they can": func(s *Settings) { s.SweepEvery, s.CallTimeout, s.Policy.MinGap = 1e6, 1e6, 0 },
	} {
		t.Run(name, func(t *testing.T) {
			b := parallel(t, srv, change)
			sweeper := NewSweeper(b.Collector, b.rdb)
			b.platform.collect = says(collectReply(payscore.Declined))
			b.open("A")
			before := time.Now()
			if err := b.run("A"); asynqx.IsFailure(err) {
				t.Fatal(err)
			}
			if made := b.platform.made(); made != "collect" {
				t.Fatalf("the calls were %q", made)
			}
			o := b.get("A")
			wait := o.NextDueAt.Sub(before)
			if o.State != tasks.Awaiting || wait < -second || b.settings.Policy.MinGap > hour && wait < min(b.settings.Policy.MinGap, b.settings.Policy.GiveUp)-minute {
				t.Errorf("%s, and due in %s", o.State, wait)
			}
			for range 2 {
				if err := b.rdb.HDel(t.Context(), b.keys.Sweep(), "at").Err(); err != nil {
					t.Fatal(err)
				}
				b.makeDue("A")
				if err := sweeper.Sweep(t.Context()); err != nil {
					t.Fatal(err)
				}
				if b.task("A", b.num("A", "round")) == nil {
					t.Error("the sweep has made no task of a due order")
				}
			}
			// And the slots are as far apart as the rate says.
			b.open("B")
			c, err := b.ledger.Claim(t.Context(), "B", ledger.NewToken(), ledger.NoRound, b.limits(b.settings.Policy))
			interval := time.Duration(float64(second) / b.settings.Rate)
			if err != nil || c.Code == ledger.Granted && c.Wait < interval-time.Since(before) || c.Code != ledger.Granted && (c.Code != ledger.Paced || b.settings.Rate > 1) {
				t.Errorf("the next call: %s, in %s (%v)", c.Code, c.Wait, err)
			}
		})
	}
}

// windowAround is a window that opens and closes so long from now.
func windowAround(from, to time.Duration) Window {
	now := time.Now().In(time.UTC)
	clock := func(d time.Duration) time.Duration {
		t := now.Add(d)
		return time.Duration(t.Hour())*hour + time.Duration(t.Minute())*minute
	}
	return Window{From: clock(from), To: clock(to), Location: time.UTC}
}
