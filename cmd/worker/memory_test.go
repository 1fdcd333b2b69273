package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"payscore-collector/internal/simulator"
	"payscore-collector/internal/testkit"
	"payscore-collector/internal/testkit/redistest"
	"payscore-collector/internal/testkit/workertest"
	"payscore-collector/tasks"
)

// A worker's memory depends on the steps under way and not on what is due: 100,000
// orders wait, and it fits a container of 64 MiB.
func TestMemoryIsThatOfTheStepsUnderWay(t *testing.T) {
	redistest.StartReal(t) // an embedded Redis would be in the same memory, and slower than the orders
	r := workertest.New(t)
	const due, done = 100_000, 2_000
	nos := workertest.Numbers("MEM", due)
	for chunk := range slices.Chunk(nos, 10_000) {
		orders := make([]simulator.Order, len(chunk))
		for i, no := range chunk {
			orders[i] = simulator.Order{OutOrderNo: no}
		}
		r.Add(orders...)
	}
	// A moment ahead, so that they stand in the ledger alone, and the sweep
	// brings them.
	at := time.Now().Add(time.Millisecond)
	for o, res := range r.Producer.EnqueueAll(t.Context(), func(yield func(tasks.Order) bool) {
		for _, no := range nos {
			o := r.Order(no)
			if o.At = at; !yield(o) {
				return
			}
		}
	}) {
		if res.Status != tasks.Accepted {
			t.Fatalf("%s: %+v", o.OutOrderNo, res)
		}
	}
	// The program as it is released: the race detector alone takes more memory
	// than the worker.
	cmd := exec.Command(filepath.Join(testkit.Build(t, nil, "cmd/worker"), "worker"))
	cmd.Env = append(environment(t, r), "COLLECT_RATE=500", "LOG_LEVEL=warn")
	cmd.Stdout, cmd.Stderr = r.Logs, r.Logs
	p := testkit.StartProcess(t, cmd)
	r.Until(90*time.Second, fmt.Sprintf("%d orders to be paid", done), func() bool { return paid(r) >= done })
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.PID()))
	if err != nil {
		t.Logf("the memory was not measured: there is no /proc here: %v", err)
		return
	}
	_, rest, _ := strings.Cut(string(status), "VmHWM:")
	kib, err := strconv.Atoi(strings.Fields(rest)[0])
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("the most memory it ever had: %d KiB", kib)
	if kib > 64<<10 {
		t.Errorf("%d KiB with %d orders due; 64 MiB at most", kib, due)
	}
}
