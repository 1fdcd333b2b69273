package books

import (
	"fmt"
	"strings"
)

// perFen is a fen in millionths of a yuan, by which sums are compared: fees have five
// decimals.
const (
	perYuan = 1_000_000
	perFen  = perYuan / 100
)

// maxSum bounds the sum of a column, in millionths of a yuan: 4 trillion yuan. With one more
// amount, which micros bounds by 1 trillion, it does not overflow.
const maxSum = 4_000_000_000_000 * perYuan

// Fen reads an amount in yuan, such as 12.34, as fen. Decimals behind the second must be
// zeros.
func Fen(s string) (fen int64, ok bool) {
	m, _, ok := micros(s)
	if !ok || m%perFen != 0 {
		return 0, false
	}
	return m / perFen, true
}

// micros reads a decimal number with up to six decimals as millionths, without floats.
// unit is the worth of its last digit.
func micros(s string) (n, unit int64, ok bool) {
	digits, negative := strings.CutPrefix(s, "-")
	whole, decimals, dotted := strings.Cut(digits, ".")
	if whole == "" || dotted && decimals == "" || len(whole) > 12 || len(decimals) > 6 {
		return 0, 0, false
	}
	for _, part := range [2]string{whole, decimals} {
		for i := range len(part) {
			c := part[i]
			if c < '0' || c > '9' {
				return 0, 0, false
			}
			n = n*10 + int64(c-'0')
		}
	}
	unit = perYuan
	for range len(decimals) {
		unit /= 10
	}
	if n *= unit; negative {
		n = -n
	}
	return n, unit, true
}

// yuan writes millionths of a yuan as a bill does.
func yuan(micros int64) string {
	sign := ""
	if micros < 0 {
		sign, micros = "-", -micros
	}
	s := fmt.Sprintf("%s%d.%06d", sign, micros/perYuan, micros%perYuan)
	for strings.HasSuffix(s, "0") && !strings.HasSuffix(s[:len(s)-1], ".") && len(s)-strings.Index(s, ".") > 3 {
		s = s[:len(s)-1]
	}
	return s
}
