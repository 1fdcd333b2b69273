//go:build !chaos

package faultpoint

import "net/url"

// Reach does nothing in this build.
func Reach(Point, string) {}

// ReachCall does nothing in this build.
func ReachCall(Point, *url.URL) {}
