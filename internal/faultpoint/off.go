//go:build !chaos

package faultpoint

import (
	"net/url"
	"time"
)

// Reach does nothing in this build.
func Reach(Point, string) {}

// ReachSlot does nothing in this build.
func ReachSlot(time.Time, string) {}

// ReachCall does nothing in this build.
func ReachCall(Point, *url.URL) {}
