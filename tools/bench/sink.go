package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
)

// sink runs the benchmark of the PostgreSQL sink, which starts a PostgreSQL as the tests do,
// or reports that there is none.
func sink(ctx context.Context, e *env) error {
	cmd := exec.CommandContext(ctx, "go", "test", "payscore-collector/internal/eventstream/pgsink", "-run", "^$", "-bench", "Sink", "-benchtime", "1x", "-count", strconv.Itoa(e.rounds), "-v")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("%w\n%s", err, out)
	}
	figures := map[string][]float64{}
	for line := range strings.Lines(string(out)) {
		fields := strings.Fields(line)
		if len(fields) < 4 || !strings.HasPrefix(fields[0], "BenchmarkSink") {
			continue
		}
		for i := 2; i+1 < len(fields); i += 2 {
			if n, err := strconv.ParseFloat(fields[i], 64); err == nil {
				figures[fields[i+1]] = append(figures[fields[i+1]], n)
			}
		}
	}
	if len(figures["events/s"]) == 0 {
		fmt.Fprintf(os.Stderr, "the sink was not measured: %s\n", out)
		return nil
	}
	m := func(name string) float64 { return median(figures[name]) }
	e.table.atLeast(50_000, "/s", m("events/s"), "events from Redis into PostgreSQL, its own processes included",
		"PostgreSQL's COPY of the same rows %.0f/s; %.1f x its time, PostgreSQL's processor time %.1f x", m("copied/s"), m("x-COPY"), m("x-COPY-CPU"))
	return nil
}
