package logging

import (
	"sync"
	"time"

	"github.com/rs/zerolog"
)

// Outage logs that a server which this program needs does not answer: at the first
// failure, then now and then, and when it is back. It is safe for concurrent use;
// goroutines that wait for the same server share one.
type Outage struct {
	log   zerolog.Logger
	what  string
	every time.Duration

	mu    sync.Mutex
	since time.Time // zero while there is no outage
	said  time.Time // the time of the last line, in this outage or an earlier one
}

// NewOutage returns an Outage of what, such as "Redis", that logs no more often than
// every.
func NewOutage(log zerolog.Logger, what string, every time.Duration) *Outage {
	return &Outage{log: log, what: what, every: every}
}

// Failed logs the failure, unless the last line is more recent than every.
func (o *Outage) Failed(err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	now := time.Now()
	if o.since.IsZero() {
		o.since = now
	}
	if !o.said.IsZero() && now.Sub(o.said) < o.every {
		return
	}
	o.said = now
	o.log.Warn().Str(FieldEvent, "outage").Err(err).Int64(FieldElapsedMS, now.Sub(o.since).Milliseconds()).
		Msg(o.what + " does not answer as it should; waiting for it")
}

// Over logs the end of an outage that Failed has logged.
func (o *Outage) Over() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.since.IsZero() && !o.said.Before(o.since) {
		o.log.Info().Str(FieldEvent, "outage_ended").Int64(FieldElapsedMS, time.Since(o.since).Milliseconds()).Msg(o.what + " is up")
	}
	o.since = time.Time{}
}
