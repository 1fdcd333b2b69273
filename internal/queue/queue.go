// Package queue has the names that producers and workers of asynq's tasks agree on,
// and enqueues tasks. None of the names can be renamed: tasks that one release
// enqueued are worked on by the next one.
package queue

import (
	"context"
	"encoding/json"
	"errors"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"payscore-collector/internal/tracing"
)

// The asynq types of tasks.
const (
	// TypeCollect collects an order. See tasks.TypeCollect.
	TypeCollect = "payscore:collect"
	// TypeSync notifies WeChat Pay that the user of a withdrawn order paid elsewhere.
	// It has the queue, the payload and the IDs of TypeCollect.
	TypeSync = "payscore:sync"
	// TypeWebhook delivers an order's final states to billing. It goes to
	// WebhookName(mchid), and only workers enqueue it.
	TypeWebhook = "payscore:webhook"
	// TypeBulk does a slice of a merchant's part of a bulk action. It goes to BulkQueue.
	TypeBulk = "payscore:bulk"
)

// BulkQueue is the asynq queue of bulk actions, of all merchants: they need the ledger
// only, so any worker can do any merchant's. In a merchant's own queue they would wait
// behind tasks that wait for a hold to end.
const BulkQueue = "payscore-bulk"

// HeaderMadeAt is the header of a task that says when it was enqueued, in Unix
// milliseconds of the enqueuer's clock. A task that is older than its order's record
// (its queue was paused for months) must not open the order anew.
const HeaderMadeAt = "made_at"

// Name returns the asynq queue of a merchant. Each merchant has a queue (and in the
// worker a server) of its own, so that a fault of one merchant's set-up delays no
// other merchant.
func Name(mchid string) string { return "collect:" + mchid }

// PendingKey returns asynq's list of a merchant's tasks that wait for a worker. The
// name is asynq's; a test of the worker compares it with asynq itself.
func PendingKey(mchid string) string { return "asynq:{" + Name(mchid) + "}:pending" }

// TaskID returns the asynq task ID of one round of an order. It has the mchid,
// because asynq renews leases by task ID alone: of two tasks with the same ID in two
// queues of one process, one would lose its lease. It has the round, so that a round
// is never queued twice and a stuck task never blocks the next round.
func TaskID(mchid, outOrderNo string, round int64) string {
	return mchid + ":" + outOrderNo + ":" + strconv.FormatInt(round, 10)
}

// RoundOf returns the round in a task ID that TaskID made for this order, and false
// for the ID of another client's task.
func RoundOf(taskID, mchid, outOrderNo string) (round int64, ok bool) {
	rest, ok := strings.CutPrefix(taskID, mchid+":"+outOrderNo+":")
	if !ok {
		return 0, false
	}
	round, err := strconv.ParseInt(rest, 10, 64)
	return round, err == nil
}

// WebhookName returns the asynq queue of a merchant's webhooks to billing. It is not
// the merchant's collect queue, so that a receiver in trouble delays no collecting.
func WebhookName(mchid string) string { return "webhook:" + mchid }

// WebhookTaskID returns the asynq task ID of one delivery of an order's webhooks. Its
// prefix keeps it apart from the collect task of the same order and round, because
// asynq renews leases by task ID alone. No two deliveries have the same round, so a
// stuck task blocks nothing.
func WebhookTaskID(mchid, outOrderNo string, round int64) string {
	return "webhook:" + TaskID(mchid, outOrderNo, round)
}

// Options returns the options of a task. The ledger has the attempts and the due times,
// so asynq's own limits are set high enough never to apply: a crash uses up a retry, and
// a task without any left would be archived unseen. The timeout covers a worker's wait
// while calls are held, and is in whole seconds, because asynq turns fractions into 30
// minutes.
func Options(queue, id string) []asynq.Option {
	return []asynq.Option{
		asynq.Queue(queue), asynq.TaskID(id), asynq.MaxRetry(10_000), asynq.Timeout(10 * time.Minute),
	}
}

// BulkPayload is the payload of a TypeBulk task.
type BulkPayload struct {
	MchID string `json:"mchid"`
	ID    string `json:"id"`
}

// PushBulk puts the task of a bulk action into its queue. Each round has an ID of its own,
// so that a stuck task blocks nothing.
func (c *Client) PushBulk(ctx context.Context, p BulkPayload, round int64) error {
	body, err := json.Marshal(p)
	if err != nil {
		return err
	}
	_, err = c.asynq.EnqueueContext(ctx, asynq.NewTask(TypeBulk, body), Options(BulkQueue, "bulk:"+TaskID(p.MchID, p.ID, round))...)
	return err
}

// Client enqueues tasks. It is safe for concurrent use.
type Client struct {
	asynq *asynq.Client
	rdb   redis.UniversalClient
	woken sync.Map // by mchid, when the Client woke it last
}

// New returns a Client on rdb, which it does not own.
func New(rdb redis.UniversalClient) *Client {
	return &Client{asynq: asynq.NewClientFromRedisClient(rdb), rdb: rdb}
}

// Task is one round of an order: a step for a worker to do.
type Task struct {
	Type       string // TypeCollect or TypeSync
	MchID      string
	OutOrderNo string
	Round      int64
	Payload    any // a tasks.Payload
}

// Push puts a task into its merchant's queue. IsConflict reports whether the error
// says that asynq has that round's task already, in whatever state.
func (c *Client) Push(ctx context.Context, t Task) error {
	body, err := json.Marshal(t.Payload)
	if err != nil {
		return err
	}
	at := map[string]string{HeaderMadeAt: strconv.FormatInt(time.Now().UnixMilli(), 10)}
	if span := tracing.Traceparent(ctx); span != "" {
		at[tracing.Header] = span
	}
	_, err = c.asynq.EnqueueContext(ctx, asynq.NewTaskWithHeaders(t.Type, body, at), Options(Name(t.MchID), TaskID(t.MchID, t.OutOrderNo, t.Round))...)
	return err
}

// IsConflict reports whether err says that asynq has a task of that ID already.
func IsConflict(err error) bool { return errors.Is(err, asynq.ErrTaskIDConflict) }
