package worker

import (
	"os"
	"runtime/debug"
)

// garbage is how much may be made before it is collected, in percent of what is
// in use. A worker has few megabytes in use, so that with Go's default of 100 it
// collects several times a second.
const garbage = 300

// TuneRuntime sets the process's garbage collector up for a worker, unless its
// environment does. It is the command's to call: the demo and the tests share
// their process with others.
func TuneRuntime() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(garbage)
	}
}
