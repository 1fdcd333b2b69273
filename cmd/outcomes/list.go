package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"payscore-collector/internal/config"
	"payscore-collector/internal/intake"
	"payscore-collector/internal/ledger"
	"payscore-collector/internal/ordercsv"
	"payscore-collector/tasks"
)

type listCommand struct {
	States    []string `name:"state" required:"" placeholder:"S" help:"queued, awaiting, paid, closed, rejected, withdrawn or exhausted; several times, or with commas between, for several."`
	Since     string   `name:"since" placeholder:"TIME" help:"Only orders that ended at TIME or later; open ones, that were opened then. 2006-01-02, \"2006-01-02 15:04\" (Asia/Shanghai), 2006-01-02T15:04:05+08:00, or how long ago, such as 24h."`
	Until     string   `name:"until" placeholder:"TIME" help:"Only orders that ended (or were opened) before TIME, written as for --since."`
	ServiceID string   `name:"service-id" placeholder:"ID" help:"Only orders of this service_id."`
	Limit     *int     `name:"limit" placeholder:"N" help:"So many orders at most, 0 for all (default 100; all with --json and --csv)."`
	JSON      bool     `name:"json" xor:"format" help:"One JSON object a line, without the log; amounts in fen."`
	CSV       bool     `name:"csv" xor:"format" help:"CSV with a header; amounts in fen, times in UTC."`
	Excel     bool     `name:"excel" help:"With --csv, for Excel and WPS: UTF-8 with BOM, amounts in yuan, times of Asia/Shanghai, and numbers of orders as text, so that no digit is lost."`

	since, until time.Time
}

// limitForPeople is how many orders are listed for people who did not say.
const limitForPeople = 100

func judgeLimit(c *config.Collector, limit *int, what string) {
	if limit != nil && *limit < 0 {
		c.Problem("--limit", "is %d: write how many %s at most, or 0 for all", *limit, what)
	}
}

// limitOf is how many to write at most; 0 is no limit.
func limitOf(limit *int, forPeople bool) int {
	switch {
	case limit != nil:
		return *limit
	case forPeople:
		return limitForPeople
	}
	return 0
}

func (l *listCommand) judge(c *config.Collector) {
	judgeStates(c, l.States)
	judgeLimit(c, l.Limit, "orders")
	if l.Excel && !l.CSV {
		c.Problem("--excel", "is a form of --csv: write both")
	}
	judgeTimes(c, timeFlag{"--since", l.Since, &l.since}, timeFlag{"--until", l.Until, &l.until})
	if !l.since.IsZero() && !l.until.IsZero() && !l.since.Before(l.until) {
		c.Problem("--until", "is not after --since: no order can be between")
	}
}

func judgeStates(c *config.Collector, states []string) {
	for _, state := range states {
		if !tasks.State(state).Valid() {
			names := make([]string, len(tasks.States))
			for i, s := range tasks.States {
				names[i] = string(s)
			}
			last := len(names) - 1
			c.Problem("--state", "is %q: write %s or %s", state, strings.Join(names[:last], ", "), names[last])
		}
	}
}

// timeFlag is a flag that takes a time, or nothing.
type timeFlag struct {
	name, value string
	target      *time.Time
}

// judgeTimes reads the times of flags.
func judgeTimes(c *config.Collector, flags ...timeFlag) {
	now := time.Now()
	for _, flag := range flags {
		if flag.value == "" {
			continue
		}
		var err error
		if *flag.target, err = moment(flag.value, now); err != nil {
			c.Problem(flag.name, "%v, a date, or how long ago, such as 24h", err)
		}
	}
}

// moment reads a time as --since takes it.
func moment(s string, now time.Time) (time.Time, error) {
	if d, err := time.ParseDuration(s); err == nil && d >= 0 {
		return now.Add(-d), nil
	}
	if t, err := time.ParseInLocation(time.DateOnly, s, tasks.China); err == nil {
		return t, nil
	}
	return intake.ParseTime(s)
}

func (l *listCommand) run(ctx context.Context, s *session) error {
	ledgers, err := s.ledgers(ctx)
	if err != nil {
		return err
	}
	switch {
	case l.JSON:
		_, err = l.each(ctx, s, ledgers, l.states(), func(o ledger.Order) error { return writeJSON(s.out, o) })
		return err
	case l.CSV:
		lines := ordercsv.New(s.out, l.Excel)
		if _, err := l.each(ctx, s, ledgers, l.states(), lines.Write); err != nil {
			return err
		}
		return lines.Close()
	}
	return l.tables(ctx, s, ledgers)
}

func (l *listCommand) states() []tasks.State { return statesOf(l.States) }

// statesOf returns each state once.
func statesOf(names []string) []tasks.State {
	var states []tasks.State
	for _, s := range names {
		if !slices.Contains(states, tasks.State(s)) {
			states = append(states, tasks.State(s))
		}
	}
	return states
}

// tables writes a table per state, and after open orders why they are not collected.
func (l *listCommand) tables(ctx context.Context, s *session, ledgers []*ledger.Ledger) error {
	situations, err := s.situations(ctx, ledgers...)
	if err != nil {
		return err
	}
	t := s.teller(situations)
	states, open, found := l.states(), false, 0
	for _, state := range states {
		heading := ""
		if len(states) > 1 {
			heading = string(state) + "\n"
			if found > 0 {
				heading = "\n" + heading
			}
		}
		table := newTable(s.out, t, heading, state)
		n, err := l.each(ctx, s, ledgers, []tasks.State{state}, table.add)
		if err != nil {
			return err
		}
		if err := table.close(""); err != nil {
			return err
		}
		found += n
		open = open || n > 0 && state.Open()
	}
	if found == 0 {
		_, err := fmt.Fprintln(s.out, t.None())
		return err
	}
	if open {
		why(s.out, t, situations)
	}
	return nil
}

// each passes the orders in some states to write, first by state, then by merchant, and
// returns how many they are.
func (l *listCommand) each(ctx context.Context, s *session, ledgers []*ledger.Ledger, states []tasks.State, write func(ledger.Order) error) (int, error) {
	written, limit := 0, limitOf(l.Limit, !l.JSON && !l.CSV)
	for _, state := range states {
		filter := ledger.Filter{State: state, Since: l.since, Until: l.until, ServiceID: l.ServiceID}
		for _, led := range ledgers {
			for o, err := range led.Select(ctx, filter) {
				if err != nil {
					return written, fmt.Errorf("read the %s orders of merchant %s: %w", state, led.MchID(), err)
				}
				if written == limit && limit > 0 {
					if l.Limit == nil {
						fmt.Fprintln(s.errOut, s.people.More(limitForPeople))
					}
					return written, nil
				}
				written++
				if err := write(o); err != nil {
					return written, fmt.Errorf("write the list: %w", err)
				}
			}
		}
	}
	return written, nil
}
