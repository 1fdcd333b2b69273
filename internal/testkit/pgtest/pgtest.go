// Package pgtest gives tests a PostgreSQL server where PostgreSQL is installed, and skips
// them elsewhere. Packages that use it call Main from their TestMain.
package pgtest

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"payscore-collector/internal/testkit"
)

// Server is a PostgreSQL server, empty at first.
type Server struct {
	URL string // of its database postgres, in which the user has all rights

	dir  string
	port string
	cmd  *exec.Cmd
}

// Off is an environment variable: set to 1, tests run as if PostgreSQL were not
// installed.
const Off = "PGTEST_OFF"

// installed matches the directories of PostgreSQL's server programs that are not on the
// PATH: those of Debian and Ubuntu.
const installed = "/usr/lib/postgresql/*/bin"

// find returns the path of one of PostgreSQL's programs.
func find(program string) (string, error) {
	if os.Getenv(Off) == "1" {
		return "", errors.New(Off + " is set")
	}
	if path, err := exec.LookPath(program); err == nil {
		return path, nil
	}
	paths, _ := filepath.Glob(filepath.Join(installed, program))
	if len(paths) == 0 {
		return "", fmt.Errorf("%s is neither on the PATH nor in %s", program, installed)
	}
	return slices.Max(paths), nil
}

// template is an empty cluster, of which each server gets a copy: creating one takes
// seconds.
var template struct {
	once sync.Once
	base string // the directory of all of this process's files
	err  error
}

// shared is the server of Shared.
var shared struct {
	once   sync.Once
	server *Server
}

// Main runs a package's tests, stops the shared server and removes all files.
func Main(m *testing.M) int {
	defer func() {
		if shared.server != nil {
			shared.server.Kill()
		}
		if template.base != "" {
			_ = os.RemoveAll(template.base)
		}
	}()
	return m.Run()
}

// Shared returns a server for all tests of this process: each takes databases of its own
// (see Database), and no test kills it. It skips the test where PostgreSQL is not
// installed.
func Shared(t testing.TB) *Server {
	t.Helper()
	needInstalled(t)
	shared.once.Do(func() { shared.server = start(t) })
	if shared.server == nil {
		t.Fatal("the shared PostgreSQL did not start: see the first test that failed")
	}
	return shared.server
}

// Start returns a server for this test alone, or skips the test where PostgreSQL is not
// installed.
func Start(t testing.TB) *Server {
	t.Helper()
	needInstalled(t)
	s := start(t)
	t.Cleanup(s.Kill)
	return s
}

func needInstalled(t testing.TB) {
	t.Helper()
	for _, program := range []string{"initdb", "postgres"} {
		if _, err := find(program); err != nil {
			t.Skipf("this test needs PostgreSQL: %v", err)
		}
	}
}

func start(t testing.TB) *Server {
	t.Helper()
	template.once.Do(func() { template.base, template.err = makeTemplate() })
	if template.err != nil {
		t.Fatal(template.err)
	}
	dir, err := os.MkdirTemp(template.base, "cluster")
	if err != nil {
		t.Fatal(err)
	}
	if err := give(dir); err != nil {
		t.Fatal(err)
	}
	if err := run("cp", "-Rp", filepath.Join(template.base, "template")+"/.", dir); err != nil {
		t.Fatal(err)
	}
	s := &Server{dir: dir, port: strconv.Itoa(testkit.FreePort(t))}
	s.URL = "postgres://postgres@127.0.0.1:" + s.port + "/postgres?sslmode=disable"
	s.Run(t)
	return s
}

func makeTemplate() (base string, err error) {
	initdb, err := find("initdb")
	if err != nil {
		return "", err
	}
	parent, err := passable()
	if err != nil {
		return "", err
	}
	if base, err = os.MkdirTemp(parent, "pgtest"); err != nil {
		return "", err
	}
	if err := os.Chmod(base, 0o755); err != nil {
		return base, err
	}
	dir := filepath.Join(base, "template")
	if err := os.Mkdir(dir, 0o700); err != nil {
		return base, err
	}
	if err := give(dir); err != nil {
		return base, err
	}
	return base, run(initdb, "-D", dir, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C",
		"--no-sync", "--no-instructions", "--wal-segsize=1")
}

// Run starts the server, for instance after Kill. It returns when the server answers.
func (s *Server) Run(t testing.TB) {
	t.Helper()
	postgres, err := find("postgres")
	if err != nil {
		t.Fatal(err)
	}
	s.cmd = unprivileged(postgres, "-D", s.dir, "-p", s.port, "-h", "127.0.0.1",
		"-c", "unix_socket_directories=", "-c", "fsync=off", "-c", "full_page_writes=off",
		"-c", "shared_buffers=16MB", "-c", "max_connections=60", "-c", "autovacuum=off")
	path := filepath.Join(s.dir, "postgres.log")
	log, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	s.cmd.Stdout, s.cmd.Stderr = log, log
	err = testkit.Start(s.cmd)
	_ = log.Close()
	if err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(60 * time.Second); ; {
		conn, err := pgx.Connect(t.Context(), s.URL)
		if err == nil {
			_ = conn.Close(t.Context())
			return
		}
		if time.Now().After(deadline) {
			said, _ := os.ReadFile(path)
			t.Fatalf("postgres did not come up: %v\n%s", err, said)
		}
		<-time.After(20 * time.Millisecond)
	}
}

// Kill ends the server at once, as a crash does: its next start recovers from its log.
// Calling it again does nothing.
func (s *Server) Kill() {
	if s.cmd == nil {
		return
	}
	// This is pg_ctl's immediate shutdown. After SIGKILL the server could not be
	// started again before the last of its children has ended.
	_ = s.cmd.Process.Signal(syscall.SIGQUIT)
	_ = s.cmd.Wait()
	s.cmd = nil
}

// Database creates a database and returns its URL. It replaces one of that name, which is
// there where a test runs several times (-count).
func (s *Server) Database(t testing.TB, name string) string {
	t.Helper()
	quoted := pgx.Identifier{name}.Sanitize()
	s.Exec(t, s.URL, "drop database if exists "+quoted+" with (force)")
	s.Exec(t, s.URL, "create database "+quoted)
	u, err := url.Parse(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	u.Path = "/" + name
	return u.String()
}

// Exec runs one or several SQL statements, and fails the test where they fail.
func (s *Server) Exec(t testing.TB, databaseURL, sql string) {
	t.Helper()
	conn := Connect(t, databaseURL)
	defer conn.Close(context.WithoutCancel(t.Context()))
	if _, err := conn.PgConn().Exec(t.Context(), sql).ReadAll(); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

// Connect opens a connection that is closed when the test ends.
func Connect(t testing.TB, databaseURL string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), databaseURL)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}
