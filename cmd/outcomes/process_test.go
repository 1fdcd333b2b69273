package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
	"testing"

	"payscore-collector/internal/testkit"
	"payscore-collector/internal/testkit/pgtest"
)

// The readers as processes: killed, stopped, and without a reader of their output.

func TestMain(m *testing.M) {
	testkit.MainIfCommand(main)
	testkit.Parallel(4)
	os.Exit(pgtest.Main(m))
}

func startProcess(t *testing.T, env []string, stdout io.Writer, args ...string) *testkit.Process {
	t.Helper()
	cmd := testkit.Command(env, args...)
	cmd.Stdout = stdout
	return testkit.StartProcess(t, cmd)
}

// A follower that is killed repeatedly while orders arrive: every event is printed, and
// the events of each order in their order.
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
		testkit.Eventually(t, "some lines", func() bool { return out.count() > 0 })
		p.Kill()
		// A line that the kill has cut off is printed again.
		whole := out.String()
		_, _ = came.Write([]byte(whole[:strings.LastIndexByte(whole, '\n')+1]))
		out = lines{}
	}
	s.tell(mchA, "LAST", 1)
	truth := s.truth(mchA)
	p := startProcess(t, env, &came, "follow")
	testkit.Eventually(t, "the last event", func() bool { return strings.Contains(came.String(), `"id":"`+truth[len(truth)-1].ID+`"`) })
	if status := p.Stop(os.Interrupt); status != 0 {
		t.Errorf("exit status %d after Ctrl-C\n%s", status, p.Log)
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
	if status := p.Exit(testkit.Patience); status == 0 {
		t.Errorf("exit status 0, want a failure: the events were not printed")
	}
	var out lines
	p = startProcess(t, env, &out, "follow")
	testkit.Eventually(t, "the events", func() bool { return out.count() == 3 })
	if status := p.Stop(syscall.SIGTERM); status != 0 {
		t.Errorf("exit status %d after SIGTERM\n%s", status, p.Log)
	}
}

// One instance is killed (in the long form), another one is stopped, and a third one
// finishes.
func TestSinkProcesses(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	pg := pgtest.Shared(t)
	url := strings.Replace(pg.Database(t, "processes"), "postgres@", "postgres:hunter2@", 1)
	env := []string{"REDIS_URL=" + s.url, "DATABASE_URL=" + url}
	const orders = 150
	for i := range orders {
		s.tell(mchA, fmt.Sprintf("A-%d", i), 4)
	}
	var all []*testkit.Process
	start := func() *testkit.Process {
		p := startProcess(t, env, nil, "sink", "postgres")
		all = append(all, p)
		testkit.Eventually(t, "its start", func() bool { return p.Log.HasEvent("sink_started") }, p.Log)
		return p
	}
	if testkit.Long() { // others take over what it holds after 30 seconds
		killed := start()
		testkit.Eventually(t, "the first events", func() bool {
			return count(t, url, "select count(*) from events") > 0
		})
		killed.Kill()
	}
	s.tell(mchB, "B", 2)
	stopped := start()
	testkit.Eventually(t, "the new merchant's events", func() bool {
		return count(t, url, "select count(*) from events where mchid = '"+mchB+"'") == 2
	})
	if status := stopped.Stop(syscall.SIGTERM); status != 0 {
		t.Errorf("exit status %d after SIGTERM\n%s", status, stopped.Log)
	}
	last := start()
	testkit.Eventually(t, "all events", func() bool { return count(t, url, "select count(*) from events") == orders*4+2 })
	if status := last.Stop(os.Interrupt); status != 0 {
		t.Errorf("exit status %d after Ctrl-C\n%s", status, last.Log)
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
	for _, p := range all {
		if strings.Contains(p.Log.String(), "hunter2") {
			t.Errorf("stderr has the password: %s", p.Log)
		}
	}
	wantContains(t, "stderr", stopped.Log.String(), `"event":"sink_started"`, `"event":"sink_stopped"`)
}
