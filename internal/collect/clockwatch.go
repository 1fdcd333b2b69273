package collect

import (
	"context"
	"sync"
	"time"

	"payscore-collector/internal/ledger"
	"payscore-collector/internal/logging"
)

// clockWatch compares Redis's clock with this process's monotonic clock, which
// does not jump. A failover to another node, or an administrator, can move
// Redis's clock by hours between any two commands.
type clockWatch struct {
	mu    sync.Mutex
	start time.Time // the clock's readings below are counted from here
	// lease is the longest lease that this worker takes. The other workers are
	// assumed to do the same; otherwise a jump ahead can end their leases too soon.
	lease time.Duration
	ref   reading // the newest one
	// least is the least offset in this span of time and in the previous one; a span
	// is longer than any lease.
	least [2]time.Duration
	span  time.Duration // when this span began
}

// reading is a reply with Redis's clock. The offset between that clock and this
// process's is known up to the time that the reply took.
type reading struct {
	known     bool
	low, high time.Duration // the offset lies between them
	at        time.Duration // when the reply came
}

// jumpTolerance is by how much Redis's clock may differ from what was expected
// without having jumped: clocks drift, and are corrected gradually. The ledger's
// scripts have the same value.
const jumpTolerance = 5 * time.Second

func newClockWatch(lease time.Duration) *clockWatch {
	return &clockWatch{start: time.Now(), lease: lease}
}

// observe evaluates a reply with Redis's clock to a command that was sent at asked
// and answered just now. It returns by how much the clock has jumped since the
// previous reading, or 0, and what was expected. A command that overlaps with the
// previous one is ignored: the order in which Redis answered them is unknown.
func (w *clockWatch) observe(asked, redis time.Time) (jump time.Duration, e ledger.Expected) {
	w.mu.Lock()
	defer w.mu.Unlock()
	from, to, shown := asked.Sub(w.start), time.Since(w.start), redis.Sub(w.start)
	r, ref := reading{true, shown - to, shown - from, to}, w.ref
	if ref.known && from < ref.at {
		return 0, e
	}
	switch {
	case !ref.known:
		w.least, w.span = [2]time.Duration{r.high, r.high}, to
	case r.low > ref.high+jumpTolerance, r.high < ref.low-jumpTolerance:
		jump, e = r.high-ref.high, w.expectedAt(to)
	}
	if to-w.span > w.lease {
		w.least, w.span = [2]time.Duration{w.least[1], r.high}, to
	}
	w.least[1] = min(w.least[1], r.high)
	w.ref = r
	return jump, e
}

func (w *clockWatch) expectedAt(at time.Duration) ledger.Expected {
	if !w.ref.known {
		return ledger.Expected{}
	}
	return ledger.Expected{Now: w.start.Add(w.ref.high + at), Age: at - w.ref.at}
}

// expected returns what Redis's clock shows now if it has not jumped; zero before the
// first reply.
func (w *clockWatch) expected() ledger.Expected {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.expectedAt(time.Since(w.start))
}

// now returns Redis's clock as this process knows it: its own before the first reply.
func (w *clockWatch) now() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.start.Add(w.ref.high + time.Since(w.start))
}

// sure returns the earliest that Redis's clock can be without a jump ahead; zero
// before the first reply. A lease that has expired only because of a jump ahead has
// not expired by this time: its call is still under way.
func (w *clockWatch) sure() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.ref.known {
		return time.Time{}
	}
	return w.start.Add(min(w.least[0], w.least[1]) + time.Since(w.start))
}

// watchClock evaluates a reply's clock. It reports a jump to the ledger, so that no
// earlier time delays anything, to the log and to the metrics.
func (c *Collector) watchClock(ctx context.Context, asked, redis time.Time) (jumped bool) {
	by, expected := c.clock.observe(asked, redis)
	if by == 0 {
		return false
	}
	c.reportJump(by)
	if err := c.ledger.Jumped(ctx, by, expected); err != nil {
		c.trouble.Warn().Str(logging.FieldEvent, "clock_jump_unrecorded").Err(err).Msg("jump of Redis's clock not recorded; the next sweep finds it")
	}
	return true
}

// reportJump logs and counts a jump.
func (c *Collector) reportJump(by time.Duration) {
	c.count(c.metrics.ClockJumps)
	direction := "ahead"
	if by < 0 {
		direction = "back"
	}
	c.log.Error().Str(logging.FieldEvent, "redis_clock_jumped").
		Str("direction", direction).Dur("by", by.Abs().Round(time.Second)).
		Msg("Redis's clock jumped")
}
