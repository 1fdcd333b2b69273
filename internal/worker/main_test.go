package worker_test

import (
	"flag"
	"os"
	"testing"
)

// The tests of this package wait most of the time, each in a world of its own.
// As many as there are CPUs at once would take minutes.
func TestMain(m *testing.M) {
	flag.Parse()
	if err := flag.Set("test.parallel", "12"); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}
