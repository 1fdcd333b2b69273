//go:build !chaos

package faultpoint

import "time"

// Reach does nothing in this build.
func Reach(Point, string) {}

// Grant does nothing in this build.
func Grant(time.Time, time.Duration, string) {}
