package worker

import (
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"sync"
	"time"

	"payscore-collector/internal/config"
)

// A worker has few megabytes in use, and with Go's default, GOGC=100, would collect garbage
// several times a second. With a thousand merchants it has some dozens in use, and as much
// garbage again would be too much.
const (
	mostGCPercent  = 300
	leastGCPercent = 50
	garbage        = 30 << 20 // bytes that may come together
)

// softLimit is the memory, without the program's text, from which a small worker collects
// garbage more often: a page of orders for the API leaves megabytes behind. With the text
// it is less than a container of 64 MiB has. A worker with more steps at once may need more
// in earnest, and would then do nothing but collect garbage; so may one whose merchants can
// become more.
const (
	softLimit  = 28 << 20
	smallSteps = 256
)

// TuneRuntime sets the process's scheduler and garbage collector up for a worker, as far
// as GOMAXPROCS, GOGC and GOMEMLIMIT do not. Only the first call has an effect. Only the
// command calls it: the demo and the tests share their process with others.
func TuneRuntime(cfg config.Worker) { tuned.Do(func() { tuneRuntime(cfg) }) }

var tuned sync.Once

func tuneRuntime(cfg config.Worker) {
	// Signatures keep every processor busy (see signer), and Go's scheduler looks for what
	// has arrived from the network only when a processor has nothing to run, or every ten
	// milliseconds: a reply of Redis, or a request to the API, would wait that long.
	if os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(runtime.GOMAXPROCS(0) + 1)
	}
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(mostGCPercent)
		go followHeap()
	}
	if os.Getenv("GOMEMLIMIT") == "" && cfg.MerchantsFile == nil && len(cfg.Merchants)*cfg.Concurrency <= smallSteps {
		debug.SetMemoryLimit(softLimit)
	}
}

// followHeap sets GOGC to what is in use, for as long as the process runs.
func followHeap() {
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	before := mostGCPercent
	for range time.Tick(10 * time.Second) {
		metrics.Read(live)
		if now := gcPercent(live[0].Value.Uint64()); now != before {
			debug.SetGCPercent(now)
			before = now
		}
	}
}

// gcPercent returns GOGC for so many bytes in use, in steps of ten.
func gcPercent(live uint64) int {
	return min(mostGCPercent, max(leastGCPercent, int(garbage*100/max(live, 1<<20))/10*10))
}
