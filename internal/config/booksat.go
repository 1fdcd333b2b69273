package config

import "time"

// BooksAt is the time of day, in Asia/Shanghai, at which the books of the day before are
// closed. The zero value is off.
type BooksAt struct {
	On    bool
	Clock time.Duration // since midnight
}

const off = "off"

// ParseBooksAt reads HH:MM, or the word off.
func ParseBooksAt(s string) (BooksAt, error) {
	if s == off {
		return BooksAt{}, nil
	}
	at, err := parseClock(s)
	return BooksAt{On: err == nil, Clock: at}, err
}

// String writes it as ParseBooksAt reads it.
func (b BooksAt) String() string {
	if !b.On {
		return off
	}
	return clock(b.Clock)
}
