package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A schedule of an order's own arrives in the ledger from a flag, CSV and JSONL. Names
// that the file does not have are refused where there is a file, the rows beside them go
// in; without a file a worker may have one.
func TestSchedules(t *testing.T) {
	t.Parallel()
	pr, server := newProgram(t)
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	schedule := func(no string) string { return order(t, server, no).Schedule }
	ctx := t.Context()

	wantRun(t, pr.run(ctx, "order", "A1", "--schedule", "any"), 0, []string{"A1 accepted"})
	if got := schedule("A1"); got != "any" {
		t.Errorf("A1 has the schedule %q", got)
	}
	for _, bad := range []string{"", "a b", strings.Repeat("x", 33)} {
		if got := pr.run(ctx, "order", "A2", "--schedule", bad); got.status != 2 || !strings.Contains(got.stderr, "--schedule ") {
			t.Errorf("%q: status %d, %s", bad, got.status, got.stderr)
		}
	}

	pr.env["SCHEDULES_FILE"] = file("schedules.yaml", "schedules:\n  gentle: {min_gap: 12h}\n  hard: {min_gap: 1m}\n")
	if got := pr.run(ctx, "order", "A2", "--schedule", "any"); got.status != 2 || !strings.Contains(got.stderr, `--schedule "any" is not a schedule: SCHEDULES_FILE has gentle, hard`) {
		t.Errorf("status %d, %s", got.status, got.stderr)
	}
	wantRun(t, pr.run(ctx, "order", "A2", "--schedule", "gentle"), 0, []string{"A2 accepted"})
	for name, text := range map[string]string{
		"orders.csv":   "out_order_no,schedule\nC1,gentle\nC2,any\nC3,\nC4,a b\n",
		"orders.jsonl": `{"out_order_no":"J1","schedule":"gentle"}` + "\n" + `{"out_order_no":"J2","schedule":"any"}` + "\n" + `{"out_order_no":"J3"}` + "\n" + `{"out_order_no":"J4","schedule":"a b"}` + "\n",
	} {
		got := pr.run(ctx, "file", file(name, text))
		prefix := map[string]string{"orders.csv": "C", "orders.jsonl": "J"}[name]
		if got.status != 3 {
			t.Errorf("%s: status %d\n%s%s", name, got.status, got.stdout, got.stderr)
		}
		for _, want := range []string{
			prefix + "1 accepted", prefix + "3 accepted",
			`schedule "any" is not a schedule: SCHEDULES_FILE has gentle, hard`, `schedule "a b" is not a schedule`,
		} {
			if !strings.Contains(got.stdout+got.stderr, want) {
				t.Errorf("%s: there is no %q in\n%s%s", name, want, got.stdout, got.stderr)
			}
		}
		if got := schedule(prefix+"1") + "," + schedule(prefix+"3"); got != "gentle," {
			t.Errorf("%s: the schedules are %q", name, got)
		}
	}

	// What an order has stays, until it is opened again with another one.
	wantRun(t, pr.run(ctx, "order", "A2", "--schedule", "hard"), 0, []string{"A2 duplicate"})
	if got := schedule("A2"); got != "gentle" {
		t.Errorf("a duplicate has changed the schedule to %q", got)
	}
	for _, c := range []struct {
		args []string
		want string
	}{{nil, "gentle"}, {[]string{"--schedule", "hard"}, "hard"}} {
		pr.run(ctx, "withdraw", "A2", "--reason", "by mistake")
		wantRun(t, pr.run(ctx, append([]string{"order", "A2", "--reopen"}, c.args...)...), 0, []string{"A2 accepted"})
		if got := schedule("A2"); got != c.want {
			t.Errorf("reopened with %v it is %q, want %q", c.args, got, c.want)
		}
	}

	pr.env["SCHEDULES_FILE"] = file("bad.yaml", "schedules:\n  gentle: {min_gap: soon}\n  hard: {max_gap: 1m}\n")
	if got := pr.run(ctx, "order", "A3"); got.status != 2 || !strings.Contains(got.stderr, "line 2: min_gap of schedule gentle") || !strings.Contains(got.stderr, "line 3: schedule hard") {
		t.Errorf("status %d, %s", got.status, got.stderr)
	}
}
