//go:build !chaos

package faultpoint

import "time"

// Reach does nothing in this build.
func Reach(Point, string) {}

// Grant does nothing in this build.
func Grant(_, _ time.Time, _ time.Duration, _ string) {}
