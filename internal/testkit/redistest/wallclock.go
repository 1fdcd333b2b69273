package redistest

import (
	_ "embed"
	"encoding/binary"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

//go:embed testdata/clock.c
var clockSource []byte

// WallClock is the wall clock of a redis-server process. A test can put it ahead or
// back between any two commands. Its methods may be called from several
// goroutines at once.
type WallClock struct {
	shim, path string

	mu     sync.Mutex
	file   *os.File
	offset time.Duration
}

// NewWallClock returns a clock that is right at first. It needs gcc, which compiles
// the library that stands between the process and the machine's clock; NoWallClock
// says whether a machine can have one.
func NewWallClock(t testing.TB) *WallClock {
	t.Helper()
	if why := NoWallClock(); why != "" {
		t.Skip(why)
	}
	dir := t.TempDir()
	c := &WallClock{shim: filepath.Join(dir, "clock.so"), path: filepath.Join(dir, "offset")}
	source := filepath.Join(dir, "clock.c")
	if err := os.WriteFile(source, clockSource, 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("gcc", "-shared", "-fPIC", "-O2", "-o", c.shim, source).CombinedOutput(); err != nil {
		t.Fatalf("gcc: %v\n%s", err, out)
	}
	file, err := os.OpenFile(c.path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = file.Close() })
	c.file = file
	c.Set(t, 0)
	return c
}

// NoWallClock is why this machine cannot have a Clock, or "" where it can.
func NoWallClock() string {
	if _, err := exec.LookPath("gcc"); err != nil {
		return "a clock that a test can set needs gcc (and the C library's headers) on the PATH"
	}
	return ""
}

// Set puts the clock so far ahead of the machine's, or behind it where the
// offset is negative. It takes effect at the process's next look at its clock.
func (c *WallClock) Set(t testing.TB, offset time.Duration) {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	// In one write: the process never sees half of it.
	if _, err := c.file.WriteAt(binary.NativeEndian.AppendUint64(nil, uint64(offset.Microseconds())), 0); err != nil {
		t.Fatal(err)
	}
	c.offset = offset
}

// Offset is what Set was last called with.
func (c *WallClock) Offset() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.offset
}

// Environment is the environment of a process that is to go by this clock.
func (c *WallClock) Environment() []string {
	return append(os.Environ(), "LD_PRELOAD="+c.shim, "CLOCK_FILE="+c.path)
}
