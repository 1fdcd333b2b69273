package worker

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"payscore-collector/internal/config"
	"payscore-collector/internal/redisconn"
	"payscore-collector/internal/testkit"
	"payscore-collector/internal/testkit/redistest"
)

// A worker that starts beside a replica waits until that is the master, and says
// so: it may be the middle of a failover. What would lose orders is refused at
// once.
func TestRedisWatch_await(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name     string
		args     []string
		promoted bool
		refused  []string
	}{
		{name: "a failover", promoted: true},
		{name: "a replica"},
		{name: "a replica that evicts", args: []string{"--maxmemory-policy", "allkeys-lru"}, refused: []string{"takes no writes", "maxmemory-policy"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			srv := redistest.StartReal(t, append([]string{"--replicaof", "127.0.0.1 1"}, c.args...)...)
			o, err := redisconn.Parse(srv.URL)
			if err != nil {
				t.Fatal(err)
			}
			cfg := config.Worker{Redis: o, Merchants: []config.Merchant{{MchID: "1900000109"}}}
			var log testkit.LogBuffer
			w := newRedisWatch(cfg, zerolog.New(&log), prometheus.NewRegistry())
			defer w.stop()
			w.conns = openRedis(cfg, 2, commandHook(w.notice))
			defer w.conns.close()
			patience := testkit.Patience
			if !c.promoted && c.refused == nil {
				patience = 2500 * time.Millisecond // of a wait that must time out
			}
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			if c.promoted {
				time.AfterFunc(300*time.Millisecond, func() { srv.Client.Do(t.Context(), "REPLICAOF", "NO", "ONE") })
			}
			err = w.await(ctx)
			refused, untrusted := errors.AsType[*RefusedError](err)
			switch {
			case c.promoted && err != nil:
				t.Errorf("with a master the error is %v", err)
			case c.refused != nil && !untrusted:
				t.Errorf("the error is %v", err)
			case !c.promoted && c.refused == nil && !errors.Is(err, context.DeadlineExceeded):
				t.Errorf("it did not wait: %v", err)
			}
			for _, words := range c.refused {
				if untrusted && !strings.Contains(refused.Error(), words) {
					t.Errorf("the error is %v", err)
				}
			}
			if said := strings.Count(log.String(), `"event":"redis_refuses","reason":"read_only"`); c.refused == nil && said != 1 {
				t.Errorf("it said %d times that it waits: %s", said, log.String())
			}
		})
	}
}
