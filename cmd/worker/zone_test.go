package main

import (
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"payscore-collector/internal/testkit"
)

// The image has no zone files, and the collection window is Shanghai's all the
// same: in a directory that is all there is of the file system.
func TestShanghaiIsKnownWithoutZoneFiles(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("this test needs to be root: it changes the root directory of a process")
	}
	root := testkit.Build(t, []string{"CGO_ENABLED=0"}, "cmd/worker")
	complaint := func(zone string) string {
		cmd := exec.Command("/worker")
		cmd.Dir = "/"
		cmd.Env = []string{"COLLECT_TIMEZONE=" + zone}
		cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: root}
		out, err := cmd.CombinedOutput()
		if cmd.ProcessState == nil || !strings.Contains(string(out), "REDIS_URL is missing") {
			t.Fatalf("%v\n%s", err, out)
		}
		for line := range strings.Lines(string(out)) {
			if strings.Contains(line, "COLLECT_TIMEZONE") {
				return line
			}
		}
		return ""
	}
	if said := complaint("Asia/Shanghai"); said != "" {
		t.Error(said)
	}
	if complaint("Asia/Atlantis") == "" {
		t.Error("a zone that nobody knows is taken, so this test shows nothing")
	}
}
