package ledger_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"pgregory.net/rapid"

	"payscore-collector/internal/ledger"
	"payscore-collector/internal/testkit/redistest"
	"payscore-collector/tasks"
)

// A merchant of two services meets anything: replies of every kind, workers that
// die, a clock of Redis that jumps by hours. Then all is well, and within a minute
// orders of both services must be called again, by themselves.

// holdWorld is such a merchant, and a worker with its sweeps and its own clock.
type holdWorld struct {
	rdb   *redis.Client
	clock redistest.Scripted
	l     *ledger.Ledger
	draw  func(n int, what string) int

	now    time.Time     // Redis's clock
	real   time.Duration // the worker's clock, which does not jump
	offset time.Duration // of Redis's clock, as the newest reply had it
	read   time.Duration // when that came
	old    []reckoned    // offsets that were seen before
	nos    []string
	tasks  map[string]bool // orders whose tasks are in the queue
	calls  []openCall
	swept  time.Duration // when the worker sweeps next
	story  []string
	err    error
	paused bool // until it is resumed: no clock ends that
	well   bool // from now on
	broken string
}

type reckoned struct{ at, offset time.Duration }

// openCall is a call under way.
type openCall struct {
	claim ledger.Claim
	at    time.Duration // when the claim was asked for
}

const (
	holdSweep = 15 * time.Second
	holdLease = 20 * time.Second
	// wellWithin is how soon orders are called once all is well.
	wellWithin = time.Minute
	// An order whose worker died before the clock went back waits for its lease;
	// see LONGEST_LEASE in pace.lua.
	longestLeaseInLua = 130 * time.Second
)

func newHoldWorld(t testing.TB, patch func(string) string) *holdWorld {
	srv := redistest.StartReal(t, "--appendonly", "no")
	w := &holdWorld{rdb: srv.Client, clock: redistest.ScriptClockAnd(t, srv.Client, patch)}
	w.l = ledger.New(w.rdb, mchid)
	return w
}

func (w *holdWorld) must(err error) {
	if err != nil && w.err == nil {
		w.err = err
	}
}

func (w *holdWorld) note(format string, args ...any) {
	w.story = append(w.story, fmt.Sprintf("%6.1fs ", w.real.Seconds())+fmt.Sprintf(format, args...))
}

// begin makes a new merchant.
func (w *holdWorld) begin(draw func(int, string) int) {
	ctx := context.Background()
	w.must(w.rdb.FlushDB(ctx).Err())
	w.draw, w.now, w.real, w.offset, w.old, w.calls, w.story, w.swept, w.read = draw, time.UnixMilli(1_772_400_000_000), 0, 0, nil, nil, nil, 0, 0
	w.clock.Set(w.now)
	w.offset = w.now.Sub(time.UnixMilli(0))
	w.nos, w.tasks, w.paused, w.well, w.broken = nil, map[string]bool{}, false, false, ""
	services := 1 + draw(2, "services")
	for i := range services * (1 + draw(3, "orders of a service")) {
		p := payload(fmt.Sprintf("O%d", i))
		p.ServiceID = fmt.Sprintf("s%d", 1+i%services)
		w.nos = append(w.nos, p.OutOrderNo)
		w.must(openOrder(ctx, w.l, tasks.Order{Payload: p}))
		w.tasks[p.OutOrderNo] = true
	}
}

func (w *holdWorld) pass(d time.Duration) {
	w.real += d
	w.now = w.now.Add(d)
	w.clock.Set(w.now)
}

func (w *holdWorld) jump(d time.Duration) {
	w.note("Redis's clock jumps by %s", d)
	w.now = w.now.Add(d)
	w.clock.Set(w.now)
}

// saw compares Redis's clock in a reply with the worker's own, as collect does.
func (w *holdWorld) saw(now time.Time) {
	offset := now.Sub(time.UnixMilli(0)) - w.real
	if by := offset - w.offset; by.Abs() > 5*time.Second {
		w.must(w.l.Jumped(context.Background(), by, w.expected()))
	}
	w.read = w.real
	w.old = append(w.old, reckoned{w.real, w.offset})
	w.offset = offset
}

func (w *holdWorld) expected() ledger.Expected {
	return ledger.Expected{Now: time.UnixMilli(0).Add(w.offset + w.real), Age: w.real - w.read}
}

func (w *holdWorld) sure() time.Time {
	least := w.offset
	for _, o := range w.old {
		if w.real-o.at < longestLeaseInLua {
			least = min(least, o.offset)
		}
	}
	return time.UnixMilli(0).Add(least + w.real)
}

