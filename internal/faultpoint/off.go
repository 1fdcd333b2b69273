//go:build !chaos

package faultpoint

import (
	"net/url"
	"time"
)

// Reach does nothing in this build.
func Reach(Point, string) {}

// Grant does nothing in this build.
func Grant(time.Time, time.Duration, string) {}

// ReachCall does nothing in this build.
func ReachCall(Point, *url.URL) {}
