package main

import (
	"context"
	"fmt"
	"time"

	"payscore-collector/internal/ledger"
	"payscore-collector/tasks"
)

// memoryOrders is enough for the cost of growing tables to be that of a large
// ledger.
const memoryOrders = 20_000

// memory opens orders, works on each three times as a declined one is worked on,
// and looks where the bytes are.
func memory(ctx context.Context, l *lab) error {
	if err := l.fresh(ctx); err != nil {
		return err
	}
	m := merchant{mchid: "1900000109", appid: "wxd678efh567hg6787", serviceID: "500001"}
	led := ledger.New(l.rdb, m.mchid)
	keys := tasks.KeysOf(m.mchid)
	// The fixed costs (scripts, the keys that there are one of) are before.
	if err := awaiting(ctx, l, led, m, numbers("WARM", 10)); err != nil {
		return err
	}
	before, err := l.used(ctx)
	if err != nil {
		return err
	}
	stream := l.rdb.MemoryUsage(ctx, keys.Outcomes()).Val()
	nos := numbers("BIKE", memoryOrders)
	if err := awaiting(ctx, l, led, m, nos); err != nil {
		return err
	}
	after, err := l.used(ctx)
	if err != nil {
		return err
	}
	mean := func(key func(string) string) float64 {
		var sum int64
		const sample = 200
		for _, no := range nos[:sample] {
			sum += l.rdb.MemoryUsage(ctx, key(no), 0).Val()
		}
		return float64(sum) / sample
	}
	events := float64(l.rdb.MemoryUsage(ctx, keys.Outcomes()).Val()-stream) / memoryOrders
	record, log := mean(keys.Order), mean(keys.Log)
	index := float64(l.rdb.MemoryUsage(ctx, keys.Due(), 0).Val()) / memoryOrders
	l.table.atMost(900, " B", record+log+index, "Redis for one awaiting order, its place in the index, a log of three attempts",
		"record %.0f, log %.0f, index %.0f (MEMORY USAGE)", record, log, index)
	l.table.note(" B", float64(after-before)/memoryOrders-events, "the same by used_memory, with Redis's own tables of keys",
		"its four events in the stream, until they are trimmed: %.0f B", events)
	return nil
}

func (l *lab) used(ctx context.Context) (int64, error) {
	info, err := l.rdb.InfoMap(ctx, "memory").Result()
	if err != nil {
		return 0, err
	}
	var n int64
	_, err = fmt.Sscan(info["Memory"]["used_memory"], &n)
	return n, err
}

// awaiting makes orders that were opened and have had three attempts, the last
// of them a collect that was declined.
func awaiting(ctx context.Context, l *lab, led *ledger.Ledger, m merchant, nos []string) error {
	producer := tasks.NewProducer(l.rdb)
	errs := make(chan error, 16)
	for h := range cap(errs) {
		go func() {
			for i := h; i < len(nos); i += cap(errs) {
				if err := attempts(ctx, producer, led, m, nos[i]); err != nil {
					errs <- err
					return
				}
			}
			errs <- nil
		}()
	}
	var failed error
	for range cap(errs) {
		if err := <-errs; err != nil {
			failed = err
		}
	}
	return failed
}

func attempts(ctx context.Context, producer *tasks.Producer, led *ledger.Ledger, m merchant, no string) error {
	if err := producer.Open(ctx, m.order(no)); err != nil {
		return err
	}
	lim := ledger.Limits{Lease: 20 * time.Second, Rate: 1e6, Horizon: time.Minute, Most: time.Second}
	total := int64(1250)
	for n := range int64(3) {
		c, err := led.Claim(ctx, no, ledger.NewToken(), ledger.NoRound, lim)
		if err != nil || c.Code != ledger.Granted {
			return fmt.Errorf("claim %s: %s %w", no, c.Code, err)
		}
		due := c.Now // at once, for the next round here
		if n == 2 {
			due = c.Now.Add(time.Hour)
		}
		s := ledger.Settlement{
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
		}
		res, err := led.Settle(ctx, c, s)
		if err != nil || res.Code != ledger.Settled {
			return fmt.Errorf("settle %s: %s %w", no, res.Code, err)
		}
	}
	return nil
}
