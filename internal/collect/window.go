package collect

import "time"

// Window is the part of the day in which orders are collected.
type Window struct {
	Always   bool
	From, To time.Duration // since midnight; To at or before From is on the next day
	Location *time.Location
}

// skew is how far now in Ahead may be ahead of Redis's clock without the current
// window being missed.
const skew = 24 * time.Hour

// Ahead returns the collection windows around and after now, from and to in turn, as
// the ledger's scripts take them; none if collecting is always allowed. They are
// instants, so the caller's clock may be a little off.
func (w Window) Ahead(now time.Time) []time.Time {
	if w.Always {
		return nil
	}
	var out []time.Time
	y, m, d := now.In(w.Location).Date()
	for day := d - 1; len(out) < 2*windowsAhead; day++ {
		from, to := w.on(y, m, day)
		if from.Before(to) && to.After(now.Add(-skew)) {
			out = append(out, from, to)
		}
	}
	return out
}

// windowsAhead is how many windows Ahead returns, including one that has closed. No
// claim lasts longer than they do.
const windowsAhead = 5

// on returns the window that begins on a day. It uses clock times and does not add to
// midnight, since a day may have 23 or 25 hours. A time in the hour that a day skips is
// the end of that hour, so a window inside it is empty.
func (w Window) on(y int, m time.Month, d int) (from, to time.Time) {
	at := func(day int, t time.Duration) time.Time {
		h, rest := t/time.Hour, t%time.Hour
		return onClock(y, m, day, int(h), int(rest/time.Minute), int(rest%time.Minute/time.Second), w.Location)
	}
	end := d
	if w.To <= w.From {
		end++
	}
	return at(d, w.From), at(end, w.To)
}

// onClock is time.Date, except for a time that a day skips: there time.Date returns a
// time before or after the skipped hour.
func onClock(y int, m time.Month, d, hour, minute, second int, loc *time.Location) time.Time {
	t := time.Date(y, m, d, hour, minute, second, 0, loc)
	wanted := time.Date(y, m, d, hour, minute, second, 0, time.UTC)
	_, offset := t.Zone()
	shown := t.UTC().Add(time.Duration(offset) * time.Second)
	begins, ends := t.ZoneBounds()
	switch {
	case shown.Before(wanted):
		return ends
	case shown.After(wanted):
		return begins
	}
	return t
}

// Earliest returns the first moment from t on that lies in the window.
func (w Window) Earliest(t time.Time) time.Time {
	if w.Always {
		return t
	}
	y, m, d := t.In(w.Location).Date()
	for day := d - 1; ; day++ {
		from, to := w.on(y, m, day)
		if !from.Before(to) {
			continue
		}
		if t.Before(from) {
			return from
		}
		if t.Before(to) {
			return t
		}
	}
}

// Changes returns when the window opens or closes next after t; zero for a window that is
// always open.
func (w Window) Changes(t time.Time) time.Time {
	if w.Always {
		return time.Time{}
	}
	for _, at := range w.Ahead(t) { // from and to in turn; windows may touch
		if at.After(t) && w.Contains(at) != w.Contains(t) {
			return at
		}
	}
	return time.Time{}
}

// Contains reports whether t lies in the window.
func (w Window) Contains(t time.Time) bool { return w.Earliest(t).Equal(t) }
