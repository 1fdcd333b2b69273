package ledger_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"payscore-collector/internal/ledger"
	"payscore-collector/tasks"
)

// A range of ends costs what it holds, however many orders ended before and after it.
func TestSelect_ReadsOnlyItsRange(t *testing.T) {
	s := newSetup(t)
	keys, now := ledger.KeysOf(mchid), time.Now().Truncate(time.Second)
	const orders = 1000 // one an hour, the newest first
	pipe := s.redis.Client.Pipeline()
	for i := range orders {
		no, at := fmt.Sprintf("E%04d", i), now.Add(-time.Duration(i)*time.Hour).UnixMilli()
		pipe.HSet(t.Context(), keys.Order(no), "state", "closed", "appid", "wx1", "svc", "s1", "opened", at, "ended", at)
		pipe.ZAdd(t.Context(), keys.Ended(tasks.Closed), redis.Z{Score: float64(at), Member: no})
	}
	if _, err := pipe.Exec(t.Context()); err != nil {
		t.Fatal(err)
	}
	read := func(f ledger.Filter) (n int) {
		t.Helper()
		f.State = tasks.Closed
		for o, err := range s.ledger.Select(t.Context(), f) {
			if err != nil {
				t.Fatal(err)
			}
			if !f.Since.IsZero() && o.EndedAt.Before(f.Since) || !f.Until.IsZero() && !o.EndedAt.Before(f.Until) {
				t.Errorf("%s ended at %s", o.OutOrderNo, o.EndedAt)
			}
			n++
		}
		return n
	}
	hours := func(n int) time.Time { return now.Add(-time.Duration(n) * time.Hour) }
	read(ledger.Filter{}) // loads the script
	counted := &countCommands{}
	s.redis.Client.AddHook(counted)
	for _, c := range []struct {
		filter ledger.Filter
		want   int
	}{
		{ledger.Filter{}, orders},
		{ledger.Filter{Since: hours(9)}, 10},
		{ledger.Filter{Since: hours(509), Until: hours(499)}, 10},
		{ledger.Filter{Until: hours(989)}, 10},
		{ledger.Filter{Since: hours(510), Until: hours(499), ServiceID: "s2"}, 0},
	} {
		counted.n = 0
		if got := read(c.filter); got != c.want {
			t.Errorf("%+v yields %d orders, want %d", c.filter, got, c.want)
		}
		if few := 5; c.want < orders && counted.n > few {
			t.Errorf("%+v costs %d commands, want %d at most", c.filter, counted.n, few)
		}
	}
}

type countCommands struct{ n int }

func (c *countCommands) DialHook(next redis.DialHook) redis.DialHook { return next }
func (c *countCommands) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error { c.n++; return next(ctx, cmd) }
}
func (c *countCommands) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error { c.n += len(cmds); return next(ctx, cmds) }
}
