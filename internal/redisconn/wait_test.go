package redisconn

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/rs/zerolog"

	"payscore-collector/internal/testkit"
)

func TestWaitUp(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name     string
		failures int
		sayEvery time.Duration
		awaited  int // lines
	}{
		{"logs nothing if Redis answers at once", 0, time.Hour, 0},
		{"logs once that it waits, and once that Redis is up", 5, time.Hour, 1},
		{"logs again at intervals that it waits", 3, 0, 3},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var out testkit.LogBuffer
			failures := tc.failures
			ping := func(context.Context) error {
				if failures--; failures >= 0 {
					return errors.New("connection refused")
				}
				return nil
			}
			if err := (Options{}).waitUp(context.Background(), ping, zerolog.New(&out), tc.sayEvery, time.Millisecond); err != nil {
				t.Fatal(err)
			}
			awaited, up := out.Events("redis_awaited", "error", "connection refused"), out.Events("redis_up")
			if len(awaited) != tc.awaited || len(up) != min(tc.awaited, 1) || len(out.Lines()) != len(awaited)+len(up) {
				t.Errorf("%d lines that it waits, want %d; %d that Redis is up, want %d:\n%s", len(awaited), tc.awaited, len(up), min(tc.awaited, 1), &out)
			}
		})
	}

	t.Run("names the address, without user and password", func(t *testing.T) {
		for url, want := range map[string]string{
			"redis://u:hunter2@127.0.0.1:1/3":                   `"addr":"redis://127.0.0.1:1/3"`,
			"redis-cluster://u:hunter2@127.0.0.1:1,127.0.0.1:2": `"addr":"redis-cluster://127.0.0.1:1,127.0.0.1:2"`,
			"redis-sentinel://u:hunter2@127.0.0.1:1/?master=m":  `"message":"Redis does not answer`,
		} {
			o, err := Parse(url)
			if err != nil {
				t.Fatal(err)
			}
			client := o.Open(Pool{})
			var out bytes.Buffer
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			_ = o.WaitUp(ctx, client, zerolog.New(&out), 0)
			cancel()
			_ = client.Close()
			log := out.String()
			if log != "" && !strings.Contains(log, want) || strings.Contains(log, "hunter2") || strings.Contains(log, "FailoverClient") {
				t.Errorf("%s: %s", url, log)
			}
			if strings.HasPrefix(url, "redis:") && !strings.Contains(log, "check REDIS_URL") {
				t.Errorf("%s: %s", url, log)
			}
		}
	})

	t.Run("ends with the context, also within a ping", func(t *testing.T) {
		ctx, cancel := context.WithCancel(context.Background())
		ping := func(ctx context.Context) error {
			cancel()
			<-ctx.Done()
			return ctx.Err()
		}
		if err := (Options{}).waitUp(ctx, ping, zerolog.Nop(), time.Hour, time.Hour); !errors.Is(err, context.Canceled) {
			t.Errorf("error is %v", err)
		}
	})

	t.Run("ends with the context between pings", func(t *testing.T) {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
		defer cancel()
		err := (Options{}).waitUp(ctx, func(context.Context) error { return errors.New("down") }, zerolog.Nop(), time.Hour, time.Hour)
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error is %v", err)
		}
	})
}

func TestRedirectLog(t *testing.T) {
	for _, tc := range []struct {
		level zerolog.Level
		want  string
	}{
		{zerolog.DebugLevel, `{"level":"debug","component":"redis","event":"redis_client","message":"pool: lost 3"}` + "\n"},
		{zerolog.InfoLevel, ""},
	} {
		var out bytes.Buffer
		l := &goRedisLogger{log: zerolog.New(&out).Level(tc.level).With().Str("component", "redis").Logger()}
		redis.SetLogger(l) // it must be of the type that go-redis takes
		l.Printf(context.Background(), "pool: %s %d", "lost", 3)
		if out.String() != tc.want {
			t.Errorf("at %s: %q, want %q", tc.level, out.String(), tc.want)
		}
	}
	RedirectLog(zerolog.Nop())
}
