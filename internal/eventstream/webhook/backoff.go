package webhook

import (
	"math/rand/v2"
	"net/http"
	"strconv"
	"time"
)

// backoff has the waits after an event's failures, the last one repeating.
var backoff = []time.Duration{
	time.Second,      // the receiver restarts
	5 * time.Second,  // 6 s after the first
	30 * time.Second, // 36 s
	2 * time.Minute,  // 2 min 36 s
	10 * time.Minute, // 12 min 36 s
	time.Hour,        // 1 h 12 min, and then every hour
}

// longestWait is as long as a receiver may ask for with Retry-After.
const longestWait = time.Hour

// wait returns how long to wait after the fails-th failure in a row: as the table says,
// ±10 %, so that what failed together is not retried together; and no less than the
// receiver asked for, plus a little for the same reason.
func (s *Sender) wait(fails int64, asked time.Duration) time.Duration {
	d := s.Backoff[min(int(fails), len(s.Backoff))-1]
	d = time.Duration(float64(d) * (0.9 + 0.2*rand.Float64()))
	asked = min(asked, longestWait)
	return max(d, asked+time.Duration(0.1*rand.Float64()*float64(asked)))
}

// retryAfter returns how long a receiver that answers 429 or 503 asks to wait; 0 where
// it does not say.
func retryAfter(resp *http.Response, now time.Time) time.Duration {
	if resp.StatusCode != http.StatusTooManyRequests && resp.StatusCode != http.StatusServiceUnavailable {
		return 0
	}
	value := resp.Header.Get("Retry-After")
	if n, err := strconv.ParseUint(value, 10, 31); err == nil {
		return time.Duration(n) * time.Second
	}
	if t, err := http.ParseTime(value); err == nil {
		return max(0, t.Sub(now))
	}
	return 0
}
