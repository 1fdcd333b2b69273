//go:build !chaos

package faultpoint_test

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// What is released has no way to be told to kill itself: the worker of a usual
// build has not one symbol of this package, nor the name of the variable that
// switches it on.
func TestReleasedWorkerHasNoFaultPoints(t *testing.T) {
	bin := filepath.Join(t.TempDir(), "worker")
	for _, tt := range []struct {
		tags string
		want bool
	}{{"", false}, {"chaos", true}} {
		if out, err := exec.Command("go", "build", "-tags", tt.tags, "-o", bin, "payscore-collector/cmd/worker").CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		symbols, err := exec.Command("go", "tool", "nm", bin).Output()
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Contains(string(symbols), "internal/faultpoint."); got != tt.want {
			t.Errorf("with tags %q: fault points in the worker: %v", tt.tags, got)
		}
	}
}
