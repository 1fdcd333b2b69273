package main

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"

	"payscore-collector/internal/config"
	"payscore-collector/internal/explain"
	"payscore-collector/internal/ledger"
	"payscore-collector/tasks"
)

type statsCommand struct {
	JSON bool `name:"json" help:"One JSON object, {\"MCHID\":{\"queued\":n,…,\"paid_amount\":fen}}."`
}

func (*statsCommand) judge(*config.Collector) {}

func (st *statsCommand) run(ctx context.Context, s *session) error {
	ledgers, err := s.ledgers(ctx)
	if err != nil {
		return err
	}
	all := make(map[string]ledger.Stats, len(ledgers))
	for _, l := range ledgers {
		if all[l.MchID()], err = l.Stats(ctx); err != nil {
			return fmt.Errorf("read the counters of merchant %s: %w", l.MchID(), err)
		}
	}
	if st.JSON {
		return writeJSON(s.out, all)
	}
	situations, err := s.situations(ctx, ledgers...)
	if err != nil {
		return err
	}
	statsTable(s.out, ledgers, all)
	why(s.out, s.teller(situations), situations)
	return nil
}

// statsTable has a line a merchant, and one for all together where there are
// several. The amount is that of the paid orders that are in the ledger: those
// that have left it count neither there nor here.
func statsTable(w io.Writer, ledgers []*ledger.Ledger, all map[string]ledger.Stats) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprint(t, "MERCHANT\t")
	for _, state := range tasks.States {
		fmt.Fprint(t, strings.ToUpper(string(state)), "\t")
	}
	fmt.Fprint(t, "PAID AMOUNT\t\n")
	line := func(name string, s ledger.Stats) {
		fmt.Fprint(t, name, "\t")
		for _, state := range tasks.States {
			fmt.Fprint(t, strconv.FormatInt(s.Orders[state], 10), "\t")
		}
		fmt.Fprint(t, explain.Yuan(s.PaidAmount), "\t\n")
	}
	sum := ledger.Stats{Orders: map[tasks.State]int64{}}
	for _, l := range ledgers {
		s := all[l.MchID()]
		line(l.MchID(), s)
		for state, n := range s.Orders {
			sum.Orders[state] += n
		}
		sum.PaidAmount += s.PaidAmount
	}
	if len(ledgers) > 1 {
		line("all", sum)
	}
	_ = t.Flush() // w is buffered: its errors come up when that is flushed
}
