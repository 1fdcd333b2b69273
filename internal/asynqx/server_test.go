package asynqx

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/hibiken/asynq"
)

func TestLater(t *testing.T) {
	later := fmt.Errorf("wrapped: %w", &Later{7 * time.Second, "because"})
	for _, tc := range []struct {
		err         error
		failure     bool
		least, most time.Duration
	}{
		{later, false, 7 * time.Second, 7 * time.Second},
		{&Later{0, "at once"}, false, time.Second, time.Second}, // asynq knows whole seconds
		{asynq.ErrLeaseExpired, true, time.Second, 5 * time.Second},
		{errors.New("any other"), true, time.Second, 5 * time.Second},
	} {
		if got := IsFailure(tc.err); got != tc.failure {
			t.Errorf("IsFailure(%v) = %t, want %t", tc.err, got, tc.failure)
		}
		for range 100 {
			if d := retryDelay(3, tc.err, nil); d < tc.least || d > tc.most {
				t.Fatalf("after %v: again in %s, want %s to %s", tc.err, d, tc.least, tc.most)
			}
		}
	}
	if IsFailure(nil) {
		t.Error("IsFailure(nil) = true, want false")
	}
}
