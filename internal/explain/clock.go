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
	return t.beside(t.At(at)+" "+t.ZoneName(), t.Age(at))
}

// WithAge is the time and how long ago, or how far ahead, that is.
func (t Teller) WithAge(at time.Time) string { return t.beside(t.At(at), t.Age(at)) }

// Due is WithAge of a time at which something has to be done.
func (t Teller) Due(at time.Time) string {
	if d := t.Now.Sub(at); d >= time.Second {
		return t.beside(t.At(at), t.say("due for %s", "已到期 %s", t.Duration(d)))
	}
	return t.WithAge(at)
}

func (t Teller) beside(s, remark string) string { return t.say("%s (%s)", "%s（%s）", s, remark) }

// Age is how long ago, or how far ahead, a time is, in words.
func (t Teller) Age(at time.Time) string {
	switch d := t.Now.Sub(at); {
	case d.Abs() < time.Second:
		return t.say("now", "现在")
	case d < 0:
		return t.say("in %s", "%s后", t.Duration(-d))
	default:
		return t.say("%s ago", "%s前", t.Duration(d))
	}
}

var units = []struct {
	d    time.Duration
	many text
}{
	{24 * time.Hour, text{"%d days", "%d 天"}},
	{time.Hour, text{"%d hours", "%d 小时"}},
	{time.Minute, text{"%d minutes", "%d 分钟"}},
	{time.Second, text{"%d seconds", "%d 秒"}},
}

// Duration is a duration in words, in the largest unit of which there are two, or one
// second.
func (t Teller) Duration(d time.Duration) string {
	for _, unit := range units {
		if d >= 2*unit.d {
			return fmt.Sprintf(t.word(unit.many), d/unit.d)
		}
	}
	return t.say("1 second", "1 秒")
}