// claim lets the worker take up the task of an order.
func (w *holdWorld) claim(no string) {
	c, err := w.l.Claim(context.Background(), no, ledger.NewToken(), ledger.NoRound, ledger.Limits{
		Lease: holdLease, Rate: 50, Horizon: time.Second, MinGap: 5 * time.Second, Most: 30 * time.Second, Sure: w.sure(),
	})
	w.must(err)
	w.note("claim %s: %s, wait %s, probe %t", no, c.Code, c.Wait, c.Probe)
	if w.unread() {
		return
	}
	w.saw(c.Now)
	switch c.Code {
	case ledger.Granted:
		if w.paused && c.Plan == ledger.Collect {
			w.broken = no + " was granted a collect call during the pause"
		}
		w.calls = append(w.calls, openCall{c, w.real})
		delete(w.tasks, no)
	case ledger.Held, ledger.Paced: // the worker asks again
	default:
		delete(w.tasks, no) // the sweep brings it
	}
}

// reply settles a call that is under way.
func (w *holdWorld) reply(i int, signal ledger.GateSignal) {
	call := w.calls[i]
	w.calls = append(w.calls[:i], w.calls[i+1:]...)
	at := call.claim.Now.Add(w.real - call.at)
	set := back(call.claim, ledger.Recheck)
	set.Gate, set.At, set.CalledAt, set.Failures = signal, at, call.claim.Now.Add(call.claim.Wait), 3
	set.First, set.Most = 5*time.Second, 30*time.Second
	set.Due = at.Add(10 * time.Second)
	switch signal {
	case ledger.GateOK:
		set.Collected = at
	case ledger.GateNothing:
		set.CalledAt, set.Log = time.Time{}, nil
	default:
		set.Fails, set.Due = call.claim.Order.Fails+1, at.Add(5*time.Second)
	}
	res, err := w.l.Settle(context.Background(), call.claim, set)
	w.must(err)
	w.note("%s is answered %q: %s %s", call.claim.Order.OutOrderNo, signal, res.Code, res.Gate)
	if !w.unread() {
		w.saw(res.Now)
	}
}

// unread reports whether the worker of a step dies before it reads Redis's reply: what the
// script has written stays, and no worker knows what Redis's clock showed.
func (w *holdWorld) unread() bool {
	if w.well || w.draw(8, "is the reply read") != 7 {
		return false
	}
	w.note("its worker dies before it reads that")
	return true
}

// sweep is the worker's, when it is time.
func (w *holdWorld) sweep() {
	if w.real < w.swept {
		return
	}
	w.swept = w.real + holdSweep
	ctx := context.Background()
	s, err := w.l.Sweep(ctx, ledger.SweepArgs{Interval: holdSweep * 9 / 10, Limit: 100, Closed: 16, Grace: time.Minute, Sure: w.sure(), Expected: w.expected()})
	w.must(err)
	w.saw(s.Now)
	_, err = w.l.Mend(ctx, time.Time{})
	w.must(err)
	for _, o := range s.Orders {
		w.tasks[o.OutOrderNo] = true
	}
	w.note("sweep: taken %t, %d orders", s.Taken, len(s.Orders))
}

// holdJumps are the ways in which Redis's clock jumps, in seconds.
var holdJumps = []int{-12 * 3600, -8 * 3600, -3600, -100, -30, -7, 7, 30, 100, 3600, 8 * 3600, 12 * 3600}

var holdSignals = []ledger.GateSignal{
	ledger.GateFault, ledger.GateService, ledger.GateDown, ledger.GateThrottled, ledger.GateFault, ledger.GateService, ledger.GateNothing, ledger.GateOK,
}

