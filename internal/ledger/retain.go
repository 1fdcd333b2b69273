package ledger

import (
	"context"
	"time"
)

// retainPage is how many orders one call of retain.lua checks, and retainPages
// how many such calls one Retain makes at most: Redis is not blocked, and the next
// call takes the rest.
const (
	retainPage  = 200
	retainPages = 20
)

// Retain removes orders that reached a final state longer than retention ago from the
// ledger, with their logs, and returns how many. It keeps open orders, and orders that
// could be collected too soon if they were enqueued again at once. For sure see Limits.
func (l *Ledger) Retain(ctx context.Context, retention, minGap time.Duration, sure time.Time) (removed int64, err error) {
	for _, state := range finalStates {
		start := int64(0)
		for range retainPages {
			nos, err := agedScript.Run(ctx, l.rdb, []string{l.keys.Ended(state)}, retention.Milliseconds(), start, retainPage).StringSlice()
			if err != nil {
				return removed, err
			}
			if len(nos) == 0 {
				break
			}
			keys := []string{l.keys.Ended(state), l.keys.Stats(), l.keys.Acks()}
			for _, no := range nos {
				keys = append(keys, l.keys.Order(no), l.keys.Log(no))
			}
			r := run(ctx, l.rdb, retainScript, keys, map[string]any{
				"state": state, "nos": nos, "retention": retention.Milliseconds(), "gap": minGap.Milliseconds(), "sure": sureMS(sure),
			})
			gone, passed := r.int(), r.int()
			if r.err != nil {
				return removed, r.err
			}
			removed, start = removed+gone, start+passed
			if len(nos) < retainPage {
				break
			}
		}
	}
	return removed, nil
}

// Forget removes entries of the trail that are older than keep.
func (l *Ledger) Forget(ctx context.Context, keep time.Duration) error {
	return forgetScript.Run(ctx, l.rdb, []string{l.keys.Audit()}, keep.Milliseconds()).Err()
}

// compactPage is how many orders one call of compact.lua works on, some 2 ms of Redis's
// time, and compactPages how many such calls one Compact makes at most.
const (
	compactPage  = 50
	compactPages = 80
)

// compactAgain is when an order is tried again that could not be kept compact.
const compactAgain = 24 * time.Hour

// CompactArgs says which finished orders to keep compact: those that ended After ago, of
// which every reader of the stream has read the final state. After Patient they wait for
// no reader. Gap is the least time between two collect calls of an order. For Sure see
// Limits.
type CompactArgs struct {
	After, Patient, Gap time.Duration
	Sure                time.Time
}

// Compact keeps finished orders compact, and returns how many. A compact order answers
// everything as before, except for the calls of its log. It takes up where the last call
// has stopped, by the time of the final states; what it must leave out it tries again
// after a day.
func (l *Ledger) Compact(ctx context.Context, a CompactArgs) (compacted int64, err error) {
	looked := []string{l.keys.Outcomes(), l.keys.Hooks(), l.keys.Sweep(), l.keys.Whole()}
	for _, state := range finalStates {
		looked = append(looked, l.keys.Ended(state))
	}
	for range compactPages {
		r := run(ctx, l.rdb, ripeScript, looked, map[string]any{
			"states": finalStates, "after": a.After.Milliseconds(), "patient": max(a.After, a.Patient).Milliseconds(), "limit": compactPage,
		})
		field, value := r.str(), r.str()
		keys, nos := []string{l.keys.Sweep(), l.keys.Words(), l.keys.HookWaiting(), l.keys.Whole()}, []string{}
		for r.more() {
			no := r.str()
			nos, keys = append(nos, no), append(keys, l.keys.Order(no), l.keys.Log(no))
		}
		if len(nos) == 0 || r.err != nil {
			return compacted, r.err
		}
		r = run(ctx, l.rdb, compactScript, keys, map[string]any{
			"nos": nos, "field": field, "value": value,
			"after": a.After.Milliseconds(), "gap": a.Gap.Milliseconds(), "again": compactAgain.Milliseconds(), "sure": sureMS(a.Sure),
		})
		compacted += r.int()
		if r.err != nil {
			return compacted, r.err
		}
	}
	return compacted, nil
}

// StreamReader is a reader of the stream of outcomes.
type StreamReader struct {
	Group   string        // "webhooks" is the relay of webhooks
	Pending int64         // events that it was given and has not acknowledged
	Behind  time.Duration // age of the oldest event that it has not finished; 0 for none
}

// Trim removes events older than keep from the stream, except those that a reader has
// not finished, and returns how far behind each reader is. With 0 it removes nothing.
func (l *Ledger) Trim(ctx context.Context, keep time.Duration) ([]StreamReader, error) {
	readers, _, err := l.trim(ctx, keep)
	return readers, err
}

// Readers returns how far behind each reader of the stream is, and Redis's time.
func (l *Ledger) Readers(ctx context.Context) ([]StreamReader, time.Time, error) {
	return l.trim(ctx, 0)
}

func (l *Ledger) trim(ctx context.Context, keep time.Duration) (readers []StreamReader, now time.Time, err error) {
	r := run(ctx, l.rdb, streamScript, []string{l.keys.Outcomes(), l.keys.Hooks()}, map[string]any{"keep": keep.Milliseconds()})
	now = r.time().UTC()
	for r.more() {
		s := StreamReader{Group: r.str(), Pending: r.int()}
		s.Behind = max(0, time.Duration(r.int())*time.Millisecond)
		readers = append(readers, s)
	}
	return readers, now, r.err
}
