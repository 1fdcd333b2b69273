package pgsink_test

import (
	"errors"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"payscore-collector/internal/eventstream/pgsink"
	"payscore-collector/internal/ledger"
	"payscore-collector/internal/testkit"
	"payscore-collector/internal/testkit/pgtest"
)

// column is a column of a table, with its comment.
type column struct{ Name, Comment string }

func columns(t *testing.T, conn *pgx.Conn, table string) []column {
	t.Helper()
	r, err := conn.Query(t.Context(), `select attname::text as name, coalesce(col_description(attrelid, attnum), '') as comment
		from pg_attribute where attrelid = $1::text::regclass and attnum > 0 order by attnum`, table)
	if err != nil {
		t.Fatal(err)
	}
	cols, err := pgx.CollectRows(r, pgx.RowToStructByName[column])
	if err != nil {
		t.Fatal(err)
	}
	return cols
}

func TestPrepare(t *testing.T) {
	server := pgtest.Shared(t)
	var log testkit.LogBuffer
	refusedWith := func(t *testing.T, url string, words ...string) {
		t.Helper()
		_, err := open(t, url, &log).Prepare(t.Context())
		var no *pgsink.Refused
		if !errors.As(err, &no) {
			t.Fatalf("got %v, want a refusal", err)
		}
		for _, w := range words {
			if !strings.Contains(err.Error(), w) {
				t.Errorf("%q is not in: %v", w, err)
			}
		}
	}

	t.Run("creates the tables, with the names of the JSON and a comment on every column", func(t *testing.T) {
		url := server.Database(t, "fresh")
		s := open(t, url, &log)
		for i, want := range []bool{true, false} {
			if fresh, err := s.Prepare(t.Context()); err != nil || fresh != want {
				t.Fatalf("time %d: fresh %t, %v", i+1, fresh, err)
			}
		}
		conn := pgtest.Connect(t, url)
		var names []string
		for _, c := range columns(t, conn, "events") {
			if c.Name != "n" && c.Name != "stored_at" { // the sink's own
				names = append(names, c.Name)
			}
		}
		var want []string
		for _, f := range reflect.VisibleFields(reflect.TypeFor[ledger.Event]()) {
			name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			if name != "books" { // tables of their own
				want = append(want, name)
			}
		}
		slices.Sort(names)
		slices.Sort(want)
		if diff := cmp.Diff(want, names); diff != "" {
			t.Errorf("columns of events (-JSON +columns):\n%s", diff)
		}
		// An order has what its newest event says of it, except for the call, and
		// except for the payments, which have a table.
		for _, name := range []string{"id", "type", "at", "payments", "by", "call", "verdict", "code", "detail_code"} {
			want = slices.DeleteFunc(want, func(n string) bool { return n == name })
		}
		names = nil
		for _, c := range columns(t, conn, "orders") {
			if !slices.Contains([]string{"last_event_id", "updated_at", "updated_n"}, c.Name) { // the sink's own
				names = append(names, c.Name)
			}
		}
		slices.Sort(names)
		if diff := cmp.Diff(want, names); diff != "" {
			t.Errorf("columns of orders (-JSON +columns):\n%s", diff)
		}
		want, names = nil, nil
		for _, f := range reflect.VisibleFields(reflect.TypeFor[ledger.Payment]()) {
			name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			want = append(want, name)
		}
		for _, c := range columns(t, conn, "payments") {
			if !slices.Contains([]string{"mchid", "out_order_no", "payment_key", "learnt_at", "derived"}, c.Name) {
				names = append(names, c.Name)
			}
		}
		slices.Sort(names)
		slices.Sort(want)
		if diff := cmp.Diff(want, names); diff != "" {
			t.Errorf("columns of payments (-JSON +columns):\n%s", diff)
		}
		for _, table := range []string{"events", "orders", "payments", "actions", "books", "book_exceptions"} {
			for _, c := range columns(t, conn, table) {
				if c.Comment == "" {
					t.Errorf("%s.%s has no comment", table, c.Name)
				}
				if strings.HasSuffix(c.Name, "amount") && !strings.Contains(c.Comment, "fen") {
					t.Errorf("the comment on %s.%s does not say the unit: %s", table, c.Name, c.Comment)
				}
			}
		}
	})
	t.Run("by several instances at once, under any isolation", func(t *testing.T) {
		url := server.Database(t, "crowd")
		server.Exec(t, url, "alter database crowd set default_transaction_isolation = 'serializable'")
		var wg sync.WaitGroup
		var fresh [8]bool
		for i := range fresh {
			s := open(t, url, &log)
			wg.Go(func() {
				var err error
				if fresh[i], err = s.Prepare(t.Context()); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if n := len(slices.DeleteFunc(fresh[:], func(f bool) bool { return !f })); n != 1 {
			t.Errorf("%d of 8 have created the tables, want 1", n)
		}
	})
	t.Run("refuses tables of another program, and names the way out", func(t *testing.T) {
		for table, way := range map[string]string{"orders": "search_path=payscore", "books": "search_path=payscore", "payments": "search_path=payscore", "events": "options=-csearch_path%3Dpayscore"} {
			url := server.Database(t, "theirs_"+table)
			server.Exec(t, url, "create table "+table+" (id int)")
			refusedWith(t, url, "has a table "+table+" that is not this program's", "give DATABASE_URL a search_path of its own")
			if cols := columns(t, pgtest.Connect(t, url), table); len(cols) != 1 {
				t.Errorf("their table has been changed: %v", cols)
			}
			// That is the way out: the schema need not exist.
			own := url + "&" + way
			prepared(t, own, &log)
			if cols := columns(t, pgtest.Connect(t, own), "payscore."+table); len(cols) < 10 {
				t.Errorf("%v", cols)
			}
		}
	})
	t.Run("refuses a column that is not its own", func(t *testing.T) {
		url := server.Database(t, "column")
		ofRelease(t, server, url, 5)
		server.Exec(t, url, "alter table events add column paid_by text")
		refusedWith(t, url, `column "paid_by" of relation "events" already exists`, "rename the one that is there")
	})
	t.Run("refuses a user without the right to create tables", func(t *testing.T) {
		url := server.Database(t, "locked")
		server.Exec(t, url, "drop role if exists clerk; create role clerk login; revoke create on schema public from public")
		refusedWith(t, strings.Replace(url, "postgres@", "clerk@", 1), "permission denied", "let the user of DATABASE_URL create tables there")
	})
	t.Run("refuses a database that does not exist, and a user who may not log in", func(t *testing.T) {
		u, err := url.Parse(server.URL)
		if err != nil {
			t.Fatal(err)
		}
		u.User, u.Path = url.UserPassword("postgres", "hunter2"), "/billling"
		refusedWith(t, u.String(), "PostgreSQL refuses DATABASE_URL ("+u.Host+"/billling)", "does not exist; correct DATABASE_URL")
		u.User, u.Path = url.UserPassword("nobody", "hunter2"), "/postgres"
		refusedWith(t, u.String(), "PostgreSQL refuses DATABASE_URL ("+u.Host+"/postgres)", `"nobody" does not exist; correct DATABASE_URL`)
	})
	t.Run("names once the PostgreSQL that cannot be reached", func(t *testing.T) {
		s := open(t, "postgres://u:hunter2@127.0.0.1:1/x", &log)
		s.Once = true
		const want = "prepare the tables in PostgreSQL: cannot reach PostgreSQL at 127.0.0.1:1 (connection refused): check DATABASE_URL, and that PostgreSQL runs"
		if _, err := s.Prepare(t.Context()); err == nil || err.Error() != want {
			t.Errorf("got  %v\nwant %s", err, want)
		}
	})
	t.Run("refuses tables of a newer release", func(t *testing.T) {
		url := server.Database(t, "newer")
		prepared(t, url, &log)
		server.Exec(t, url, "insert into payscore_schema (version) values (1000)")
		refusedWith(t, url, "newer release", "1000")
	})
	t.Run("leaves nothing behind where it fails midway", func(t *testing.T) {
		url := server.Database(t, "midway")
		server.Exec(t, url, "create table t (events_of_order int); create index orders_by_end on t (events_of_order)")
		refusedWith(t, url, "already exists")
		var n int
		if err := pgtest.Connect(t, url).QueryRow(t.Context(), "select count(*) from pg_tables where schemaname = 'public'").Scan(&n); err != nil || n != 1 {
			t.Errorf("%d tables, %v; want 1", n, err)
		}
	})
}
