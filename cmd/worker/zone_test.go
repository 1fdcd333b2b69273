package main

import (
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"

	"payscore-collector/internal/testkit"
)

// The image has no zone files, and the collection window is Shanghai's all the same:
// the worker carries the zones with it.
func TestWorkerCarriesTimeZones(t *testing.T) {
	deps, err := exec.Command("go", "list", "-deps", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Contains(strings.Fields(string(deps)), "time/tzdata") {
		t.Error("the worker does not import time/tzdata, so it needs zone files that the image does not have")
	}
}

// The long form of the test above: the worker in a directory that is all there is of
// the file system. It is linked statically, which compiles everything anew.
func TestShanghaiIsKnownWithoutZoneFiles(t *testing.T) {
	testkit.NeedLong(t)
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
	if got := complaint("Asia/Shanghai"); got != "" {
		t.Errorf("Asia/Shanghai is refused without zone files: %s", got)
	}
	if complaint("Asia/Atlantis") == "" {
		t.Error("an unknown zone is accepted, so this test shows nothing")
	}
}
