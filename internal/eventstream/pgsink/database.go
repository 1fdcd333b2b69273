package pgsink

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// Database is a parsed DATABASE_URL. Parse makes one.
type Database struct {
	pool  *pgxpool.Config
	shown string // HOST:PORT/NAME
}

// String is host, port and name of the database, for logs.
func (d Database) String() string { return d.shown }

// address is host and port.
func (d Database) address() string {
	return strings.TrimSuffix(d.shown, "/"+d.pool.ConnConfig.Database)
}

// connectTimeout is for one address; connect_timeout in the URL wins.
const connectTimeout = 10 * time.Second

// reasons are phrases of pgx's errors about a URL that repeat nothing of it.
var reasons = []string{
	"invalid port", "invalid connect_timeout", "failed to configure TLS", "failed to read service",
	"invalid sslcertmode", "invalid require_auth", "cannot parse pool_max_conns", "pool_max_conns too small",
	"cannot parse pool_min_conns", "cannot parse pool_max_conn_lifetime", "cannot parse pool_max_conn_idle_time",
}

// Parse reads a PostgreSQL URL, with libpq's and pgx's parameters. It does not touch the
// network. Neither its errors nor those of a Sink ever contain a user, a password or a
// possible part of one: Parse refuses a URL in which a piece of the password could be
// read as something else.
func Parse(databaseURL string) (Database, error) {
	rest, ok := strings.CutPrefix(databaseURL, "postgres://")
	if !ok {
		if rest, ok = strings.CutPrefix(databaseURL, "postgresql://"); !ok {
			return Database{}, errors.New("it does not begin with postgres://: write postgres://user:password@host:5432/database")
		}
	}
	// As in libpq, user and password end at the first @ before a slash.
	if i := strings.IndexAny(rest, "@/"); i >= 0 && rest[i] == '@' {
		rest = rest[i+1:]
	}
	if strings.Contains(rest, "@") {
		return Database{}, errors.New("it has an @ or a slash in the password, or an @ behind the host: write them percent-encoded, @ as %40 and / as %2F")
	}
	config, err := pgxpool.ParseConfig(databaseURL)
	if err != nil {
		for _, reason := range reasons {
			if strings.Contains(err.Error(), "`: "+reason) {
				return Database{}, errors.New(reason)
			}
		}
		return Database{}, errors.New("it is not a URL: write postgres://user:password@host:5432/database, with special characters in the password percent-encoded")
	}
	conn := config.ConnConfig
	if conn.ConnectTimeout == 0 {
		conn.ConnectTimeout = connectTimeout
	}
	if !strings.Contains(databaseURL, "default_query_exec_mode=") {
		// A pooler that gives each transaction another connection, such as PgBouncer,
		// accepts no prepared statements, and there are only a few statements a batch.
		conn.DefaultQueryExecMode = pgx.QueryExecModeExec
	}
	if conn.RuntimeParams["application_name"] == "" {
		conn.RuntimeParams["application_name"] = "payscore-outcomes"
	}
	return Database{config, fmt.Sprintf("%s/%s", net.JoinHostPort(conn.Host, strconv.Itoa(int(conn.Port))), conn.Database)}, nil
}
