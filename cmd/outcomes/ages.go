package main

import (
	"fmt"
	"time"
)

// clock writes times for people, as seen from now.
type clock struct {
	now  time.Time
	zone *time.Location
}

func (c clock) at(t time.Time) string { return t.In(c.zone).Format("2006-01-02 15:04:05") }

// zoneName is what times are by, for the head of a column: a machine need not
// stand where its readers do.
func (c clock) zoneName() string { return "UTC" + c.now.In(c.zone).Format("-07:00") }

// withAge is the time and how long ago, or how far ahead, that is.
func (c clock) withAge(t time.Time) string { return c.at(t) + " (" + c.age(t) + ")" }

// due is withAge of a time at which something is to be done.
func (c clock) due(t time.Time) string {
	if d := c.now.Sub(t); d >= time.Second {
		return c.at(t) + " (due for " + inWords(d) + ")"
	}
	return c.withAge(t)
}

// age is in words, in the largest unit of which there are two, or at least one.
func (c clock) age(t time.Time) string {
	d := c.now.Sub(t)
	format := "%s ago"
	if d < 0 {
		d, format = -d, "in %s"
	}
	if d < time.Second {
		return "now"
	}
	return fmt.Sprintf(format, inWords(d))
}

func inWords(d time.Duration) string {
	const day = 24 * time.Hour
	for _, unit := range []struct {
		d    time.Duration
		name string
	}{{day, "day"}, {time.Hour, "hour"}, {time.Minute, "minute"}} {
		if d >= 2*unit.d {
			return fmt.Sprintf("%d %ss", d/unit.d, unit.name)
		}
	}
	if d >= 2*time.Second {
		return fmt.Sprintf("%d seconds", d/time.Second)
	}
	return "1 second"
}