// trouble does something that may happen.
func (w *holdWorld) trouble(jumps bool) {
	switch w.draw(9, "what happens") {
	case 0, 1, 2:
		no := w.nos[w.draw(len(w.nos), "order")]
		if w.tasks[no] {
			w.claim(no)
		}
	case 3, 4:
		if len(w.calls) > 0 {
			w.reply(w.draw(len(w.calls), "call"), holdSignals[w.draw(len(holdSignals), "signal")])
		}
	case 5:
		if len(w.calls) > 0 && w.draw(3, "does a worker die") == 0 {
			i := w.draw(len(w.calls), "call")
			w.note("the worker of %s dies", w.calls[i].claim.Order.OutOrderNo)
			w.calls = append(w.calls[:i], w.calls[i+1:]...)
		}
	case 6:
		w.pass(time.Duration(100+w.draw(40_000, "ms")) * time.Millisecond)
		w.sweep()
	case 7:
		if jumps && w.draw(3, "does the clock jump") == 0 {
			w.jump(time.Duration(holdJumps[w.draw(len(holdJumps), "jump")]) * time.Second)
		}
	case 8:
		d := ledger.Deed{By: "cli:x", Reason: "why"}
		switch w.draw(4, "pause or resume") {
		case 0:
			w.note("paused")
			_, err := w.l.Pause(context.Background(), d, 0)
			w.must(err)
			w.paused = true
		case 1:
			w.note("paused for a while")
			_, err := w.l.Pause(context.Background(), d, time.Duration(1+w.draw(300, "seconds"))*time.Second)
			w.must(err)
			w.paused = false // when it ends is the clock's matter
		default:
			w.resume()
		}
	}
}

func (w *holdWorld) resume() {
	w.note("resumed")
	_, err := w.l.Resume(context.Background(), ledger.Deed{By: "cli:x", Reason: "why"})
	w.must(err)
	w.paused = false
}

// recover lets all be well, and returns what is wrong with what follows.
func (w *holdWorld) recover() string {
	w.note("all is well from now on")
	w.well = true
	w.resume()
	w.calls = nil // and their workers are gone
	since, within := w.real, wellWithin
	wanted := map[string]bool{}
	free := map[string]bool{}
	for i, no := range w.nos {
		service := fmt.Sprintf("s%d", 1+i%len(w.services()))
		wanted[service] = true
		if !w.leased(no) {
			free[service] = true
		}
	}
	if len(free) < len(wanted) {
		within += longestLeaseInLua
	}
	for w.real-since <= within {
		w.sweep()
		for _, no := range w.nos {
			if w.tasks[no] {
				w.claim(no)
			}
		}
		w.pass(500 * time.Millisecond)
		for len(w.calls) > 0 {
			delete(wanted, w.calls[0].claim.Order.ServiceID)
			w.reply(0, ledger.GateOK)
		}
		if len(wanted) == 0 || w.err != nil {
			break
		}
		w.pass(500 * time.Millisecond)
	}
	h, err := w.l.Holds(context.Background())
	w.must(err)
	switch {
	case w.err != nil:
		return w.err.Error()
	case w.broken != "":
		return w.broken
	case len(wanted) > 0:
		return fmt.Sprintf("%s after all is well, no order of %v was called; holds %+v", w.real-since, wanted, h)
	case h.Merchant.Kind != ledger.HoldNone || len(h.Services) > 0:
		return fmt.Sprintf("orders of all services were called, and holds remain: %+v", h)
	}
	return ""
}

func (w *holdWorld) services() []string {
	if len(w.nos) > 1 && w.rdb.HGet(context.Background(), ledger.KeysOf(mchid).Order("O1"), "svc").Val() == "s2" {
		return []string{"s1", "s2"}
	}
	return []string{"s1"}
}

// leased reports whether an order's lease is of a worker that is gone.
func (w *holdWorld) leased(no string) bool {
	return w.rdb.HExists(context.Background(), ledger.KeysOf(mchid).Order(no), "lease").Val()
}

// run is one merchant's story. It returns what is wrong with it.
func (w *holdWorld) run(draw func(int, string) int, jumps bool) string {
	w.begin(draw)
	for range 10 + draw(50, "troubles") {
		w.trouble(jumps)
	}
	return w.recover()
}

// holdStories is how many stories of each kind one run of the tests tells.
const holdStories = 1200

func TestOnceAllIsWellOrdersAreCollectedAgain(t *testing.T) {
	t.Parallel()
	for name, jumps := range map[string]bool{"with a steady clock": false, "with a clock that jumps": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newHoldWorld(t, nil)
			for range holdStories / 100 { // rapid tells 100 at a time
				rapid.Check(t, func(t *rapid.T) {
					wrong := w.run(func(n int, what string) int { return rapid.IntRange(0, n-1).Draw(t, what) }, jumps)
					if wrong != "" {
						t.Fatalf("%s\n%s", wrong, strings.Join(w.story, "\n"))
					}
				})
			}
		})
	}
}

