package ledger

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// HooksWaiting returns how many orders have events that billing has not accepted, and the
// age of the oldest of them, or 0.
func (l *Ledger) HooksWaiting(ctx context.Context) (orders int64, oldest time.Duration, err error) {
	var read func() (int64, time.Duration, error)
	Ask(ctx, l.rdb, func(q *Questions) { read = l.AskHooksWaiting(q) })
	return read()
}

// AskHooksWaiting asks what HooksWaiting returns.
func (l *Ledger) AskHooksWaiting(q *Questions) func() (orders int64, oldest time.Duration, err error) {
	size := q.ZCard(context.Background(), l.keys.HookWaiting())
	lag := q.script(lagScript, []string{l.keys.HookWaiting()}) // the index has times like the due index
	return func() (int64, time.Duration, error) {
		orders, err := size.Result()
		if err != nil {
			return 0, 0, err
		}
		ms, err := lag.Int64()
		return orders, time.Duration(ms) * time.Millisecond, err
	}
}

// OldestHook returns the time of the oldest event that billing has not accepted; zero
// without such an event.
func (l *Ledger) OldestHook(ctx context.Context) (time.Time, error) {
	list, err := l.rdb.ZRangeWithScores(ctx, l.keys.HookWaiting(), 0, 0).Result()
	if err != nil || len(list) == 0 {
		return time.Time{}, err
	}
	return time.UnixMilli(int64(list[0].Score)).UTC(), nil
}

// HookWait are the events of one order that billing has not accepted yet. Its JSON is
// part of the interface.
type HookWait struct {
	MchID      string    `json:"mchid"`
	OutOrderNo string    `json:"out_order_no"`
	Ends       int64     `json:"events"`    // 0: there are none
	Since      time.Time `json:"oldest_at"` // of the oldest of them
	// Failures is how often its delivery has failed, in a row; Last is the last failure.
	Failures int64        `json:"tries"`
	Next     time.Time    `json:"next_try_at,omitzero"` // when its delivery is tried next
	Last     *HookFailure `json:"last_failure,omitempty"`
}

// HookFailure is a delivery that billing did not accept.
type HookFailure struct {
	At     time.Time `json:"at"`
	Status int       `json:"http_status,omitempty"` // 0: there was no answer
	Why    string    `json:"reason"`
}

// HookWaitOf returns the events of an order that billing has not accepted yet, in one
// round trip.
func (l *Ledger) HookWaitOf(ctx context.Context, no string) (HookWait, error) {
	var read func() (HookWait, error)
	Ask(ctx, l.rdb, func(q *Questions) { read = l.AskHookWaitOf(q, no) })
	return read()
}

// AskHookWaitOf asks what HookWaitOf returns.
func (l *Ledger) AskHookWaitOf(q *Questions, no string) func() (HookWait, error) {
	read := l.askHookWaits(q, []string{no})
	return func() (HookWait, error) {
		list, err := read()
		if err != nil || len(list) == 0 {
			return HookWait{}, err
		}
		return list[0], nil
	}
}

// HookWaits returns orders with events that billing has not accepted yet, by the time of
// the oldest one: at most limit of them, those that follow the cursor. next is the cursor
// of the next page, and empty after the last one. Orders that wait throughout are on one
// page each, whatever is delivered in the meantime.
func (l *Ledger) HookWaits(ctx context.Context, cursor string, limit int) (list []HookWait, next string, err error) {
	from, after := "-inf", ""
	if cursor != "" {
		var ok bool
		from, after, ok = strings.Cut(cursor, "-")
		if n, err := strconv.ParseInt(from, 10, 64); !ok || err != nil || n < 0 || !orderNoForm.MatchString(after) && !ValidHook(after) {
			return nil, "", ErrCursor
		}
	}
	var nos []string
	for count := limit + 1; ; count *= 2 {
		page, err := l.rdb.ZRangeByScoreWithScores(ctx, l.keys.HookWaiting(), &redis.ZRangeBy{Min: from, Max: "+inf", Count: int64(count)}).Result()
		if err != nil {
			return nil, "", err
		}
		nos, next = nos[:0], ""
		more := false
		for _, z := range page {
			no, _ := z.Member.(string)
			at := strconv.FormatInt(int64(z.Score), 10)
			if at == from && no <= after {
				continue // of the page before
			}
			if more = len(nos) == limit; more {
				break
			}
			nos, next = append(nos, no), at+"-"+no
		}
		if more {
			break
		}
		if len(page) < count {
			next = ""
			break
		}
	}
	list, err = l.hookWaits(ctx, nos)
	return list, next, err
}

// ErrCursor reports a cursor that no page has returned.
var ErrCursor = errors.New("the cursor is not one that a page has returned")

