package main

import (
	"strings"
	"testing"

	"go.uber.org/goleak"

	"payscore-collector/internal/testkit"
	"payscore-collector/internal/testkit/pgtest"
	"payscore-collector/internal/testkit/redistest"
)

// A stopped reader leaves neither goroutines nor connections. This test does not run in
// parallel with others, whose goroutines it would see.
func TestStoppedReadersLeaveNothingBehind(t *testing.T) {
	server := redistest.Start(t)
	s := store{t, server.URL, server.Client}
	s.tell(mchA, "A", 4)
	connected := func() bool {
		clients, err := s.rdb.ClientList(t.Context()).Result()
		if err != nil {
			t.Fatal(err)
		}
		return strings.Contains(clients, " name=payscore-outcomes")
	}
	// stopped runs a reader until done reports true, and stops it.
	stopped := func(t *testing.T, env map[string]string, done func(stdout, stderr *lines) bool, args ...string) {
		before := goleak.IgnoreCurrent()
		var out lines
		f := start(t, env, &out, args...)
		testkit.Eventually(t, "the reader's work", func() bool { return done(&out, f.stderr) })
		if server.Real && !connected() { // the embedded one cannot list its clients
			t.Error("a reader at work is not among the clients of its Redis")
		}
		f.stop()
		redistest.NoLeaks(t, before)
		if server.Real {
			testkit.Eventually(t, "Redis to notice that its connections are closed", func() bool { return !connected() })
		}
	}
	t.Run("follow", func(t *testing.T) {
		stopped(t, map[string]string{"REDIS_URL": s.url}, func(stdout, _ *lines) bool { return stdout.count() == 4 }, "follow")
	})
	t.Run("sink postgres", func(t *testing.T) {
		url := pgtest.Shared(t).Database(t, "leak")
		stopped(t, map[string]string{"REDIS_URL": s.url, "DATABASE_URL": url}, func(_, stderr *lines) bool {
			return stderr.HasEvent("sink_started") && count(t, url, "select count(*) from events") == 4
		}, "sink", "postgres")
		testkit.Eventually(t, "PostgreSQL to have no connection left", func() bool {
			return count(t, url, "select count(*) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()") == 0
		})
	})
}
