package chaos

import (
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
)

// builds are the worker binaries of this test process, by what is special
// about each.
var builds struct {
	sync.Mutex
	dir string
	bin map[string]string
}

// build returns the path of a worker with fault points. overlay, where not
// empty, is a file for go build's -overlay.
func build(t *testing.T, name, overlay string) string {
	t.Helper()
	builds.Lock()
	defer builds.Unlock()
	if bin := builds.bin[name]; bin != "" {
		return bin
	}
	if builds.dir == "" {
		dir, err := os.MkdirTemp("", "chaos-build-")
		if err != nil {
			t.Fatal(err)
		}
		builds.dir, builds.bin = dir, map[string]string{}
	}
	bin := filepath.Join(builds.dir, "worker-"+name)
	args := []string{"build", "-tags", "chaos", "-o", bin}
	if overlay != "" {
		args = append(args, "-overlay", overlay)
	}
	out, err := exec.Command("go", append(args, "payscore-collector/cmd/worker")...).CombinedOutput()
	if err != nil {
		t.Fatalf("go build of the worker (%s): %v\n%s", name, err, out)
	}
	builds.bin[name] = bin
	return bin
}

func cleanBuilds() {
	builds.Lock()
	defer builds.Unlock()
	if builds.dir != "" {
		_ = os.RemoveAll(builds.dir)
	}
}
