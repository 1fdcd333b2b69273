//go:build !linux

package signer

// lowerPriority does nothing: only Linux has priorities of threads.
func lowerPriority() {}
