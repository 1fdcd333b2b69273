package collect

import "time"

// Window is the part of the day in which orders are collected.
type Window struct {
	Always   bool
	From, To time.Duration // since midnight; To at or before From is on the next day
	Location *time.Location
}

// skew is how far the local clock may be behind Redis's without the window of
// the moment being missed.
const skew = 30 * time.Minute

// Ahead returns the collection windows around and after now, from and to in
// turn, as the ledger's scripts take them; none where any time will do. They
// are instants, so whoever asks may have a clock that is a little off.
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

// windowsAhead is how many days of windows are handed out: past the last one,
// who comes is judged by newer ones.
const windowsAhead = 4

// on returns the window that begins on a day. It is made from the clock face,
// not by adding to midnight: a day may have 23 or 25 hours. A window inside the
// hour that a day leaves out is empty or upside down, and is no window.
func (w Window) on(y int, m time.Month, d int) (from, to time.Time) {
	at := func(day int, t time.Duration) time.Time {
		h, rest := t/time.Hour, t%time.Hour
		return time.Date(y, m, day, int(h), int(rest/time.Minute), int(rest%time.Minute/time.Second), 0, w.Location)
	}
	end := d
	if w.To <= w.From {
		end++
	}
	return at(d, w.From), at(end, w.To)
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

// Contains reports whether t lies in the window.
func (w Window) Contains(t time.Time) bool { return w.Earliest(t).Equal(t) }
