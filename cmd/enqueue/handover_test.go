package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"strings"
	"testing"
	"time"

	"payscore-collector/internal/intake"
	"payscore-collector/internal/ledger"
	"payscore-collector/internal/testkit"
	"payscore-collector/internal/testkit/redistest"
	"payscore-collector/tasks"
)

// fakeSender fails as it is told, a batch of three at a time.
type fakeSender struct {
	batchFails bool // every order of every batch
	failures   int  // of the tries after that; -1: all
	tries      int
}

func (f *fakeSender) Enqueue(context.Context, tasks.Order) (tasks.Result, error) {
	f.tries++
	if f.failures < 0 || f.tries <= f.failures {
		err := fmt.Errorf("no answer %d", f.tries)
		return tasks.Result{Status: tasks.Failed, Err: err}, err
	}
	return tasks.Result{Status: tasks.Accepted}, nil
}

func (f *fakeSender) EnqueueAll(_ context.Context, orders iter.Seq[tasks.Order]) iter.Seq2[tasks.Order, tasks.Result] {
	return func(yield func(tasks.Order, tasks.Result) bool) {
		var batch []tasks.Order
		flush := func() {
			for _, o := range batch {
				res := tasks.Result{Status: tasks.Accepted}
				switch {
				case o.OutOrderNo == "":
					res = tasks.Result{Status: tasks.Invalid, Err: errors.New("the sender's own word")}
				case f.batchFails:
					res = tasks.Result{Status: tasks.Failed, Err: errors.New("no answer")}
				}
				if !yield(o, res) {
					return
				}
			}
			batch = nil
		}
		for o := range orders {
			if batch = append(batch, o); len(batch) == 3 {
				flush()
			}
		}
		flush()
	}
}

// handOver runs a handover of n rows, of which the second is bad.
func handOver(ctx context.Context, f *fakeSender, n int, pat patience) (h handover, read int, answers, said string) {
	var a, s strings.Builder
	h = handover{
		to: f, patience: pat, pause: func() { a.WriteString("| ") },
		say:    func(format string, args ...any) { fmt.Fprintf(&s, format+"\n", args...) },
		report: func(it item, res tasks.Result) { fmt.Fprintf(&a, "%d %s ", it.row.Line, res.Status) },
	}
	h.run(ctx, func(yield func(item) bool) {
		for i := range n {
			read++
			it := item{row: intake.Row{Line: int64(i + 2)}, order: tasks.Order{Payload: tasks.Payload{OutOrderNo: fmt.Sprint("A", i)}}}
			if i == 1 {
				it.row.Err = errors.New("is bad")
			}
			if !yield(it) {
				return
			}
		}
	})
	return h, read, a.String(), s.String()
}

func TestHandover(t *testing.T) {
	pat := patience{retry: 10 * time.Second, grace: time.Second}
	t.Run("answers in the order of the rows", func(t *testing.T) {
		h, _, answers, said := handOver(t.Context(), &fakeSender{}, 4, pat)
		if want := "2 accepted 3 invalid 4 accepted | 5 accepted | "; answers != want || said != "" || h.trouble() != nil {
			t.Errorf("answers %q, want %q; said %q", answers, want, said)
		}
	})
	t.Run("a failure that is over is not even mentioned", func(t *testing.T) {
		h, _, answers, said := handOver(t.Context(), &fakeSender{batchFails: true}, 4, pat)
		if want := "2 accepted 3 invalid 4 accepted | 5 accepted | "; answers != want || said != "" || h.trouble() != nil {
			t.Errorf("answers %q, want %q; said %q", answers, want, said)
		}
	})
	t.Run("a longer one is said once, and borne with", func(t *testing.T) {
		h, _, answers, said := handOver(t.Context(), &fakeSender{batchFails: true, failures: 3}, 4, pat)
		if want := "2 accepted 3 invalid 4 accepted | 5 accepted | "; answers != want || h.trouble() != nil {
			t.Errorf("answers %q, want %q", answers, want)
		}
		if want := "Redis fails (no answer 1); trying again for 10s\nRedis is back\n"; said != want {
			t.Errorf("said %q, want %q", said, want)
		}
	})
	t.Run("one without an end stops the reading", func(t *testing.T) {
		h, read, answers, _ := handOver(t.Context(), &fakeSender{batchFails: true, failures: -1}, 100, patience{retry: 60 * time.Millisecond, grace: time.Second})
		if want := "2 failed 3 invalid 4 failed | "; answers != want || read > 4 {
			t.Errorf("answers %q, want %q; %d rows read", answers, want, read)
		}
		if err := h.trouble(); err == nil || !strings.Contains(err.Error(), "stopped at line 2, because Redis failed (no answer") {
			t.Errorf("trouble %v", err)
		}
	})
	t.Run("a signal ends the trying", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		f := &fakeSender{batchFails: true, failures: -1}
		time.AfterFunc(20*time.Millisecond, cancel)
		start := time.Now()
		h, _, _, _ := handOver(ctx, f, 100, patience{retry: time.Minute, grace: time.Minute})
		if h.trouble() == nil || time.Since(start) > 20*time.Second {
			t.Errorf("it went on for %v, trouble %v", time.Since(start), h.trouble())
		}
	})
}

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
		refuse, mend []any
		words        string
		again        bool
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
			do(c.mend)
			got = pr.run(t.Context(), "order", "A1")
			if got.status != 0 {
				t.Errorf("when it is mended: %+v", got)
			}
		})
	}
}
