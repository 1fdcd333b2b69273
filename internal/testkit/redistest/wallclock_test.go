package redistest_test

import (
	"testing"
	"time"

	"payscore-collector/internal/testkit/redistest"
)

// What a test sets is what Redis's next command sees, in TIME, in scripts, in
// stream IDs and for expiry; the machine's clock stays.
func TestWallClock(t *testing.T) {
	redistest.NeedReal(t)
	clock := redistest.NewWallClock(t)
	s := redistest.StartWithClock(t, clock)
	ctx := t.Context()
	for _, offset := range []time.Duration{0, -8 * time.Hour, 8 * time.Hour, -90 * time.Second, 1500 * time.Microsecond, 0} {
		clock.Set(t, offset)
		before := time.Now()
		now, err := s.Client.Time(ctx).Result()
		if err != nil {
			t.Fatal(err)
		}
		// Redis looks at its clock once a command or event; both are within this.
		if off := now.Sub(before.Add(offset)); off < -time.Second || off > time.Second {
			t.Errorf("with an offset of %s Redis's clock is %s off", offset, off)
		}
		id, err := s.Client.Eval(ctx, "return redis.call('TIME')[1]", nil).Int64()
		if err != nil {
			t.Fatal(err)
		}
		if off := time.Unix(id, 0).Sub(before.Add(offset)); off < -2*time.Second || off > 2*time.Second {
			t.Errorf("with an offset of %s a script's clock is %s off", offset, off)
		}
	}
	if clock.Offset() != 0 {
		t.Errorf("the offset is %s; 0 was set last", clock.Offset())
	}
	if err := s.Client.Set(ctx, "key", "value", time.Hour).Err(); err != nil {
		t.Fatal(err)
	}
	clock.Set(t, 2*time.Hour)
	if n, err := s.Client.Exists(ctx, "key").Result(); err != nil || n != 0 {
		t.Errorf("%d keys, %v: a key outlives its hour by Redis's clock", n, err)
	}
}
