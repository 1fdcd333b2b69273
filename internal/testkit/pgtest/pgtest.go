// Package pgtest gives tests a PostgreSQL server of their own, where PostgreSQL
// is installed. Packages that use it call Main from their TestMain.
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

// Server is one PostgreSQL server, empty at first, that ends with its test.
type Server struct {
	URL string // of its database postgres, in which the user may do anything

	dir  string
	port string
	cmd  *exec.Cmd
}

// Off is an environment variable: set to 1, tests go on as if PostgreSQL were not
// installed.
const Off = "PGTEST_OFF"

// installed are the directories where PostgreSQL's server programs are looked
// for beside the PATH: Debian and Ubuntu keep them out of it.
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

// template is an empty cluster, which each server gets a copy of: making one
// takes seconds.
var template struct {
	once sync.Once
	base string // in which all of this process's files are
	err  error
}

// Main runs a package's tests and removes what they left behind.
func Main(m *testing.M) int {
	defer func() {
		if template.base != "" {
			_ = os.RemoveAll(template.base)
		}
	}()
	return m.Run()
}

// Start returns a server for this test, or skips the test where PostgreSQL is
// not installed.
func Start(t testing.TB) *Server {
	t.Helper()
	for _, program := range []string{"initdb", "postgres"} {
		if _, err := find(program); err != nil {
			t.Skipf("this test needs PostgreSQL: %v", err)
		}
	}
	template.once.Do(func() { template.base, template.err = makeTemplate() })
	if template.err != nil {
		t.Fatal(template.err)
	}
	dir, err := os.MkdirTemp(template.base, "cluster")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := give(dir); err != nil {
		t.Fatal(err)
	}
	if err := run("cp", "-Rp", filepath.Join(template.base, "template")+"/.", dir); err != nil {
		t.Fatal(err)
	}
	s := &Server{dir: dir, port: strconv.Itoa(testkit.FreePort(t))}
	t.Cleanup(s.Kill)
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

// Run starts the server, anew after Kill. It returns when the server answers.
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
	err = s.cmd.Start()
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

// Kill ends the server at once, without writing anything down: it comes back by
// its log, as after a crash. It may be called again.
func (s *Server) Kill() {
	if s.cmd == nil {
		return
	}
	// The immediate shutdown of pg_ctl. After SIGKILL the server could not be
	// started again until the last of its children has noticed.
	_ = s.cmd.Process.Signal(syscall.SIGQUIT)
	_ = s.cmd.Wait()
	s.cmd = nil
}

// Database makes a new database and returns its URL.
func (s *Server) Database(t testing.TB, name string) string {
	t.Helper()
	s.Exec(t, s.URL, "create database "+pgx.Identifier{name}.Sanitize())
	u, err := url.Parse(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	u.Path = "/" + name
	return u.String()
}

// Exec runs SQL, several statements where there are several, and fails the test
// where it fails.
func (s *Server) Exec(t testing.TB, databaseURL, sql string) {
	t.Helper()
	conn := Connect(t, databaseURL)
	defer conn.Close(context.WithoutCancel(t.Context()))
	if _, err := conn.PgConn().Exec(t.Context(), sql).ReadAll(); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

// Connect opens a connection that ends with the test at the latest.
func Connect(t testing.TB, databaseURL string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), databaseURL)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}
