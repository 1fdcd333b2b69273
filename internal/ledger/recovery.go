package ledger

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// The values of Order.PaidBy.
const (
	PaidByCollect = "collect" // after one of our collect calls
	PaidByUser    = "user"    // by the user or the platform itself
)

// RecoveryLags are the days from enqueueing to a payment up to which payments are counted.
var RecoveryLags = []int{1, 3, 7, 14, 30}

// MostAttempts stands for so many attempts or more in the counters of the recovery.
const MostAttempts = 10

// KeepRecovery is how many days the counters of a day are kept, from that day on.
const KeepRecovery = 400

// CauseUnknown is the first cause of an order that ended before causes were recorded.
const CauseUnknown = "_"

// Whose doing a payment was, in the counters of the recovery.
const (
	ByCollect   = "C"
	ByUser      = "U"
	ByElsewhere = "E"
	ByUnknown   = "X" // through PayScore; the order ended before it was recorded
)

// A RecoveryKind says what a counter counts by.
type RecoveryKind byte

// The kinds; see recovery.lua.
const (
	RecoveryState    RecoveryKind = 's' // the state's first letter
	RecoveryAttempts RecoveryKind = 'a'
	RecoveryCause    RecoveryKind = 'c'
	RecoveryLag      RecoveryKind = 'l' // one of RecoveryLags, or 0 for a later payment
	RecoveryWhose    RecoveryKind = 'w' // ByCollect, …
	RecoveryHour     RecoveryKind = 'h'
)

// RecoveryKey names a counter: the day in Shanghai on which billing enqueued the orders
// first, and what they have in common.
type RecoveryKey struct {
	Day   BookDate
	Kind  RecoveryKind
	Value string
}

// RecoveryCount is what finished orders brought. Counters of payments (RecoveryLag,
// RecoveryWhose and RecoveryHour) have no Orders and no Owed.
type RecoveryCount struct {
	Orders int64 // finished
	Owed   int64 // fen; of unknown amounts 0
	Paid   int64 // of the orders; with the day, hour and doing of its last payment
	Fen    int64 // that came in
}

// Plus adds another count to c.
func (c *RecoveryCount) Plus(o RecoveryCount) {
	c.Orders += o.Orders
	c.Owed += o.Owed
	c.Paid += o.Paid
	c.Fen += o.Fen
}

// Recovery is what finished orders brought, by the day of their enqueueing.
type Recovery struct {
	Counts map[RecoveryKey]RecoveryCount
	// Filled: the orders that ended before the counters existed are counted.
	Filled bool
}

// Plus adds another merchant's counters to r, whose Counts are not nil.
func (r *Recovery) Plus(o Recovery) {
	r.Filled = r.Filled && o.Filled
	for key, c := range o.Counts {
		sum := r.Counts[key]
		sum.Plus(c)
		r.Counts[key] = sum
	}
}

const recoveryPage = 1000

// Recovery returns the counters of the days from one to another, both included. It reads
// them in pages, so that an order that ends meanwhile may be in some counters only.
func (l *Ledger) Recovery(ctx context.Context, from, to BookDate) (Recovery, error) {
	r := Recovery{Counts: map[RecoveryKey]RecoveryCount{}}
	err := l.recovery(ctx, func(name, value string) error {
		if name == "fill" {
			r.Filled = value == filled || strings.HasPrefix(value, "wait ") || strings.HasPrefix(value, "2 ")
		}
		key, ok := recoveryKey(name)
		if !ok || key.Day < from || key.Day > to {
			return nil
		}
		var c RecoveryCount
		if n, _ := fmt.Sscan(value, &c.Orders, &c.Owed, &c.Paid, &c.Fen); n != 4 {
			return errReply
		}
		r.Counts[key] = c
		return nil
	})
	return r, err
}

// recovery calls do for each field of the counters, some of them perhaps twice.
func (l *Ledger) recovery(ctx context.Context, do func(name, value string) error) error {
	for cursor := uint64(0); ; {
		fields, next, err := l.rdb.HScan(ctx, l.keys.Recovery(), cursor, "", recoveryPage).Result()
		if err != nil {
			return err
		}
		for i := 0; i+1 < len(fields); i += 2 {
			if err := do(fields[i], fields[i+1]); err != nil {
				return err
			}
		}
		if cursor = next; cursor == 0 {
			return nil
		}
	}
}

// recoveryKey reads the name of a counter; ok is false for another field.
func recoveryKey(name string) (key RecoveryKey, ok bool) {
	days, rest, ok := strings.Cut(name, " ")
	n, err := strconv.Atoi(days)
	if !ok || err != nil || rest == "" {
		return RecoveryKey{}, false
	}
	return RecoveryKey{Day: BookDate(time.Unix(int64(n)*86400, 0).UTC().Format(time.DateOnly)), Kind: RecoveryKind(rest[0]), Value: rest[1:]}, true
}

