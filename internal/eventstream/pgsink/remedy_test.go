package pgsink_test

import (
	"crypto/tls"
	"errors"
	"net"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgproto3"

	"payscore-collector/internal/eventstream/pgsink"
	"payscore-collector/internal/ledger"
	"payscore-collector/internal/testkit"
	"payscore-collector/internal/testkit/pgtest"
	"payscore-collector/tasks"
)

// place is where a PostgreSQL, or a pooler in front of it, answers with an error.
type place int

const (
	atStartup  place = iota // to the startup message
	atQuery                 // to the first query
	atTLS                   // TLS with a certificate that no known authority has signed
	withoutTLS              // it refuses TLS, and never answers the startup
)

// saying returns the URL of a PostgreSQL that only answers with one error.
func saying(t *testing.T, at place, code, message string) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	certified := httptest.NewUnstartedServer(nil)
	certified.StartTLS()
	t.Cleanup(certified.Close)
	failure := &pgproto3.ErrorResponse{Severity: "FATAL", Code: code, Message: message}
	serve := func(c net.Conn) {
		defer c.Close()
		b := pgproto3.NewBackend(c, c)
		m, err := b.ReceiveStartupMessage()
		if _, ok := m.(*pgproto3.SSLRequest); ok && err == nil {
			if at == atTLS {
				_, _ = c.Write([]byte("S"))
				_ = tls.Server(c, certified.TLS).Handshake()
				return
			}
			_, _ = c.Write([]byte("N"))
			_, err = b.ReceiveStartupMessage()
		}
		if err != nil {
			return
		}
		if at == atStartup {
			b.Send(failure)
			_ = b.Flush()
			return
		}
		b.Send(&pgproto3.AuthenticationOk{})
		b.Send(&pgproto3.ReadyForQuery{TxStatus: 'I'})
		if b.Flush() != nil {
			return
		}
		if _, err := b.Receive(); err == nil {
			failure.Severity = "ERROR"
			b.Send(failure)
			b.Send(&pgproto3.ReadyForQuery{TxStatus: 'I'})
			_ = b.Flush()
			_, _ = b.Receive()
		}
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go serve(c)
		}
	}()
	return "postgres://u:hunter2@" + l.Addr().String() + "/billing"
}

// An error of PostgreSQL or of a pooler ends with what to do about it.
func TestErrorsNameTheirRemedy(t *testing.T) {
	for _, tt := range []struct {
		name          string
		at            place
		code, message string
		params        string
		want          string
		refused       bool // the program ends with status 2
	}{
		{"PgBouncer and options", atStartup, "08P01", "unsupported startup parameter: options", "", "ALTER ROLE … SET search_path", true},
		{"PgBouncer in transaction mode", atQuery, "42P05", `prepared statement "stmtcache_1" already exists`, "", "default_query_exec_mode=exec", false},
		{"PgBouncer in transaction mode, another connection", atQuery, "26000", `prepared statement "stmtcache_1" does not exist`, "", "default_query_exec_mode=exec", false},
		{"PgBouncer in statement mode", atQuery, "08P01", "transaction blocks not allowed in statement pooling mode", "", "pool_mode = transaction", false},
		{"PgBouncer, no such database", atStartup, "08P01", "no such database: billing", "", "[databases]", true},
		{"PgBouncer, no such user", atStartup, "08P01", "no such user: u", "", "auth_file", true},
		{"standby", atQuery, "0A000", "cannot set transaction read-write mode during recovery", "", "replica (a standby)", false},
		{"standby, by another word", atQuery, "25006", "cannot execute INSERT in a read-only transaction", "", "replica (a standby)", false},
		{"starting", atStartup, "57P03", "the database system is starting up", "", "ends by itself", false},
		{"password", atStartup, "28P01", `password authentication failed for user "u"`, "", "correct the password", true},
		{"no such database", atStartup, "3D000", `database "billing" does not exist`, "", "create the database", true},
		{"pg_hba.conf", atStartup, "28000", `no pg_hba.conf entry for host "10.0.0.1", user "u", database "billing", no encryption`, "", "sslmode=require", true},
		{"client certificate", atStartup, "28000", "connection requires a valid client certificate", "", "sslcert=FILE", true},
		{"too many connections", atStartup, "53300", "sorry, too many clients already", "", "pool_max_conns", false},
		{"disk full", atQuery, "53100", "could not extend file: No space left on device", "", "disk is full", false},
		{"any other refusal", atStartup, "08P01", "the pooler is paused", "", "refuses the connection", false},
		{"an authority of one's own", atTLS, "", "", "?sslmode=verify-full", "sslrootcert=FILE", false},
		{"no TLS", withoutTLS, "", "", "?sslmode=require", "speaks no TLS", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := open(t, saying(t, tt.at, tt.code, tt.message)+tt.params, &testkit.LogBuffer{})
			s.Once = true
			_, err := s.Prepare(t.Context())
			if err == nil {
				t.Fatal("no error")
			}
			var no *pgsink.Refused
			if got := errors.As(err, &no); got != tt.refused {
				t.Errorf("refused for good: %t, want %t", got, tt.refused)
			}
			for _, part := range []string{tt.want, tt.message} {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("%v\nhas no %q", err, part)
				}
			}
			for _, part := range []string{"hunter2", "that PostgreSQL runs", "\n"} {
				if strings.Contains(err.Error(), part) {
					t.Errorf("%v\nhas %q", err, part)
				}
			}
		})
	}
}

// A pooler in transaction mode gives each transaction another connection, so no
// statement may be prepared under a name.
func TestNoStatementIsPrepared(t *testing.T) {
	pg := pgtest.Shared(t)
	url := pg.Database(t, "unprepared")
	prepared(t, url, &testkit.LogBuffer{})
	pg.Exec(t, url, `create function none_prepared() returns trigger language plpgsql as $$
		begin if exists (select from pg_prepared_statements) then raise exception 'a statement is prepared'; end if; return null; end $$;
		create trigger none_prepared after insert on events for each statement execute function none_prepared()`)
	events := []ledger.Event{event("A", 1000, 0, 1, tasks.Queued)}
	s := open(t, url, &testkit.LogBuffer{})
	s.Once = true
	for range 2 {
		if err := s.Write(t.Context(), events); err != nil {
			t.Fatal(err)
		}
	}
	named := open(t, url+"&default_query_exec_mode=cache_statement", &testkit.LogBuffer{})
	named.Once = true
	if err := named.Write(t.Context(), events); err == nil {
		t.Error("the parameter in the URL has no effect")
	}
}
