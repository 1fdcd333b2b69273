package main

import (
	"context"
	"fmt"
	"io"
	"iter"
	"time"

	"payscore-collector/internal/simulator"
	"payscore-collector/tasks"
)

// orderPlan is an order as the platform gets it, its fate included.
type orderPlan = simulator.Order

// The durations of fates. They keep clear of GIVE_UP_AFTER: an order may be
// given up, rightly, while a deduction is still running or a moment before the
// user pays by himself, and then the two sides would differ without a fault.
const (
	spell     = 1500 * time.Millisecond // of USERPAYING
	paysSoon  = 3 * time.Second         // the user, by himself
	paysLater = 7 * time.Second
)

// fates is one round of fates; orders go through it again and again. The first
// dozen has every kind once, for demos of few orders.
func fates(total int64) []simulator.Fate {
	return []simulator.Fate{
		simulator.FatePays, simulator.FateDeclines(1), simulator.FateUserPaying(spell), simulator.FateUserPays(paysSoon),
		simulator.FateNever, simulator.FateNotCompleted, simulator.FateRevoked, simulator.FateExpired,
		simulator.FateUnknown, simulator.FateNothingOwed, simulator.FatePartial(total / 3), simulator.FateCreated,

		simulator.FatePays, simulator.FateDeclines(2), simulator.FatePays, simulator.FateUserPaying(spell),
		simulator.FatePays, simulator.FateDeclines(1), simulator.FatePays, simulator.FateUserPays(paysLater),
		simulator.FatePays, simulator.FateNever, simulator.FatePays, simulator.FateDeclines(3),
		simulator.FateParts(2), simulator.FatePartial(total / 2), simulator.FateMixed("PMP"), simulator.FateRevoked,
		simulator.FateLower(total / 2), simulator.FateMixed("PM"),
	}
}

// numbers are the forms of out_order_no that the orders go through. "|" and
// "*" are legal in a number, and have to be escaped in places.
var numbers = []string{"BIKE-%04d", "RAIN|%04d", "BANK*%04d", "LOCKER_%04d"}

// makeOrders makes n orders, the same ones every time.
func makeOrders(n int) []orderPlan {
	orders := make([]orderPlan, n)
	for i := range orders {
		total := 100 + int64(i)*7919%4900 // fen; 7919 is prime, so that amounts differ
		round := fates(total)
		o := orderPlan{
			OutOrderNo:  fmt.Sprintf(numbers[i%len(numbers)], i+1),
			TotalAmount: total,
			Fate:        round[i%len(round)],
		}
		if o.Fate == simulator.FateNothingOwed {
			o.TotalAmount = 0
		}
		orders[i] = o
	}
	return orders
}

// twiceEvery: every so many orders, one is handed over twice.
const twiceEvery = 10

// handover is the orders as billing hands them over.
func handover(orders []orderPlan, m simulator.Merchant) iter.Seq[tasks.Order] {
	return func(yield func(tasks.Order) bool) {
		for i, o := range orders {
			t := tasks.Order{Payload: tasks.Payload{
				MchID: m.MchID, OutOrderNo: o.OutOrderNo, AppID: m.AppID, ServiceID: m.ServiceID,
			}}
			if !yield(t) || i%twiceEvery == 0 && !yield(t) {
				return
			}
		}
	}
}

// enqueue hands all orders over, some of them twice, as a billing system does
// that is not sure whether its first try came through.
func (s *stage) enqueue(ctx context.Context, orders []orderPlan, out io.Writer) error {
	count := map[tasks.Status]int{}
	for o, res := range s.producer.EnqueueAll(ctx, handover(orders, s.sim.Merchant())) {
		if res.Err != nil {
			return fmt.Errorf("enqueue %s: %w", o.OutOrderNo, res.Err)
		}
		count[res.Status]++
	}
	if count[tasks.Accepted] != len(orders) {
		return fmt.Errorf("%d of %d orders were accepted (%v)", count[tasks.Accepted], len(orders), count)
	}
	// The second of a pair may come when the first has ended already.
	fmt.Fprintf(out, "%d orders accepted; %d of them were handed over twice, which changed nothing\n\n",
		count[tasks.Accepted], count[tasks.Duplicate]+count[tasks.Ended])
	return nil
}
