package pgtest

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"

	"payscore-collector/internal/testkit"
)

// PostgreSQL refuses to run as root. Where the tests run as root, its programs run as a
// user without rights.

// servant returns the user and the group of PostgreSQL's programs; nil for the test's own.
func servant() *syscall.Credential {
	if os.Getuid() != 0 {
		return nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err := strconv.ParseUint(u.Uid, 10, 32)
		gid, err2 := strconv.ParseUint(u.Gid, 10, 32)
		if err == nil && err2 == nil && uid != 0 {
			return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
		}
	}
	return &syscall.Credential{Uid: 65534, Gid: 65534}
}

// unprivileged returns a command, run as the servant, that ends with this process.
func unprivileged(program string, args ...string) *exec.Cmd {
	cmd := exec.Command(program, args...)
	cmd.Dir = "/"
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGQUIT, Credential: servant()}
	return cmd
}

// run runs a command and waits for it.
func run(program string, args ...string) error {
	cmd := unprivileged(program, args...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := testkit.Start(cmd)
	if err == nil {
		err = cmd.Wait()
	}
	if err != nil {
		return fmt.Errorf("%s: %w\n%s", filepath.Base(program), err, &out)
	}
	return nil
}

// give makes the servant the owner of dir.
func give(dir string) error {
	who := servant()
	if who == nil {
		return nil
	}
	return os.Chown(dir, int(who.Uid), int(who.Gid))
}

// passable returns a directory for temporary files that the servant can pass through,
// which a TMPDIR of root's own, as in CI, is not.
func passable() (string, error) {
	for _, dir := range []string{os.TempDir(), "/tmp", "/var/tmp"} {
		if servant() == nil || open(dir) {
			return dir, nil
		}
	}
	return "", errors.New("no directory for temporary files lets every user pass through")
}

// open reports whether every user may pass through dir.
func open(dir string) bool {
	for {
		info, err := os.Stat(dir)
		if err != nil || info.Mode().Perm()&0o001 == 0 {
			return false
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return true
		}
		dir = parent
	}
}
