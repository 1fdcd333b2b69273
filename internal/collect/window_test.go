package collect

import (
	"encoding/json"
	"os"
	"slices"
	"testing"
	"time"

	"payscore-collector/internal/testkit/redistest"
)

func TestWindowEarliest(t *testing.T) {
	t.Parallel()
	const layout = "2006-01-02 15:04:05 -0700"
	day := func(loc string, from, to time.Duration) Window {
		return Window{From: from, To: to, Location: zone(loc)}
	}
	office := day("Asia/Shanghai", 8*hour, 22*hour)
	night := day("Asia/Shanghai", 22*hour, 6*hour)
	for _, tt := range []struct {
		name    string
		window  Window
		t, want string
	}{
		{"before it opens", office, "2026-03-02 07:59:59 +0800", "2026-03-02 08:00:00 +0800"},
		{"at its first moment", office, "2026-03-02 08:00:00 +0800", "2026-03-02 08:00:00 +0800"},
		{"inside", office, "2026-03-02 12:34:56 +0800", "2026-03-02 12:34:56 +0800"},
		{"in its last second", office, "2026-03-02 21:59:59 +0800", "2026-03-02 21:59:59 +0800"},
		{"its end is not part of it", office, "2026-03-02 22:00:00 +0800", "2026-03-03 08:00:00 +0800"},
		{"asked in another zone's words", office, "2026-03-02 14:00:01 +0000", "2026-03-03 08:00:00 +0800"},
		{"over the end of February", office, "2026-02-28 23:00:00 +0800", "2026-03-01 08:00:00 +0800"},
		{"into a leap day", office, "2028-02-28 23:00:00 +0800", "2028-02-29 08:00:00 +0800"},
		{"out of a leap day", office, "2028-02-29 22:00:00 +0800", "2028-03-01 08:00:00 +0800"},
		{"over the year's end", office, "2026-12-31 22:30:00 +0800", "2027-01-01 08:00:00 +0800"},

		{"across midnight, before it opens", night, "2026-03-02 21:00:00 +0800", "2026-03-02 22:00:00 +0800"},
		{"across midnight, in the evening", night, "2026-03-02 23:59:59 +0800", "2026-03-02 23:59:59 +0800"},
		{"across midnight, after it", night, "2026-03-03 00:00:00 +0800", "2026-03-03 00:00:00 +0800"},
		{"across midnight, its end", night, "2026-03-03 06:00:00 +0800", "2026-03-03 22:00:00 +0800"},

		{"until midnight, inside", day("Asia/Shanghai", 8*hour, 24*hour), "2026-03-02 23:59:59 +0800", "2026-03-02 23:59:59 +0800"},
		{"until midnight, after it", day("Asia/Shanghai", 8*hour, 24*hour), "2026-03-03 00:00:00 +0800", "2026-03-03 08:00:00 +0800"},
		{"from midnight", day("Asia/Shanghai", 0, 6*hour), "2026-03-02 06:00:00 +0800", "2026-03-03 00:00:00 +0800"},

		// Clocks go forward: that day has 23 hours, and 08:00 is 08:00.
		{"Berlin, spring", day("Europe/Berlin", 8*hour, 22*hour), "2026-03-28 22:00:00 +0100", "2026-03-29 08:00:00 +0200"},
		{"Berlin, spring, the end", day("Europe/Berlin", 8*hour, 22*hour), "2026-03-29 21:59:59 +0200", "2026-03-29 21:59:59 +0200"},
		{"New York, spring", day("America/New_York", 8*hour, 22*hour), "2026-03-07 23:00:00 -0500", "2026-03-08 08:00:00 -0400"},
		{"Berlin, a night that loses an hour", day("Europe/Berlin", 22*hour, 6*hour), "2026-03-29 05:59:59 +0200", "2026-03-29 05:59:59 +0200"},
		{"Berlin, its end", day("Europe/Berlin", 22*hour, 6*hour), "2026-03-29 06:00:00 +0200", "2026-03-29 22:00:00 +0200"},
		{"New York, inside the hour that is left out", day("America/New_York", 2*hour+15*minute, 2*hour+45*minute), "2026-03-08 01:30:00 -0500", "2026-03-09 02:15:00 -0400"},
		{"Berlin, inside the hour that is left out", day("Europe/Berlin", 2*hour+15*minute, 2*hour+45*minute), "2026-03-29 01:30:00 +0100", "2026-03-30 02:15:00 +0200"},
		{"New York, from the hour that is left out", day("America/New_York", 2*hour+30*minute, 5*hour), "2026-03-08 01:45:00 -0500", "2026-03-08 03:00:00 -0400"},
		{"New York, until the hour that is left out", day("America/New_York", hour, 2*hour+30*minute), "2026-03-08 01:59:59 -0500", "2026-03-08 01:59:59 -0500"},
		{"New York, after one that ends in it", day("America/New_York", hour, 2*hour+30*minute), "2026-03-08 03:00:00 -0400", "2026-03-09 01:00:00 -0400"},
		// Clocks go back: 25 hours.
		{"Berlin, autumn", day("Europe/Berlin", 8*hour, 22*hour), "2026-10-24 22:00:00 +0200", "2026-10-25 08:00:00 +0100"},
		{"New York, autumn", day("America/New_York", 8*hour, 22*hour), "2026-10-31 23:00:00 -0400", "2026-11-01 08:00:00 -0500"},
		{"Berlin, the hour that comes twice, the first time", day("Europe/Berlin", 22*hour, 6*hour), "2026-10-25 02:30:00 +0200", "2026-10-25 02:30:00 +0200"},
		{"Berlin, the hour that comes twice, the second time", day("Europe/Berlin", 22*hour, 6*hour), "2026-10-25 02:30:00 +0100", "2026-10-25 02:30:00 +0100"},
		{"Berlin, a night that gains an hour", day("Europe/Berlin", 22*hour, 6*hour), "2026-10-25 05:59:59 +0100", "2026-10-25 05:59:59 +0100"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			from, err := time.Parse(layout, tt.t)
			if err != nil {
				t.Fatal(err)
			}
			want, err := time.Parse(layout, tt.want)
			if err != nil {
				t.Fatal(err)
			}
			if got := tt.window.Earliest(from); !got.Equal(want) {
				t.Errorf("got %s, want %s", got.In(tt.window.Location).Format(layout), tt.want)
			}
			if in := tt.window.Contains(from); in != from.Equal(want) {
				t.Errorf("contains %s: %t", tt.t, in)
			}
		})
	}
	if now := time.Now(); !(Window{Always: true}).Earliest(now).Equal(now) {
		t.Error("always is not now")
	}
}