// hookWaits returns those of the orders that have events, in one round trip.
func (l *Ledger) hookWaits(ctx context.Context, nos []string) ([]HookWait, error) {
	if len(nos) == 0 {
		return nil, nil
	}
	var read func() ([]HookWait, error)
	Ask(ctx, l.rdb, func(q *Questions) { read = l.askHookWaits(q, nos) })
	return read()
}

func (l *Ledger) askHookWaits(q *Questions, nos []string) func() ([]HookWait, error) {
	var fields []string
	for _, no := range nos {
		fields = append(fields, "try:"+no, "failure:"+no)
	}
	ctx := context.Background()
	known := q.HMGet(ctx, l.keys.Hooks(), fields...)
	since, due := q.ZMScore(ctx, l.keys.HookWaiting(), nos...), q.ZMScore(ctx, l.keys.HookDue(), nos...)
	ends := make([]*redis.IntCmd, len(nos))
	for i, no := range nos {
		ends[i] = q.LLen(ctx, l.keys.Hook(no))
	}
	return func() (list []HookWait, err error) {
		if err := cmp.Or(known.Err(), since.Err(), due.Err()); err != nil {
			return nil, err
		}
		for i, no := range nos {
			if err := ends[i].Err(); err != nil {
				return nil, err
			}
			if ends[i].Val() == 0 {
				continue // delivered in the meantime
			}
			w := HookWait{MchID: l.mchid, OutOrderNo: no, Ends: ends[i].Val(), Since: scored(since.Val()[i]), Next: scored(due.Val()[i])}
			if try, ok := known.Val()[2*i].(string); ok {
				failures, _, _ := strings.Cut(try, " ")
				w.Failures = atoi(failures)
			}
			if failure, ok := known.Val()[2*i+1].(string); ok && w.Failures > 0 {
				at, rest, _ := strings.Cut(failure, " ")
				status, why, _ := strings.Cut(rest, " ")
				w.Last = &HookFailure{At: millis(at).UTC(), Status: int(atoi(status)), Why: why}
			}
			list = append(list, w)
		}
		return list, nil
	}
}

// scored is a time from an index; zero where it has none.
func scored(ms float64) time.Time {
	if ms <= 0 {
		return time.Time{}
	}
	return time.UnixMilli(int64(ms)).UTC()
}

// HookRetry is what RetryHooks has made due. Its JSON is part of the interface.
type HookRetry struct {
	MchID      string   `json:"mchid"`
	Retried    int      `json:"retried"`               // orders
	NotWaiting []string `json:"not_waiting,omitempty"` // of those named: billing has accepted everything
}

// hookPageSize is how many orders one call of hookretry or hookdrop takes: few enough not
// to block Redis.
const hookPageSize = 500

// RetryHooks makes the webhooks of the named orders due at once; without names, those of
// all that wait for a later time. To repeat it does no harm: a delivery that is under way
// is not begun again. The deed is recorded in the trail before any delivery is due.
func (l *Ledger) RetryHooks(ctx context.Context, d Deed, nos []string) (HookRetry, error) {
	r := HookRetry{MchID: l.mchid}
	deed, detail := d.args(), retryDetail(nos)
	retry := func(page []string) (due []string, err error) {
		reply := run(ctx, l.rdb, hookRetryScript, []string{l.keys.HookDue(), l.keys.Audit()},
			map[string]any{"nos": page, "page": hookPageSize, "deed": deed, "detail": detail})
		for reply.more() {
			due = append(due, reply.str())
		}
		deed = []string{} // it is recorded once
		return due, reply.err
	}
	if len(nos) == 0 {
		// What fails again, and is due later again, does not make this endless.
		waiting, err := l.rdb.ZCard(ctx, l.keys.HookDue()).Result()
		for more := true; err == nil && more; waiting -= hookPageSize {
			var due []string
			due, err = retry([]string{})
			r.Retried += len(due)
			more = len(due) == hookPageSize && waiting > hookPageSize
		}
		return r, err
	}
	for page := range slices.Chunk(nos, hookPageSize) {
		due, err := retry(page)
		if err != nil {
			return r, err
		}
		r.Retried += len(due)
		for _, no := range page {
			if !slices.Contains(due, no) {
				r.NotWaiting = append(r.NotWaiting, no)
			}
		}
	}
	return r, nil
}

// retryDetail says in the trail which orders RetryHooks was called for.
func retryDetail(nos []string) string {
	const most = 6
	switch {
	case len(nos) == 0:
		return "every order that waits"
	case len(nos) > most:
		return fmt.Sprintf("%s and %d more", strings.Join(nos[:most], " "), len(nos)-most)
	}
	return strings.Join(nos, " ")
}

