package pgtest_test

import (
	"os"
	"testing"

	"payscore-collector/internal/testkit/pgtest"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }

func TestServer(t *testing.T) {
	s := pgtest.Start(t)
	db := s.Database(t, "billing")
	s.Exec(t, db, "create table t (n int); insert into t values (7)")
	s.Kill()
	s.Run(t)
	var n int
	if err := pgtest.Connect(t, db).QueryRow(t.Context(), "select n from t").Scan(&n); err != nil || n != 7 {
		t.Errorf("after a crash: %d, %v", n, err)
	}
}
