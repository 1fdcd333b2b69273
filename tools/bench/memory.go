package main

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"payscore-collector/internal/ledger"
	"payscore-collector/internal/simulator"
	"payscore-collector/tasks"
)

// memoryOrders is enough for the cost of growing tables to be that of a large
// ledger.
const memoryOrders = 20_000

// memory opens orders, works on each three times as on one that is declined, and
// measures where the bytes are.
func memory(ctx context.Context, e *env) error {
	if err := e.flush(ctx); err != nil {
		return err
	}
	keys := ledger.KeysOf(simulator.DefaultMchID)
	// These pay for what exists only once: the scripts, and the merchant's keys.
	if err := e.decline(ctx, numbers("WARM", 10)); err != nil {
		return err
	}
	before, err := e.usedMemory(ctx)
	if err != nil {
		return err
	}
	stream := e.rdb.MemoryUsage(ctx, keys.Outcomes()).Val()
	nos := numbers("BIKE", memoryOrders)
	if err := e.decline(ctx, nos); err != nil {
		return err
	}
	after, err := e.usedMemory(ctx)
	if err != nil {
		return err
	}
	mean := func(key func(string) string) float64 {
		var sum int64
		const sample = 200
		for _, no := range nos[:sample] {
			sum += e.rdb.MemoryUsage(ctx, key(no), 0).Val()
		}
		return float64(sum) / sample
	}
	events := float64(e.rdb.MemoryUsage(ctx, keys.Outcomes()).Val()-stream) / memoryOrders
	record, log := mean(keys.Order), mean(keys.Log)
	index := float64(e.rdb.MemoryUsage(ctx, keys.Due(), 0).Val()) / memoryOrders
	e.table.atMost(900, " B", record+log+index, "Redis for one awaiting order, its place in the index, a log of three attempts",
		"record %.0f, log %.0f, index %.0f (MEMORY USAGE)", record, log, index)
	e.table.note(" B", float64(after-before)/memoryOrders-events, "the same by used_memory, with Redis's own tables of keys",
		"its four events in the stream, until they are trimmed: %.0f B", events)
	return nil
}

func (e *env) usedMemory(ctx context.Context) (int64, error) {
	info, err := e.rdb.InfoMap(ctx, "memory").Result()
	if err != nil {
		return 0, err
	}
	var n int64
	_, err = fmt.Sscan(info["Memory"]["used_memory"], &n)
	return n, err
}

// decline opens orders and gives each three attempts, whose collects are
// declined.
func (e *env) decline(ctx context.Context, nos []string) error {
	led := ledger.New(e.rdb, simulator.DefaultMchID)
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(16)
	for _, no := range nos {
		g.Go(func() error {
			if _, err := led.Open(ctx, ledger.Opening{Owner: order(no).Owner(), OutOrderNo: no}); err != nil {
				return err
			}
			for n := range int64(3) {
				if err := attempt(ctx, led, no, n); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return g.Wait()
}

// attempt is the n-th step on an order: its collect is declined.
func attempt(ctx context.Context, led *ledger.Ledger, no string, n int64) error {
	lim := ledger.Limits{Lease: 20 * time.Second, Rate: 1e6, Horizon: time.Minute, Most: time.Second}
	c, err := led.Claim(ctx, no, ledger.NewToken(), ledger.NoRound, lim)
	if err != nil || c.Code != ledger.Granted {
		return fmt.Errorf("claim %s: %s %w", no, c.Code, err)
	}
	due := c.Now // at once, for the next attempt
	if n == 2 {
		due = c.Now.Add(time.Hour)
	}
	total := int64(1250)
	res, err := led.Settle(ctx, c, ledger.Settlement{
		State: tasks.Awaiting, Next: ledger.Recheck, Due: due, NewRound: true,
		AddAttempts: 1, Declines: n + 1,
		Facts: ledger.Facts{Total: &total, OrderID: "15646546545165651651"},
		Call:  "collect", Verdict: "declined", Code: "TRADE_ERROR", DetailCode: "271316574",
		Gate: ledger.GateOK, CalledAt: c.Now, First: time.Second, Failures: 10,
		Collected: c.Now,
		Log: []ledger.Entry{{
			Call: "collect", Verdict: "declined", HTTPStatus: 403, Code: "TRADE_ERROR", DetailCode: "271316574",
			Message: "扣款失败", RequestID: "08F4B8C1B10610B0031897A2E95820E2D90B28B39E02-271316574", ElapsedMS: 183, Failed: true,
		}},
	})
	if err != nil || res.Code != ledger.Settled {
		return fmt.Errorf("settle %s: %s %w", no, res.Code, err)
	}
	return nil
}
