package chaos

import (
	"strings"
	"testing"
)

// The short form is judged by the number of its kills, so every seed must schedule
// enough of them.
func TestSchedule(t *testing.T) {
	p := shortProfile()
	p.faultSets = func(*env) faultSets { return faultSets{workers: workerFaults(p)} }
	for seed := range uint64(500) {
		e := &env{profile: p, seed: seed}
		for range p.workers {
			e.workers = append(e.workers, &worker{e: e})
		}
		kills, random := 0, 0
		for _, track := range newNemesis(e).tracks {
			for _, f := range track.faults {
				if strings.HasPrefix(f.name, "kill -9") {
					kills++
				}
				if f.name == "kill -9 at random" {
					random++
				}
			}
		}
		if kills < 10 || random < 4 {
			t.Errorf("seed %d schedules %d kills, %d of them at random; want 10 and 4 at least", seed, kills, random)
		}
	}
}