// HookReplay is what ReplayHooks sends again. Its JSON is part of the interface.
type HookReplay struct {
	MchID string    `json:"mchid"`
	Since time.Time `json:"since"`
	// First and Last are the times of the first and the last event that the webhooks take
	// from the stream again; zero where they had not taken any event since Since, so
	// that everything is delivered without a replay.
	First time.Time `json:"first_event_at,omitzero"`
	Last  time.Time `json:"last_event_at,omitzero"`
}

// ErrNoHooks reports that webhooks have never run for a merchant.
var ErrNoHooks = errors.New("webhooks have never run for this merchant: no worker with BILLING_WEBHOOK_URL has")

// ReplayHooks lets the webhooks deliver the final states since a time again, as far as the
// stream still has them: with the same ids, those of each order in their order, and no
// more at a time than may wait for billing anyway. Final states that are new follow. To
// repeat it while the first replay is under way begins that again.
//
// With begin, webhooks that have never run for the merchant begin at that time; otherwise
// that is an ErrNoHooks. The step that sets the webhooks back records the deed in the trail.
func (l *Ledger) ReplayHooks(ctx context.Context, d Deed, since time.Time, begin bool) (HookReplay, error) {
	r := run(ctx, l.rdb, hookReplayScript, []string{l.keys.Outcomes(), l.keys.Hooks(), l.keys.Audit()}, map[string]any{
		"since": max(1, since.UnixMilli()), "begin": begin, "deed": d.args(), "detail": "since " + since.UTC().Format(time.RFC3339),
	})
	code, first, last := r.str(), r.str(), r.str()
	switch {
	case r.err != nil:
		return HookReplay{}, r.err
	case code == "absent":
		return HookReplay{}, fmt.Errorf("merchant %s: %w", l.mchid, ErrNoHooks)
	}
	replay := HookReplay{MchID: l.mchid, Since: since.UTC().Truncate(time.Millisecond)}
	if code == "replayed" {
		replay.First, replay.Last = entryTime(first), entryTime(last)
		return replay, l.beginReplay(ctx)
	}
	return replay, nil
}

// beginReplay takes events from the stream until an order waits for their delivery: a
// worker whose merchant sleeps looks for such orders, and not at the cursor.
func (l *Ledger) beginReplay(ctx context.Context) error {
	for {
		relay, err := l.RelayHooks(ctx, HookRelayArgs{Scan: 500, Most: 1})
		if err != nil || !relay.More {
			return err
		}
		if waiting, _, err := l.HooksWaiting(ctx); err != nil || waiting > 0 {
			return err
		}
	}
}

// entryTime is the time of an entry of the stream, or of a position that is only a time.
func entryTime(id string) time.Time {
	ms, _, _ := strings.Cut(id, "-")
	return millis(ms).UTC()
}

// DropHooks forgets every webhook that billing has not accepted, and the webhooks' place
// in the stream, for webhooks that are switched off for good: a worker that still has them
// begins with the oldest event again. It reports whether there was a place. The deed is
// recorded in the trail, as the destruction of a reader of that name, before anything is
// forgotten.
func (l *Ledger) DropHooks(ctx context.Context, d Deed, name string) (had bool, err error) {
	deed := d.args()
	for {
		nos, err := l.rdb.ZRange(ctx, l.keys.HookWaiting(), 0, hookPageSize-1).Result()
		if err != nil {
			return had, err
		}
		keys := []string{l.keys.Hooks(), l.keys.HookDue(), l.keys.HookWaiting(), l.keys.Audit()}
		for _, no := range nos {
			keys = append(keys, l.keys.Hook(no))
		}
		body, err := json.Marshal(map[string]any{"nos": nos, "last": len(nos) < hookPageSize, "deed": deed, "detail": name})
		if err != nil {
			return had, err
		}
		n, err := hookDropScript.Run(ctx, l.rdb, keys, body).Int64()
		if err != nil {
			return had, fmt.Errorf("ledger: %w", err)
		}
		deed, had = []string{}, had || n == 1
		if len(nos) < hookPageSize {
			return had, nil
		}
	}
}

// DestroyReader forgets a group that reads the stream of events, and records the deed in the
// same step. It reports whether there was one.
func (l *Ledger) DestroyReader(ctx context.Context, d Deed, group string) (had bool, err error) {
	body, err := json.Marshal(map[string]any{"group": group, "deed": d.args()})
	if err != nil {
		return false, err
	}
	n, err := destroyReaderScript.Run(ctx, l.rdb, []string{l.keys.Outcomes(), l.keys.Audit()}, body).Int64()
	if err != nil {
		return false, fmt.Errorf("ledger: %w", err)
	}
	return n == 1, nil
}
