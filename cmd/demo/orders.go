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

// The durations of fates. They stay well below GIVE_UP_AFTER: an order may rightly
// be given up while a deduction runs or just before the user pays, and then the two
// sides differ without a fault.
const (
	deducting = 1500 * time.Millisecond // how long USERPAYING lasts
	paysSoon  = 3 * time.Second         // when the user pays unasked
	paysLater = 7 * time.Second
)

// fates is one round of fates, which the orders repeat. The first dozen has every
// kind once, for demos with few orders.
func fates(total int64) []simulator.Fate {
	return []simulator.Fate{
		simulator.FatePays, simulator.FateDeclines(1), simulator.FateUserPaying(deducting), simulator.FateUserPays(paysSoon),
		simulator.FateNever, simulator.FateNotCompleted, simulator.FateRevoked, simulator.FateExpired,
		simulator.FateUnknown, simulator.FateNothingOwed, simulator.FatePartial(total / 3), simulator.FateCreated,

		simulator.FatePays, simulator.FateDeclines(2), simulator.FatePays, simulator.FateUserPaying(deducting),
		simulator.FatePays, simulator.FateDeclines(1), simulator.FatePays, simulator.FateUserPays(paysLater),
		simulator.FatePays, simulator.FateNever, simulator.FatePays, simulator.FateDeclines(3),
		simulator.FateParts(2), simulator.FatePartial(total / 2), simulator.FateMixed("PMP"), simulator.FateRevoked,
		simulator.FateLower(total / 2), simulator.FateMixed("PM"),
	}
}

// numbers are the forms of out_order_no. "|" and "*" are legal in a number and must
// be escaped in some places.
var numbers = []string{"BIKE-%04d", "RAIN|%04d", "BANK*%04d", "LOCKER_%04d"}

// makeOrders returns n orders, the same ones every time.
func makeOrders(n int) []simulator.Order {
	orders := make([]simulator.Order, n)
	for i := range orders {
		orders[i] = makeOrder(i)
	}
	return orders
}

// makeOrder returns the order of a place in the list.
func makeOrder(i int) simulator.Order {
	total := 100 + int64(i)*7919%4900 // fen; 7919 is prime, so that amounts differ
	round := fates(total)
	o := simulator.Order{
		OutOrderNo:  fmt.Sprintf(numbers[i%len(numbers)], i+1),
		TotalAmount: total,
		Fate:        round[i%len(round)],
	}
	if o.Fate == simulator.FateNothingOwed {
		o.TotalAmount = 0
	}
	return o
}

// twiceEvery is how many orders there are for each one that is enqueued twice.
const twiceEvery = 10

func payload(o simulator.Order, m simulator.Merchant) tasks.Payload {
	return tasks.Payload{MchID: m.MchID, OutOrderNo: o.OutOrderNo, AppID: m.AppID, ServiceID: m.ServiceID}
}

// billed yields the orders as billing enqueues them.
func billed(orders []simulator.Order, m simulator.Merchant) iter.Seq[tasks.Order] {
	return func(yield func(tasks.Order) bool) {
		for i, o := range orders {
			t := tasks.Order{Payload: payload(o, m)}
			if !yield(t) || i%twiceEvery == 0 && !yield(t) {
				return
			}
		}
	}
}

// enqueue enqueues all orders, some of them twice, as a billing system does that
// does not know whether its first attempt succeeded.
func (s *stage) enqueue(ctx context.Context, orders []simulator.Order, out io.Writer) error {
	count := map[tasks.Status]int{}
	for o, res := range s.producer.EnqueueAll(ctx, billed(orders, s.sim.Merchant())) {
		if res.Err != nil {
			return fmt.Errorf("enqueue %s: %w", o.OutOrderNo, res.Err)
		}
		count[res.Status]++
	}
	if count[tasks.Accepted] != len(orders) {
		return fmt.Errorf("%d of %d orders were accepted (%v)", count[tasks.Accepted], len(orders), count)
	}
	// When the second of a pair arrives, the first may have ended already.
	fmt.Fprintf(out, "%d orders accepted; %d of them were enqueued twice, which changed nothing\n\n",
		count[tasks.Accepted], count[tasks.Duplicate]+count[tasks.Ended])
	return nil
}
