package main

import (
	"testing"
	"time"

	"payscore-collector/internal/ledger"
)

func TestMoment(t *testing.T) {
	now := time.Date(2026, 11, 20, 4, 0, 0, 0, time.UTC)
	held := ledger.Holds{Now: now, Merchant: ledger.Hold{Kind: ledger.HoldFault, Since: now, NextProbe: now.Add(4 * time.Second)}}
	for got, want := range map[string]string{
		moment{open: 300}.line(300): "  0.0 s    0/300 ended      ¥0.00 in      0 calls",
		moment{elapsed: 6200 * time.Millisecond, open: 280, paid: 2460, calls: 96, holds: held}.line(300): "  6.2 s   20/300 ended     ¥24.60 in     96 calls  CALLS STOPPED",
		moment{elapsed: 3 * time.Second, holds: held}.holdLine():                                          "  3.0 s  calls are stopped since 2026-11-20 12:00:00 Asia/Shanghai (now), because WeChat Pay refuses the merchant's signature; the next probe is in 4 seconds; no order is blamed",
		moment{elapsed: 8 * time.Second}.holdLine():                                                       "  8.0 s  calls work again",
	} {
		if got != want {
			t.Errorf("line %q, want %q", got, want)
		}
	}
}
