package queue_test

import (
	"slices"
	"testing"
	"time"

	"payscore-collector/internal/queue"
	"payscore-collector/internal/testkit/redistest"
)

// A client wakes a merchant once a second at most: workers stay awake for longer.
func TestWake(t *testing.T) {
	rdb := redistest.Start(t).Client
	sub := rdb.Subscribe(t.Context(), queue.WakeChannel)
	defer sub.Close()
	if _, err := sub.Receive(t.Context()); err != nil {
		t.Fatal(err)
	}
	c := queue.New(rdb)
	began := time.Now()
	for _, mchids := range [][]string{{"1", "2"}, {"1"}, {"2", "3"}} {
		if err := c.Wake(t.Context(), mchids...); err != nil {
			t.Fatal(err)
		}
	}
	if err := queue.Wake(t.Context(), rdb, "end"); err != nil {
		t.Fatal(err)
	}
	var got []string
	for msg := range sub.Channel() {
		if got = append(got, msg.Payload); msg.Payload == "end" {
			break
		}
	}
	if want := []string{"1 2", "3", "end"}; !slices.Equal(got, want) && time.Since(began) < time.Second {
		t.Errorf("published %q, want %q", got, want)
	}
}
