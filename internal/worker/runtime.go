package worker

import (
	"os"
	"runtime/debug"
)

// gcPercent lets more garbage accumulate than Go's default of 100: a worker has few
// megabytes in use, and would collect garbage several times a second.
const gcPercent = 300

// TuneRuntime sets the process's garbage collector up for a worker, unless GOGC is set.
// Only the command calls it: the demo and the tests share their process with others.
func TuneRuntime() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
}
