package redisconn

import (
	"context"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/rs/zerolog"

	"payscore-collector/internal/logging"
)

const (
	pingEvery   = 500 * time.Millisecond
	pingTimeout = 5 * time.Second
)

// WaitUp returns nil as soon as Redis answers client, which o has opened, and ctx's
// error if ctx ends first. While it waits it logs why, at the first failure and then
// every sayEvery. It waits on any failure, including a wrong password: that is also
// repaired outside, and exiting would only cause a restart loop.
func (o Options) WaitUp(ctx context.Context, client redis.UniversalClient, log zerolog.Logger, sayEvery time.Duration) error {
	ping := func(ctx context.Context) error { return client.Ping(ctx).Err() }
	return o.waitUp(ctx, ping, log.With().Str(logging.FieldAddr, o.String()).Logger(), sayEvery, pingEvery)
}

func (o Options) waitUp(ctx context.Context, ping func(context.Context) error, log zerolog.Logger, sayEvery, pingEvery time.Duration) error {
	start := time.Now()
	var said time.Time // when last; zero: never
	for {
		err := pingOnce(ctx, ping)
		switch {
		case err == nil:
			if !said.IsZero() {
				log.Info().Str(logging.FieldEvent, "redis_up").Int64(logging.FieldElapsedMS, time.Since(start).Milliseconds()).Msg("Redis is up")
			}
			return nil
		case ctx.Err() != nil:
			return fmt.Errorf("wait for Redis: %w", ctx.Err())
		}
		if said.IsZero() || time.Since(said) >= sayEvery {
			said = time.Now()
			why := o.Explain(ctx, err)
			log.Warn().Str(logging.FieldEvent, "redis_awaited").Str(logging.FieldError, why.Said).Int64(logging.FieldElapsedMS, time.Since(start).Milliseconds()).
				Msg(why.Problem + "; waiting for it: " + why.Remedy)
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
