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

// unreached puts the error of a failed connection into one sentence: a *Refused where
// waiting does not help. It returns nil for other errors. pgx has an error for each
// address, with TLS and without, and they mostly say the same.
func (s *Sink) unreached(err error) error {
	failed, ok := errors.AsType[*pgconn.ConnectError](err)
	if !ok {
		return nil
	}
	causes := bottoms(failed)
	// Without sslmode pgx then tries without TLS, and that error counts.
	isNoTLS := func(cause error) bool { return short(cause) == noTLS }
	if rest := slices.DeleteFunc(slices.Clone(causes), isNoTLS); len(rest) > 0 {
		causes = rest
	}
	var said []string
	var what *remedy
	answered := false
	for _, cause := range causes {
		if _, ok := cause.(*pgconn.PgError); ok {
			answered = true
		}
		if r := remedyOf(cause); r != nil && (what == nil || r.final && !what.final) {
			what = r
		}
		if text := short(cause); !slices.Contains(said, text) {
			said = append(said, text)
		}
	}
	words := strings.Join(said, "; ")
	switch {
	case what != nil && what.final:
		return refused("PostgreSQL refuses DATABASE_URL (%s): %s; %s", s.db, words, what.text)
	case what != nil:
		return fmt.Errorf("PostgreSQL at %s cannot be used (%s): %s", s.db.address(), words, what.text)
	case answered:
		return fmt.Errorf("PostgreSQL at %s refuses the connection (%s)", s.db.address(), words)
	}
	return fmt.Errorf("cannot reach PostgreSQL at %s (%s): check DATABASE_URL, and that PostgreSQL runs", s.db.address(), words)
}

// noTLS is pgx's error of a server without TLS.
const noTLS = "server refused TLS connection"

// bottoms returns the innermost errors. Their texts contain nothing of the URL but a
// host.
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
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded) {
		return "no answer in time"
	}
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok {
		return oneLine(pg.Message)
	}
	return oneLine(err.Error())
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }
