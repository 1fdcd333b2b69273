package redisconn

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/rs/zerolog"

	"payscore-collector/internal/logging"
)

const (
	pingEvery   = 500 * time.Millisecond
	pingTimeout = 5 * time.Second
)

// WaitUp returns nil as soon as Redis answers, and ctx's error where ctx ends
// before. While it waits it says so in one log line at the first failure and
// then in one every sayEvery. It waits on any failure, a wrong password
// included: that too is mended outside, and leaving would only be a restart
// loop.
func WaitUp(ctx context.Context, client redis.UniversalClient, log zerolog.Logger, sayEvery time.Duration) error {
	ping := func(ctx context.Context) error { return client.Ping(ctx).Err() }
	if addr := addrOf(client); addr != "" {
		log = log.With().Str(logging.FieldAddr, addr).Logger()
	}
	return waitUp(ctx, ping, log, sayEvery, pingEvery)
}

// addrOf is where a client looks for Redis; "" where sentinels are asked first.
func addrOf(client redis.UniversalClient) string {
	switch c := client.(type) {
	case *redis.Client:
		if addr := c.Options().Addr; addr != "FailoverClient" { // go-redis's placeholder
			return addr
		}
	case *redis.ClusterClient:
		return strings.Join(c.Options().Addrs, ",")
	}
	return ""
}

func waitUp(ctx context.Context, ping func(context.Context) error, log zerolog.Logger, sayEvery, pingEvery time.Duration) error {
	start := time.Now()
	var said time.Time // when last; zero: never
	for {
		err := pingOnce(ctx, ping)
		switch {
		case err == nil:
			if !said.IsZero() {
				log.Info().Int64(logging.FieldElapsedMS, time.Since(start).Milliseconds()).Msg("Redis is up")
			}
			return nil
		case ctx.Err() != nil:
			return fmt.Errorf("wait for Redis: %w", ctx.Err())
		}
		if said.IsZero() || time.Since(said) >= sayEvery {
			said = time.Now()
			log.Warn().Err(err).Int64(logging.FieldElapsedMS, time.Since(start).Milliseconds()).
				Msg("Redis does not answer; waiting for it: check REDIS_URL, and that Redis runs")
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for Redis: %w", ctx.Err())
		case <-time.After(pingEvery):
		}
	}
}

func pingOnce(ctx context.Context, ping func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, pingTimeout)
	defer cancel()
	return ping(ctx)
}