// The counters are filled in two passes over the indexes of finished orders, the oldest
// first: the first over all, and a day after its end one over what ended since it began, for
// workers of a previous release that finished orders during an upgrade. The field fill has
// "<pass> <begun ms> <index of the state> <score> <members of that score passed>",
// "wait <begun ms> <ended ms>" between them, and filled.
const (
	fillPage  = 50 // orders, some 2 ms of Redis's time
	fillPages = 40
	fillAgain = 24 * time.Hour
	filled    = "done"
)

// FillRecovery counts orders that ended before the counters of the recovery existed, some
// pages of them, and removes counters that are KeepRecovery old. It takes up where any
// worker's last call has stopped. now is Redis's clock.
func (l *Ledger) FillRecovery(ctx context.Context, now time.Time) (more bool, err error) {
	f, err := l.rdb.HMGet(ctx, l.keys.Recovery(), "fill", "trim").Result()
	if err != nil {
		return false, err
	}
	place, _ := f[0].(string)
	if trimmed, _ := f[1].(string); trimmed != string(BookDateOf(now)) {
		if err := l.trimRecovery(ctx, now); err != nil {
			return false, err
		}
	}
	for range fillPages {
		next, nos, err := l.fillPage(ctx, place, now)
		if err != nil || next == place {
			return false, err
		}
		keys := []string{l.keys.Recovery(), l.keys.Words()}
		for _, no := range nos {
			keys = append(keys, l.keys.Order(no))
		}
		body := fmt.Sprintf(`{"place":%q,"next":%q}`, place, next)
		if place, err = fillScript.Run(ctx, l.rdb, keys, body).Text(); err != nil {
			return false, err
		}
	}
	return true, nil
}

// fillPage returns the orders of a page, and the place behind it; the same place if there
// is nothing to do.
func (l *Ledger) fillPage(ctx context.Context, place string, now time.Time) (next string, nos []string, err error) {
	pass, begun, state, score, passed := 1, now.UnixMilli(), 0, int64(0), 0
	switch {
	case place == filled:
		return place, nil, nil
	case strings.HasPrefix(place, "wait "):
		var end int64 // a place that cannot be read: both are 0
		_, _ = fmt.Sscanf(place, "wait %d %d", &begun, &end)
		switch at := now.UnixMilli(); {
		case at < end: // Redis's clock has gone back
			return fmt.Sprintf("wait %d %d", min(begun, at), at), nil, nil
		case at < end+fillAgain.Milliseconds():
			return place, nil, nil
		}
		pass, score = 2, secondPass(begun)
	case place != "":
		if n, _ := fmt.Sscan(place, &pass, &begun, &state, &score, &passed); n != 5 || state < 0 || state >= len(finalStates) {
			// It begins again: to count an order once more changes nothing.
			pass, begun, state, score, passed = 1, now.UnixMilli(), 0, 0, 0
		}
	}
	// Redis's clock may have been ahead when the pass began, and what has ended since it is
	// right again has earlier times.
	begun = min(begun, now.UnixMilli())
	page, err := l.rdb.ZRangeByScoreWithScores(ctx, l.keys.Ended(finalStates[state]), &redis.ZRangeBy{
		Min: strconv.FormatInt(score, 10), Max: "+inf", Offset: int64(passed), Count: fillPage,
	}).Result()
	if err != nil {
		return "", nil, err
	}
	for _, z := range page {
		no, _ := z.Member.(string)
		nos = append(nos, no)
	}
	switch {
	case len(page) == fillPage:
		// Members of the page's last score are counted as passed only if the whole page
		// has that score: the others come again, which changes nothing.
		if last := int64(page[len(page)-1].Score); last == score {
			passed += len(page)
		} else {
			score, passed = last, 0
		}
	case state+1 < len(finalStates):
		state, score, passed = state+1, 0, 0
		if pass == 2 {
			score = secondPass(begun)
		}
	case pass == 1:
		return fmt.Sprintf("wait %d %d", begun, now.UnixMilli()), nos, nil
	default:
		return filled, nos, nil
	}
	return fmt.Sprintf("%d %d %d %d %d", pass, begun, state, score, passed), nos, nil
}

// secondPass is the score from which the second pass takes orders.
func secondPass(begun int64) int64 { return begun - time.Hour.Milliseconds() }

// trimRecovery removes the counters of days that are not counted any more.
func (l *Ledger) trimRecovery(ctx context.Context, now time.Time) error {
	first := BookDateOf(now.AddDate(0, 0, 1-KeepRecovery))
	var old []string
	err := l.recovery(ctx, func(name, _ string) error {
		if key, ok := recoveryKey(name); ok && key.Day < first {
			old = append(old, name)
		}
		return nil
	})
	if err != nil {
		return err
	}
	for page := range slices.Chunk(old, recoveryPage) {
		if err := l.rdb.HDel(ctx, l.keys.Recovery(), page...).Err(); err != nil {
			return err
		}
	}
	return l.rdb.HSet(ctx, l.keys.Recovery(), "trim", string(BookDateOf(now))).Err()
}
