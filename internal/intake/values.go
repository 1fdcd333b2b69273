package intake

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"payscore-collector/tasks"
)

// ParseTime reads a point in time: RFC 3339, or without a zone "2006-01-02 15:04" or
// "2006-01-02 15:04:05" by the clock of Asia/Shanghai. The error continues where the
// value's name ends.
func ParseTime(s string) (time.Time, error) {
	if t, err := time.Parse(time.RFC3339, s); err == nil {
		return t, nil
	}
	for _, layout := range []string{"2006-01-02 15:04:05", "2006-01-02 15:04"} {
		if t, err := time.ParseInLocation(layout, s, tasks.China); err == nil {
			return t, nil
		}
	}
	return time.Time{}, fmt.Errorf(`is %q, which is not a time: write "2006-01-02 15:04" (Asia/Shanghai) or 2006-01-02T15:04:05+08:00`, shorten(s, 40))
}

// farAhead is how far away a start may be before it is taken for a mistake.
const farAhead = 10 * 365 * 24 * time.Hour

// FarAhead returns a warning for a start so far in the future that the year is probably
// wrong, else "".
func FarAhead(at, now time.Time) string {
	if at.Sub(now) <= farAhead {
		return ""
	}
	return fmt.Sprintf("%s is more than ten years from now: check the year", at.In(tasks.China).Format("2006-01-02 15:04"))
}

// yuan is an amount with decimals, with or without a currency sign and commas between
// thousands.
var yuan = regexp.MustCompile(`^[¥￥]?\s*([0-9][0-9,]*)\.([0-9]{1,2})\s*元?$`)

// ParseAmount reads an amount in fen: a whole number, 0 or more. The error continues
// where the value's name ends; for an amount in yuan it says what to write.
func ParseAmount(s string) (int64, error) {
	n, err := strconv.ParseInt(s, 10, 64)
	// One amount must not be written in two ways.
	if err == nil && n >= 0 && strconv.FormatInt(n, 10) == s {
		return n, nil
	}
	shown := shorten(s, 40)
	if m := yuan.FindStringSubmatch(s); m != nil {
		fen, err := strconv.ParseInt(strings.ReplaceAll(m[1], ",", "")+(m[2] + "0")[:2], 10, 64)
		if err == nil {
			return 0, fmt.Errorf("is %q, which looks like yuan: write fen, %d", shown, fen)
		}
	}
	if err == nil && n < 0 {
		return 0, fmt.Errorf("is %q; it must not be below 0", shown)
	}
	return 0, fmt.Errorf("is %q; write fen as a whole number, such as 1250 for 12.50 yuan", shown)
}

// shorten cuts text to some bytes, for messages.
func shorten(text string, most int) string {
	if len(text) <= most {
		return text
	}
	return strings.ToValidUTF8(text[:most], "") + "…"
}
