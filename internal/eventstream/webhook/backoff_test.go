package webhook

import (
	"net/http"
	"testing"
	"time"
)

func TestWait(t *testing.T) {
	s := &Sender{Settings: Settings{}.withDefaults()}
	for fails, want := range map[int64]time.Duration{
		1: time.Second, 2: 5 * time.Second, 3: 30 * time.Second, 4: 2 * time.Minute, 5: 10 * time.Minute, 6: time.Hour, 7: time.Hour, 10_000: time.Hour,
	} {
		for range 100 {
			if got := s.wait(fails, 0); got < want*9/10 || got > want*11/10 {
				t.Errorf("after %d failures: %s, want about %s", fails, got, want)
			}
		}
	}
	if got := s.wait(1, 90*time.Second); got < 90*time.Second || got > 99*time.Second {
		t.Errorf("a receiver that asks for 90 s gets %s", got)
	}
	if got := s.wait(1, 24*time.Hour); got < time.Hour || got > 66*time.Minute {
		t.Errorf("a receiver that asks for a day gets %s", got)
	}
	if got := s.wait(5, time.Second); got < 9*time.Minute {
		t.Errorf("a receiver that asks for a second, after five failures, gets %s", got)
	}
}

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	for _, tc := range []struct {
		status int
		value  string
		want   time.Duration
	}{
		{429, "120", 2 * time.Minute},
		{503, "Tue, 24 Nov 2026 12:00:30 GMT", 30 * time.Second},
		{503, "Tue, 24 Nov 2026 11:00:00 GMT", 0},
		{500, "120", 0},
		{429, "", 0},
		{429, "-1", 0},
		{429, "soon", 0},
		{429, "99999999999999999999", 0},
	} {
		resp := &http.Response{StatusCode: tc.status, Header: http.Header{"Retry-After": {tc.value}}}
		if got := retryAfter(resp, now); got != tc.want {
			t.Errorf("%d with Retry-After %q: %s, want %s", tc.status, tc.value, got, tc.want)
		}
	}
}
