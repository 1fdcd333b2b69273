// Package control does what an operator does to a merchant and its orders: it pauses and
// resumes collecting, and brings orders forward. The commands and the API share it; the
// ledger records who did it.
package control

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"

	"payscore-collector/internal/asynqx"
	"payscore-collector/internal/collect"
	"payscore-collector/internal/ledger"
	"payscore-collector/internal/queue"
	"payscore-collector/internal/status"
	"payscore-collector/internal/textsafe"
	"payscore-collector/tasks"
)

// LongestPause is the longest time after which a pause ends by itself.
const LongestPause = 366 * 24 * time.Hour

// checked returns the deed as it is recorded, or what is wrong with its reason.
func checked(d ledger.Deed) (ledger.Deed, error) {
	d.By = textsafe.Clip(d.By, tasks.MaxBy)
	return d, tasks.ValidateReason(d.Reason)
}

// Pause stops the collect calls of a merchant; see ledger.Pause. The pause ends by itself
// after length; 0 means that only Resume ends it. An error of the arguments is a
// tasks.FieldError. Repeated after a lost answer, it pauses the merchant anew, which does
// no harm; with the same Token it changes nothing.
func Pause(ctx context.Context, rdb redis.UniversalClient, mchid string, d ledger.Deed, length time.Duration) (ledger.Pause, error) {
	d, err := checked(d)
	if err == nil {
		err = tasks.ValidateMchID(mchid)
	}
	if err == nil && (length < 0 || length > LongestPause) {
		err = &tasks.FieldError{Field: "for", Problem: fmt.Sprintf("is %s; write a time up to %s, or leave it out", length, LongestPause)}
	}
	if err != nil {
		return ledger.Pause{}, err
	}
	p, err := ledger.New(rdb, mchid).Pause(ctx, d, length)
	if err == nil {
		_ = queue.Wake(ctx, rdb, mchid) // so that its workers show the pause
	}
	return p, err
}

// Resume ends a merchant's pause, and that of its asynq queues if someone has paused them
// by asynq's own tools. It reports whether anything was paused. An error of the arguments
// is a tasks.FieldError. Repeated after a lost answer, it finds nothing paused.
func Resume(ctx context.Context, rdb redis.UniversalClient, mchid string, d ledger.Deed) (was bool, err error) {
	if d, err = checked(d); err != nil {
		return false, err
	}
	if err := tasks.ValidateMchID(mchid); err != nil {
		return false, err
	}
	l := ledger.New(rdb, mchid)
	for _, name := range []string{tasks.QueueName(mchid), queue.WebhookName(mchid)} {
		// The record comes first: a resumed queue without one would be a change that
		// nobody made.
		paused, err := rdb.Exists(ctx, asynqx.KeysOf(name).Paused).Result()
		if err == nil && paused == 1 {
			if err = l.Record(ctx, d, ledger.ActResume, "", "asynq's queue "+name); err == nil {
				err = rdb.Del(ctx, asynqx.KeysOf(name).Paused).Err()
			}
			was = true
		}
		if err != nil {
			return was, fmt.Errorf("resume asynq's queue %s: %w", name, err)
		}
	}
	resumed, err := l.Resume(ctx, d)
	if err == nil {
		_ = queue.Wake(ctx, rdb, mchid) // a lost one costs its workers a sweep
	}
	return was || resumed, err
}

// Hastener brings orders of a merchant forward.
type Hastener struct {
	ledger   *ledger.Ledger
	queue    *queue.Client
	earliest ledger.Earliest
	// Of orders with schedules of their own:
	schedules *collect.Schedules
	now       time.Time
}

// NewHastener returns a Hastener that keeps to the settings which the merchant's workers
// have published: MIN_GAP and the collection window. Where none has, the claim alone
// applies them.
func NewHastener(ctx context.Context, rdb redis.UniversalClient, mchid string) (*Hastener, error) {
	h := &Hastener{ledger: ledger.New(rdb, mchid), queue: queue.New(rdb)}
	workers, now, err := h.ledger.Workers(ctx)
	if err != nil {
		return nil, err
	}
	if len(workers) > 0 { // the newest report first
		h.earliest.MinGap, _ = time.ParseDuration(workers[0].Settings.MinGap)
		if w, ok := status.Window(workers[0].Settings); ok {
			h.earliest.Windows = w.Ahead(now)
		}
		h.schedules, h.now = status.Schedules(workers[0].Settings, mchid), now
	}
	return h, nil
}

// earliestOf returns what the order must keep to.
func (h *Hastener) earliestOf(ctx context.Context, no string) (ledger.Earliest, error) {
	if h.schedules == nil || len(h.schedules.Named) == 0 {
		return h.earliest, nil
	}
	o, err := h.ledger.Get(ctx, no)
	if errors.Is(err, ledger.ErrNotFound) {
		return h.earliest, nil // which the ledger answers
	}
	name, _ := h.schedules.Name(collect.TermsOf(o))
	p, ok := h.schedules.Named[name]
	if err != nil || !ok {
		return h.earliest, err
	}
	return ledger.Earliest{MinGap: p.MinGap, Windows: p.Window.Ahead(h.now)}, nil
}

// CollectNow brings the next collect of an order forward as far as MIN_GAP, the window,
// the rate and holds allow, and uses up no step of the schedule. The answers are Accepted
// (Due says when), Duplicate (it is due as soon as may be, or a worker has it now; nothing
// changed), Ended, Absent and Invalid. Repeated after a lost answer, it finds the order
// due.
func (h *Hastener) CollectNow(ctx context.Context, no string, d ledger.Deed) (tasks.Result, error) {
	d, err := checked(d)
	if err == nil {
		err = tasks.ValidateOutOrderNo(no)
	}
	if err != nil {
		return tasks.Result{Status: tasks.Invalid, Err: err}, nil
	}
	answer, err := h.hasten(ctx, no, d, tasks.EnqueueGrace)
	if err != nil {
		err = fmt.Errorf("the order was not brought forward: %w", err)
		return tasks.Result{Status: tasks.Failed, Err: err}, err
	}
	if answer.Code == ledger.Accepted && answer.State.Open() {
		// The sweep enqueues what this push does not.
		o := answer.Owner
		_ = h.queue.Push(ctx, queue.Task{Type: queue.TypeCollect, MchID: o.MchID, OutOrderNo: no, Round: answer.Round,
			Payload: tasks.Payload{MchID: o.MchID, OutOrderNo: no, AppID: o.AppID, ServiceID: o.ServiceID}})
		_ = h.queue.Wake(ctx, o.MchID)
	}
	return tasks.Result{Status: tasks.Status(answer.Code), State: answer.State, Due: answer.Due}, nil
}

// hasten makes an order due, and leaves it to the caller's task for grace.
func (h *Hastener) hasten(ctx context.Context, no string, d ledger.Deed, grace time.Duration) (ledger.Hastened, error) {
	earliest, err := h.earliestOf(ctx, no)
	if err != nil {
		return ledger.Hastened{}, err
	}
	return h.ledger.CollectNow(ctx, no, d, earliest, grace)
}
