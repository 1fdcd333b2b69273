package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"payscore-collector/internal/ledger"
)

func TestLive(t *testing.T) {
	now := time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
	moments := []moment{
		{elapsed: 0, open: 300},
		{elapsed: 2 * time.Second, open: 290, paid: 1230, calls: 40},
		{elapsed: 3 * time.Second, open: 280, paid: 2460, calls: 90},
		{elapsed: 3200 * time.Millisecond, now: now, open: 280, paid: 2460, calls: 95, gate: ledger.GateStatus{Kind: "fault", ProbeAt: now.Add(4100 * time.Millisecond)}},
		{elapsed: 6200 * time.Millisecond, now: now, open: 280, paid: 2460, calls: 96, gate: ledger.GateStatus{Kind: "fault", ProbeAt: now}},
		{elapsed: 7 * time.Second, open: 280, paid: 2460, calls: 97},
		{elapsed: 8 * time.Second, open: 0, paid: 123456, calls: 1000},
	}
	show := func(terminal bool) string {
		var b bytes.Buffer
		l := newLive(&b, terminal, 300)
		for _, m := range moments {
			l.show(m)
		}
		l.done()
		return b.String()
	}
	t.Run("elsewhere: a line now and then, the gate's changes and the end", func(t *testing.T) {
		want := `  0.0 s    0/300 ended      ¥0.00 in      0 calls  gate open
  3.0 s   20/300 ended     ¥24.60 in     90 calls  gate open
  3.2 s  WeChat Pay refuses the merchant's signature: calls stop, and no order is blamed
  6.2 s   20/300 ended     ¥24.60 in     96 calls  GATE CLOSED, probing
  7.0 s  calls work again: the gate is open
  8.0 s  300/300 ended   ¥1234.56 in   1000 calls  gate open
`
		if diff := cmp.Diff(want, show(false)); diff != "" {
			t.Errorf("(-want +got)\n%s", diff)
		}
	})
	t.Run("on a terminal: one line, written over, that does not wrap", func(t *testing.T) {
		got := show(true)
		if n := strings.Count(got, "\n"); n != 3 { // closed, opened, done
			t.Errorf("%d line ends, want 3: %q", n, got)
		}
		lines := strings.FieldsFunc(strings.ReplaceAll(got, "\x1b[K", ""), func(r rune) bool { return r == '\r' || r == '\n' })
		for _, line := range lines {
			if n := len([]rune(line)); strings.Contains(line, "ended") && n > 79 {
				t.Errorf("%d columns: %q", n, line)
			}
		}
		if !strings.Contains(got, "GATE CLOSED, probe in 5 s") {
			t.Errorf("the next probe is not told: %q", got)
		}
	})
}
