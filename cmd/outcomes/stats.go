package main

import (
	"context"
	"fmt"

	"payscore-collector/internal/config"
	"payscore-collector/internal/ledger"
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
	t := s.teller(situations)
	if err := statsTable(s.out, t, ledgers, all); err != nil {
		return err
	}
	why(s.out, t, situations)
	return nil
}
