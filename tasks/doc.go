// Package tasks is the contract between a billing system and the collector: what an
// order is, how it is enqueued and withdrawn, and where it stands.
//
// A Go billing system imports this package and no other one of the project. Systems
// that only know asynq may enqueue a task of type TypeCollect with a Payload on
// QueueName(mchid). The worker opens the order's record in the ledger when it meets
// the task; until then the order is only as safe as the queue.
package tasks

import "payscore-collector/internal/queue"

// TypeCollect is the asynq type of a collection task.
const TypeCollect = queue.TypeCollect

// QueueName returns the asynq queue of a merchant.
func QueueName(mchid string) string { return queue.Name(mchid) }
