// Package logging makes the one logger of a program and keeps the names of its fields,
// so that the same search finds the lines of every part of the program.
package logging

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/mattn/go-isatty"
	"github.com/rs/zerolog"

	"payscore-collector/internal/textsafe"
)

// The two values of LOG_FORMAT.
const (
	FormatJSON    = "json"    // one JSON object a line, for machines
	FormatConsole = "console" // aligned and, on a terminal, coloured, for people
)

// timeFormat is RFC 3339 with always three decimals, so that lines sort as text.
const timeFormat = "2006-01-02T15:04:05.000Z07:00"

// zerolog keeps the form of its timestamps in package variables. They are set
// here, before any goroutine can log: a later write would be a race.
func init() {
	zerolog.TimeFieldFormat = timeFormat
	zerolog.TimestampFunc = func() time.Time { return time.Now().UTC() }
}

// New returns a logger that writes to w the lines of at least the given level
// (see ParseLevel), in the given format (see ParseFormat). Timestamps are UTC
// to the millisecond. The logger may be used by several goroutines at once as
// long as w may; an *os.File may.
func New(level, format string, w io.Writer) (zerolog.Logger, error) {
	lvl, err := ParseLevel(level)
	if err != nil {
		return zerolog.Nop(), err
	}
	if err := ParseFormat(format); err != nil {
		return zerolog.Nop(), err
	}
	if format == FormatConsole {
		// Colours are escape sequences, so the message is cleaned before they are
		// added. The writer itself quotes the other fields.
		w = zerolog.ConsoleWriter{
			Out:           w,
			NoColor:       !isTerminal(w),
			TimeFormat:    "15:04:05.000",
			TimeLocation:  time.UTC,
			FormatPrepare: cleanMessage,
		}
	} else {
		w = oneLine{w}
	}
	return zerolog.New(w).Level(lvl).With().Timestamp().Logger(), nil
}

// levels are the words that LOG_LEVEL takes, the most detailed first. zerolog knows more
// (fatal, panic, disabled), but a worker must always be able to report that a
// merchant's key is refused.
var levels = []string{"trace", "debug", "info", "warn", "error"}

// ParseLevel turns one of trace, debug, info, warn and error into a level.
func ParseLevel(s string) (zerolog.Level, error) {
	if slices.Contains(levels, s) {
		return zerolog.ParseLevel(s)
	}
	return zerolog.NoLevel, fmt.Errorf("log level %q is unknown: use one of %s", s, strings.Join(levels, ", "))
}

// ParseFormat returns an error unless s is FormatJSON or FormatConsole.
func ParseFormat(s string) error {
	if s != FormatJSON && s != FormatConsole {
		return fmt.Errorf("log format %q is unknown: use %s or %s", s, FormatJSON, FormatConsole)
	}
	return nil
}

// cleanMessage cleans the message of a console line.
func cleanMessage(fields map[string]any) error {
	if text, ok := fields[zerolog.MessageFieldName].(string); ok {
		fields[zerolog.MessageFieldName] = textsafe.Clean(text)
	}
	return nil
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && isatty.IsTerminal(f.Fd())
}
