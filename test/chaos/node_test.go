package chaos

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"payscore-collector/internal/testkit"
)

// node is one redis-server process that can be killed, frozen and started again
// with what its append-only file holds.
type node struct {
	port int
	dir  string
	args []string
	env  []string      // nil: the harness's own
	rdb  *redis.Client // the harness's own connections

	mu  sync.Mutex
	cmd *exec.Cmd
}

// newNode starts a redis-server. It persists as docs/operations.md asks for at least:
// everysec loses nothing of what was answered when only the process dies.
func newNode(t *testing.T, port int, args ...string) *node {
	return newServer(t, nil, port, t.TempDir(), append(persistent(), args...)...)
}

func persistent() []string {
	return []string{"--save", "", "--appendonly", "yes", "--appendfsync", "everysec", "--maxmemory-policy", "noeviction"}
}

// newServer starts a redis-server of any kind.
func newServer(t *testing.T, env []string, port int, dir string, args ...string) *node {
	t.Helper()
	n := &node{port: port, dir: dir, env: env, args: append(args, "--port", fmt.Sprint(port), "--bind", "127.0.0.1", "--dir", dir)}
	n.rdb = redis.NewClient(&redis.Options{Addr: n.addr(), ReadTimeout: 30 * time.Second})
	t.Cleanup(func() { _ = n.rdb.Close() })
	t.Cleanup(n.kill)
	if err := n.start(); err != nil {
		t.Fatal(err)
	}
	return n
}

func (n *node) addr() string { return net.JoinHostPort("127.0.0.1", fmt.Sprint(n.port)) }

// start starts the process and returns when it answers, all data loaded.
func (n *node) start() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.cmd != nil {
		return nil
	}
	cmd := exec.Command("redis-server", n.args...)
	cmd.Env = n.env
	log, err := os.OpenFile(filepath.Join(n.dir, "redis.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd.Stdout, cmd.Stderr = log, log
	if err := testkit.Start(cmd); err != nil {
		return err
	}
	n.cmd = cmd
	for deadline := time.Now().Add(60 * time.Second); ; {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		err := n.rdb.Ping(ctx).Err()
		cancel()
		if err == nil {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("redis-server on port %d did not come up: %w", n.port, err)
		}
		<-time.After(20 * time.Millisecond)
	}
}

// kill ends the process as a crash would. It may be called again.
func (n *node) kill() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.cmd != nil {
		_ = n.cmd.Process.Kill()
		_ = n.cmd.Wait()
		n.cmd = nil
	}
}

// signal sends SIGSTOP or SIGCONT, where the process lives.
func (n *node) signal(s syscall.Signal) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.cmd != nil {
		_ = n.cmd.Process.Signal(s)
	}
}
