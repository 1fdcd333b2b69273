package intake

import (
	"fmt"
	"sync"
	"time"
	_ "time/tzdata" // Asia/Shanghai must be known on a machine without zone files
)

// shanghai is the clock that WeChat Pay and its merchants go by.
var shanghai = sync.OnceValue(func() *time.Location {
	loc, err := time.LoadLocation("Asia/Shanghai")
	if err != nil { // not with tzdata built in
		return time.FixedZone("CST", 8*60*60)
	}
	return loc
})

// ParseTime reads a point in time: RFC 3339, or without a zone "2006-01-02
// 15:04" or "2006-01-02 15:04:05", which are by the clock of Asia/Shanghai. The
// error goes on where the value's name ends.
func ParseTime(s string) (time.Time, error) {
	if t, err := time.Parse(time.RFC3339, s); err == nil {
		return t, nil
	}
	for _, layout := range []string{"2006-01-02 15:04:05", "2006-01-02 15:04"} {
		if t, err := time.ParseInLocation(layout, s, shanghai()); err == nil {
			return t, nil
		}
	}
	return time.Time{}, fmt.Errorf(`is %q, which is no time: write "2006-01-02 15:04" (Asia/Shanghai) or 2006-01-02T15:04:05+08:00`, shorten(s, 40))
}
