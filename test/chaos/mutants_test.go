package chaos

import (
	"encoding/json"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"payscore-collector/internal/simulator"
	"payscore-collector/internal/testkit/redistest"
)

// mutant is a worker from which something was taken that a promise rests on.
type mutant struct {
	name     string
	file     string // from this directory
	old, new string
	profile  func() profile
	rows     []string // in which it has to show, in one at least
}

var mutants = []mutant{
	{
		name:    "without fencing",
		file:    "../../internal/ledger/scripts/settle.lua",
		old:     "if r.token ~= s.token then",
		new:     "if false then",
		profile: overtakingProfile, rows: promised,
	},
	{
		name:    "without the query before collecting again",
		file:    "../../internal/collect/step.go",
		old:     "if actsAtOnce(claim.Plan) {",
		new:     "if actsAtOnce(claim.Plan) || claim.Plan == ledger.Recheck {",
		profile: overtakingProfile, rows: promised,
	},
	{
		name:    "without a probe where merchant and service are both held",
		file:    "../../internal/ledger/scripts/claim.lua",
		old:     "  if opens > now then\n",
		new:     "  if opens > now or m and v then\n",
		profile: twoFaultsProfile, rows: []string{rowOpen},
	},
	{
		name:    "without due times mended after a jump back",
		file:    "../../internal/ledger/scripts/clock.lua",
		old:     "    'mend', (by + num(left)) .. ' due ' .. now .. ' 0')",
		new:     "    'left', num(left))",
		profile: jumpsProfile, rows: []string{rowOpen},
	},
	{
		name:    "without the pause in the claim",
		file:    "../../internal/ledger/scripts/claim.lua",
		old:     "  if t then return putoff('paused', t) end\n",
		new:     "",
		profile: pausesProfile, rows: []string{rowPaused},
	},
	{
		name:    "without counting what comes in after another final state",
		file:    "../../internal/ledger/scripts/notice.lua",
		old:     "if code == 'paid' or m.new and not OPEN[r.state] then",
		new:     "if code == 'paid' then",
		profile: pausesProfile, rows: []string{rowStats},
	},
}

// A harness that finds nothing may be blind. It has to find what was broken on
// purpose, and to find nothing where nothing was, under the very same attack.
func TestMutantsAreCaught(t *testing.T) {
	if *formFlag != "mutants" {
		t.Skip("no mutant was made: run it with -chaos=mutants")
	}
	s := seed(t)
	enoughTime(t, 15*time.Minute)
	for name, f := range map[string]profile{"overtaken": overtakingProfile(), "two faults": twoFaultsProfile(), "jumps": jumpsProfile(), "pauses": pausesProfile()} {
		t.Run("nothing broken: "+name, func(t *testing.T) {
			e := newEnv(t, f, s)
			e.run()
			res := e.judge()
			t.Log(res)
			res.demandZeros(t)
		})
	}
	for _, m := range mutants {
		t.Run(m.name, func(t *testing.T) {
			f := m.profile()
			f.binary = func(t *testing.T) string { return build(t, strings.ReplaceAll(m.name, " ", "-"), m.overlay(t)) }
			e := newEnv(t, f, s)
			e.run()
			res := e.judge()
			t.Log(res)
			caught := false
			for _, row := range m.rows {
				caught = caught || len(res.breaches[row]) > 0
			}
			if !caught {
				t.Errorf("the harness has not noticed a worker %s", m.name)
			}
		})
	}
}

// promised are the rows of what must never happen. That orders end late, or that
// a process died, proves nothing but of a mutant that stops the calls.
var promised = []string{rowLost, rowWrong, rowUnsigned, rowAmounts, rowPayments, rowBooked, rowAtOnce, rowAfterEnd, rowSoon, rowWindow, rowBlind}

// overlay writes the file for go build's -overlay.
func (m mutant) overlay(t *testing.T) string {
	t.Helper()
	path, err := filepath.Abs(m.file)
	if err != nil {
		t.Fatal(err)
	}
	src, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Count(string(src), m.old) != 1 {
		t.Fatalf("%s has changed: find the place anew where the worker can be broken %q", m.file, m.name)
	}
	mutated := strings.Replace(string(src), m.old, m.new, 1)
	return overlay(t, map[string]string{path: mutated})
}

