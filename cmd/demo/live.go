package main

import (
	"context"
	"fmt"
	"io"
	"math"
	"time"

	"payscore-collector/internal/explain"
	"payscore-collector/internal/ledger"
)

// moment is what the live line shows.
type moment struct {
	elapsed time.Duration
	now     time.Time
	open    int64 // orders that have not ended
	paid    int64 // fen
	calls   int64
	gate    ledger.GateStatus
}

// watch shows what happens until every order has ended, and reports whether
// that was in time.
func (s *stage) watch(ctx context.Context, w *workerRun, l *live, began time.Time, limit time.Duration) (ended bool, err error) {
	defer l.done()
	const every = 200 * time.Millisecond
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		m, err := s.look(ctx, began)
		if err != nil {
			return false, err
		}
		l.show(m)
		switch {
		case m.open == 0:
			return true, nil
		case m.elapsed > limit:
			return false, nil
		}
		if err := s.misbehave(m.elapsed); err != nil {
			return false, err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return false, ctx.Err()
		case <-w.over:
			return false, fmt.Errorf("the worker ended by itself: %w", w.stop())
		}
	}
}

// look asks for what the live line shows.
func (s *stage) look(ctx context.Context, began time.Time) (moment, error) {
	stats, err := s.ledger.Stats(ctx)
	if err != nil {
		return moment{}, fmt.Errorf("read the ledger's counters: %w", err)
	}
	gate, err := s.ledger.Gate(ctx)
	if err != nil {
		return moment{}, fmt.Errorf("read the merchant's gate: %w", err)
	}
	now := time.Now()
	m := moment{elapsed: now.Sub(began), now: now, paid: stats.PaidAmount, calls: s.sim.Report().Calls, gate: gate}
	for state, n := range stats.Orders {
		if state.Open() {
			m.open += n
		}
	}
	return m, nil
}

// plainEvery is how often a line is written where lines cannot be written over.
const plainEvery = 3 * time.Second

// live writes one line over and over on a terminal, and elsewhere a line now
// and then. What happens to the merchant's gate gets a line of its own.
type live struct {
	out      io.Writer
	terminal bool
	orders   int

	shown  bool
	at     time.Duration // of the last line
	closed bool
}

func newLive(out io.Writer, terminal bool, orders int) *live {
	return &live{out: out, terminal: terminal, orders: orders}
}

func (l *live) show(m moment) {
	if closed := m.gate.Kind != ""; closed != l.closed {
		l.closed = closed
		l.announce(m)
	}
	switch {
	case l.terminal:
		fmt.Fprint(l.out, "\r", l.line(m), "\x1b[K")
	case !l.shown, m.open == 0, m.elapsed-l.at >= plainEvery:
		fmt.Fprintln(l.out, l.line(m))
	default:
		return
	}
	l.shown, l.at = true, m.elapsed
}

func (l *live) announce(m moment) {
	text := "calls work again: the gate is open"
	switch m.gate.Kind {
	case string(ledger.GateFault):
		text = "WeChat Pay refuses the merchant's signature: calls stop, and no order is blamed"
	case string(ledger.GateDown):
		text = "WeChat Pay does not answer properly: calls stop, and no order is blamed"
	}
	start := ""
	if l.terminal {
		start = "\r\x1b[K"
	}
	fmt.Fprintf(l.out, "%s%5.1f s  %s\n", start, m.elapsed.Seconds(), text)
}

// done leaves the line.
func (l *live) done() {
	if l.terminal && l.shown {
		fmt.Fprintln(l.out)
	}
}

// line fits into 80 columns: one that wraps cannot be written over.
func (l *live) line(m moment) string {
	gate := "gate open"
	if m.gate.Kind != "" {
		gate = "GATE CLOSED, probing"
		if left := m.gate.ProbeAt.Sub(m.now); left > 0 {
			gate = fmt.Sprintf("GATE CLOSED, probe in %.0f s", math.Ceil(left.Seconds()))
		}
	}
	return fmt.Sprintf("%5.1f s  %*d/%d ended  %9s in  %5d calls  %s",
		m.elapsed.Seconds(), len(fmt.Sprint(l.orders)), int64(l.orders)-m.open, l.orders, explain.Yuan(m.paid), m.calls, gate)
}
