package tasks

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
)

//go:embed open.lua
var openSource string

//go:embed withdraw.lua
var withdrawSource string

// EventScript is the piece of Lua that writes an event to the stream of
// outcomes; the scripts of the worker's side have it before them as well.
//
//go:embed event.lua
var EventScript string

var (
	openScript     = redis.NewScript(EventScript + openSource)
	withdrawScript = redis.NewScript(EventScript + withdrawSource)
)

// Order is one order to collect.
type Order struct {
	Payload
	// At is when to start; the zero value and the past mean at once. It is
	// measured by Redis's clock, to the millisecond.
	At time.Time
	// Reopen opens an order again that has ended, in any state but Paid, with
	// the appid and service_id given here.
	Reopen bool
	// Amount is what the order is about by billing's word, in fen, and OwedSince
	// is since when it is owed, to the millisecond; the zero values say nothing.
	// They are shown and passed on, never counted as signed by WeChat Pay, and
	// change nothing of how the order is collected. Those of a Reopen replace
	// what was said before; those of a Duplicate do not.
	Amount    int64
	OwedSince time.Time
}

// MaxAmount is the largest amount that is taken, in fen: a hundred thousand
// million yuan.
const MaxAmount = 10_000_000_000_000

// owedLongest is how long ago a debt may have begun; it is for years that were
// mistyped.
const owedLongest = 30 * 365 * 24 * time.Hour

// Validate reports everything that is wrong with o, as Payload's Validate does.
func (o Order) Validate() error {
	errs := []error{o.Payload.Validate()}
	if o.Amount < 0 || o.Amount > MaxAmount {
		errs = append(errs, &FieldError{"amount", fmt.Sprintf("is %d; only 0 to %d fen are allowed", o.Amount, int64(MaxAmount))})
	}
	if !o.OwedSince.IsZero() {
		switch ago := time.Since(o.OwedSince); {
		case ago < -24*time.Hour: // today's date, in whatever time zone, is no future
			errs = append(errs, &FieldError{"owed_since", "lies in the future; it is since when the order is owed"})
		case ago > owedLongest:
			errs = append(errs, &FieldError{"owed_since", "lies more than thirty years back; it is since when the order is owed"})
		}
	}
	return errors.Join(errs...)
}

// Status is what became of handing over one order. The words are part of the
// interface.
type Status string

// The answers to a hand-over.
const (
	// Accepted: the order is in the ledger and reaches an end.
	Accepted Status = "accepted"
	// Duplicate: the order is open already; nothing changed.
	Duplicate Status = "duplicate"
	// Conflict: the order is open already under another appid or service_id;
	// nothing changed.
	Conflict Status = "conflict"
	// Ended: the order has ended, see Result.State; nothing changed.
	Ended Status = "ended"
	// Invalid: the order cannot be right, see Result.Err; nothing was written.
	Invalid Status = "invalid"
	// Failed: Redis could not be asked, see Result.Err. The order may or may
	// not be in the ledger: hand it over again.
	Failed Status = "failed"
)

// Result is the answer for one order.
type Result struct {
	Status Status
	State  State     // where the order stands; empty for Invalid and Failed
	Due    time.Time // when it is worked on next, at the earliest; zero if ended
	Err    error     // why, for Invalid and Failed

	round   int64
	dueNow  bool
	payload Payload
}

// handoverGrace is how long the sweep leaves a new order to the task that its
// producer is about to enqueue. A producer that dies in between costs the
// order this long and one sweep.
const handoverGrace = 10 * time.Second

// Limits of a task in asynq. The ledger counts attempts, so the task's own
// retries only have to be out of its way: a crash uses one up, and a task
// whose retries have run out would be archived unseen. The timeout covers a
// worker's wait at a closed gate, and is in whole seconds, as asynq turns
// fractions into 30 minutes.
const (
	taskMaxRetry = 10_000
	taskTimeout  = 10 * time.Minute
)

// Producer hands orders over: to the ledger first, and then to the queue.
// A Producer is safe for concurrent use.
type Producer struct {
	rdb   redis.UniversalClient
	queue *asynq.Client
	known sync.Map // mchids that this producer has entered in MerchantsKey
}

// NewProducer returns a Producer on rdb. It does not own rdb: closing it is
// the caller's, after the last call.
func NewProducer(rdb redis.UniversalClient) *Producer {
	return &Producer{rdb: rdb, queue: asynq.NewClientFromRedisClient(rdb)}
}

// Enqueue hands one order over. The error is not nil exactly where the status
// is Failed; whatever is wrong with the order itself is in the Result. It may
// be called again for the same order at any time.
func (p *Producer) Enqueue(ctx context.Context, o Order) (Result, error) {
	if err := o.Validate(); err != nil {
		return Result{Status: Invalid, Err: err}, nil
	}
	res := p.open(ctx, o)
	if res.Status == Accepted && res.dueNow {
		// The order is safe from here on. A task that could not be enqueued,
		// or whose ID is taken (our own enqueue, whose answer was lost), is no
		// news: the sweep puts back what is due and not queued.
		_ = p.Push(ctx, o.Payload, res.round)
	}
	if res.Status == Failed {
		return res, res.Err
	}
	return res, nil
}

// Push puts the task of one round of an order into the queue. Producers have
// no need of it: it is the worker's, for orders that stand in the ledger. The
// error is asynq.ErrTaskIDConflict where asynq has that task already, in
// whatever state.
func (p *Producer) Push(ctx context.Context, pl Payload, round int64) error {
	return p.push(ctx, TypeCollect, pl, round)
}

