package worker

import (
	"os"
	"runtime/debug"

	"payscore-collector/internal/config"
)

// gcPercent lets more garbage accumulate than Go's default of 100: a worker has few
// megabytes in use, and would collect garbage several times a second.
const gcPercent = 300

// softLimit is the memory, without the program's text, from which a small worker collects
// garbage more often: a page of orders for the API leaves megabytes behind. With the text
// it is less than a container of 64 MiB has. A worker with more steps at once may need more
// in earnest, and would then do nothing but collect garbage.
const (
	softLimit  = 32 << 20
	smallSteps = 256
)

// TuneRuntime sets the process's garbage collector up for a worker, unless GOGC or
// GOMEMLIMIT is set. Only the command calls it: the demo and the tests share their process
// with others.
func TuneRuntime(cfg config.Worker) {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	if os.Getenv("GOMEMLIMIT") == "" && len(cfg.Merchants)*cfg.Concurrency <= smallSteps {
		debug.SetMemoryLimit(softLimit)
	}
}
