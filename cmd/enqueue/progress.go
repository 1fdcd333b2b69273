package main

import (
	"fmt"
	"io"
	"time"

	"github.com/schollz/progressbar/v3"
)

// progress is the bar on a terminal: how far into the file, how fast, and how
// long it will take.
type progress struct {
	bar   *progressbar.ProgressBar
	start time.Time
	drawn time.Time // when last
}

// drawEvery is the least time between two drawings.
const drawEvery = 100 * time.Millisecond

// newProgress draws on w. The total is in bytes; -1 where it is not known.
func newProgress(w io.Writer, total int64) *progress {
	return &progress{
		start: time.Now(),
		bar: progressbar.NewOptions64(total,
			progressbar.OptionSetWriter(w),
			progressbar.OptionSetWidth(30),
			progressbar.OptionShowBytes(true),
			progressbar.OptionSetPredictTime(true),
			progressbar.OptionSetElapsedTime(true),
			progressbar.OptionClearOnFinish(),
		),
	}
}

// update says how many bytes have been read, and how many rows answered. A bar
// that cannot be drawn is no reason to stop.
func (p *progress) update(offset, rows int64) {
	if time.Since(p.drawn) < drawEvery {
		return
	}
	p.drawn = time.Now()
	rate := float64(rows) / max(time.Since(p.start).Seconds(), 1e-3)
	p.bar.Describe(fmt.Sprintf("%d rows, %.0f/s", rows, rate))
	_ = p.bar.Set64(offset)
}

// clear takes the bar off the screen; the next update brings it back.
func (p *progress) clear() { _ = p.bar.Clear() }
