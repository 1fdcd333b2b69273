package worker

import (
	"slices"
	"testing"

	"payscore-collector/internal/config"
)

// One asynq server fetches a task a round trip, and so cannot keep a high
// COLLECT_RATE with a Redis that is some milliseconds away.
func TestFetchers(t *testing.T) {
	for _, tt := range []struct {
		rate        float64
		concurrency int
		want        []int
	}{
		{50, 64, []int{64}},
		{200, 64, []int{64}},
		{201, 64, []int{32, 32}},
		{500, 256, []int{85, 85, 86}},
		{5000, 64, []int{8, 8, 8, 8, 8, 8, 8, 8}},
		{5000, 2, []int{1, 1}},
		{0.1, 1, []int{1}},
	} {
		if got := fetchers(config.Work{Rate: tt.rate, Concurrency: tt.concurrency}); !slices.Equal(got, tt.want) {
			t.Errorf("COLLECT_RATE=%v, WORKER_CONCURRENCY=%d: %v, want %v", tt.rate, tt.concurrency, got, tt.want)
		}
	}
}
