package queue_test

import (
	"testing"

	"payscore-collector/internal/queue"
)

func TestRoundOf(t *testing.T) {
	if n, ok := queue.RoundOf(queue.TaskID("1", "A|B", 42), "1", "A|B"); !ok || n != 42 {
		t.Errorf("round %d, %v; want 42, true", n, ok)
	}
	for _, id := range []string{"", "1:A|B", "1:A|B:x", "1:A:42", "2:A|B:42", "b2a6e0b0-6c4f-4d55-9d5b-0d5ad1e2a3c4"} {
		if _, ok := queue.RoundOf(id, "1", "A|B"); ok {
			t.Errorf("%q was taken for a round", id)
		}
	}
}
