package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"payscore-collector/internal/testkit/pgtest"
)

// The readers as the processes they are: killed, told to stop, and left without
// somebody to read them.

// asOutcomes makes this test binary be the command.
const asOutcomes = "PAYSCORE_TEST_AS_OUTCOMES"

func TestMain(m *testing.M) {
	if os.Getenv(asOutcomes) == "1" {
		main()
		return
	}
	os.Exit(pgtest.Main(m))
}

// process is one process of the command.
type process struct {
	t      *testing.T
	cmd    *exec.Cmd
	stderr *lines
}

func startProcess(t *testing.T, env []string, stdout io.Writer, args ...string) *process {
	t.Helper()
	p := &process{t, exec.Command(os.Args[0], args...), &lines{}}
	p.cmd.Env = append(slices.Clone(env), asOutcomes+"=1", "PATH="+os.Getenv("PATH"))
	p.cmd.Stdout, p.cmd.Stderr = stdout, p.stderr
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.kill)
	return p
}

// kill ends the process as a crash would.
func (p *process) kill() {
	if p.cmd.ProcessState == nil {
		_ = p.cmd.Process.Kill()
		_ = p.cmd.Wait()
	}
}

// signalled sends a signal and waits for the end; it returns the exit status.
func (p *process) signalled(sig os.Signal) int {
	p.t.Helper()
	if err := p.cmd.Process.Signal(sig); err != nil {
		p.t.Fatal(err)
	}
	return p.exit()
}

func (p *process) exit() int {
	p.t.Helper()
	done := make(chan error, 1)
	go func() { done <- p.cmd.Wait() }()
	select {
	case err := <-done:
		var ee *exec.ExitError
		if err != nil && !errors.As(err, &ee) {
			p.t.Fatal(err)
		}
		return p.cmd.ProcessState.ExitCode()
	case <-time.After(30 * time.Second):
		_ = p.cmd.Process.Kill()
		p.t.Fatalf("it did not end\n%s", p.stderr)
		return -1
	}
}

// Killed again and again while orders come in: every event is printed, and the
// events of each order in their order.
func TestFollowProcessKilled(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	env := []string{"REDIS_URL=" + s.url}
	var out, came lines
	for round := range 4 {
		for i := range 40 {
			s.tell(mchA, fmt.Sprintf("A-%d-%d", round, i), 4)
		}
		p := startProcess(t, env, &out, "follow")
		until(t, "some lines", func() bool { return out.count() > 0 })
		p.kill()
		// A line that was cut off by the kill is no event; it comes again.
		whole := out.String()
		_, _ = came.Write([]byte(whole[:strings.LastIndexByte(whole, '\n')+1]))
		out = lines{}
	}
	s.tell(mchA, "LAST", 1)
	truth := s.truth(mchA)
	p := startProcess(t, env, &came, "follow")
	until(t, "the last event", func() bool { return strings.Contains(came.String(), `"id":"`+truth[len(truth)-1].ID+`"`) })
	if status := p.signalled(os.Interrupt); status != 0 {
		t.Errorf("exit status %d after Ctrl-C\n%s", status, p.stderr)
	}
	wantInOrder(t, truth, came.events(t))
}

// `outcomes follow | head -n 1`
func TestFollowProcessWithAClosedPipe(t *testing.T) {
	s := newStore(t)
	s.tell(mchA, "A", 3)
	env := []string{"REDIS_URL=" + s.url}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	_ = r.Close()
	p := startProcess(t, env, w, "follow")
	_ = w.Close()
	if status := p.exit(); status == 0 {
		t.Errorf("exit status 0, and nobody got the events")
	}
	var out lines
	p = startProcess(t, env, &out, "follow")
	until(t, "the events", func() bool { return out.count() == 3 })
	if status := p.signalled(syscall.SIGTERM); status != 0 {
		t.Errorf("exit status %d after SIGTERM\n%s", status, p.stderr)
	}
}

// One instance is killed at its work, another one is told to stop, and a third
// finishes.
func TestSinkProcesses(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	pg := pgtest.Start(t)
	url := strings.Replace(pg.Database(t, "billing"), "postgres@", "postgres:hunter2@", 1)
	env := []string{"REDIS_URL=" + s.url, "DATABASE_URL=" + url}
	const orders = 150
	for i := range orders {
		s.tell(mchA, fmt.Sprintf("A-%d", i), 4)
	}
	killed := startProcess(t, env, nil, "sink", "postgres")
	until(t, "the first events", func() bool {
		conn, err := pgx.Connect(t.Context(), url)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close(t.Context())
		var some bool
		return conn.QueryRow(t.Context(), "select exists (select from events)").Scan(&some) == nil && some
	})
	killed.kill()
	s.tell(mchB, "B", 2)
	stopped := startProcess(t, env, nil, "sink", "postgres")
	until(t, "the new merchant's events", func() bool {
		return count(t, url, "select count(*) from events where mchid = '"+mchB+"'") == 2
	})
	if status := stopped.signalled(syscall.SIGTERM); status != 0 {
		t.Errorf("exit status %d after SIGTERM\n%s", status, stopped.stderr)
	}
	last := startProcess(t, env, nil, "sink", "postgres")
	until(t, "it to work", func() bool { return strings.Contains(last.stderr.String(), "from now on") })
	until(t, "all events", func() bool { return count(t, url, "select count(*) from events") == orders*4+2 })
	if status := last.signalled(os.Interrupt); status != 0 {
		t.Errorf("exit status %d after Ctrl-C\n%s", status, last.stderr)
	}
	for sql, want := range map[string]int{
		"select count(distinct id) from events": orders*4 + 2,
		"select count(*) from orders":           orders + 1,
		"select count(*) from orders where state = 'withdrawn' and ended_at is not null and seq = 4":              orders,
		"select count(*) from (select from events group by mchid, out_order_no having max(seq) <> count(*)) gaps": 0,
	} {
		if n := count(t, url, sql); n != want {
			t.Errorf("%s: %d, want %d", sql, n, want)
		}
	}
	for _, p := range []*process{killed, stopped, last} {
		if strings.Contains(p.stderr.String(), "hunter2") {
			t.Errorf("stderr has the password: %s", p.stderr)
		}
	}
	wantContains(t, "stderr", stopped.stderr.String(), "events go into PostgreSQL from now on", "this is the end")
}
