package pgsink

import (
	"errors"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
)

// remedy is what to do about an error of PostgreSQL, of a pooler in front of it, or of
// the network between.
type remedy struct {
	code   string // SQLSTATE; empty: any error
	phrase string // that the error's text contains, in any case; empty: any text
	text   string
	final  bool // waiting does not help: at the start it ends the program
}

// remedies has the remedies of errors. The first one that matches counts.
var remedies = []remedy{
	{phrase: "unsupported startup parameter", final: true,
		text: "a pooler such as PgBouncer takes no such parameter: take it out of DATABASE_URL; for a schema of its own, give the user a search_path instead (ALTER ROLE … SET search_path = payscore)"},
	{code: "42P05", text: poolerRemedy},
	{code: "26000", text: poolerRemedy},
	{phrase: "statement pooling mode", text: "this pooler gives each statement another connection: use pool_mode = transaction or session"},
	{phrase: "during recovery", text: standbyRemedy},
	{code: "25006", text: standbyRemedy},
	{phrase: "read only connection", text: standbyRemedy},
	{phrase: "server is in hot standby mode", text: standbyRemedy},
	{code: "57P03", text: "PostgreSQL is starting or stopping; this ends by itself"},
	{code: "28P01", final: true, text: "correct the password in DATABASE_URL, with special characters percent-encoded (@ as %40, / as %2F)"},
	{phrase: "valid client certificate", final: true, text: "name the client's certificate in DATABASE_URL: sslcert=FILE and sslkey=FILE"},
	{phrase: "no pg_hba.conf entry", final: true, text: "let pg_hba.conf take this user from this host; where the message ends in \"no encryption\", add sslmode=require to DATABASE_URL"},
	{code: "28000", final: true, text: "correct DATABASE_URL"},
	{code: "3D000", final: true, text: "correct DATABASE_URL, or create the database"},
	{phrase: "no such database", final: true, text: "correct DATABASE_URL, or enter the database in the pooler's [databases]"},
	{phrase: "no such user", final: true, text: "correct DATABASE_URL, or enter the user in the pooler's auth_file"},
	{code: "53300", text: "PostgreSQL has no connection left: raise its max_connections, or lower pool_max_conns in DATABASE_URL"},
	{code: "53100", text: "PostgreSQL's disk is full"},
	{code: "42501", text: "let the user of DATABASE_URL read and write the tables"},
	{phrase: "signed by unknown authority", text: "name the certificate of the authority that signed it in DATABASE_URL: sslrootcert=FILE"},
	{phrase: "certificate is valid for", text: "write a host name in DATABASE_URL that PostgreSQL's certificate has"},
	{phrase: "certificate is not valid for any names", text: "write a host name in DATABASE_URL that PostgreSQL's certificate has"},
	{phrase: noTLS, text: "this PostgreSQL speaks no TLS: take sslmode out of DATABASE_URL, or switch its ssl on"},
}

const (
	poolerRemedy  = "a pooler gives each transaction another connection, which does not know the prepared statements of the last one: add default_query_exec_mode=exec to DATABASE_URL"
	standbyRemedy = "this is a replica (a standby), which takes no writes: name the primary in DATABASE_URL, or all hosts with target_session_attrs=read-write"
)

// remedyOf returns the remedy of an error, or nil.
func remedyOf(err error) *remedy {
	code, text := "", strings.ToLower(err.Error())
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok {
		code = pg.Code
	}
	for i, r := range remedies {
		if (r.code == "" || r.code == code) && strings.Contains(text, strings.ToLower(r.phrase)) {
			return &remedies[i]
		}
	}
	return nil
}

// told is an error in one line, with its remedy where one is known.
func (s *Sink) told(err error) error {
	if failed := s.unreached(err); failed != nil {
		return failed
	}
	if no, ok := errors.AsType[*Refused](err); ok {
		return no
	}
	text := oneLine(err.Error())
	if r := remedyOf(err); r != nil {
		text += ": " + r.text
	}
	return errors.New(text)
}
