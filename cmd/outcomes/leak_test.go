package main

import (
	"strings"
	"testing"

	"go.uber.org/goleak"

	"payscore-collector/internal/pgtest"
)

// A reader that is told to stop leaves neither goroutines nor connections. Not
// beside other tests, whose goroutines this one would see.
func TestStoppedReadersLeaveNothingBehind(t *testing.T) {
	s := newStore(t)
	s.tell(mchA, "A", 4)
	leaves := func(t *testing.T, run func()) {
		before := goleak.IgnoreCurrent()
		run()
		if err := goleak.Find(before,
			// The embedded Redis's side of connections; the test has some, too.
			goleak.IgnoreAnyFunction("github.com/alicebob/miniredis/v2/server.(*Server).servePeer"),
			goleak.IgnoreAnyFunction("github.com/alicebob/miniredis/v2/server.readArray")); err != nil {
			t.Error(err)
		}
		clients, err := s.rdb.ClientList(t.Context()).Result()
		if err == nil && strings.Contains(clients, " name=payscore-outcomes") { // the embedded one lists none
			t.Errorf("connections to Redis that are left:\n%s", clients)
		}
	}
	t.Run("follow", func(t *testing.T) {
		leaves(t, func() {
			var out lines
			f := start(t, map[string]string{"REDIS_URL": s.url}, &out, "follow")
			until(t, "the events", func() bool { return out.count() == 4 })
			f.stop()
		})
	})
	t.Run("sink postgres", func(t *testing.T) {
		pg := pgtest.Start(t)
		url := pg.Database(t, "leak")
		leaves(t, func() {
			f := start(t, map[string]string{"REDIS_URL": s.url, "DATABASE_URL": url}, nil, "sink", "postgres")
			until(t, "the tables", func() bool { return strings.Contains(f.stderr.String(), "from now on") })
			until(t, "the events", func() bool { return count(t, url, "select count(*) from events") == 4 })
			f.stop()
		})
		until(t, "PostgreSQL to have no connection left", func() bool {
			return count(t, url, "select count(*) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()") == 0
		})
	})
}
