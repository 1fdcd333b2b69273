package tasks_test

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"payscore-collector/tasks"
)

// connect returns a client of an embedded Redis, in place of the worker's.
func connect() (*redis.Client, func()) {
	srv, err := miniredis.Run()
	if err != nil {
		panic(err)
	}
	rdb := redis.NewClient(&redis.Options{Addr: srv.Addr()})
	return rdb, func() {
		_ = rdb.Close()
		srv.Close()
	}
}

func bike(no string) tasks.Payload {
	return tasks.Payload{MchID: "1900000001", OutOrderNo: no, AppID: "wx0000000000000001", ServiceID: "500001"}
}

// A billing system enqueues an order. Once the answer is accepted, the order stands in
// the ledger and will reach a final state, whatever happens to the queue.
func ExampleProducer_Enqueue() {
	rdb, stop := connect()
	defer stop()
	p := tasks.NewProducer(rdb)
	ctx := context.Background()

	for _, o := range []tasks.Order{
		{Payload: bike("BIKE-42"), Amount: 1250},
		{Payload: bike("BIKE-42")}, // again, for example after an answer was lost
		{Payload: bike("BIKE 42")},
	} {
		res, err := p.Enqueue(ctx, o)
		if err != nil {
			fmt.Println("Redis failed, enqueue it again:", err)
			return
		}
		fmt.Println(o.OutOrderNo, res.Status, res.State, res.Err)
	}

	// Output:
	// BIKE-42 accepted queued <nil>
	// BIKE-42 duplicate queued <nil>
	// BIKE 42 invalid  out_order_no has ' ' at position 5; only digits, letters and _ | * - are allowed
}

// A stream of orders of any length needs the memory of five hundred.
func ExampleProducer_EnqueueAll() {
	rdb, stop := connect()
	defer stop()

	orders := []tasks.Order{{Payload: bike("BIKE-1")}, {Payload: bike("BIKE-2"), At: time.Now().Add(time.Hour)}}
	for o, res := range tasks.NewProducer(rdb).EnqueueAll(context.Background(), slices.Values(orders)) {
		fmt.Println(o.OutOrderNo, res.Status)
	}

	// Output:
	// BIKE-1 accepted
	// BIKE-2 accepted
}

// A user has paid at the counter: the collection stops at once, and a worker notifies
// WeChat Pay. Reopen undoes it.
func ExampleProducer_Withdraw() {
	rdb, stop := connect()
	defer stop()
	p := tasks.NewProducer(rdb)
	ctx := context.Background()
	if _, err := p.Enqueue(ctx, tasks.Order{Payload: bike("BIKE-42")}); err != nil {
		fmt.Println(err)
		return
	}

	res, _ := p.Withdraw(ctx, tasks.Withdrawal{
		MchID: "1900000001", OutOrderNo: "BIKE-42", Reason: "paid at the counter", PaidAt: time.Now().Add(-time.Minute),
	})
	fmt.Println(res.Status, res.State, res.State.Open())
	res, _ = p.Enqueue(ctx, tasks.Order{Payload: bike("BIKE-42")})
	fmt.Println(res.Status, res.State)
	res, _ = p.Enqueue(ctx, tasks.Order{Payload: bike("BIKE-42"), Reopen: true})
	fmt.Println(res.Status, res.State)

	// Output:
	// accepted withdrawn false
	// ended withdrawn
	// accepted queued
}
