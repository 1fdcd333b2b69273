package worker

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"payscore-collector/internal/redistest"
)

// A worker that starts in the middle of a failover waits until its master is
// one; a replica that stays one is refused, and at once what waiting cannot mend.
func TestAwaitGoodRedis_failover(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name             string
		evicts, promoted bool
		failover         time.Duration
		refused, and     string
		waits            int
		atLeast          time.Duration
	}{
		{name: "promoted", promoted: true, failover: time.Minute, waits: 1},
		{name: "a replica", failover: 600 * time.Millisecond, refused: "takes no writes", waits: 1, atLeast: 600 * time.Millisecond},
		{name: "a replica where none takes over", refused: "takes no writes"},
		{name: "one that evicts", evicts: true, failover: time.Minute, refused: "takes no writes", and: "maxmemory-policy"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			args := []string{"--replicaof", "127.0.0.1 1"}
			if c.evicts {
				args = append(args, "--maxmemory-policy", "allkeys-lru")
			}
			srv := redistest.StartReal(t, args...)
			if c.promoted {
				time.AfterFunc(300*time.Millisecond, func() { srv.Client.Do(t.Context(), "REPLICAOF", "NO", "ONE") })
			}
			var log bytes.Buffer
			start := time.Now()
			err := awaitGoodRedis(t.Context(), srv.Client, zerolog.New(&log), c.failover)
			took := time.Since(start)
			var refused *RefusedError
			if errors.As(err, &refused) != (c.refused != "") {
				t.Fatalf("the error is %v", err)
			}
			if err != nil && (!strings.Contains(err.Error(), c.refused) || !strings.Contains(err.Error(), c.and)) {
				t.Errorf("the error is %v", err)
			}
			if took < c.atLeast || took > 30*time.Second {
				t.Errorf("it took %v", took)
			}
			if waited := strings.Count(log.String(), "should it be a failover"); waited != c.waits {
				t.Errorf("it said %d times that it waits: %s", waited, log.String())
			}
		})
	}
}
