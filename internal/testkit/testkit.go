// Package testkit holds what tests of several packages need: a log buffer, waiting
// for a condition, free ports, processes, golden files, and the choice between the
// short and the long form of a test. Its subpackages start a Redis (redistest), a
// PostgreSQL (pgtest), and workers with a simulated platform (workertest).
package testkit

import (
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"
)

// Patience is how long Eventually waits: longer than anything takes on a busy
// machine, since only a test that fails waits so long.
const Patience = 2 * time.Minute

// Eventually waits until another goroutine or process makes cond true, and fails the
// test after Patience. It then says what it waited for and prints the context, which
// is a LogBuffer as a rule.
func Eventually(t testing.TB, what string, cond func() bool, context ...fmt.Stringer) {
	t.Helper()
	Within(t, Patience, what, cond, context...)
}

// Within is Eventually with another patience.
func Within(t testing.TB, patience time.Duration, what string, cond func() bool, context ...fmt.Stringer) {
	t.Helper()
	for deadline := time.Now().Add(patience); !cond(); <-time.After(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			for _, c := range context {
				t.Logf("%s", c)
			}
			t.Fatalf("waited %s in vain for: %s", patience, what)
		}
	}
}

// FreePort returns a port of the loopback interface that no process listens on. It
// lies below the range from which the system gives ports to connections and to
// listeners on port 0, so that none of those takes it before the test does.
func FreePort(t testing.TB) int {
	t.Helper()
	for range 1000 {
		port := 15_000 + rand.IntN(17_000)
		if l, err := net.Listen("tcp", loopback(port)); err == nil {
			_ = l.Close()
			return port
		}
	}
	t.Fatal("no port between 15000 and 32000 is free")
	return 0
}

// FreeAddr is FreePort as host:port.
func FreeAddr(t testing.TB) string {
	t.Helper()
	return loopback(FreePort(t))
}

func loopback(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }

// Environ are variables as os.Environ has them.
func Environ(env map[string]string) (entries []string) {
	for name, value := range env {
		entries = append(entries, name+"="+value)
	}
	return entries
}

// WriteFile writes a file into a directory of the test's own, and returns its path.
func WriteFile(t testing.TB, name, text string) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// ShortDir returns a directory that ends with the test and whose path is short
// enough for a Unix socket, which that of t.TempDir may not be.
func ShortDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "kit")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}
