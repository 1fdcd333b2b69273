package ledger

import (
	"context"
	"encoding/json"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"payscore-collector/internal/owner"
)

// Due is one order that a sweep took.
type Due struct {
	owner.Owner
	OutOrderNo string
	Round      int64
	Sync       bool // WeChat Pay must be notified of the order's withdrawal
}

// Sweep is what one call of Ledger.Sweep brought.
type Sweep struct {
	Now    time.Time     // Redis's clock
	Taken  bool          // false: another worker has just swept
	More   bool          // more may be due
	Wait   time.Duration // until the next sweep, where not Taken
	Orders []Due
	Lag    time.Duration // how long the first order of the index has been due
	// Parked: a pause has ended, and Unpause brings back the orders that it has put off.
	Parked bool
	// WentBack is by how much Redis's clock has gone back since the last sweep, 0
	// for not at all.
	WentBack time.Duration
	// Lost: the queue was lost, and Mend has something to do.
	Lost bool
}

// SweepArgs says how to sweep; see sweep.lua and take.lua.
type SweepArgs struct {
	Interval time.Duration // 0 to continue a sweep that has begun
	Dry      bool          // the sweep is one more, since a worker has run dry
	Lost     bool          // the queue's mark is missing, which a sweep has set
	Limit    int
	Closed   int
	Grace    time.Duration
	Sure     time.Time // see Limits
	Expected Expected
}

// Expected is Redis's clock as a worker expects it, by its own clock, which does
// not jump, from a reading that is Age old. The zero value says nothing.
type Expected struct {
	Now time.Time
	Age time.Duration
}

// Sweep takes orders that are due and that no task is known to carry. Where it
// finds some, it takes them in a second round trip: what the first one has found,
// the keys of the second one must name.
func (l *Ledger) Sweep(ctx context.Context, a SweepArgs) (Sweep, error) {
	r := run(ctx, l.rdb, sweepScript,
		[]string{l.keys.Due(), l.keys.Sweep(), l.keys.Hold(), l.keys.Paused()},
		map[string]any{
			"interval": a.Interval.Milliseconds(), "dry": a.Dry, "lost": a.Lost, "limit": a.Limit, "closed": a.Closed,
			"expected": unixMS(a.Expected.Now), "age": a.Expected.Age.Milliseconds(),
		})
	s := Sweep{Taken: r.str() == "taken", Now: r.time()}
	n := r.int()
	if s.Taken {
		s.More = n == 1
	} else {
		s.Wait = time.Duration(n) * time.Millisecond
	}
	if oldest := r.int(); oldest > 0 {
		s.Lag = max(0, s.Now.Sub(time.UnixMilli(oldest)))
	}
	s.WentBack = time.Duration(r.int()) * time.Millisecond
	s.Lost = r.int() == 1
	s.Parked = r.int() == 1
	var nos []string
	for r.more() {
		nos = append(nos, r.str())
	}
	if r.err != nil || len(nos) == 0 {
		return s, r.err
	}
	var err error
	s.Orders, err = l.take(ctx, nos, a)
	return s, err
}

func (l *Ledger) take(ctx context.Context, nos []string, a SweepArgs) ([]Due, error) {
	keys := append(make([]string, 0, 2+len(nos)), l.keys.Due(), l.keys.Words())
	for _, no := range nos {
		keys = append(keys, l.keys.Order(no))
	}
	r := run(ctx, l.rdb, takeScript, keys,
		map[string]any{"nos": nos, "grace": a.Grace.Milliseconds(), "sure": sureMS(a.Sure)})
	var due []Due
	for r.more() {
		due = append(due, Due{
			OutOrderNo: r.str(),
			Owner:      owner.Owner{MchID: l.mchid, AppID: r.str(), ServiceID: r.str()},
			Round:      r.int(),
			Sync:       r.str() == string(SyncPending),
		})
	}
	return due, r.err
}

// Rewind gives an order a new round where the task of the given one is stuck
// in the queue, and returns the new round; ok is false where the order has
// moved on by itself.
func (l *Ledger) Rewind(ctx context.Context, no string, round int64) (next int64, ok bool, err error) {
	next, err = rewindScript.Run(ctx, l.rdb, []string{l.keys.Order(no)}, round).Int64()
	return next, next > 0, err
}

// Jumped reports a jump of Redis's clock that the caller has noticed by a clock
// that does not jump; by is negative for a jump back. Any number of workers may
// report the same jump.
func (l *Ledger) Jumped(ctx context.Context, by time.Duration, e Expected) error {
	body, err := json.Marshal(map[string]int64{"by": by.Milliseconds(), "expected": unixMS(e.Now), "age": e.Age.Milliseconds()})
	if err != nil {
		return err
	}
	return jumpedScript.Run(ctx, l.rdb, []string{l.keys.Sweep(), l.keys.Hold()}, body).Err()
}

// mendPage is how many orders one call of mend.lua checks: few enough not to
// block Redis.
const mendPage = 200

// Mend moves times back that the ledger made before Redis's clock went back, the
// earliest first, until none is left or ctx ends, and returns how many it has
// moved. Any number of workers may call it at once: each page is moved once. Billing's
// own times stay. After a lost queue it takes back what sweeps leave to tasks, which is
// no later than soon.
func (l *Ledger) Mend(ctx context.Context, soon time.Time) (moved int64, err error) {
	state, err := l.rdb.HGet(ctx, l.keys.Sweep(), "mend").Result()
	for err == nil && state != "" && ctx.Err() == nil {
		var n int64
		state, n, err = l.mendPage(ctx, state, soon)
		moved += n
	}
	if err == redis.Nil {
		err = nil
	}
	return moved, err
}

func (l *Ledger) mendPage(ctx context.Context, state string, soon time.Time) (next string, moved int64, err error) {
	f := strings.Fields(state) // see clock.lua
	if len(f) != 4 {
		return "", 0, errReply
	}
	if f[1] == "hookdue" {
		return mended(replyTo(hookMendScript.Run(ctx, l.rdb, []string{l.keys.HookDue(), l.keys.Sweep()}, state, mendPage)))
	}
	end := "+inf"
	if f[0] == "0" {
		end = strconv.FormatInt(soon.UnixMilli(), 10)
	}
	page, err := l.rdb.ZRangeByScoreWithScores(ctx, l.keys.Due(), &redis.ZRangeBy{
		Min: f[2], Max: end, Offset: atoi(f[3]), Count: mendPage,
	}).Result()
	if err != nil {
		return "", 0, err
	}
	nos, scores := make([]string, len(page)), make([]string, len(page))
	keys := []string{l.keys.Due(), l.keys.Sweep()}
	for i, z := range page {
		no, _ := z.Member.(string)
		nos[i], scores[i] = no, strconv.FormatFloat(z.Score, 'f', -1, 64)
		keys = append(keys, l.keys.Order(no), l.keys.Log(no))
	}
	return mended(run(ctx, l.rdb, mendScript, keys,
		map[string]any{"mend": state, "nos": nos, "scores": scores, "last": len(page) < mendPage}))
}

func mended(r reader) (next string, moved int64, err error) {
	next, moved = r.str(), r.int()
	return next, moved, r.err
}
