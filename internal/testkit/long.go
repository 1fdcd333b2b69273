package testkit

import (
	"flag"
	"os"
	"strconv"
	"testing"
)

// LongVariable is the environment variable that .ci/run sets to 1: tests then run in
// their long form. Without it `go test ./...` takes two minutes on a small machine,
// and every promise is still put to the test.
const LongVariable = "PAYSCORE_TEST_LONG"

// Long reports whether tests run in their long form.
func Long() bool { return os.Getenv(LongVariable) == "1" }

// Form returns how much a test does: short as a rule, long where Long is true. Both
// forms show the same thing, and the long one repeats it more often; but a test of memory
// may do less in it, since CI runs the long form under the race detector.
func Form[T any](short, long T) T {
	if Long() {
		return long
	}
	return short
}

// Parallel lets n tests that call t.Parallel run at once, whatever the number of
// processors. It suits packages whose tests wait for time to pass. A TestMain calls it.
func Parallel(n int) {
	flag.Parse()
	if err := flag.Set("test.parallel", strconv.Itoa(n)); err != nil {
		panic(err)
	}
}

// RapidChecks has rapid check each property n times, the number that -rapid.checks has by
// default only in the long form. A TestMain calls it.
func RapidChecks(n int) {
	flag.Parse()
	given := Long()
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == "rapid.checks" })
	if given {
		return
	}
	if err := flag.Set("rapid.checks", strconv.Itoa(n)); err != nil {
		panic(err)
	}
}

// NeedLong skips a test that has no short form. The same promise must have another
// test, which runs always.
func NeedLong(t testing.TB) {
	t.Helper()
	if !Long() {
		t.Skipf("this test takes long: set %s=1, as .ci/run does", LongVariable)
	}
}
