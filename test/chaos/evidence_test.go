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

// mark is a line of a process's trace: a point that it has reached in a step.
type mark struct {
	at      time.Time // by the harness's clock
	point   faultpoint.Point
	process string
}

// call is a call that the platform saw, together with the step that made it. A
// zero time is one that no trace tells.
type call struct {
	simulator.Seen
	process string    // "" where no trace tells whose call it was
	granted time.Time // when Redis allowed it
	slot    time.Time // when it was to leave
	sent    time.Time // when the process was about to write it
	settled time.Time // when the process had written down its reply
}

// since is when the call's step was granted it, or, where that is not known, the
// earliest moment that is possible.
func (c call) since(lease time.Duration) time.Time {
	if c.granted.IsZero() {
		return c.Began.Add(-lease)
	}
	return c.granted
}

// evidence is what is known of some orders: the journal of all faults, and the
// traces of all processes.
type evidence struct {
	journal *journal
	profile profile
	marks   map[string][]mark // by order, as they happened
}

// gather reads the traces of all processes for some orders.
func (e *env) gather(orders map[string]bool) evidence {
	ev := evidence{journal: &e.journal, profile: e.profile, marks: map[string][]mark{}}
	if len(orders) == 0 {
		return ev
	}
	for _, p := range e.journal.processes {
		f, err := os.Open(p.trace)
		if err != nil {
			e.journal.fail("the trace of %s: %v", p.name, err)
			continue
		}
		// By order: from Redis's clock at its grant to the harness's.
		off := map[string]time.Duration{}
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
				real := e.journal.real(m.at)
				off[no] = real.Sub(m.at)
				m.at = real
			case faultpoint.Slot:
				m.at = m.at.Add(off[no])
			default:
				m.at = m.at.Add(-p.ahead)
			}
			ev.marks[no] = append(ev.marks[no], m)
		}
		_ = f.Close()
	}
	for _, m := range ev.marks {
		slices.SortStableFunc(m, func(a, b mark) int { return a.at.Compare(b.at) })
	}
	return ev
}

// trace finds the step of each call of an order: the call came from the process
// that was last about to send one before the call arrived.
func (ev evidence) trace(no string, seen []simulator.Seen) []call {
	marks := ev.marks[no]
	used := make([]bool, len(marks))
	out := make([]call, len(seen))
	for i, s := range seen {
		out[i].Seen = s
		for j := len(marks) - 1; j >= 0; j-- {
			if m := marks[j]; m.point == faultpoint.Sending && !used[j] && !m.at.After(s.Began) {
				used[j] = true
				out[i].process, out[i].sent = m.process, m.at
				out[i].readStep(marks, j)
				break
			}
		}
	}
	return out
}

// readStep reads from the marks what the call's step did before and after it.
func (c *call) readStep(marks []mark, sending int) {
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
		if m.process == c.process && m.point == faultpoint.Settled {
			c.settled = m.at
		}
		if m.process == c.process && (m.point == faultpoint.Settled || m.point == faultpoint.Claimed) {
			return
		}
	}
}

// claimTook is how long Redis took at most to grant the last claim of an order
// before a moment: from the worker's question to Redis's reading of its clock.
func (ev evidence) claimTook(no string, before time.Time) time.Duration {
	var took time.Duration
	asked := map[string]time.Time{} // by process
	for _, m := range ev.marks[no] {
		switch {
		case m.at.After(before):
		case m.point == faultpoint.Asked:
			asked[m.process] = m.at
		case m.point == faultpoint.Granted && !asked[m.process].IsZero():
			took = m.at.Sub(asked[m.process])
			delete(asked, m.process) // a permit's grant may follow
		}
	}
	return took
}

// heldBack reports whether the call was delayed between its process's last look
// at the clock and its arrival, because that process was frozen.
func (ev evidence) heldBack(c call) bool {
	return c.process != "" && c.Began.Sub(c.sent) > time.Second && ev.journal.frozen(c.process, c.sent, c.Began)
}

// forgotten reports whether what the call's step has written may have been lost
// in a failover.
func (ev evidence) forgotten(c call) bool {
	from, to := c.granted, c.settled
	if from.IsZero() {
		from = c.Began
	}
	if to.IsZero() {
		to = c.Over.Add(ev.profile.lease())
	}
	return ev.journal.lost(from, to)
}

// overtaken reports whether Redis's clock jumped ahead under the call's step, past
// the end of its lease, so that another worker could take the order over.
func (ev evidence) overtaken(c call, until time.Time) bool {
	return ev.journal.ahead(c.since(ev.profile.lease()), until) >= ev.profile.lease()
}

// lagged is how far a replica may be behind that is in touch with its master.
const lagged = 250 * time.Millisecond

// lost reports whether some of what was written in that time may have been lost
// with a master whose place another node has taken.
func (b *journal) lost(from, to time.Time) bool {
	return slices.ContainsFunc(b.outages, func(o outage) bool {
		return o.lossy && o.from.Add(-lagged).Before(to) && o.to.After(from)
	})
}

// frozen reports whether a process stood still at some moment of that time.
func (b *journal) frozen(process string, from, to time.Time) bool {
	return slices.ContainsFunc(b.freezes, func(f freeze) bool {
		return f.process == process && f.from.Before(to) && f.to.After(from)
	})
}

// died reports whether the nemesis killed a process in that time.
func (b *journal) died(process string, from, to time.Time) bool {
	return slices.ContainsFunc(b.deaths, func(d death) bool {
		return d.process == process && d.at.After(from) && d.at.Before(to)
	})
}
