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

// A Redis that crashes midway and comes back costs no order, and none twice.
func TestFile_RedisCrashesMidway(t *testing.T) {
	server := redistest.StartReal(t)
	pr := programOn(server.URL)
	out, in := io.Pipe()
	pr.stdin = out
	var stdout, stderr testkit.LogBuffer
	done := make(chan int, 1)
	go func() { done <- pr.runInto(t.Context(), &stdout, &stderr, "file", "-", "--format=csv") }()

	const half = 1000
	write := func(from int) {
		for i := from; i < from+half; i++ {
			fmt.Fprintf(in, "A%d\n", i)
		}
	}
	fmt.Fprintln(in, "out_order_no")
	write(0)
	testkit.Eventually(t, "the first half", func() bool { return strings.Contains(stdout.String(), fmt.Sprintf("A%d accepted\n", half-1)) })
	server.Kill()
	go func() {
		write(half)
		_ = in.Close()
	}()
	testkit.Eventually(t, "a word about Redis", func() bool { return strings.Contains(stderr.String(), "trying again for 20s") })
	server.Run(t)

	if status := <-done; status != 0 {
		t.Errorf("status %d", status)
	}
	if !strings.Contains(stderr.String(), "Redis is back") || strings.Count(stderr.String(), "Redis fails") != 1 {
		t.Errorf("standard error\n%s", stderr.String())
	}
	if n := len(linesOf(stdout.String())); n != 2*half {
		t.Errorf("%d answers, want %d", n, 2*half)
	}
	if n, err := server.Client.ZCard(t.Context(), ledger.KeysOf(mchid).Due()).Result(); n != 2*half || err != nil {
		t.Errorf("%d orders are in the ledger, %v; want %d", n, err, 2*half)
	}
}

func TestFile_RedisGoneForGood(t *testing.T) {
	server := redistest.StartReal(t)
	pr := programOn(server.URL)
	pr.patience.retry = 500 * time.Millisecond
	out, in := io.Pipe()
	pr.stdin = out
	var stdout, stderr testkit.LogBuffer
	done := make(chan int, 1)
	go func() { done <- pr.runInto(t.Context(), &stdout, &stderr, "file", "-", "--format=csv") }()
	fmt.Fprint(in, "out_order_no\n"+strings.Repeat("A1\n", 500))
	testkit.Eventually(t, "the first batch", func() bool { return strings.Count(stdout.String(), "\n") == 500 })
	server.Kill()
	fmt.Fprint(in, "A2\nA.3\n")
	_ = in.Close()

	if status := <-done; status != 1 {
		t.Errorf("status %d, want 1", status)
	}
	for _, want := range []string{
		"stopped at line 502, because Redis failed",
		"run the same command again",
		"502 rows in", "1 accepted, 499 duplicate, 1 invalid, 1 failed\n",
	} {
		if !strings.Contains(stderr.String(), want) {
			t.Errorf("standard error lacks %q:\n%s", want, stderr.String())
		}
	}
	if !strings.Contains(stdout.String(), "A2 failed line 502: the order was not enqueued: ") {
		t.Errorf("the last answers are %q", linesOf(stdout.String())[500:])
	}
}

// A Redis that answers and refuses is not said to be away: the refusal is named,
// with its remedy. What passes by itself is tried again, the rest is not.
func TestRedisThatRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		refuse, repair []any
		words          string
		again          bool
	}{
		"full":           {[]any{"CONFIG", "SET", "maxmemory", "1"}, []any{"CONFIG", "SET", "maxmemory", "0"}, "Redis is full: raise maxmemory", true},
		"a replica":      {[]any{"REPLICAOF", "127.0.0.1", "1"}, []any{"REPLICAOF", "NO", "ONE"}, "this is a replica, which takes no writes: let REDIS_URL name the master", true},
		"no scripts":     {[]any{"ACL", "SETUSER", "default", "-@scripting"}, []any{"ACL", "SETUSER", "default", "+@scripting"}, "this user may not run scripts: let an administrator run", false},
		"no right to it": {[]any{"ACL", "SETUSER", "default", "-sadd"}, []any{"ACL", "SETUSER", "default", "+sadd"}, "this user may not run a command that is needed", false},
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
				t.Errorf("%d %s", got.status, got.stdout)
			}
			if !strings.Contains(got.stderr, "stopped at order A1, because Redis refuses it: "+c.words) || !strings.Contains(got.stderr, ". Then run the same command again: ") {
				t.Errorf("standard error %q", got.stderr)
			}
			if strings.Contains(got.stderr, "script:") || strings.Contains(got.stderr, "Redis is back") {
				t.Errorf("standard error %q", got.stderr)
			}
			if again := strings.Contains(got.stderr, "; trying again for 200ms\n"); again != c.again {
				t.Errorf("it tries again: %v\n%s", again, got.stderr)
			}
			do(c.repair)
			got = pr.run(t.Context(), "order", "A1")
			if got.status != 0 {
				t.Errorf("after the repair: %+v", got)
			}
		})
	}
}
