package pgsink_test

import (
	"errors"
	"strings"
	"testing"

	"payscore-collector/internal/eventstream/pgsink"
)

func TestParse(t *testing.T) {
	t.Run("shows the address, and not the user", func(t *testing.T) {
		for url, want := range map[string]string{
			"postgres://billing:hunter2@db.example:5433/books?sslmode=disable":         "db.example:5433/books",
			"postgresql://billing:p%40s%2Fs@[::1]/books?search_path=payscore":          "[::1]:5432/books",
			"postgres://billing:hun?ter#2@db.example/books?password=hunter2":           "db.example:5432/books",
			"postgres:///books?host=/var/run/postgresql&user=billing&password=hunter2": "/var/run/postgresql:5432/books",
		} {
			db, err := pgsink.Parse(url)
			if err != nil || db.String() != want {
				t.Errorf("%s is shown as %s, %v; want %s", url, db, err, want)
			}
		}
	})
	t.Run("an error repeats nothing of the password", func(t *testing.T) {
		for _, url := range []string{
			"",
			"host=db password=SECRET",
			"mysql://u:SECRET@db/x",
			"postgres://u:SEC@RET@db/x",
			"postgres://u:SEC/RET@db/x",
			"postgres://u:12/SECRET@db/x",
			"postgres://u:12/SECRET?RET@db/x",
			"postgres://u:SECRET/x",
			"postgres://u:SEC RET@db:port/x",
			"postgres://u:SECRET@db:99999999/x",
			"postgres://u:SECRET@db/x?sslmode=SECRET",
			"postgres://u:SEC%ZZRET@db/x",
			"postgres://u:SECRET@db/x?sslmode=verify-full&sslrootcert=/nowhere/SECRET",
			"postgres://u:SECRET@db/x?pool_max_conns=SECRET",
			"postgres://u:SECRET@db/x\x00",
		} {
			_, err := pgsink.Parse(url)
			if err == nil {
				t.Errorf("%q was accepted", url)
				continue
			}
			for _, part := range []string{"SEC", "RET"} {
				if strings.Contains(err.Error(), part) {
					t.Errorf("%q: %v", url, err)
				}
			}
			if strings.Contains(err.Error(), "\n") || errors.Unwrap(err) != nil {
				t.Errorf("%q: %v, want one sentence that wraps nothing", url, err)
			}
		}
	})
}
