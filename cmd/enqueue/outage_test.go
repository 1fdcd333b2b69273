package main

import (
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"payscore-collector/internal/ledger"
	"payscore-collector/internal/testkit"
	"payscore-collector/internal/testkit/redistest"
)

// waitForOrders waits until the ledger has n orders, and Redis has said so to the command:
// the last batch is answered only when another order is read, or none comes.
func waitForOrders(t *testing.T, server *redistest.Server, n int64) {
	t.Helper()
	testkit.Eventually(t, "the orders in the ledger", func() bool {
		count, err := server.Client.ZCard(t.Context(), ledger.KeysOf(mchid).Due()).Result()
		return err == nil && count == n
	})
	// Redis sends every reply of a round of its event loop before the next round.
	if err := server.Client.Ping(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
}

// A Redis that crashes and returns loses no order, and doubles none.
func TestFile_RedisCrashes(t *testing.T) {
	t.Parallel()
	server := redistest.StartReal(t)
	pr := programOn(server.URL)
	out, in := io.Pipe()
	pr.stdin = out
	r := pr.start(t.Context(), "file", "-", "--format=csv")

	const half = 1000
	write := func(from int) {
		for i := from; i < from+half; i++ {
			fmt.Fprintf(in, "A%d\n", i)
		}
	}
	fmt.Fprintln(in, "out_order_no")
	write(0)
	waitForOrders(t, server, half)
	server.Kill()
	go func() {
		write(half)
		_ = in.Close()
	}()
	testkit.Eventually(t, "the message about Redis", func() bool { return r.stderr.Has("trying again for 20s") })
	server.Run(t)

	got := r.wait()
	if n := len(linesOf(got.stdout)); got.status != 0 || n != 2*half {
		t.Errorf("status %d with %d results, want 0 with %d", got.status, n, 2*half)
	}
	if !strings.Contains(got.stderr, "Redis is back") || strings.Count(got.stderr, "Redis fails") != 1 {
		t.Errorf("standard error does not say once each that Redis fails and is back:\n%s", got.stderr)
	}
	if n, err := server.Client.ZCard(t.Context(), ledger.KeysOf(mchid).Due()).Result(); n != 2*half || err != nil {
		t.Errorf("%d orders are in the ledger, %v; want %d", n, err, 2*half)
	}
}

func TestFile_RedisGoneForGood(t *testing.T) {
	t.Parallel()
	server := redistest.StartReal(t)
	pr := programOn(server.URL)
	pr.patience.retry = 500 * time.Millisecond
	out, in := io.Pipe()
	pr.stdin = out
	r := pr.start(t.Context(), "file", "-", "--format=csv")
	fmt.Fprint(in, "out_order_no\n"+strings.Repeat("A1\n", 250))
	for i := range 250 {
		fmt.Fprintf(in, "B%d\n", i)
	}
	waitForOrders(t, server, 251)
	server.Kill()
	fmt.Fprint(in, "A2\nA.3\n")
	_ = in.Close()

	got := r.wait()
	lines := linesOf(got.stdout)[500:]
	if len(lines) != 2 || !strings.HasPrefix(lines[0], "A2 failed line 502: the order was not enqueued: ") || !strings.HasPrefix(lines[1], "A.3 invalid line 503: ") {
		t.Errorf("the last results are %q, want A2 failed and A.3 invalid", lines)
	}
	got.stdout = ""
	wantRun(t, got, 1, nil, "stopped at line 502, because Redis failed", "run the same command again",
		"502 rows in", "251 accepted, 249 duplicate, 1 invalid, 1 failed\n")
}

// A Redis that answers and refuses is not called absent: the refusal is named, with its
// remedy. A passing one is retried, another one is not.
func TestOrder_RedisRefuses(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		refuse, repair []any
		words          string
		retried        bool
	}{
		"full":          {[]any{"CONFIG", "SET", "maxmemory", "1"}, []any{"CONFIG", "SET", "maxmemory", "0"}, "Redis is full: raise maxmemory", true},
		"a replica":     {[]any{"REPLICAOF", "127.0.0.1", "1"}, []any{"REPLICAOF", "NO", "ONE"}, "this is a replica, which takes no writes: let REDIS_URL name the master", true},
		"no scripts":    {[]any{"ACL", "SETUSER", "default", "-@scripting"}, []any{"ACL", "SETUSER", "default", "+@scripting"}, "this user may not run scripts: let an administrator run", false},
		"no permission": {[]any{"ACL", "SETUSER", "default", "-sadd"}, []any{"ACL", "SETUSER", "default", "+sadd"}, "this user may not run a command that is needed", false},
	} {
		t.Run(name, func(t *testing.T) {
			server := redistest.StartReal(t)
			do := func(args []any) {
				t.Helper()
				if err := server.Client.Do(t.Context(), args...).Err(); err != nil {
					t.Fatal(err)
				}
			}
			do(c.refuse)
			pr := programOn(server.URL)
			pr.patience.retry = 200 * time.Millisecond
			got := pr.run(t.Context(), "order", "A1")
			if got.status != 1 || !strings.HasPrefix(got.stdout, "A1 failed "+c.words) {
				t.Errorf("status %d, standard output %q; want 1 and %q", got.status, got.stdout, c.words)
			}
			for part, want := range map[string]bool{
				"stopped at order A1, because Redis refuses it: " + c.words: true,
				". Then run the same command again: ":                       true,
				"; trying again for 200ms\n":                                c.retried,
				"script:":                                                   false,
				"Redis is back":                                             false,
			} {
				if strings.Contains(got.stderr, part) != want {
					t.Errorf("standard error has %q: %v, want %v:\n%s", part, !want, want, got.stderr)
				}
			}
			do(c.repair)
			wantRun(t, pr.run(t.Context(), "order", "A1"), 0, []string{"A1 accepted"})
		})
	}
}
