package asynqx

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
)

// ShutdownTimeout is how long tasks under way may take to finish when a server
// stops.
const ShutdownTimeout = 30 * time.Second

// NewServer returns a server of one queue. failed may be nil.
func NewServer(rdb redis.UniversalClient, queue string, concurrency int, failed asynq.ErrorHandler, log asynq.Logger) *asynq.Server {
	return asynq.NewServerFromRedisClient(rdb, asynq.Config{
		Concurrency: concurrency,
		Queues:      map[string]int{queue: 1},
		// No BaseContext: if it were the signal's, a shutdown would cancel every
		// task under way.
		RetryDelayFunc: retryDelay,
		IsFailure:      IsFailure,
		ErrorHandler:   failed,
		Logger:         log,
		LogLevel:       asynq.DebugLevel, // zerolog decides
		// The defaults leave half a second on average between enqueueing and
		// working; these cost an idle worker ten polls a second.
		TaskCheckInterval:        100 * time.Millisecond,
		DelayedTaskCheckInterval: time.Second,
		ShutdownTimeout:          ShutdownTimeout,
	})
}

// Later is the error of a handler that puts its task back for a while. It is not a
// failure: the ledger has the due time, and asynq only brings the task in time for
// it.
type Later struct {
	After time.Duration
	Why   string
}

func (e *Later) Error() string { return fmt.Sprintf("again in %s: %s", e.After, e.Why) }

// IsFailure reports whether a handler's error is one that uses up a retry of the
// task.
func IsFailure(err error) bool {
	var l *Later
	return err != nil && !errors.As(err, &l)
}

// retryDelay is when a task runs again after an error. asynq knows whole seconds,
// and fires up to 0.8 s early; the handler waits until its task is due.
func retryDelay(_ int, err error, _ *asynq.Task) time.Duration {
	var l *Later
	if errors.As(err, &l) {
		return max(l.After, time.Second)
	}
	// A lost lease, a panic, Redis in trouble: soon, but never at once, since
	// asynq may reclaim one task twice.
	return time.Second + rand.N(4*time.Second)
}
