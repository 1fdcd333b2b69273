// Package tasks is the contract between whoever is owed money and the
// collector: what an order is, where it is written, and how it is handed over.
//
// A Go billing system imports this package and nothing else of the project:
//
//	p := tasks.NewProducer(rdb)
//	res, err := p.Enqueue(ctx, tasks.Order{Payload: tasks.Payload{
//		MchID: "1900000001", OutOrderNo: "BIKE-42",
//		AppID: "wx…", ServiceID: "…",
//	}})
//
// Once Enqueue returned tasks.Accepted, the order stands in the ledger and
// reaches an end whatever happens to the queue. Systems that only know asynq
// may enqueue a task of type TypeCollect with a Payload on QueueName(mchid);
// the worker then opens the ledger record when it meets the task, but until
// that moment the order is only as safe as the queue.
package tasks
