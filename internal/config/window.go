package config

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// Window is the part of the day in which collect calls are made, from From until
// before To. If From is later than To, the window crosses midnight.
type Window struct {
	Always bool // the whole day; From and To are zero
	// From and To are since midnight, by the wall clock of COLLECT_TIMEZONE,
	// in whole minutes. From is below 24h; To is above 0 and at most 24h.
	From, To time.Duration
}

const always = "always"

// ParseWindow reads HH:MM-HH:MM, for instance 08:00-22:00 or 22:00-06:00, or the
// word always. 24:00 is allowed as the end.
func ParseWindow(s string) (Window, error) {
	if s == always {
		return Window{Always: true}, nil
	}
	from, to, ok := strings.Cut(s, "-")
	if !ok {
		return Window{}, errors.New("is neither HH:MM-HH:MM nor always")
	}
	var w Window
	var err error
	if w.From, err = parseClock(from); err != nil {
		return Window{}, err
	}
	if w.To, err = parseClock(to); err != nil {
		return Window{}, err
	}
	const day = 24 * time.Hour
	if w.From == day {
		return Window{}, errors.New("begins at 24:00: write 00:00")
	}
	if w.To == 0 {
		w.To = day
	}
	if w.From == w.To || w == (Window{From: 0, To: day}) {
		return Window{}, fmt.Errorf("is empty or the whole day: write %s for the whole day", always)
	}
	return w, nil
}

// parseClock reads HH:MM from 00:00 to 24:00.
func parseClock(s string) (time.Duration, error) {
	s = strings.TrimSpace(s)
	if s == "24:00" {
		return 24 * time.Hour, nil
	}
	t, err := time.Parse("15:04", s)
	if err != nil || len(s) != len("15:04") {
		return 0, fmt.Errorf("has %q instead of a time of day such as 08:00", s)
	}
	return time.Duration(t.Hour())*time.Hour + time.Duration(t.Minute())*time.Minute, nil
}

// String writes the window as ParseWindow reads it.
func (w Window) String() string {
	if w.Always {
		return always
	}
	return clock(w.From) + "-" + clock(w.To)
}

func clock(d time.Duration) string {
	return fmt.Sprintf("%02d:%02d", int(d.Hours()), int(d.Minutes())%60)
}
