package explain

import (
	"testing"
	"time"

	"payscore-collector/internal/ledger"
	"payscore-collector/tasks"
)

// A log that is full says how much it has lost, and one that is not never does.
func TestStory_OfManyCalls(t *testing.T) {
	at := time.Date(2026, 11, 20, 4, 0, 0, 0, time.UTC)
	o := ledger.Order{OpenedAt: at, CollectCalls: 30, QueryCalls: 31}
	for i := range ledger.LogEntries {
		e := ledger.Entry{At: at.Add(time.Duration(i+1) * time.Minute), Call: "query", Verdict: "owed"}
		if i%10 == 0 {
			e.Call = "notification"
		}
		o.Log = append(o.Log, e)
	}
	lines := Teller{}.Story(o)
	if len(lines) != 2+ledger.LogEntries || lines[1].Words != "16 calls before this have left the log" {
		t.Errorf("%d lines, the second says %q", len(lines), lines[1].Words)
	}
	o.Log = o.Log[1:] // a call is under way
	if lines := (Teller{}).Story(o); len(lines) != len(o.Log)+1 {
		t.Errorf("%d lines of %d calls", len(lines), len(o.Log))
	}
}

// A total that the merchant lowered belongs to the story, and is no alarm.
func TestStory_OfALoweredTotal(t *testing.T) {
	at := time.Date(2026, 11, 20, 4, 0, 0, 0, time.UTC)
	o := ledger.Order{
		State: tasks.Awaiting, OpenedAt: at.Add(-time.Hour), TotalLowered: &ledger.Lowering{At: at, From: 1250, To: 1000},
	}
	lines := Teller{}.Story(o)
	if last := lines[len(lines)-1]; !last.At.Equal(at) || last.Words != "the merchant lowered the total from ¥12.50 to ¥10.00" {
		t.Errorf("%+v", lines)
	}
	if alarms := (Teller{}).Alarms(o); len(alarms) != 0 {
		t.Errorf("%v", alarms)
	}
}
