package main

import (
	"math"
	"testing"
	"time"

	"payscore-collector/internal/ledger"
	"payscore-collector/internal/payscore"
	"payscore-collector/tasks"
)

func TestEverythingHasWords(t *testing.T) {
	for _, s := range tasks.States {
		if stateWords[s] == "" {
			t.Errorf("state %s has no words", s)
		}
	}
	for _, v := range payscore.Verdicts {
		if verdictWords[v] == "" {
			t.Errorf("verdict %s has no words", v)
		}
	}
	for _, p := range []ledger.Plan{ledger.Collect, ledger.Recheck, ledger.Confirm, ledger.Resolve, ledger.Inspect, ledger.Final} {
		if planWords[p] == "" {
			t.Errorf("plan %s has no words", p)
		}
	}
}

func TestYuan(t *testing.T) {
	for fen, want := range map[int64]string{
		0: "¥0.00", 5: "¥0.05", 99: "¥0.99", 100: "¥1.00", 1230: "¥12.30", 123456789: "¥1234567.89",
		-1: "-¥0.01", -1230: "-¥12.30", math.MinInt64: "-¥92233720368547758.08",
	} {
		if got := yuan(fen); got != want {
			t.Errorf("yuan(%d) is %s, want %s", fen, got, want)
		}
	}
}

func TestAge(t *testing.T) {
	c := clock{now: time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC), zone: time.UTC}
	for _, tt := range []struct {
		ago  time.Duration
		want string
	}{
		{0, "now"},
		{500 * time.Millisecond, "now"},
		{time.Second, "1 second ago"},
		{119 * time.Second, "119 seconds ago"},
		{2 * time.Minute, "2 minutes ago"},
		{119*time.Minute + 59*time.Second, "119 minutes ago"},
		{47 * time.Hour, "47 hours ago"},
		{48 * time.Hour, "2 days ago"},
		{-10 * time.Minute, "in 10 minutes"},
		{-75 * time.Hour, "in 3 days"},
	} {
		if got := c.age(c.now.Add(-tt.ago)); got != tt.want {
			t.Errorf("%s ago is %q, want %q", tt.ago, got, tt.want)
		}
	}
}
