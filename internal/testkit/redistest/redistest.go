// Package redistest gives tests a Redis of their own: a real redis-server
// where one is on the PATH, an embedded one elsewhere.
package redistest

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"payscore-collector/internal/testkit"
)

// Server is one Redis, empty at first, that ends with its test.
type Server struct {
	URL    string
	Client *redis.Client
	// Real says whether this is a redis-server process.
	Real bool

	dir   string
	cmd   *exec.Cmd
	clock *WallClock
}

// EmbeddedOnly is an environment variable: set to 1, tests use the embedded
// Redis even where a redis-server is there.
const EmbeddedOnly = "REDISTEST_EMBEDDED"

// Start returns a Redis for this test, with AOF and without eviction.
func Start(t testing.TB, args ...string) *Server {
	t.Helper()
	if _, err := exec.LookPath("redis-server"); err != nil || os.Getenv(EmbeddedOnly) == "1" {
		m := miniredis.RunT(t)
		s := &Server{URL: "redis://" + m.Addr() + "/0"}
		s.connect(t)
		return s
	}
	return StartReal(t, args...)
}

// StartReal returns a redis-server process, or skips the test where there is
// none. Further args are its settings, such as "--maxmemory", "10mb".
func StartReal(t testing.TB, args ...string) *Server {
	t.Helper()
	return StartWithClock(t, nil, args...)
}

// StartNode returns a redis-server process that can be in a Redis Cluster, without a slot.
func StartNode(t testing.TB, args ...string) *Server {
	t.Helper()
	return StartReal(t, append([]string{"--cluster-enabled", "yes", "--cluster-config-file", "nodes.conf",
		"--cluster-port", strconv.Itoa(testkit.FreePort(t))}, args...)...)
}

// StartCluster returns a node that is a whole Redis Cluster.
func StartCluster(t testing.TB) *Server {
	t.Helper()
	s := StartNode(t)
	if err := s.Client.ClusterAddSlotsRange(t.Context(), 0, 16383).Err(); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, "the Cluster to be whole", func() bool {
		return strings.Contains(s.Client.ClusterInfo(t.Context()).Val(), "cluster_state:ok")
	})
	return s
}

// StartWithClock returns a redis-server process that goes by the clock, or skips
// the test as StartReal does.
func StartWithClock(t testing.TB, clock *WallClock, args ...string) *Server {
	t.Helper()
	s := newReal(t)
	s.clock = clock
	s.Run(t, args...)
	return s
}

// newReal returns a server whose process is not started yet.
func newReal(t testing.TB) *Server {
	t.Helper()
	NeedReal(t)
	s := &Server{URL: fmt.Sprintf("redis://127.0.0.1:%d/0", testkit.FreePort(t)), Real: true, dir: t.TempDir()}
	s.connect(t)
	return s
}

// NeedReal skips the test where there is no redis-server to start.
func NeedReal(t testing.TB) {
	t.Helper()
	if _, err := exec.LookPath("redis-server"); err != nil {
		t.Skip("this test needs a redis-server on the PATH")
	}
	if os.Getenv(EmbeddedOnly) == "1" {
		t.Skip("this test needs a real redis-server, and " + EmbeddedOnly + " is set")
	}
}

func (s *Server) connect(t testing.TB) {
	opt, err := redis.ParseURL(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	s.Client = redis.NewClient(opt)
	t.Cleanup(func() { _ = s.Client.Close() })
}

// Run starts the process, anew after Kill: with what its append-only file
// holds. It returns when the server answers.
func (s *Server) Run(t testing.TB, args ...string) {
	t.Helper()
	_, port, _ := net.SplitHostPort(s.Client.Options().Addr)
	all := append([]string{
		"--port", port, "--bind", "127.0.0.1", "--dir", s.dir, "--save", "",
		"--appendonly", "yes", "--appendfsync", "always", "--maxmemory-policy", "noeviction",
	}, args...)
	s.start(t, all...)
}

func (s *Server) start(t testing.TB, args ...string) {
	t.Helper()
	s.cmd = exec.Command("redis-server", args...)
	if s.clock != nil {
		s.cmd.Env = s.clock.Environment()
	}
	log, err := os.OpenFile(filepath.Join(s.dir, "redis.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	s.cmd.Stdout, s.cmd.Stderr = log, log
	if err := testkit.Start(s.cmd); err != nil {
		t.Fatal(err)
	}
	_ = log.Close()
	t.Cleanup(s.Kill)
	for deadline := time.Now().Add(testkit.Patience); ; {
		if err := s.Client.Ping(t.Context()).Err(); err == nil {
			return
		} else if time.Now().After(deadline) {
			t.Fatalf("redis-server did not come up: %v", err)
		}
		<-time.After(10 * time.Millisecond)
	}
}

// StartSentinel returns a Sentinel with that configuration file, which it writes
// to, or skips the test where there is no redis-server.
func StartSentinel(t testing.TB, conf string) *Server {
	t.Helper()
	s := newReal(t)
	_, port, _ := net.SplitHostPort(s.Client.Options().Addr)
	s.start(t, conf, "--sentinel", "--port", port, "--bind", "127.0.0.1")
	return s
}

// Kill ends the process at once, as a crash would. It may be called again.
func (s *Server) Kill() {
	if s.cmd != nil && s.cmd.Process != nil {
		_ = s.cmd.Process.Kill()
		_ = s.cmd.Wait()
		s.cmd = nil
	}
}

// NoLeaks fails the test if goroutines stay that were not there before. It overlooks the
// embedded Redis's, and waits 20 s, less than the time-outs of what may be left: goleak alone
// gives those that are about to end less than half a second.
func NoLeaks(t testing.TB, before goleak.Option) {
	t.Helper()
	const server = "github.com/alicebob/miniredis/v2/server."
	var left testkit.LogBuffer
	testkit.Within(t, 20*time.Second, "all goroutines to end", func() bool {
		err := goleak.Find(before, goleak.IgnoreAnyFunction(server+"(*Server).servePeer"), goleak.IgnoreAnyFunction(server+"readArray"))
		left.Take()
		fmt.Fprint(&left, err)
		return err == nil
	}, &left)
}
