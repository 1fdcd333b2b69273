package main

import (
	"io"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"payscore-collector/internal/config"
	"payscore-collector/internal/ledger"
	"payscore-collector/internal/testkit"
	"payscore-collector/internal/testkit/pgtest"
)

// count returns the number that a query answers with.
func count(t *testing.T, url, sql string) int {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	var n int
	if err := conn.QueryRow(t.Context(), sql).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

func TestSinkPostgres(t *testing.T) {
	t.Parallel()
	pg := pgtest.Shared(t)

	t.Run("--once writes what exists, and ends", func(t *testing.T) {
		s := newStore(t)
		url := pg.Database(t, "once")
		s.settle(mchA, "A|1*", paid(1230))
		s.tell(mchB, "B", 3)
		for _, args := range [][]string{{}, {"--mchid", mchA}} {
			o := runWith(t, map[string]string{"REDIS_URL": s.url, "DATABASE_URL": url}, append([]string{"sink", "postgres", "--once"}, args...)...)
			o.wantStatus(t, config.ExitOK)
			wantContains(t, "stderr", o.stderr, `"group":"postgres"`, `"database":"127.0.0.1:`, `"event":"sink_started"`, `"left_out":0`)
		}
		if n := count(t, url, "select count(*) from events"); n != 5 {
			t.Errorf("%d events", n)
		}
		if n := count(t, url, "select paid_amount from orders where mchid = '"+mchA+"' and out_order_no = 'A|1*' and state = 'paid' and ended_at is not null"); n != 1230 {
			t.Errorf("%d fen", n)
		}
	})
	t.Run("the trail comes along", func(t *testing.T) {
		s := newStore(t)
		url := pg.Database(t, "trail")
		env := map[string]string{"REDIS_URL": s.url, "DATABASE_URL": url}
		s.open(mchA, "A")
		s.open(mchB, "B")
		pause := func(mchid string) {
			t.Helper()
			if _, err := ledger.New(s.rdb, mchid).Pause(t.Context(), ledger.Deed{By: "cli:anna", Reason: "wrong amounts"}, 0); err != nil {
				t.Fatal(err)
			}
		}
		paused := func() int {
			return count(t, url, "select count(*) from actions where action = 'pause' and reason = 'wrong amounts'")
		}
		pause(mchA)
		runWith(t, env, "sink", "postgres", "--once").wantStatus(t, config.ExitOK)
		if n := paused(); n != 1 {
			t.Errorf("--once has written %d pauses of 1", n)
		}
		pause(mchB)
		runWith(t, env, "sink", "postgres", "--once", "--mchid", mchA).wantStatus(t, config.ExitOK)
		if n := paused(); n != 1 {
			t.Errorf("the sink of %s has written %d pauses of 1", mchA, n)
		}
		f := start(t, env, io.Discard, "sink", "postgres")
		testkit.Eventually(t, "the other pause", func() bool { return paused() == 2 }, f.stderr)
		f.stop()
	})
	t.Run("--once after a failed one writes everything, at once", func(t *testing.T) {
		s := newStore(t)
		url := pg.Database(t, "again")
		env := map[string]string{"REDIS_URL": s.url, "DATABASE_URL": url}
		runWith(t, env, "sink", "postgres", "--once").wantStatus(t, config.ExitOK)
		pg.Exec(t, url, `create function full_disk() returns trigger language plpgsql as
			$$ begin raise exception 'No space left on device' using errcode = '53100'; end $$;
			create trigger full_disk before insert on events for each row execute function full_disk()`)
		s.tell(mchA, "A", 3)
		s.tell(mchB, "B", 2)
		o := runWith(t, env, "sink", "postgres", "--once")
		o.wantStatus(t, exitFailed)
		wantContains(t, "stderr", o.stderr, "No space left on device", "disk is full")
		pg.Exec(t, url, "drop trigger full_disk on events")
		began := time.Now()
		runWith(t, env, "sink", "postgres", "--once").wantStatus(t, config.ExitOK)
		if n := count(t, url, "select count(*) from events"); n != 5 {
			t.Errorf("%d events of 5", n)
		}
		if took := time.Since(began); took > 20*time.Second {
			t.Errorf("it took %s", took)
		}
	})
	t.Run("--once fails where the tables refuse an event", func(t *testing.T) {
		s := newStore(t)
		url := pg.Database(t, "refusing")
		env := map[string]string{"REDIS_URL": s.url, "DATABASE_URL": url}
		runWith(t, env, "sink", "postgres", "--once").wantStatus(t, config.ExitOK)
		pg.Exec(t, url, "alter table events add check (out_order_no <> 'BAD')")
		s.tell(mchA, "GOOD", 1)
		s.tell(mchA, "BAD", 1)
		o := runWith(t, env, "sink", "postgres", "--once")
		o.wantStatus(t, exitFailed)
		wantContains(t, "stderr", o.stderr, "EVENT LEFT OUT", "the tables lack 1 event")
	})
	t.Run("writes until it is stopped", func(t *testing.T) {
		s := newStore(t)
		url := pg.Database(t, "stays")
		f := start(t, map[string]string{"REDIS_URL": s.url, "DATABASE_URL": url}, nil, "sink", "postgres")
		testkit.Eventually(t, "the tables", func() bool { return f.stderr.HasEvent("sink_started") })
		s.tell(mchA, "A", 3)
		testkit.Eventually(t, "the events", func() bool { return count(t, url, "select count(*) from events") == 3 })
		f.stop()
		wantContains(t, "stderr", f.stderr.String(), `"events":3`, `"orders":`)
	})
	t.Run("warns of new tables with a group that has read before", func(t *testing.T) {
		s := newStore(t)
		s.tell(mchA, "A", 3)
		first, second := pg.Database(t, "first"), pg.Database(t, "second")
		run := func(url string, args ...string) outcome {
			o := runWith(t, map[string]string{"REDIS_URL": s.url, "DATABASE_URL": url}, append([]string{"sink", "postgres", "--once"}, args...)...)
			o.wantStatus(t, config.ExitOK)
			return o
		}
		const warning = "start with another --group"
		if o := run(first); strings.Contains(o.stderr, warning) {
			t.Errorf("stderr has %s", o.stderr)
		}
		wantContains(t, "stderr", run(second).stderr, warning)
		run(second, "--group", "postgres2")
		if n := count(t, second, "select count(*) from events"); n != 3 {
			t.Errorf("%d events after the new group", n)
		}
	})
	t.Run("another program's table is refused with status 2", func(t *testing.T) {
		s := newStore(t)
		url := pg.Database(t, "theirs")
		pg.Exec(t, url, "create table orders (id int)")
		o := runWith(t, map[string]string{"REDIS_URL": s.url, "DATABASE_URL": url}, "sink", "postgres")
		o.wantStatus(t, config.ExitUsage)
		wantContains(t, "stderr", o.stderr, "has a table orders that is not this program's", "search_path")
	})
}

func TestSinkPostgresUsage(t *testing.T) {
	t.Run("every problem is named at once, and no password", func(t *testing.T) {
		for url, want := range map[string]string{
			"":                            "DATABASE_URL is missing",
			"postgres://u:hunter2@@db/x":  "DATABASE_URL cannot be used",
			"postgres://u:hunter2/@db/x":  "percent-encoded",
			"mysql://u:hunter2@db/x":      "it does not begin with postgres://",
			"postgres://u:hunter2@db:p/x": "invalid port",
		} {
			o := runWith(t, map[string]string{"DATABASE_URL": url}, "sink", "postgres")
			o.wantStatus(t, config.ExitUsage)
			wantContains(t, "stderr", o.stderr, want, "REDIS_URL is missing")
			if strings.Contains(o.stderr, "hunter2") {
				t.Errorf("stderr has the password: %s", o.stderr)
			}
		}
	})
	t.Run("--once does not wait", func(t *testing.T) {
		s := newStore(t)
		o := runWith(t, map[string]string{"REDIS_URL": s.url, "DATABASE_URL": "postgres://u:hunter2@127.0.0.1:1/x"}, "sink", "postgres", "--once")
		o.wantStatus(t, exitFailed)
		wantContains(t, "stderr", o.stderr, "prepare the tables in PostgreSQL")
		if strings.Contains(o.stderr, "hunter2") {
			t.Errorf("stderr has the password: %s", o.stderr)
		}
	})
	t.Run("it waits for PostgreSQL, and the waiting can be stopped", func(t *testing.T) {
		s := newStore(t)
		f := start(t, map[string]string{"REDIS_URL": s.url, "DATABASE_URL": "postgres://u:hunter2@127.0.0.1:1/x"}, nil, "sink", "postgres")
		testkit.Eventually(t, "the outage in the log", func() bool { return strings.Contains(f.stderr.String(), "PostgreSQL does not answer as it should") })
		f.stop()
		if strings.Contains(f.stderr.String(), "hunter2") {
			t.Errorf("stderr has the password: %s", f.stderr)
		}
	})
}
