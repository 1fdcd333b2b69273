package eventstream

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"payscore-collector/internal/ledger"
)

// Feed reads one merchant's events for a caller that keeps its place by itself, and is
// known to Redis by nothing. It is for one goroutine.
type Feed struct {
	// Unreadable is told of entries that are no events; they are skipped.
	Unreadable func(error)

	rdb   redis.UniversalClient
	mchid string
	key   string
	last  string // the entry that was read last
}

// ErrPlace reports a place that is not the ID of an event of the merchant.
var ErrPlace = errors.New("not the ID of an event of this merchant")

// FeedAfter returns the events that follow the one with an ID, or all where it is empty.
// The event itself need not be in the stream any more.
func FeedAfter(rdb redis.UniversalClient, mchid, after string) (*Feed, error) {
	f := &Feed{Unreadable: func(error) {}, rdb: rdb, mchid: mchid, key: ledger.KeysOf(mchid).Outcomes(), last: "0-0"}
	if after == "" {
		return f, nil
	}
	entry, ok := strings.CutPrefix(after, mchid+"-")
	if ms, n := (ledger.Event{ID: after, MchID: mchid}).Position(); !ok || entry != fmt.Sprintf("%d-%d", ms, n) {
		return nil, ErrPlace
	}
	f.last = entry
	return f, nil
}

// block is how long one command waits at most: the end of a context does not interrupt it.
const block = time.Second

// Read returns the next events, at most limit. Where there are none it waits for them, up
// to wait, and for one second at most; then it may return none.
func (f *Feed) Read(ctx context.Context, limit int64, wait time.Duration) ([]ledger.Event, error) {
	for {
		args := &redis.XReadArgs{Streams: []string{f.key, f.last}, Count: limit, Block: -1}
		if wait >= time.Millisecond {
			args.Block = min(wait, block)
		}
		streams, err := f.rdb.XRead(ctx, args).Result()
		if errors.Is(err, redis.Nil) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		var events []ledger.Event
		for _, m := range streams[0].Messages {
			f.last = m.ID
			e, err := ledger.DecodeEvent(f.mchid, m.ID, m.Values)
			switch {
			case err == nil:
				events = append(events, e)
			case !errors.Is(err, ledger.ErrNewer):
				f.Unreadable(err)
			}
		}
		if len(events) > 0 {
			return events, nil
		}
	}
}
