package chaos

import (
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// The judge excuses what Redis's clock explains, and nothing else, so its own
// arithmetic of that clock is put to the test.
func TestJumpsOfRedisClock(t *testing.T) {
	begin := time.Now().Add(-10 * time.Minute)
	at := func(s int) time.Time { return begin.Add(time.Duration(s) * time.Second) }
	b := &journal{jumps: []jump{{at(0), 0}, {at(60), 8 * time.Hour}, {at(62), 0}, {at(120), -30 * time.Minute}, {at(125), 0}}}
	for _, tt := range []struct {
		what     string
		from, to int
		ahead    time.Duration
	}{
		{"no jump", 10, 50, 0},
		{"ahead", 50, 61, 8 * time.Hour},
		{"ahead and right again", 50, 70, 8 * time.Hour},
		{"right again after being ahead", 61, 70, 0},
		{"back", 110, 122, 0},
		{"right again after being back", 122, 130, 30 * time.Minute},
		{"back and right again", 110, 130, 30 * time.Minute},
		{"after all of it", 130, 200, 0},
	} {
		if got := b.ahead(at(tt.from), at(tt.to)); got != tt.ahead {
			t.Errorf("%s: ahead by %s, want %s", tt.what, got, tt.ahead)
		}
	}
	if got := b.jumpsBefore(at(121)); got != 4 {
		t.Errorf("the clock was set %d times, want 4", got)
	}
	if at := b.real(time.Time{}); !at.IsZero() {
		t.Errorf("no time became %s", at)
	}
	if due := time.Now().Add(time.Hour); !b.real(due).Equal(due) {
		t.Error("a due time did not stay as it is")
	}
}

// Each moment of a run has a time by Redis's clock, and from that time the judge
// finds the moment, whatever jumps the profile makes.
func TestEveryMomentByRedisClockIsFound(t *testing.T) {
	for _, f := range []profile{shortProfile(), longProfile()} {
		rapid.Check(t, func(t *rapid.T) {
			offsets := []time.Duration{0}
			for _, o := range f.offsets() {
				offsets = append(offsets, o, -o)
			}
			begin := time.Now().Add(-f.atMost)
			b := &journal{jumps: []jump{{begin, 0}}}
			for _, s := range rapid.SliceOfNDistinct(rapid.Int64Range(1, int64(f.atMost/time.Second)-1), 0, 20, rapid.ID).Draw(t, "seconds") {
				b.jumps = append(b.jumps, jump{begin.Add(time.Duration(s) * time.Second), rapid.SampledFrom(offsets).Draw(t, "offset")})
			}
			slices.SortFunc(b.jumps, func(a, b jump) int { return a.at.Compare(b.at) })
			moment := begin.Add(time.Duration(rapid.Int64Range(0, int64(f.atMost/time.Millisecond)-1).Draw(t, "moment")) * time.Millisecond)
			if got := b.real(moment.Add(b.offsetAt(moment))); !got.Equal(moment) {
				t.Fatalf("%s into the run became %s", moment.Sub(begin), got.Sub(begin))
			}
		})
	}
}
