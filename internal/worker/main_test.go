package worker_test

import (
	"os"
	"testing"

	"github.com/rs/zerolog"

	"payscore-collector/internal/redisconn"
	"payscore-collector/internal/testkit"
)

// The tests of this package wait most of the time, each in an environment of its own.
// As many at once as there are processors would take minutes.
func TestMain(m *testing.M) {
	testkit.Parallel(24)
	redisconn.RedirectLog(zerolog.Nop()) // one setting for all of them
	os.Exit(m.Run())
}
