//go:build !chaos

package faultpoint_test

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"payscore-collector/internal/testkit"
)

// What is released has no way to be told to kill itself: the worker of a usual
// build has not one symbol of this package, nor the name of the variable that
// switches it on.
func TestReleasedWorkerHasNoFaultPoints(t *testing.T) {
	testkit.NeedLong(t) // it builds two workers
	for _, tt := range []struct {
		tags string
		want bool
	}{{"", false}, {"chaos", true}} {
		bin := filepath.Join(testkit.Build(t, nil, "-tags", tt.tags, "cmd/worker"), "worker")
		symbols, err := exec.Command("go", "tool", "nm", bin).Output()
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Contains(string(symbols), "internal/faultpoint."); got != tt.want {
			t.Errorf("with tags %q: fault points in the worker: %v", tt.tags, got)
		}
	}
}
