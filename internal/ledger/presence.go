package ledger

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// Settings are what a worker works by, as it publishes them for its merchant: other
// commands run without the worker's environment, and tell by these what is in force.
// Values are written as the settings of the same name take them.
type Settings struct {
	Rate            float64 `json:"collect_rate"` // calls a second
	CollectWindow   string  `json:"collect_window"`
	Timezone        string  `json:"collect_timezone"`
	CollectSchedule string  `json:"collect_schedule"`
	ConfirmSchedule string  `json:"confirm_schedule"`
	MinGap          string  `json:"min_gap"`
	GiveUpAfter     string  `json:"give_up_after"`
	SweepEvery      string  `json:"sweep_every"`
	Webhooks        bool    `json:"webhooks"` // billing's receiver is set
	BooksAt         string  `json:"books_at,omitempty"`

	// Of SCHEDULES_FILE.
	Schedules []NamedSchedule   `json:"schedules,omitempty"`
	Defaults  []DefaultSchedule `json:"default_schedules,omitempty"`
}

// NamedSchedule is a schedule that orders may name.
type NamedSchedule struct {
	Name            string `json:"name"`
	CollectSchedule string `json:"collect_schedule"`
	CollectWindow   string `json:"collect_window"`
	MinGap          string `json:"min_gap"`
	GiveUpAfter     string `json:"give_up_after"`
}

// DefaultSchedule gives orders that name none a schedule. Empty conditions fit every order.
type DefaultSchedule struct {
	MchID     string `json:"mchid,omitempty"`
	ServiceID string `json:"service_id,omitempty"`
	AtLeast   int64  `json:"amount_at_least,omitempty"`
	Below     int64  `json:"amount_below,omitempty"`
	Schedule  string `json:"schedule"`
}

// Worker is one worker process, as its merchant's ledger knows it.
type Worker struct {
	ID       string
	Seen     time.Time     // its last report, by Redis's clock
	Every    time.Duration // between its reports
	Stopped  bool          // its last report was that it stops
	Settings Settings
}

// missedBeats is how many reports in a row a worker that lives may miss.
const missedBeats = 3

// Alive reports whether a worker lives at a time of Redis's clock. A report that is
// ahead of the clock by more than it may be behind was made before the clock was put
// back, and says nothing; a worker that lives soon makes another one.
func (w Worker) Alive(now time.Time) bool {
	return !w.Stopped && now.Sub(w.Seen).Abs() <= missedBeats*w.Every
}

// keepWorkers is how long the ledger remembers a worker that is gone: while none runs,
// the settings of the last one say what will be in force.
const keepWorkers = 24 * time.Hour

// Beat reports that the worker id lives and will report again after every; stopped: that
// this is its last report. It costs one script, and writes settings only where they
// differ from those that are stored.
func (l *Ledger) Beat(ctx context.Context, id string, every time.Duration, s Settings, stopped bool) error {
	body, err := json.Marshal(s)
	if err != nil {
		return err
	}
	return run(ctx, l.rdb, beatScript, []string{l.keys.Workers()}, beat{id, every.Milliseconds(), stopped, string(body), keepWorkers.Milliseconds()}).err
}

// beat is the argument of beat.lua.
type beat struct {
	ID       string `json:"id"`
	Every    int64  `json:"every"`
	Stopped  bool   `json:"stopped"`
	Settings string `json:"settings"`
	Keep     int64  `json:"keep"`
}

// BeatAll is Beat for many merchants, in one round trip, whose settings it leaves as they
// are stored. The error is that of the first merchant whose report was not taken.
func BeatAll(ctx context.Context, rdb redis.UniversalClient, mchids []string, id string, every time.Duration, stopped bool) error {
	body, err := json.Marshal(beat{id, every.Milliseconds(), stopped, "", keepWorkers.Milliseconds()})
	if err != nil {
		return err
	}
	sent := make([]*redis.Cmd, len(mchids))
	Ask(ctx, rdb, func(q *Questions) {
		for i, mchid := range mchids {
			sent[i] = q.script(beatScript, []string{KeysOf(mchid).Workers()}, body)
		}
	})
	for i, cmd := range sent {
		if err := cmd.Err(); err != nil {
			return fmt.Errorf("ledger: report for merchant %s: %w", mchids[i], err)
		}
	}
	return nil
}

// Workers returns the workers that have reported in the last day, the newest report
// first, and Redis's time. Workers of releases before the first that reports are not
// among them.
func (l *Ledger) Workers(ctx context.Context) (workers []Worker, now time.Time, err error) {
	return readWorkers(workersScript.Run(ctx, l.rdb, []string{l.keys.Workers()}))
}

// AskWorkers asks what Workers returns.
func (l *Ledger) AskWorkers(q *Questions) func() (workers []Worker, now time.Time, err error) {
	cmd := q.script(workersScript, []string{l.keys.Workers()})
	return func() ([]Worker, time.Time, error) { return readWorkers(cmd) }
}

func readWorkers(cmd *redis.Cmd) (workers []Worker, now time.Time, err error) {
	r := replyTo(cmd)
	now = r.time()
	fields := pairs(r.list())
	for name, value := range fields {
		id, ok := strings.CutPrefix(name, "seen:")
		if !ok {
			continue
		}
		var seen, every int64
		var stopped int
		if n, _ := fmt.Sscan(value, &seen, &every, &stopped); n != 3 {
			return nil, now, errReply
		}
		w := Worker{ID: id, Seen: time.UnixMilli(seen), Every: time.Duration(every) * time.Millisecond, Stopped: stopped == 1}
		if set := fields["set:"+id]; set != "" && json.Unmarshal([]byte(set), &w.Settings) != nil {
			return nil, now, errReply
		}
		workers = append(workers, w)
	}
	slices.SortFunc(workers, func(a, b Worker) int {
		if c := b.Seen.Compare(a.Seen); c != 0 {
			return c
		}
		return strings.Compare(a.ID, b.ID)
	})
	return workers, now, r.err
}

// Known reports whether the merchant has a ledger in this Redis, or a worker has reported for
// it in the last day.
func (l *Ledger) Known(ctx context.Context) (bool, error) {
	known, err := l.rdb.SIsMember(ctx, MerchantsKey, l.mchid).Result()
	if err != nil || known {
		return known, err
	}
	workers, _, err := l.Workers(ctx)
	return len(workers) > 0, err
}

// AskFirstDue asks for the time at which the sweep takes the first order of the due
// index; zero where there is nothing to do for any order.
func (l *Ledger) AskFirstDue(q *Questions) func() (time.Time, error) {
	cmd := q.ZRangeWithScores(context.Background(), l.keys.Due(), 0, 0)
	return func() (time.Time, error) {
		first, err := cmd.Result()
		if err != nil || len(first) == 0 {
			return time.Time{}, err
		}
		return time.UnixMilli(int64(first[0].Score)), nil
	}
}
