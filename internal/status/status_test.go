package status_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"payscore-collector/internal/collect"
	"payscore-collector/internal/explain"
	"payscore-collector/internal/ledger"
	"payscore-collector/internal/status"
	"payscore-collector/internal/testkit/redistest"
	"payscore-collector/tasks"
)

const mchid = "1900000109"

type setup struct {
	*testing.T
	rdb    *redis.Client
	ledger *ledger.Ledger
	keys   ledger.Keys
}

func newSetup(t *testing.T) setup {
	s := redistest.Start(t)
	return setup{t, s.Client, ledger.New(s.Client, mchid), ledger.KeysOf(mchid)}
}

func (s setup) read() explain.Situation {
	s.Helper()
	got, err := status.Read(s.Context(), s.rdb, s.ledger, explain.Memory{})
	if err != nil {
		s.Fatal(err)
	}
	return got
}

func (s setup) beat(id, window string, stopped bool) {
	s.Helper()
	if err := s.ledger.Beat(s.Context(), id, 10*time.Second, ledger.Settings{Rate: 50, CollectWindow: window, Timezone: "Asia/Shanghai"}, stopped); err != nil {
		s.Fatal(err)
	}
}

// enqueue opens an order that is due at a time; zero is at once.
func (s setup) enqueue(no string, at time.Time) {
	s.Helper()
	res, err := tasks.NewProducer(s.rdb).Enqueue(s.Context(), tasks.Order{
		Payload: tasks.Payload{MchID: mchid, OutOrderNo: no, AppID: "wx1", ServiceID: "500001"}, At: at,
	})
	if err != nil || res.Status != tasks.Accepted {
		s.Fatal(res, err)
	}
}

func TestRead(t *testing.T) {
	t.Run("an empty ledger", func(t *testing.T) {
		got := newSetup(t).read()
		if got.Workers != 0 || !got.Seen.IsZero() || got.Work || got.Window.Location != nil || !got.PausedSince.IsZero() || got.HooksWaiting != 0 {
			t.Errorf("%+v", got)
		}
	})
	t.Run("workers, and the settings in force", func(t *testing.T) {
		s := newSetup(t)
		s.beat("a", "08:00-22:00", false)
		s.beat("0", "always", true) // first by its number, where both report in one millisecond
		got := s.read()
		if got.Workers != 1 || got.Rate != 50 || got.Window.Always || got.Window.From != 8*time.Hour || got.Window.Location.String() != "Asia/Shanghai" {
			t.Errorf("%d workers, rate %v, window %+v: want those of the living worker", got.Workers, got.Rate, got.Window)
		}
		s.beat("a", "08:00-22:00", true)
		if got := s.read(); got.Workers != 0 || got.Window.Location == nil || time.Since(got.Seen).Abs() > time.Minute {
			t.Errorf("with none left: %+v", got)
		}
	})
	t.Run("of windows that differ, one that is open", func(t *testing.T) {
		s := newSetup(t)
		now := time.Now().In(tasks.China)
		shut := now.Add(2*time.Hour).Format("15:04") + "-" + now.Add(3*time.Hour).Format("15:04")
		for _, order := range [][2]string{{shut, "always"}, {"always", shut}} {
			s.beat("a", order[0], false)
			s.beat("b", order[1], false)
			if got := s.read(); got.Workers != 2 || !got.Window.Contains(time.Now()) {
				t.Errorf("%d workers with %v: the window is %+v", got.Workers, order, got.Window)
			}
		}
	})
	t.Run("a paused queue", func(t *testing.T) {
		s := newSetup(t)
		s.rdb.Set(t.Context(), "asynq:{collect:"+mchid+"}:paused", 1_700_000_000, 0)
		got := s.read()
		if got.PausedSince.Unix() != 1_700_000_000 {
			t.Errorf("%s", got.PausedSince)
		}
	})
	t.Run("what is due, and when", func(t *testing.T) {
		s := newSetup(t)
		due := time.Now().Add(time.Hour).Truncate(time.Millisecond)
		s.enqueue("LATER", due)
		got := s.read()
		if !got.Work || !got.NextWork.Equal(due) {
			t.Errorf("work %v, next %s, want %s", got.Work, got.NextWork, due)
		}
		s.enqueue("NOW", time.Time{}) // its task waits in the queue
		if got := s.read(); !got.Work || !got.NextWork.IsZero() {
			t.Errorf("with one that is due: %+v", got)
		}
	})
	t.Run("a task that is retried counts", func(t *testing.T) {
		s := newSetup(t)
		s.enqueue("A", time.Now().Add(time.Hour))
		soon := time.Now().Add(20 * time.Second).Truncate(time.Second)
		s.rdb.ZAdd(t.Context(), "asynq:{collect:"+mchid+"}:retry", redis.Z{Score: float64(soon.Unix()), Member: "id"})
		if got := s.read(); !got.NextWork.Equal(soon) {
			t.Errorf("next %s, want %s", got.NextWork, soon)
		}
	})
	t.Run("webhooks that wait", func(t *testing.T) {
		s := newSetup(t)
		since := time.Now().Add(-time.Hour).Truncate(time.Millisecond)
		s.rdb.ZAdd(t.Context(), s.keys.HookWaiting(), redis.Z{Score: float64(since.UnixMilli()), Member: "A"})
		got := s.read()
		if got.HooksWaiting != 1 || got.HooksSince.Sub(since).Abs() > time.Second {
			t.Errorf("%d since %s, want 1 since %s", got.HooksWaiting, got.HooksSince, since)
		}
	})
	t.Run("holds", func(t *testing.T) {
		s := newSetup(t)
		s.enqueue("F", time.Time{})
		claim, err := s.ledger.Claim(t.Context(), "F", ledger.NewToken(), ledger.NoRound, ledger.Limits{Lease: time.Minute, Rate: 1e6, Horizon: time.Minute, Most: time.Second})
		if err != nil || claim.Code != ledger.Granted {
			t.Fatal(claim, err)
		}
		set := collect.Start(claim.Order, ledger.Collect, time.Now())
		set.Gate, set.First = ledger.GateFault, time.Hour
		if _, err := s.ledger.Settle(t.Context(), claim, set); err != nil {
			t.Fatal(err)
		}
		if got := s.read(); got.Holds.Merchant.Kind != ledger.HoldFault {
			t.Errorf("%+v", got.Holds)
		}
	})
	t.Run("an error of Redis names the merchant", func(t *testing.T) {
		s := newSetup(t)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := status.Read(ctx, s.rdb, s.ledger, explain.Memory{}); err == nil || !strings.Contains(err.Error(), mchid) {
			t.Error(err)
		}
	})
}

