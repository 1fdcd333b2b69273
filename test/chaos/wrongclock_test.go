package chaos

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// clockOff is how far ahead a wrong clock is: by more than WeChat Pay takes.
const clockOff = 10 * time.Minute

// A process's clock is a machine's, and cannot be set for one process alone. So
// a worker with a wrong clock is built with another package time.

func clockFile(t *testing.T) string {
	t.Helper()
	root, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(strings.TrimSpace(string(root)), "src", "time", "time.go")
}

// clockAhead is that file with a clock that is ahead. Its monotonic part stays.
func clockAhead(t *testing.T) string {
	t.Helper()
	src, err := os.ReadFile(clockFile(t))
	if err != nil {
		t.Fatal(err)
	}
	const old = "	sec, nsec, mono := runtimeNow()\n	if mono == 0 {\n		return Time{uint64(nsec), sec + unixToInternal, Local}"
	if strings.Count(string(src), old) != 1 {
		t.Fatal("package time has changed: find the place anew where its clock can be put ahead")
	}
	return strings.Replace(string(src), old, strings.Replace(old, "\n", "\n	sec += 600\n", 1), 1)
}