// overlay writes sources to stand in for files of the same path.
func overlay(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	replace := map[string]string{}
	for path, src := range files {
		replace[path] = filepath.Join(dir, filepath.Base(path))
		if err := os.WriteFile(replace[path], []byte(src), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	body, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(file, body, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// twoFaultsProfile is a short attack by the merchant's faults alone. With NO_AUTH
// first the service is held, and its probe meets the other fault.
func twoFaultsProfile() profile {
	f := shortProfile()
	f.orders, f.feedFor, f.attack, f.settle, f.minKills, f.clocks = 200, 15*time.Second, 20*time.Second, time.Minute, 0, false
	f.faultSets = func(*env) faultSets {
		return faultSets{platform: []fault{twoFaults(f, func(*rand.Rand) bool { return true })}}
	}
	return f
}

// jumpsProfile is a short attack by Redis's clock alone.
func jumpsProfile() profile {
	f := shortProfile()
	f.orders, f.feedFor, f.attack, f.settle, f.minKills, f.clocksFrom = 200, 15*time.Second, 20*time.Second, time.Minute, 0, 0
	f.faultSets = func(e *env) faultSets {
		s, ok := e.store.(standalone)
		if !ok || s.clock == nil {
			e.t.Skip(redistest.NoWallClock())
		}
		return faultSets{clock: clockFaults(e, s)}
	}
	return f
}

// pausesProfile is a short attack by an operator alone.
func pausesProfile() profile {
	f := shortProfile()
	f.orders, f.feedFor, f.attack, f.settle, f.minKills, f.clocks = 300, 20*time.Second, 25*time.Second, time.Minute, 0, false
	f.storePause = [2]time.Duration{200 * time.Millisecond, time.Second}
	f.faultSets = func(*env) faultSets { return faultSets{operator: operatorFaults()} }
	return f
}

// overtakingProfile is an attack tuned to workers that do not notice that they were
// overtaken. What a worker writes is held up on its way to Redis until its lease
// has ended and the order is another's: its own clock cannot keep it from that, only
// the token can. Calls are slow, so that others are in them just then; most orders
// take several collects; and tasks that know no rounds come all the while, since
// the round of a task alone keeps most of them from harm.
func overtakingProfile() profile {
	f := shortProfile()
	f.orders, f.feedFor, f.attack, f.settle, f.windowShut, f.concurrency = 300, 40*time.Second, 50*time.Second, 90*time.Second, 0, 48
	f.rate, f.callTimeout, f.storePause = 120, 3*time.Second, [2]time.Duration{200 * time.Millisecond, time.Second}
	f.giveUp, f.minKills, f.repeatEvery, f.foreignOnly = 60*time.Second, 0, 3*time.Millisecond, true
	f.fate = func(r *rand.Rand) simulator.Fate {
		if r.IntN(4) > 0 {
			return simulator.FateDeclines(2 + r.IntN(3))
		}
		return drawFate(r)
	}
	f.faultSets = func(e *env) faultSets {
		held := f.callTimeout + 5*time.Second // a lease without the wait for a slot
		return faultSets{
			store: []fault{{name: "what one worker writes to Redis held up until its lease has ended", takes: held + 2*time.Second, do: func(e *env, r *rand.Rand, _ *worker) bool {
				// One at a time: the others must be there to overtake it.
				from, k := time.Now(), e.workers[r.IntN(len(e.workers))]
				k.proxy.unplug(true)
				wait(held + between(r, 500*time.Millisecond, 2000*time.Millisecond))
				k.proxy.unplug(false)
				e.journal.outage(outage{what: "a worker was cut off", from: from, to: time.Now()})
				return true
			}}},
			platform: []fault{{name: "slow, and some replies lost", takes: f.attack - 3*time.Second, do: func(e *env, _ *rand.Rand, _ *worker) bool {
				e.setFaults(simulator.Faults{
					Latency: simulator.Duration(f.callTimeout * 6 / 10), LatencyJitter: simulator.Duration(f.callTimeout / 4), DropAfter: 0.1,
				})
				wait(f.attack - 3*time.Second)
				return true
			}}},
		}
	}
	return f
}
