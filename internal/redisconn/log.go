package redisconn

import (
	"context"
	"fmt"

	"github.com/redis/go-redis/v9"
	"github.com/rs/zerolog"

	"payscore-collector/internal/logging"
)

// RedirectLog sends what go-redis logs by itself to log, at debug level; without
// it those lines go to standard error, in a format of their own. They are debug
// lines because each of those errors is also returned to a caller, who knows better
// what it means.
//
// The setting holds for the process; call it once, at the start.
func RedirectLog(log zerolog.Logger) {
	redis.SetLogger(&goRedisLogger{log: log.With().Str(logging.FieldComponent, "redis").Logger()})
}

type goRedisLogger struct{ log zerolog.Logger }

func (l *goRedisLogger) Printf(_ context.Context, format string, v ...any) {
	if e := l.log.Debug(); e.Enabled() {
		e.Str(logging.FieldEvent, "redis_client").Msg(fmt.Sprintf(format, v...))
	}
}