// PushSync is Push for an order that was withdrawn, and whose payment elsewhere
// WeChat Pay is to be told of.
func (p *Producer) PushSync(ctx context.Context, pl Payload, round int64) error {
	return p.push(ctx, TypeSync, pl, round)
}

func (p *Producer) push(ctx context.Context, taskType string, pl Payload, round int64) error {
	body, err := pl.Encode()
	if err != nil {
		return err
	}
	at := map[string]string{HeaderMadeAt: strconv.FormatInt(time.Now().UnixMilli(), 10)}
	_, err = p.queue.EnqueueContext(ctx, asynq.NewTaskWithHeaders(taskType, body, at),
		asynq.Queue(QueueName(pl.MchID)),
		asynq.TaskID(TaskID(pl.MchID, pl.OutOrderNo, round)),
		asynq.MaxRetry(taskMaxRetry),
		asynq.Timeout(taskTimeout),
	)
	return err
}

// Introduce enters a merchant in the directory of ledgers. Producers have no
// need of it: Enqueue does it.
func (p *Producer) Introduce(ctx context.Context, mchid string) error {
	if err := p.rdb.SAdd(ctx, MerchantsKey, mchid).Err(); err != nil {
		return err
	}
	p.known.Store(mchid, true)
	return nil
}

func (p *Producer) introduceOnce(ctx context.Context, mchid string) error {
	if _, ok := p.known.Load(mchid); ok {
		return nil
	}
	return p.Introduce(ctx, mchid)
}

func (p *Producer) open(ctx context.Context, o Order) Result {
	if err := p.introduceOnce(ctx, o.MchID); err != nil {
		return failed(err)
	}
	keys, args := openCall([]Order{o}, handoverGrace)
	var res Result
	openResults([]Order{o}, openScript.Run(ctx, p.rdb, keys, args...), func(_ int, r Result) { res = r })
	return res
}

// reopened are the states whose orders can be opened again; open.lua has the same.
var reopened = []State{Closed, Rejected, Withdrawn, Exhausted}

// openCall is the call of open.lua for orders of one merchant, of which all or
// none are to be reopened. The sweep leaves them alone for grace.
func openCall(orders []Order, grace time.Duration) (keys []string, args []any) {
	k := KeysOf(orders[0].MchID)
	reopen := ""
	if orders[0].Reopen {
		reopen = "1"
	}
	keys = append(make([]string, 0, 3+len(reopened)+len(orders)), k.Due(), k.Outcomes(), k.Stats())
	if reopen != "" {
		for _, state := range reopened {
			keys = append(keys, k.Ended(state))
		}
	}
	args = append(make([]any, 0, 2+6*len(orders)), grace.Milliseconds(), reopen)
	for _, o := range orders {
		var at int64
		if !o.At.IsZero() {
			at = max(0, o.At.UnixMilli())
		}
		keys = append(keys, k.Order(o.OutOrderNo))
		var amount, owed any = "", ""
		if o.Amount > 0 {
			amount = o.Amount
		}
		if !o.OwedSince.IsZero() {
			owed = o.OwedSince.UnixMilli()
		}
		args = append(args, o.OutOrderNo, o.AppID, o.ServiceID, at, amount, owed)
	}
	return keys, args
}

// openResults gives each order of a call its answer.
func openResults(orders []Order, cmd *redis.Cmd, set func(i int, res Result)) {
	var now int64
	reply, err := cmd.Slice()
	if err == nil && len(reply) != 1+len(orders) {
		err = fmt.Errorf("a ledger script returned %d values for %d orders", len(reply), len(orders))
	}
	if err == nil {
		err = scan(reply[:1], &now)
	}
	for i, o := range orders {
		if err != nil {
			set(i, failed(err))
			continue
		}
		set(i, openResult(o, reply[1+i], now))
	}
}

// openResult reads what open.lua says of one order: the due time of one that is
// new, and of another how it stands.
func openResult(o Order, said any, now int64) Result {
	code, state, round := string(Accepted), string(Queued), int64(1)
	due, isNew := said.(int64)
	if !isNew {
		values, _ := said.([]any)
		if err := scan(values, &code, &state, &round, &due); err != nil {
			return failed(err)
		}
	}
	res := Result{Status: Status(code), State: State(state), round: round, dueNow: due <= now, payload: o.Payload}
	if due > 0 {
		res.Due = time.UnixMilli(due)
	}
	return res
}

func failed(err error) Result {
	return Result{Status: Failed, Err: fmt.Errorf("the order was not handed over: %w", err)}
}

// scan reads a script's reply into string and int64 destinations.
func scan(reply []any, dst ...any) error {
	if len(reply) != len(dst) {
		return fmt.Errorf("a ledger script returned %d values instead of %d", len(reply), len(dst))
	}
	for i, d := range dst {
		var ok bool
		switch d := d.(type) {
		case *string:
			*d, ok = reply[i].(string)
		case *int64:
			*d, ok = reply[i].(int64)
		}
		if !ok {
			return fmt.Errorf("a ledger script returned a %T as value %d", reply[i], i+1)
		}
	}
	return nil
}

// IsConflict reports whether err says that asynq has a task of that ID.
func IsConflict(err error) bool { return errors.Is(err, asynq.ErrTaskIDConflict) }

// Open writes an order into the ledger and leaves the queue alone. Producers
// have no need of it: it is the worker's, for tasks that came without a
// record.
func (p *Producer) Open(ctx context.Context, o Order) error { return p.open(ctx, o).Err }
