package logging

import (
	"sync"
	"time"

	"github.com/rs/zerolog"
)

// Outage tells of something that this program waits for: when it fails first,
// then once in a while, and when it is back. Those who wait for the same thing
// share one; it is safe for concurrent use.
type Outage struct {
	log   zerolog.Logger
	what  string
	every time.Duration

	mu    sync.Mutex
	since time.Time // zero while all is well
	said  time.Time // when last, in this outage or an earlier one
}

// NewOutage returns an Outage of what, such as "Redis", that speaks no more
// often than every so often.
func NewOutage(log zerolog.Logger, what string, every time.Duration) *Outage {
	return &Outage{log: log, what: what, every: every}
}

// Failed says that it does not work, where that is due.
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
	o.log.Warn().Err(err).Int64(FieldElapsedMS, now.Sub(o.since).Milliseconds()).
		Msg(o.what + " does not answer as it should; waiting for it")
}

// Over says that it works again, where anybody had heard of the outage.
func (o *Outage) Over() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.since.IsZero() && !o.said.Before(o.since) {
		o.log.Info().Int64(FieldElapsedMS, time.Since(o.since).Milliseconds()).Msg(o.what + " is up")
	}
	o.since = time.Time{}
}
