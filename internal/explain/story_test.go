package explain

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"payscore-collector/internal/ledger"
	"payscore-collector/tasks"
)

// A full log says how many calls it has lost; any other log does not.
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
	const want = "16 earlier calls are no longer in the log"
	if len(lines) != 2+ledger.LogEntries || lines[1].Words != want {
		t.Errorf("%d lines, want %d; the second says %q, want %q", len(lines), 2+ledger.LogEntries, lines[1].Words, want)
	}
	o.Log = o.Log[1:] // a call is under way
	if lines := (Teller{}).Story(o); len(lines) != len(o.Log)+1 {
		t.Errorf("%d lines of %d calls, want no line about lost ones", len(lines), len(o.Log))
	}
}

// The calls of an order that ended long ago are gone, and the story says so before its end.
func TestStory_OfACompactOrder(t *testing.T) {
	at := time.Date(2026, 11, 20, 4, 0, 0, 0, time.UTC)
	o := ledger.Order{State: tasks.Paid, OpenedAt: at, LastAttemptAt: at.Add(time.Minute), EndedAt: at.Add(time.Minute), CollectCalls: 1, QueryCalls: 1, LogGone: true}
	var got []string
	for _, m := range (Teller{}).Story(o) {
		got = append(got, m.What)
	}
	if diff := cmp.Diff([]string{"opened", "…", "ended"}, got); diff != "" {
		t.Error(diff)
	}
	if words := (Teller{}).Story(o)[1].Words; words != "2 earlier calls are no longer in the log" {
		t.Errorf("%s", words)
	}
}

// A total that the merchant lowered is in the story, and not an alarm.
func TestStory_OfALoweredTotal(t *testing.T) {
	at := time.Date(2026, 11, 20, 4, 0, 0, 0, time.UTC)
	o := ledger.Order{
		State: tasks.Awaiting, OpenedAt: at.Add(-time.Hour), TotalLowered: &ledger.Lowering{At: at, From: 1250, To: 1000},
	}
	lines := Teller{}.Story(o)
	want := Moment{At: at, What: "lowered", Words: "the merchant lowered the total from ¥12.50 to ¥10.00"}
	if diff := cmp.Diff(want, lines[len(lines)-1]); diff != "" {
		t.Errorf("the last line (-want +got)\n%s", diff)
	}
	if alarms := (Teller{}).Alarms(o); len(alarms) != 0 {
		t.Errorf("alarms %q, want none", alarms)
	}
}