// Stats and readiness call Read often, so its cost must not grow with the orders.
func TestRead_CostsAFixedNumberOfCommands(t *testing.T) {
	s := newSetup(t)
	counted := &counter{}
	s.rdb.AddHook(counted)
	cost := func() int64 {
		counted.n.Store(0)
		s.read()
		return counted.n.Load()
	}
	cost() // loads the scripts
	few := cost()
	for i := range 300 {
		s.enqueue("A"+time.Duration(i).String(), time.Now().Add(time.Hour))
	}
	if many := cost(); many != few || few > 20 {
		t.Errorf("%d commands for an empty ledger, %d for 300 orders", few, many)
	}
}

// A request to the API waits for each round trip as long as the processors are busy with
// signatures.
func TestReadOrder(t *testing.T) {
	s := newSetup(t)
	s.enqueue("A", time.Now().Add(time.Hour))
	s.beat("a", "always", false)
	s.rdb.RPush(t.Context(), s.keys.Hook("A"), "event")
	counted := &counter{}
	s.rdb.AddHook(counted)
	s.read() // connects
	for _, tc := range []struct {
		name  string
		trips int64
	}{
		{"Redis knows no script", 2},
		{"Redis knows the scripts", 1},
	} {
		if tc.trips == 2 {
			s.rdb.ScriptFlush(t.Context())
		}
		counted.trips.Store(0)
		o, situation, hooks, err := status.ReadOrder(t.Context(), s.rdb, s.ledger, "A")
		if err != nil || o.OutOrderNo != "A" || o.State != tasks.Queued || situation.Workers != 1 || !situation.Work || hooks.Ends != 1 {
			t.Errorf("%s: %+v, %+v, %+v, %v", tc.name, o, situation, hooks, err)
		}
		if n := counted.trips.Load(); n != tc.trips {
			t.Errorf("%s: %d round trips, want %d", tc.name, n, tc.trips)
		}
	}
	if _, _, _, err := status.ReadOrder(t.Context(), s.rdb, s.ledger, "B"); !errors.Is(err, ledger.ErrNotFound) {
		t.Errorf("of an order that the ledger has not: %v", err)
	}
	s.rdb.Set(t.Context(), s.keys.HookWaiting(), "no index", 0)
	if _, _, _, err := status.ReadOrder(t.Context(), s.rdb, s.ledger, "A"); err == nil || !strings.Contains(err.Error(), "read the webhooks of merchant "+mchid) {
		t.Errorf("with one answer that is an error: %v", err)
	}
}

// counter counts commands, of which several are sent at once, and how often some are sent.
type counter struct{ n, trips atomic.Int64 }

func (c *counter) DialHook(next redis.DialHook) redis.DialHook { return next }
func (c *counter) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error { c.n.Add(1); c.trips.Add(1); return next(ctx, cmd) }
}
func (c *counter) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		c.n.Add(int64(len(cmds)))
		c.trips.Add(1)
		return next(ctx, cmds)
	}
}

func TestFullMemory(t *testing.T) {
	s := redistest.StartReal(t, "--maxmemory", "50mb")
	if got := status.FullMemory(t.Context(), s.Client); got != (explain.Memory{}) {
		t.Errorf("with room left: %+v, want zero", got)
	}
	if err := s.Client.ConfigSet(t.Context(), "maxmemory", "500kb").Err(); err != nil {
		t.Fatal(err)
	}
	if got := status.FullMemory(t.Context(), s.Client); got.Limit != 500<<10 || got.Used < got.Limit {
		t.Errorf("of a full one: %+v, want a limit of 500 kB, and more in use", got)
	}
}
