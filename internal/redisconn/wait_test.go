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
)

func TestWaitUp(t *testing.T) {
	t.Parallel()
	down := errors.New("connection refused")

	t.Run("says nothing where Redis answers at once", func(t *testing.T) {
		var out bytes.Buffer
		err := (Options{}).waitUp(context.Background(), func(context.Context) error { return nil }, zerolog.New(&out), time.Hour, time.Millisecond)
		if err != nil || out.Len() != 0 {
			t.Errorf("error %v, log %q", err, out.String())
		}
	})

	t.Run("says once that it waits, and once that Redis is up", func(t *testing.T) {
		var out bytes.Buffer
		failures := 5
		ping := func(context.Context) error {
			if failures--; failures >= 0 {
				return down
			}
			return nil
		}
		if err := (Options{}).waitUp(context.Background(), ping, zerolog.New(&out), time.Hour, time.Millisecond); err != nil {
			t.Fatal(err)
		}
		lines := strings.Split(strings.TrimSpace(out.String()), "\n")
		if len(lines) != 2 || !strings.Contains(lines[0], "connection refused") || !strings.Contains(lines[1], "Redis is up") {
			t.Errorf("log is %q", lines)
		}
	})

	t.Run("says it again at intervals", func(t *testing.T) {
		var out bytes.Buffer
		failures := 3
		ping := func(context.Context) error {
			if failures--; failures >= 0 {
				return down
			}
			return nil
		}
		if err := (Options{}).waitUp(context.Background(), ping, zerolog.New(&out), 0, time.Millisecond); err != nil {
			t.Fatal(err)
		}
		if n := strings.Count(out.String(), "does not answer"); n != 3 {
			t.Errorf("said %d times, want 3", n)
		}
	})

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
		err := (Options{}).waitUp(ctx, func(context.Context) error { return down }, zerolog.Nop(), time.Hour, time.Hour)
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
