package redisconn

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/rs/zerolog"

	"payscore-collector/internal/testkit"
)

// TestMain keeps go-redis from logging the failures that the tests provoke.
func TestMain(m *testing.M) {
	RedirectLog(zerolog.Nop())
	testkit.Parallel(4)
	os.Exit(m.Run())
}

// startRedis runs a redis-server for the test, with further arguments, and returns the
// URL of its socket. No other process can take a socket in the test's own directory, as
// it can a free port.
func startRedis(t *testing.T, args ...string) (url string) {
	t.Helper()
	program, err := exec.LookPath("redis-server")
	if err != nil {
		t.Skip("no redis-server is installed")
	}
	dir := testkit.ShortDir(t)
	socket := filepath.Join(dir, "redis.sock")
	cmd := exec.Command(program, append([]string{"--port", "0", "--save", "", "--dir", dir, "--unixsocket", socket}, args...)...)
	runServer(t, cmd)
	client := open(t, "unix://"+socket)
	testkit.Eventually(t, "redis-server answers", func() bool { return isAnswer(client.Ping(context.Background()).Err()) })
	return "unix://" + socket
}

// isAnswer: NOAUTH is one as well.
func isAnswer(err error) bool {
	return err == nil || strings.HasPrefix(err.Error(), "NOAUTH")
}

func open(t *testing.T, url string) redis.UniversalClient {
	t.Helper()
	client, err := Open(url, Pool{Size: 2})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	return client
}

// TestOpen_sentinel is the whole way: data node and sentinel each with a
// password of its own, and a database.
func TestOpen_sentinel(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	port, sentinelPort := strconv.Itoa(testkit.FreePort(t)), strconv.Itoa(testkit.FreePort(t))
	direct := open(t, strings.Replace(
		startRedis(t, "--port", port, "--requirepass", "data/pw", "--bind", "127.0.0.1"),
		"unix://", "unix://:data%2Fpw@", 1)+"?db=2")

	conf := filepath.Join(t.TempDir(), "sentinel.conf")
	text := "sentinel monitor shop 127.0.0.1 " + port + " 1\nsentinel auth-pass shop data/pw\nrequirepass sentinelpw\n"
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	runServer(t, exec.Command("redis-server", conf, "--sentinel", "--port", sentinelPort, "--bind", "127.0.0.1"))

	client := open(t, "redis-sentinel://:data%2Fpw@127.0.0.1:"+sentinelPort+",127.0.0.1:1/2?master=shop&sentinel_password=sentinelpw")
	if err := (Options{}).WaitUp(ctx, client, zerolog.Nop(), time.Hour); err != nil {
		t.Fatal(err)
	}
	if err := client.Set(ctx, "k", "v", 0).Err(); err != nil {
		t.Fatal(err)
	}
	if v, err := direct.Get(ctx, "k").Result(); err != nil || v != "v" {
		t.Errorf("database 2 of the master has %q, error %v", v, err)
	}
}

// runServer starts a server that is killed at the end of the test.
func runServer(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // it says "killed"
	})
}