// One story in eleven thousand: a service is held, its merchant as well, and the
// worker of the probe dies. The merchant's next probe is an order of the other
// service. The orders of the held service were parked until that probe's lease had
// run out, though its reply had long ended the merchant's hold, and the sweep
// after that was too late for the minute.
func TestAParkedOrderDoesNotWaitOutTheMerchantsProbe(t *testing.T) {
	t.Parallel()
	w := newHoldWorld(t, nil)
	w.begin(func(int, string) int { return 1 }) // two services, two orders each
	at := func(seconds float64) {
		w.pass(time.Duration(seconds*1000)*time.Millisecond - w.real)
	}
	w.claim("O0")
	w.claim("O3")
	w.reply(1, ledger.GateNothing) // O3
	w.claim("O2")
	at(29.1)
	w.sweep()
	w.calls = w.calls[:1] // the worker of O2 dies
	for _, no := range []string{"O3", "O1", "O0"} {
		delete(w.tasks, no)
		w.claim(no)
	}
	w.reply(2, ledger.GateThrottled) // O1
	w.reply(1, ledger.GateService)   // O3
	w.reply(1, ledger.GateService)   // O0
	w.claim("O2")
	at(57)
	w.sweep()
	w.claim("O1")
	at(73.6)
	w.sweep()
	w.reply(0, ledger.GateOK)    // O0, whose lease is lost
	w.reply(0, ledger.GateFault) // O1
	w.claim("O3")
	at(86)
	w.claim("O2")
	at(88.4)
	if wrong := w.recover(); wrong != "" {
		t.Fatalf("%s\n%s", wrong, strings.Join(w.story, "\n"))
	}
}

// holdMutants are faults in the scripts, which the stories must notice.
var holdMutants = map[string]struct {
	faults []string // old and new text in turn
	jumps  bool
}{
	"an order of a held service is never the probe while the merchant is held": {[]string{
		"  if opens > now then\n", "  if m and v or opens > now then\n    opens = math.max(opens, now + 1000)\n",
	}, false},
	"slots are kept though the clock went back": {[]string{
		"if tat > now_us + HORIZON_US + interval_us / FLOOR then tat = now_us end", "",
	}, true},
	"a hold's probe is kept though the clock went back": {[]string{
		"if h.probe > now + longest then h.probe = now - SHY end", "",
		"  holdsback(hold, now, by)\n", "",
	}, true},
	"leases are kept though the clock went back": {[]string{
		"if lease > now + LONGEST_LEASE then return LONGEST_LEASE, now + LONGEST_LEASE end", "",
		"if r.lease and num(r.lease) > now + LONGEST_LEASE then", "if false then",
	}, true},
	"due times are not mended": {[]string{
		"    'mend', (by + num(left)) .. ' due ' .. now .. ' 0')", "    'left', num(left))",
	}, true},
	"a pause does not stop collect calls": {[]string{
		"  if t then return putoff('paused', t) end\n", "",
	}, false},
	"orders that a pause has put off are not brought back": {[]string{
		"    redis.call('ZADD', KEYS[2], now, no)\n    made = made + 1\n", "",
	}, false},
	"an order that was put off is not told from one that a step has settled": {[]string{
		"'due', t, 'off', 1)", "'due', t)",
		"put('off', putoff and 2 or #ARGV == 1 and 1 or 0)\n", "",
	}, true},
}

func TestFaultsOfHoldsAreNoticed(t *testing.T) {
	t.Parallel()
	for name, m := range holdMutants {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			missing := map[string]bool{}
			for i := 0; i < len(m.faults); i += 2 {
				missing[m.faults[i]] = true
			}
			w := newHoldWorld(t, func(src string) string {
				for i := 0; i < len(m.faults); i += 2 {
					if strings.Contains(src, m.faults[i]) {
						delete(missing, m.faults[i])
						src = strings.ReplaceAll(src, m.faults[i], m.faults[i+1])
					}
				}
				return src
			})
			r := rand.New(rand.NewPCG(1, 2))
			draw := func(n int, _ string) int { return r.IntN(n) }
			for i := range 3 * holdStories {
				wrong := w.run(draw, m.jumps)
				if w.err != nil {
					t.Fatal("the mutant does not run: ", w.err)
				}
				if wrong != "" {
					t.Logf("noticed in story %d: %s", i+1, wrong)
					break
				}
				if i == 3*holdStories-1 {
					t.Errorf("%d stories have not noticed it", i+1)
				}
			}
			if len(missing) > 0 {
				t.Errorf("the scripts have changed: find anew where to break %v", missing)
			}
		})
	}
}