// The window holds by the clock on the wall, in every zone, on every day.
func TestWindowIsTheClockFace(t *testing.T) {
	t.Parallel()
	r := seeded(t)
	for range 20_000 {
		w := randomWindow(r)
		if w.Always {
			continue
		}
		at := time.UnixMilli(1.7e12 + r.Int64N(1e11))
		h, m, s := at.In(w.Location).Clock()
		face := time.Duration(h)*hour + time.Duration(m)*minute + time.Duration(s)*second
		inside := face >= w.From && face < w.To
		if w.To <= w.From {
			inside = face >= w.From || face < w.To
		}
		if got := w.Contains(at); got != inside {
			t.Fatalf("%s-%s: %s is inside: %t", w.From, w.To, at.In(w.Location), got)
		}
		first := w.Earliest(at)
		if first.Before(at) || !w.Contains(first) || first.Sub(at) > 25*hour {
			t.Fatalf("%s-%s: from %s on, %s is the first", w.From, w.To, at.In(w.Location), first.In(w.Location))
		}
		if !inside && w.Contains(first.Add(-time.Millisecond)) {
			t.Fatalf("%s-%s: %s is not the first moment", w.From, w.To, first.In(w.Location))
		}
	}
}

// Redis judges by windows that a worker hands out. It comes to the same result
// as the policy, whatever the time, and though the worker's clock is off.
func TestWindowAheadAgreesWithTheLedger(t *testing.T) {
	t.Parallel()
	common, err := os.ReadFile("../ledger/scripts/common.lua")
	if err != nil {
		t.Fatal(err)
	}
	pace, err := os.ReadFile("../ledger/scripts/pace.lua")
	if err != nil {
		t.Fatal(err)
	}
	type question struct {
		At      int64   `json:"at"`
		Last    int64   `json:"last"`
		Gap     int64   `json:"gap"`
		Windows []int64 `json:"windows"`
		window  Window
		want    time.Time
	}
	r := seeded(t)
	var asked []question
	for range 3_000 {
		w := randomWindow(r)
		at := time.UnixMilli(1.7e12 + r.Int64N(1e11))
		if edges := w.Ahead(at); len(edges) > 0 && r.IntN(3) == 0 {
			at = edges[r.IntN(4)].Add(time.Duration(r.IntN(3)-1) * time.Millisecond)
		}
		q := question{At: at.UnixMilli(), window: w, Windows: []int64{}}
		t0 := at
		if r.IntN(2) == 0 {
			last, gap := at.Add(-rand64(r, 24*hour)), rand64(r, 48*hour)
			q.Last, q.Gap = last.UnixMilli(), gap.Milliseconds()
			t0 = later(at, time.UnixMilli(q.Last+q.Gap))
		}
		q.want = w.Earliest(t0)
		off := rand64(r, 50*minute) - 25*minute
		for _, edge := range w.Ahead(at.Add(off)) {
			q.Windows = append(q.Windows, edge.UnixMilli())
		}
		asked = append(asked, q)
	}
	body, err := json.Marshal(asked)
	if err != nil {
		t.Fatal(err)
	}
	got, err := redistest.Start(t).Client.Eval(t.Context(), string(common)+string(pace)+`
		local reply = {}
		for i, q in ipairs(cjson.decode(ARGV[1])) do reply[i] = earliest(q.at, q.last, q.gap, q.windows) end
		return reply`, nil, body).Int64Slice()
	if err != nil || len(got) != len(asked) {
		t.Fatalf("%d answers: %v", len(got), err)
	}
	for i, q := range asked {
		if g := time.UnixMilli(got[i]); !g.Equal(q.want) {
			t.Fatalf("window %+v at %s, last %s, gap %s: the ledger says %s, the policy %s", q.window,
				time.UnixMilli(q.At), time.UnixMilli(q.Last), time.Duration(q.Gap)*time.Millisecond, g, q.want)
		}
	}
}

func TestWindowAhead(t *testing.T) {
	t.Parallel()
	w := Window{From: 8 * hour, To: 22 * hour, Location: shanghai}
	edges := w.Ahead(at(12, 0))
	if len(edges) != 2*windowsAhead || !edges[0].Equal(at(8-24, 0)) || !edges[1].Equal(at(22-24, 0)) || !edges[2].Equal(at(8, 0)) {
		t.Errorf("at noon: %v", edges)
	}
	// A clock that is up to a day ahead of Redis's still hands out the window that
	// Redis is in: a worker with such a clock postpones no order for all workers.
	for _, ahead := range []time.Duration{0, 3 * hour, 8 * hour, 23 * hour} {
		if edges := w.Ahead(at(20, 0).Add(ahead)); !slices.ContainsFunc(edges, at(8, 0).Equal) {
			t.Errorf("at 20:00 by a clock that is %s ahead, the window that is open is missing: %v", ahead, edges)
		}
	}
	if edges := (Window{Always: true}).Ahead(noon); edges != nil {
		t.Errorf("always: %v", edges)
	}
}
