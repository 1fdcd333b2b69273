package pgsink

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
)

// unreached is the error of a connection that did not come about, in one
// sentence: a *Refused where PostgreSQL says that the database, the user or the
// password is wrong. It returns nil for other errors. pgx has an error for each
// address and each way, with TLS and without, which mostly say the same.
func (s *Sink) unreached(err error) error {
	var failed *pgconn.ConnectError
	if !errors.As(err, &failed) {
		return nil
	}
	var said []string
	for _, cause := range bottoms(failed) {
		if pg, ok := cause.(*pgconn.PgError); ok {
			switch pg.Code {
			case "3D000", "28000", "28P01": // no such database; may not log in; wrong password
				return refused("PostgreSQL refuses DATABASE_URL (%s): %s; mend DATABASE_URL", s.db, oneLine(pg.Message))
			}
		}
		if text := short(cause); !slices.Contains(said, text) {
			said = append(said, text)
		}
	}
	// Without sslmode it is tried next without TLS, and that is what counts.
	if rest := slices.DeleteFunc(slices.Clone(said), func(text string) bool { return text == noTLS }); len(rest) > 0 {
		said = rest
	}
	return fmt.Errorf("cannot reach PostgreSQL at %s (%s): check DATABASE_URL, and that PostgreSQL runs", s.db.address(), strings.Join(said, "; "))
}

// noTLS is pgx's word for a server that speaks no TLS.
const noTLS = "server refused TLS connection"

// bottoms are the errors that err was made of in the first place. Their texts
// have nothing of the URL but a host.
func bottoms(err error) []error {
	if many, ok := err.(interface{ Unwrap() []error }); ok {
		var all []error
		for _, one := range many.Unwrap() {
			all = append(all, bottoms(one)...)
		}
		return all
	}
	if inner := errors.Unwrap(err); inner != nil {
		return bottoms(inner)
	}
	return []error{err}
}

func short(err error) string {
	var pg *pgconn.PgError
	switch {
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		return "no answer in time"
	case errors.As(err, &pg):
		return oneLine(pg.Message)
	}
	return oneLine(err.Error())
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }
