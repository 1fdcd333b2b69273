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

// endedOrders finish for the part ended.
const endedOrders = 100_000

// ended finishes orders after the two calls that most of them take, and some after one more
// call, which was declined; then it keeps them compact, which a worker does 25 hours later.
func ended(ctx context.Context, e *env) error {
	if err := e.flush(ctx); err != nil {
		return err
	}
	led, keys := ledger.New(e.rdb, simulator.DefaultMchID), ledger.KeysOf(simulator.DefaultMchID)
	compact := func() error {
		for {
			n, err := led.Compact(ctx, ledger.CompactArgs{Patient: time.Hour})
			if err != nil || n == 0 {
				return err
			}
		}
	}
	// These pay for what exists only once: the scripts, the words, the merchant's keys.
	if err := e.pay(ctx, led, numbers("WARM", 10), 1); err != nil {
		return err
	}
	if err := compact(); err != nil {
		return err
	}
	used := func() (int64, error) {
		if err := e.rdb.XTrimMaxLen(ctx, keys.Outcomes(), 0).Err(); err != nil {
			return 0, err
		}
		return e.usedMemory(ctx)
	}
	before, err := used()
	if err != nil {
		return err
	}
	two, three := numbers("RIDE", endedOrders), numbers("LATE", 1000)
	// In parts: where orders end every day, few of them are whole.
	const part = endedOrders / 10
	if err := e.pay(ctx, led, two[:part], 0); err != nil {
		return err
	}
	whole, err := used()
	if err != nil {
		return err
	}
	mean := func(key func(string) string, nos []string) float64 {
		var sum int64
		for _, no := range nos[:200] {
			sum += e.rdb.MemoryUsage(ctx, key(no), 0).Val()
		}
		return float64(sum) / 200
	}
	index := func() float64 {
		zset := keys.Ended(tasks.Paid)
		return float64(e.rdb.MemoryUsage(ctx, zset, 0).Val()) / float64(e.rdb.ZCard(ctx, zset).Val())
	}
	e.table.note(" B", mean(keys.Order, two)+mean(keys.Log, two)+index(), "Redis for one order that was paid by two calls, its place in the index, its log",
		"record %.0f, log %.0f, index %.0f (MEMORY USAGE); by used_memory %.0f, of %d", mean(keys.Order, two), mean(keys.Log, two), index(), float64(whole-before)/part, part)
	for from := part; ; from += part {
		if err := compact(); err != nil {
			return err
		}
		if from == endedOrders {
			break
		}
		if err := e.pay(ctx, led, two[from:from+part], 0); err != nil {
			return err
		}
	}
	after, err := used()
	if err != nil {
		return err
	}
	e.table.atMost(350, " B", mean(keys.Order, two)+index(), "the same, kept compact", "record %.0f, index %.0f (MEMORY USAGE)", mean(keys.Order, two), index())
	e.table.atMost(350, " B", float64(after-before)/endedOrders, "the same by used_memory, with Redis's own tables of keys", "of %d", endedOrders)
	if err := e.pay(ctx, led, three, 1); err != nil {
		return err
	}
	if err := compact(); err != nil {
		return err
	}
	e.table.note(" B", mean(keys.Order, three)+index(), "one that was declined before, kept compact with its last error", "record %.0f, index %.0f (MEMORY USAGE)", mean(keys.Order, three), index())
	return nil
}

// pay opens orders, which are declined so many times, and then collected and found paid.
func (e *env) pay(ctx context.Context, led *ledger.Ledger, nos []string, declined int64) error {
	total := int64(1250)
	facts := func(i int) ledger.Facts {
		tx := fmt.Sprintf("4200002345%018d", i)
		return ledger.Facts{
			OrderID: fmt.Sprintf("1000032026%024d", i), TransactionID: tx, PaidType: "NEWTON", Total: &total, Paid: &total, Done: true,
			Payments: []ledger.Payment{{Seq: 1, Amount: total, PaidType: "NEWTON", TransactionID: tx, PaidAt: time.Now().Truncate(time.Second)}},
		}
	}
	steps := func(no string, i int) []func(c ledger.Claim) ledger.Settlement {
		return []func(c ledger.Claim) ledger.Settlement{
			func(c ledger.Claim) ledger.Settlement {
				return ledger.Settlement{
					State: tasks.Awaiting, Next: ledger.Confirm, Due: c.Now, NewRound: true, AddAttempts: 1, Confirms: 1, Collected: c.Now, Call: "collect", Verdict: "accepted",
					Log: []ledger.Entry{{Call: "collect", Verdict: "accepted", HTTPStatus: 200, RequestID: "08F78BB0AF0610D302189F8FA6692084C3A21228C4DB05-0", ElapsedMS: 120}},
				}
			},
			func(ledger.Claim) ledger.Settlement {
				return ledger.Settlement{
					State: tasks.Paid, VerifiedPaid: true, Facts: facts(i), Call: "query", Verdict: "paid",
					Log: []ledger.Entry{{Call: "query", Verdict: "paid", HTTPStatus: 200, RequestID: "08F78BB0AF0610D302189F8FA6692084C3A21228C4DB05-0", ElapsedMS: 31}},
				}
			},
		}
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(16)
	for i, no := range nos {
		g.Go(func() error {
			o := order(no)
			o.ServiceID = "00004000000000172198264112345678" // as long as real ones
			if _, err := led.Open(ctx, ledger.Opening{Owner: o.Owner(), OutOrderNo: no}); err != nil {
				return err
			}
			for n := range declined {
				if err := attempt(ctx, led, no, n); err != nil {
					return err
				}
			}
			for _, step := range steps(no, i) {
				c, err := led.Claim(ctx, no, ledger.NewToken(), ledger.NoRound, freely)
				if err != nil || c.Code != ledger.Granted {
					return fmt.Errorf("claim %s: %s %w", no, c.Code, err)
				}
				set := step(c)
				set.Gate, set.CalledAt, set.First, set.Failures = ledger.GateOK, c.Now, time.Second, 10
				if res, err := led.Settle(ctx, c, set); err != nil || res.Code != ledger.Settled {
					return fmt.Errorf("settle %s: %s %w", no, res.Code, err)
				}
			}
			return nil
		})
	}
	return g.Wait()
}

// freely are limits that keep no claim back.
var freely = ledger.Limits{Lease: 20 * time.Second, Rate: 1e6, Horizon: time.Minute, Most: time.Second}

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
	c, err := led.Claim(ctx, no, ledger.NewToken(), ledger.NoRound, freely)
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
