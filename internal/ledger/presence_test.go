package ledger

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"payscore-collector/internal/testkit/redistest"
)

func TestBeat(t *testing.T) {
	s := redistest.Start(t)
	l := New(s.Client, "1900000109")
	set := Settings{Rate: 50, CollectWindow: "08:00-22:00", Timezone: "Asia/Shanghai"}
	beat := func(id string, s Settings, stopped bool) {
		t.Helper()
		if err := l.Beat(t.Context(), id, 10*time.Second, s, stopped); err != nil {
			t.Fatal(err)
		}
	}
	workers := func() ([]Worker, time.Time) {
		t.Helper()
		list, now, err := l.Workers(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return list, now
	}

	if list, now := workers(); len(list) != 0 || time.Since(now).Abs() > time.Minute {
		t.Fatalf("of an empty ledger: %v at %s", list, now)
	}
	beat("a", set, false)
	other := set
	other.Rate = 20
	beat("b", other, true)
	list, now := workers()
	if len(list) != 2 {
		t.Fatalf("two have reported, and there are %+v", list)
	}
	for _, w := range list {
		if w.Every != 10*time.Second || now.Sub(w.Seen) > 5*time.Second || w.Alive(now) != (w.ID == "a") {
			t.Errorf("%+v, alive: %v", w, w.Alive(now))
		}
	}

	t.Run("a report carries settings only where they are new", func(t *testing.T) {
		key := KeysOf("1900000109").Workers()
		s.Client.HSet(t.Context(), key, "set:a", `{"collect_rate":7}`)
		beat("a", set, false)
		list, _ := workers()
		if diff := cmp.Diff(set, list[0].Settings); diff != "" || list[0].ID != "a" {
			t.Errorf("%s: (-want +got)\n%s", list[0].ID, diff)
		}
	})
	t.Run("one that is gone for a day is forgotten by the next report of another", func(t *testing.T) {
		key := KeysOf("1900000109").Workers()
		s.Client.HSet(t.Context(), key, "seen:b", "1000 10000 0")
		beat("a", set, false)
		if list, _ := workers(); len(list) != 1 || list[0].ID != "a" {
			t.Errorf("left: %+v", list)
		}
		if n := s.Client.HLen(t.Context(), key).Val(); n != 2 {
			t.Errorf("%d fields are left", n)
		}
	})
}

func TestWorker_Alive(t *testing.T) {
	now := time.UnixMilli(1_800_000_000_000)
	for ago, want := range map[time.Duration]bool{
		0: true, 29 * time.Second: true, 31 * time.Second: false,
		-29 * time.Second: true, -time.Hour: false, // the clock was put back since
	} {
		if got := (Worker{Seen: now.Add(-ago), Every: 10 * time.Second}).Alive(now); got != want {
			t.Errorf("seen %s ago: alive is %v", ago, got)
		}
	}
	if (Worker{Seen: now, Every: 10 * time.Second, Stopped: true}).Alive(now) {
		t.Error("one that has stopped is alive")
	}
}

// A worker that could not stay up for a day has left thousands of reports, and then
// none ran for another day.
func TestManyWorkersThatAreGoneAreForgotten(t *testing.T) {
	s := redistest.Start(t)
	l := New(s.Client, "1900000109")
	key := KeysOf("1900000109").Workers()
	var fields []any
	for i := range 4500 {
		fields = append(fields, fmt.Sprintf("seen:old/%d", i), "1000 10000 0", fmt.Sprintf("set:old/%d", i), "{}")
	}
	if err := s.Client.HSet(t.Context(), key, fields...).Err(); err != nil {
		t.Fatal(err)
	}
	for range 10 {
		if err := l.Beat(t.Context(), "new", 10*time.Second, Settings{}, false); err != nil {
			t.Fatal(err)
		}
	}
	if n := s.Client.HLen(t.Context(), key).Val(); n != 2 {
		t.Errorf("%d fields are left", n)
	}
}
