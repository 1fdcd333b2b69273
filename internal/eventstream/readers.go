package eventstream

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"payscore-collector/internal/ledger"
)

// Webhooks is the reader that is not a consumer group: the workers' relay, which keeps its
// place in the ledger.
const Webhooks = "webhooks"

// Standing is where a reader of a merchant's stream stands. Its JSON is part of the
// interface.
type Standing struct {
	MchID string `json:"mchid"`
	Group string `json:"group"` // or Webhooks
	// Lag is how many events the reader was not given yet; nil where Redis cannot say
	// (before Redis 7, or after a trim), and for webhooks.
	Lag *int64 `json:"lag,omitempty"`
	// Pending is how many events it was given and has not acknowledged; for webhooks, how
	// many orders have events that billing has not accepted.
	Pending       int64     `json:"pending"`
	OldestPending time.Time `json:"oldest_pending_at,omitzero"`
	// Oldest is the time of the oldest event that it has not finished, given or not:
	// later events stay in Redis. Zero where it has finished all.
	Oldest   time.Time `json:"oldest_at,omitzero"`
	Members  int       `json:"members"`               // processes that read; of webhooks, workers
	LastSeen time.Time `json:"last_seen_at,omitzero"` // when one of them asked Redis last
}

// Readers returns the readers of a merchant's stream by name, in a fixed number of round
// trips.
func Readers(ctx context.Context, rdb redis.UniversalClient, l *ledger.Ledger) ([]Standing, error) {
	list, _, err := readers(ctx, rdb, l)
	return list, err
}

// readers returns Redis's time as well.
func readers(ctx context.Context, rdb redis.UniversalClient, l *ledger.Ledger) (list []Standing, now time.Time, err error) {
	behind, now, err := l.Readers(ctx)
	if err != nil {
		return nil, now, err
	}
	key := ledger.KeysOf(l.MchID()).Outcomes()
	pipe := rdb.Pipeline()
	groups := pipe.XInfoGroups(ctx, key)
	members, pending := map[string]*redis.XInfoConsumersCmd{}, map[string]*redis.XPendingCmd{}
	for _, r := range behind {
		if r.Group != Webhooks {
			members[r.Group], pending[r.Group] = pipe.XInfoConsumers(ctx, key, r.Group), pipe.XPending(ctx, key, r.Group)
		}
	}
	if len(members) > 0 {
		if _, err := pipe.Exec(ctx); err != nil && !isNoGroup(err) { // one of them was destroyed just now
			return nil, now, err
		}
	}
	for _, r := range behind {
		s := Standing{MchID: l.MchID(), Group: r.Group, Pending: r.Pending}
		if r.Behind > 0 {
			s.Oldest = now.Add(-r.Behind)
		}
		if r.Group == Webhooks {
			if err := s.webhooks(ctx, l); err != nil {
				return nil, now, err
			}
			list = append(list, s)
			continue
		}
		if p := pending[r.Group].Val(); p != nil && p.Count > 0 {
			s.OldestPending = entryTime(p.Lower)
		}
		for _, m := range members[r.Group].Val() {
			s.Members++
			if seen := now.Add(-m.Idle); seen.After(s.LastSeen) {
				s.LastSeen = seen
			}
		}
		for _, g := range groups.Val() {
			// Redis 6 does not say, and Redis 7 only after events were read: both read as 0.
			if g.Name == r.Group && (g.Lag > 0 || g.Lag == 0 && (g.EntriesRead > 0 || r.Behind == 0)) {
				s.Lag = &g.Lag
			}
		}
		list = append(list, s)
	}
	return list, now, nil
}

// webhooks fills in what the ledger knows of the webhooks.
func (s *Standing) webhooks(ctx context.Context, l *ledger.Ledger) error {
	orders, oldest, err := l.HooksWaiting(ctx)
	if err != nil {
		return err
	}
	workers, now, err := l.Workers(ctx)
	if err != nil {
		return err
	}
	if s.Pending = orders; orders > 0 {
		s.OldestPending = now.Add(-oldest).UTC()
	}
	for _, w := range workers { // the newest report first
		if !w.Settings.Webhooks {
			continue
		}
		if s.LastSeen.IsZero() {
			s.LastSeen = w.Seen.UTC()
		}
		if w.Alive(now) {
			s.Members++
		}
	}
	return nil
}

// entryTime is the time of an entry of the stream.
func entryTime(id string) time.Time {
	ms, _, _ := strings.Cut(id, "-")
	n, _ := strconv.ParseInt(ms, 10, 64)
	return time.UnixMilli(n).UTC()
}

// activeWithin is for how long a reader counts as running after it was seen last. A member
// of a group asks Redis for events every second (Options.Block).
const activeWithin = 5 * time.Second

var (
	// ErrNoReader reports that there is no such reader.
	ErrNoReader = errors.New("there is no such reader")
	// ErrReading reports a reader that runs.
	ErrReading = errors.New("the reader is running")
)

// Destroy forgets a reader's place in a merchant's stream, and with it what it has not
// finished: events may leave Redis without it. A reader that runs is an ErrReading, since
// it would begin with the oldest event again; one that does not exist an ErrNoReader. The
// trail has the deed before anything is forgotten, or in the same step.
func Destroy(ctx context.Context, rdb redis.UniversalClient, l *ledger.Ledger, group string, d ledger.Deed) (Standing, error) {
	list, now, err := readers(ctx, rdb, l)
	if err != nil {
		return Standing{}, err
	}
	i := slices.IndexFunc(list, func(s Standing) bool { return s.Group == group })
	if i < 0 {
		return Standing{}, fmt.Errorf("merchant %s, reader %s: %w", l.MchID(), group, ErrNoReader)
	}
	s := list[i]
	switch {
	case group == Webhooks && s.Members > 0:
		return s, fmt.Errorf("%w: %d workers of merchant %s deliver webhooks; remove BILLING_WEBHOOK_URL from them and restart them first", ErrReading, s.Members, l.MchID())
	case group != Webhooks && now.Sub(s.LastSeen) < activeWithin:
		return s, fmt.Errorf("%w: reader %s of merchant %s asked for events less than %s ago; stop it first", ErrReading, group, l.MchID(), activeWithin)
	case group == Webhooks:
		_, err = l.DropHooks(ctx, d, group)
		return s, err
	}
	had, err := l.DestroyReader(ctx, d, group)
	if err == nil && !had {
		err = fmt.Errorf("merchant %s, reader %s: %w", l.MchID(), group, ErrNoReader) // another caller was quicker
	}
	return s, err
}
