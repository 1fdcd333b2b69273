package explain

import (
	"fmt"
	"strings"
	"time"
)

// At writes a time by the teller's zone.
func (t Teller) At(at time.Time) string { return at.In(t.Zone).Format("2006-01-02 15:04:05") }

// ZoneName is what times are by: the name of the zone where it is one of the time zone
// database, or the distance from UTC.
func (t Teller) ZoneName() string {
	if name := t.Zone.String(); strings.Contains(name, "/") {
		return name
	}
	return "UTC" + t.Now.In(t.Zone).Format("-07:00")
}

// AtZone is WithAge with the zone's name.
func (t Teller) AtZone(at time.Time) string {
	return t.At(at) + " " + t.ZoneName() + " (" + t.Age(at) + ")"
}

// WithAge is the time and how long ago, or how far ahead, that is.
func (t Teller) WithAge(at time.Time) string { return t.At(at) + " (" + t.Age(at) + ")" }

// Due is WithAge of a time at which something has to be done.
func (t Teller) Due(at time.Time) string {
	if d := t.Now.Sub(at); d >= time.Second {
		return t.At(at) + " (" + fmt.Sprintf(t.phrases().dueFor, t.Duration(d)) + ")"
	}
	return t.WithAge(at)
}

// Age is how long ago, or how far ahead, a time is, in words.
func (t Teller) Age(at time.Time) string {
	d, format := t.Now.Sub(at), t.phrases().ago
	if d < 0 {
		d, format = -d, t.phrases().ahead
	}
	if d < time.Second {
		return t.phrases().now
	}
	return fmt.Sprintf(format, t.Duration(d))
}

// Duration is a duration in words, in the largest unit of which there are two, or one
// second.
func (t Teller) Duration(d time.Duration) string {
	p := t.phrases()
	for _, unit := range []struct {
		d      time.Duration
		format string
	}{{24 * time.Hour, p.days}, {time.Hour, p.hours}, {time.Minute, p.minutes}, {time.Second, p.seconds}} {
		if d >= 2*unit.d {
			return fmt.Sprintf(unit.format, d/unit.d)
		}
	}
	return p.oneSecond
}
