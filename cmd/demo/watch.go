package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"payscore-collector/internal/explain"
	"payscore-collector/internal/ledger"
)

// moment is what one line of the progress shows.
type moment struct {
	elapsed time.Duration
	open    int64 // orders that have not ended
	paid    int64 // fen
	calls   int64
	holds   ledger.Holds
}

// watch writes a line a second until every order has ended, and reports whether
// that was in time.
func (s *stage) watch(ctx context.Context, w *workerRun, out io.Writer, orders int, began time.Time, limit time.Duration) (ended bool, err error) {
	const ticksPerLine = 5
	tick := time.NewTicker(time.Second / ticksPerLine)
	defer tick.Stop()
	hold := ledger.HoldNone
	for n := 0; ; n++ {
		m, err := s.moment(ctx, began)
		if err != nil {
			return false, err
		}
		if kind := m.holds.Merchant.Kind; kind != hold {
			hold = kind
			fmt.Fprintln(out, m.holdLine())
		}
		if n%ticksPerLine == 0 || m.open == 0 {
			fmt.Fprintln(out, m.line(orders))
		}
		if m.open == 0 || m.elapsed > limit {
			return m.open == 0, nil
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

func (s *stage) moment(ctx context.Context, began time.Time) (moment, error) {
	stats, err := s.ledger.Stats(ctx)
	if err != nil {
		return moment{}, fmt.Errorf("read the ledger's counters: %w", err)
	}
	holds, err := s.ledger.Holds(ctx)
	if err != nil {
		return moment{}, fmt.Errorf("read the merchant's holds: %w", err)
	}
	m := moment{elapsed: time.Since(began), paid: stats.PaidAmount, calls: s.sim.Report().Calls, holds: holds}
	for state, n := range stats.Orders {
		if state.Open() {
			m.open += n
		}
	}
	return m, nil
}

// holdLine tells that the merchant's calls have stopped, and why, or that they work
// again.
func (m moment) holdLine() string {
	text := "calls work again"
	if m.holds.Merchant.Kind != ledger.HoldNone {
		text = words.Why(explain.Situation{Holds: m.holds})[0].Words + "; no order is blamed"
	}
	return fmt.Sprintf("%5.1f s  %s", m.elapsed.Seconds(), text)
}

func (m moment) line(orders int) string {
	stopped := ""
	if m.holds.Merchant.Kind != ledger.HoldNone {
		stopped = "  CALLS STOPPED"
	}
	return fmt.Sprintf("%5.1f s  %*d/%d ended  %9s in  %5d calls%s",
		m.elapsed.Seconds(), len(fmt.Sprint(orders)), int64(orders)-m.open, orders, explain.Yuan(m.paid), m.calls, stopped)
}
