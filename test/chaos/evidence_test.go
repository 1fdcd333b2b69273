package chaos

import (
	"bufio"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"payscore-collector/internal/faultpoint"
	"payscore-collector/internal/simulator"
)

// mark is a point that a process has reached in a step on an order.
type mark struct {
	at      time.Time
	point   faultpoint.Point
	process string
}

// call is what the platform saw, together with where it came from.
type call struct {
	simulator.Seen
	process string    // "" where no process says that it was its
	sent    time.Time // when that process was about to write it
	granted time.Time // when that process was allowed to make it, by Redis's clock; zero: not known
	slot    time.Time // when it was to leave, by the same clock; zero: not known
	settled time.Time // when that process had written down what it brought; zero: never
}

// evidence is what is known of some orders.
type evidence struct {
	book  *book
	marks map[string][]mark
}

// gather reads the traces of all processes for the orders in question.
func (w *world) gather(orders map[string]bool) evidence {
	e := evidence{book: &w.book, marks: map[string][]mark{}}
	if len(orders) == 0 {
		return e
	}
	for _, p := range w.book.processes {
		f, err := os.Open(p.trace)
		if err != nil {
			w.book.say("the trace of %s: %v", p.name, err)
			continue
		}
		off := map[string]time.Duration{} // by order: from Redis's clock at its grant to the harness's
		for lines := bufio.NewScanner(f); lines.Scan(); {
			at, rest, _ := strings.Cut(lines.Text(), " ")
			point, rest, _ := strings.Cut(rest, " ")
			no, _, _ := strings.Cut(rest, " ")
			if !orders[no] {
				continue
			}
			us, err := strconv.ParseInt(at, 10, 64)
			if err != nil {
				continue // the last line of a process that was killed while it wrote
			}
			m := mark{time.UnixMicro(us), faultpoint.Point(point), p.name}
			switch m.point {
			case faultpoint.Granted: // by Redis's clock, and so is the slot that follows
				real := w.book.real(m.at)
				off[no] = real.Sub(m.at)
				m.at = real
			case faultpoint.Slot:
				m.at = m.at.Add(off[no])
			default:
				m.at = m.at.Add(-p.ahead)
			}
			e.marks[no] = append(e.marks[no], m)
		}
		_ = f.Close()
	}
	for _, m := range e.marks {
		slices.SortStableFunc(m, func(a, b mark) int { return a.at.Compare(b.at) })
	}
	return e
}

// trace finds out where each call of an order came from: from the process that
// was about to send one last before it arrived.
func (e evidence) trace(no string, seen []simulator.Seen) []call {
	marks := e.marks[no]
	used := make([]bool, len(marks))
	out := make([]call, len(seen))
	for i, s := range seen {
		out[i].Seen = s
		for j := len(marks) - 1; j >= 0; j-- {
			if m := marks[j]; m.point == faultpoint.Sending && !used[j] && !m.at.After(s.Began) {
				used[j] = true
				out[i].process, out[i].sent = m.process, m.at
				e.step(&out[i], marks, j)
				break
			}
		}
	}
	return out
}

// step fills in what the call's step did before and after it.
func (e evidence) step(c *call, marks []mark, sending int) {
	for j := sending - 1; j >= 0 && (c.granted.IsZero() || c.slot.IsZero()); j-- {
		switch m := marks[j]; {
		case m.process != c.process:
		case m.point == faultpoint.Slot && c.slot.IsZero():
			c.slot = m.at
		case m.point == faultpoint.Granted && c.granted.IsZero():
			c.granted = m.at
		}
	}
	for _, m := range marks[sending+1:] {
		if m.process != c.process {
			continue
		}
		if m.point == faultpoint.Claimed {
			return
		}
		if m.point == faultpoint.Settled {
			c.settled = m.at
			return
		}
	}
}

// late reports whether the call was held up between its process's last look at
// the clock and its arrival, by a freeze of that process: nobody can prevent it.
func (e evidence) late(c call) bool {
	return c.process != "" && c.Began.Sub(c.sent) > time.Second && e.frozen(c.process, c.sent, c.Began)
}

// frozen reports whether a process stood still at some time between two others.
func (e evidence) frozen(process string, from, to time.Time) bool {
	return slices.ContainsFunc(e.book.freezes, func(f freeze) bool {
		return f.process == process && f.from.Before(to) && f.to.After(from)
	})
}

// lagged is how far a replica may be behind that is in touch.
const lagged = 250 * time.Millisecond

// lost reports whether some of what was written in that time may have been lost
// with a master whose place another has taken.
func (b *book) lost(from, to time.Time) bool {
	return slices.ContainsFunc(b.outages, func(o outage) bool {
		return o.lossy && o.from.Add(-lagged).Before(to) && o.to.After(from)
	})
}

// disturbed reports whether Redis, or the way to it, was disturbed in that time.
func (b *book) disturbed(from, to time.Time) bool {
	return slices.ContainsFunc(b.outages, func(o outage) bool { return o.from.Before(to) && o.to.After(from) })
}

// failover is the cause of what was forgotten.
const failover = "a failover lost what was written last"

// forgotten reports whether what the call's step has written may have been lost.
func (e evidence) forgotten(c call, lease time.Duration) bool {
	from, to := c.granted, c.settled
	if from.IsZero() {
		from = c.Began
	}
	if to.IsZero() {
		to = c.Over.Add(lease)
	}
	return e.book.lost(from, to)
}

// unwritten says why the step of a call that brought an end did not write it
// down, or "" where there is no proof.
func (e evidence) unwritten(c call, lease time.Duration) string {
	if e.forgotten(c, lease) {
		return failover
	}
	if e.overtaken(lease, c.Over.Add(lease), c) {
		return leaseJumped
	}
	if c.process == "" || !c.settled.IsZero() {
		return ""
	}
	for _, d := range e.book.deaths {
		if d.process == c.process && d.at.After(c.Began) && d.at.Before(c.Over.Add(lease)) {
			return "its worker was killed before it could write the end down"
		}
	}
	if e.frozen(c.process, c.Began, c.Over.Add(lease)) {
		return "its worker was frozen before it could write the end down"
	}
	for _, o := range e.book.outages {
		if o.from.Before(c.Over.Add(lease)) && o.to.After(c.Over) {
			return "Redis could not be written to: " + o.what
		}
	}
	return ""
}
