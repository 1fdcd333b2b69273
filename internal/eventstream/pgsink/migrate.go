package pgsink

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

// migrations are numbered from 1, without a gap. A released one is never changed: its
// result stands in users' databases.
//
//go:embed migrations/*.sql
var migrations embed.FS

// migrationLock is the advisory lock under which one of several instances migrates:
// "payscore" as a number.
const migrationLock = 0x70617973636f7265

// Refused is an error that waiting does not remove: a person must change the database,
// or DATABASE_URL.
type Refused struct{ text string }

func (e *Refused) Error() string { return e.text }

func refused(format string, args ...any) error { return &Refused{fmt.Sprintf(format, args...)} }

// ownSchema is the way out of every conflict over names.
const ownSchema = "give DATABASE_URL a search_path of its own, for instance ?options=-csearch_path%3Dpayscore (the schema is made where the user may make it), or behind a pooler give the user one (ALTER ROLE … SET search_path = payscore)"

// migrate creates the tables, or brings those of an earlier release up to date, all or
// nothing. Several processes may call it at once. fresh is true where there were no
// tables. The error is a *Refused where the database cannot be written to.
func migrate(ctx context.Context, pool *pgxpool.Pool) (fresh bool, err error) {
	files, err := fs.Glob(migrations, "migrations/*.sql")
	if err != nil {
		return false, err
	}
	// READ COMMITTED, whatever the database's default: once the lock is granted, this
	// transaction must see what another instance has done.
	options := pgx.TxOptions{IsoLevel: pgx.ReadCommitted, AccessMode: pgx.ReadWrite}
	err = pgx.BeginTxFunc(ctx, pool, options, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "select pg_advisory_xact_lock($1)", int64(migrationLock)); err != nil {
			return err
		}
		schema, err := schemaOf(ctx, tx)
		if err != nil {
			return err
		}
		version, err := versionOf(ctx, tx, schema)
		if err != nil {
			return err
		}
		if version > len(files) {
			return refused("schema %s was written by a newer release of this program: it has version %d, and this release knows %d; use that release", schema, version, len(files))
		}
		fresh = version == 0
		for i := version; i < len(files); i++ {
			sql, err := migrations.ReadFile(path.Join("migrations", fmt.Sprintf("%04d.sql", i+1)))
			if err != nil {
				return err
			}
			if _, err := tx.Exec(ctx, string(sql)); err != nil {
				return err
			}
			if _, err := tx.Exec(ctx, "insert into payscore_schema (version) values ($1)", i+1); err != nil {
				return err
			}
		}
		return nil
	})
	return fresh, explain(err)
}

// plainName is the name of a schema that a search_path writes without quotes.
var plainName = regexp.MustCompile(`^[a-z_][a-z0-9_]*$`)

// schemaOf returns the schema in which tables are created, and creates it where
// search_path names a single one that does not exist.
func schemaOf(ctx context.Context, tx pgx.Tx) (string, error) {
	var schema, searchPath string
	err := tx.QueryRow(ctx, "select coalesce(current_schema(), ''), current_setting('search_path')").Scan(&schema, &searchPath)
	if err != nil || schema != "" {
		return schema, err
	}
	name := strings.Trim(searchPath, ` "`)
	if !plainName.MatchString(name) {
		return "", refused("the search_path %q of the database leads to no schema: create it (CREATE SCHEMA …), or let DATABASE_URL name one", searchPath)
	}
	_, err = tx.Exec(ctx, "create schema "+pgx.Identifier{name}.Sanitize())
	return name, err
}

// versionOf returns the version of the tables, 0 where there are none. It refuses tables
// of those names that belong to another program.
func versionOf(ctx context.Context, tx pgx.Tx, schema string) (int, error) {
	rows, _ := tx.Query(ctx, `select relname::text from pg_class
		where relnamespace = to_regnamespace($1) and relname in ('payscore_schema', 'payments', 'orders', 'events', 'actions', 'books', 'book_exceptions') order by relname`,
		pgx.Identifier{schema}.Sanitize())
	names, err := pgx.CollectRows(rows, pgx.RowTo[string]) // has the error of the query, too
	if err != nil {
		return 0, err
	}
	if len(names) > 0 && names[len(names)-1] == "payscore_schema" {
		var version int
		err := tx.QueryRow(ctx, "select coalesce(max(version), 0) from payscore_schema").Scan(&version)
		return version, err
	}
	if len(names) > 0 {
		return 0, refused("schema %s has a table %s that is not this program's: %s", schema, strings.Join(names, " and a table "), ownSchema)
	}
	_, err = tx.Exec(ctx, `create table payscore_schema (version int not null primary key, applied_at timestamptz not null default now());
		comment on table payscore_schema is 'Which migrations of payscore-collector (outcomes sink postgres) the tables orders, events, payments, actions, books and book_exceptions have had.'`)
	return 0, err
}

// explain turns errors that waiting does not remove into a Refused.
func explain(err error) error {
	var pg *pgconn.PgError
	if !errors.As(err, &pg) {
		return err
	}
	switch pg.Code {
	case "42501": // insufficient_privilege
		return refused("the tables cannot be made (%s): let the user of DATABASE_URL create tables there, or %s", pg.Message, ownSchema)
	case "42P07", "42710", "42P06": // duplicate table, object, schema
		return refused("the tables cannot be made (%s): %s", pg.Message, ownSchema)
	case "42701": // duplicate column
		return refused("the tables cannot be brought up to date (%s): this release adds a column of that name; rename the one that is there", pg.Message)
	}
	return err
}
