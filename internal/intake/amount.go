package intake

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// yuan is an amount with decimals, with or without a sign for the currency and
// commas between thousands.
var yuan = regexp.MustCompile(`^[¥￥]?\s*([0-9][0-9,]*)\.([0-9]{1,2})\s*元?$`)

// ParseAmount reads an amount in fen: a whole number, 0 or more. The error
// continues where the value's name ends; for an amount in yuan it says what to
// write.
func ParseAmount(s string) (int64, error) {
	n, err := strconv.ParseInt(s, 10, 64)
	// One amount must not be written in two ways.
	if err == nil && n >= 0 && strconv.FormatInt(n, 10) == s {
		return n, nil
	}
	shown := shorten(s, 40)
	if m := yuan.FindStringSubmatch(s); m != nil {
		fen := strings.TrimLeft(strings.ReplaceAll(m[1], ",", "")+(m[2] + "0")[:2], "0")
		if fen == "" {
			fen = "0"
		}
		return 0, fmt.Errorf("is %q, which looks like yuan: write fen, %s", shown, fen)
	}
	if err == nil && n < 0 {
		return 0, fmt.Errorf("is %q; it must not be below 0", shown)
	}
	return 0, fmt.Errorf("is %q; write fen as a whole number, such as 1250 for 12.50 yuan", shown)
}
