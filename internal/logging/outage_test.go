package logging_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"payscore-collector/internal/logging"
)

func TestOutage(t *testing.T) {
	speak := func(every time.Duration, story func(*logging.Outage)) string {
		var buf bytes.Buffer
		story(logging.NewOutage(zerolog.New(&buf), "Redis", every))
		return buf.String()
	}
	gone := errors.New("connection refused")

	t.Run("is said once, however often it is met, and so is its end", func(t *testing.T) {
		log := speak(time.Hour, func(o *logging.Outage) {
			o.Over()
			o.Failed(gone)
			o.Failed(gone)
			o.Over()
			o.Over()
		})
		if strings.Count(log, "\n") != 2 || !strings.Contains(log, "connection refused") || !strings.Contains(log, "Redis is up") {
			t.Errorf("got %s", log)
		}
	})
	t.Run("is said again while it lasts", func(t *testing.T) {
		log := speak(time.Nanosecond, func(o *logging.Outage) {
			o.Failed(gone)
			<-time.After(time.Millisecond)
			o.Failed(gone)
		})
		if strings.Count(log, "waiting for it") != 2 {
			t.Errorf("got %s", log)
		}
	})
	t.Run("one that comes and goes does not fill the log", func(t *testing.T) {
		log := speak(time.Hour, func(o *logging.Outage) {
			for range 100 {
				o.Failed(gone)
				o.Over()
			}
		})
		if strings.Count(log, "\n") != 2 {
			t.Errorf("got %s", log)
		}
	})
}
