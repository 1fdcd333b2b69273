package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/rs/zerolog"

	"payscore-collector/internal/config"
	"payscore-collector/internal/ledger"
	"payscore-collector/internal/testkit"
	"payscore-collector/tasks"
)

// tell makes an order have so many events: it is opened, withdrawn, reopened,
// withdrawn, and so on.
func (s store) tell(mchid, no string, events int) {
	s.t.Helper()
	p := tasks.NewProducer(s.rdb)
	for i := range events {
		var err error
		if i%2 == 0 {
			_, err = ledger.New(s.rdb, mchid).Open(s.t.Context(), ledger.Opening{Owner: tasks.Owner{AppID: "wx1", ServiceID: "s1"}, OutOrderNo: no, Reopen: i > 0})
		} else {
			_, err = p.Withdraw(s.t.Context(), tasks.Withdrawal{MchID: mchid, OutOrderNo: no, Reason: "paid <in> cash & more"})
		}
		if err != nil {
			s.t.Fatal(err)
		}
	}
}

// truth returns all events in a merchant's stream.
func (s store) truth(mchid string) []ledger.Event {
	s.t.Helper()
	entries, err := s.rdb.XRange(s.t.Context(), ledger.KeysOf(mchid).Outcomes(), "-", "+").Result()
	if err != nil {
		s.t.Fatal(err)
	}
	var all []ledger.Event
	for _, entry := range entries {
		e, err := ledger.DecodeEvent(mchid, entry.ID, entry.Values)
		if err != nil {
			s.t.Fatal(err)
		}
		all = append(all, e)
	}
	return all
}

// lines is an output that can be read while it is written to.
type lines struct{ testkit.LogBuffer }

func (l *lines) count() int { return strings.Count(l.String(), "\n") }

// events reads the whole lines.
func (l *lines) events(t *testing.T) []ledger.Event {
	t.Helper()
	var all []ledger.Event
	for line := range strings.Lines(l.String()) {
		if !strings.HasSuffix(line, "\n") {
			break
		}
		var e ledger.Event
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatalf("%v in %q", err, line)
		}
		all = append(all, e)
	}
	return all
}

// following is a command that runs until it is stopped.
type following struct {
	t      *testing.T
	cancel context.CancelFunc
	status chan int
	stderr *lines
}

func start(t *testing.T, env map[string]string, stdout io.Writer, args ...string) *following {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	f := &following{t, cancel, make(chan int, 1), &lines{}}
	p := program{
		Process: config.Process{
			Name: "outcomes", Args: args, Stdout: stdout, Stderr: f.stderr,
			LookupEnv: func(name string) (string, bool) { v, ok := env[name]; return v, ok },
		},
		now: time.Now, zone: time.UTC, patience: testkit.Patience,
	}
	go func() { f.status <- p.run(ctx) }()
	t.Cleanup(cancel)
	return f
}

func (f *following) end() int {
	f.t.Helper()
	select {
	case status := <-f.status:
		return status
	case <-time.After(testkit.Patience):
		f.t.Fatalf("the command does not end\n%s", f.stderr)
		return -1
	}
}

func (f *following) stop() {
	f.t.Helper()
	f.cancel()
	if status := f.end(); status != config.ExitOK {
		f.t.Errorf("exit status %d\n%s", status, f.stderr)
	}
}

// wantInOrder fails where an event of the stream is missing, or was printed first after a
// later one of its order.
func wantInOrder(t *testing.T, truth, came []ledger.Event) {
	t.Helper()
	seen := map[string]bool{}
	newest := map[string]int64{}
	for _, e := range came {
		if !seen[e.ID] && e.Seq <= newest[e.OutOrderNo] {
			t.Errorf("order %s: event %d was printed after %d", e.OutOrderNo, e.Seq, newest[e.OutOrderNo])
		}
		seen[e.ID] = true
		newest[e.OutOrderNo] = max(newest[e.OutOrderNo], e.Seq)
	}
	for _, e := range truth {
		if !seen[e.ID] {
			t.Errorf("event %s (%s %d) was not printed", e.ID, e.OutOrderNo, e.Seq)
		}
	}
}

func TestFollow(t *testing.T) {
	t.Parallel()
	t.Run("prints an event a line, as it happens, and continues where it stopped", func(t *testing.T) {
		t.Parallel()
		s := newStore(t)
		env := map[string]string{"REDIS_URL": s.url}
		s.settle(mchA, "A|1*", paid(1230))
		var first, second, other lines
		f := start(t, env, &first, "follow")
		testkit.Eventually(t, "the first events", func() bool { return first.count() == 2 })
		s.tell(mchB, "B", 2)
		testkit.Eventually(t, "the later events", func() bool { return first.count() == 4 })
		f.stop()
		if text := f.stderr.String(); text != "" {
			t.Errorf("stderr has %s", text)
		}
		var want bytes.Buffer
		for _, e := range append(s.truth(mchA), s.truth(mchB)...) {
			if err := writeJSON(&want, e); err != nil {
				t.Fatal(err)
			}
		}
		if first.String() != want.String() {
			t.Errorf("got:\n%swant:\n%s", first.String(), want.String())
		}
		wantContains(t, "stdout", first.String(), `"type":"order.paid"`, `"transaction_id":"4200001"`, `"paid_amount":1230`, "paid <in> cash & more")

		s.tell(mchA, "LATER", 1)
		f = start(t, env, &second, "follow")
		testkit.Eventually(t, "the next event", func() bool { return second.count() == 1 })
		f.stop()
		wantContains(t, "stdout", second.String(), `"out_order_no":"LATER"`)
		f = start(t, env, &other, "follow", "--group", "audit", "--mchid", mchA)
		testkit.Eventually(t, "everything, for another group", func() bool { return other.count() == 3 })
		f.stop()
	})
	t.Run("what was written and not acknowledged is printed again, and first", func(t *testing.T) {
		t.Parallel()
		s := newStore(t)
		s.tell(mchA, "A", 250)
		client := redis.NewClient(s.rdb.Options())
		t.Cleanup(func() { _ = client.Close() })
		ctx, cancel := context.WithCancel(t.Context())
		client.AddHook(onAck(func() error { cancel(); return errors.New("killed") }))
		var out lines
		f := &followCommand{Group: followGroup}
		if err := f.run(ctx, &session{rdb: client, stdout: &out, log: zerolog.Nop()}); err != nil {
			t.Fatal(err)
		}
		if out.count() != followBatch {
			t.Fatalf("%d lines were written", out.count())
		}
		before := out.count()
		g := start(t, map[string]string{"REDIS_URL": s.url}, &out, "follow")
		testkit.Eventually(t, "all events", func() bool { return out.count() == before+250 })
		g.stop()
		wantInOrder(t, s.truth(mchA), out.events(t))
	})
	t.Run("an output that is closed loses nothing", func(t *testing.T) {
		t.Parallel()
		s := newStore(t)
		s.tell(mchA, "A", 5)
		f := start(t, map[string]string{"REDIS_URL": s.url}, closedPipe{}, "follow")
		if status := f.end(); status != exitFailed {
			t.Errorf("exit status %d, want %d", status, exitFailed)
		}
		wantContains(t, "stderr", f.stderr.String(), "write the output", "broken pipe")
		var out lines
		f = start(t, map[string]string{"REDIS_URL": s.url}, &out, "follow")
		testkit.Eventually(t, "the events", func() bool { return out.count() == 5 })
		f.stop()
	})
	t.Run("an output that is not read does not keep it from ending", func(t *testing.T) {
		t.Parallel()
		s := newStore(t)
		s.tell(mchA, "A", 5)
		s.tell(mchB, "B", 5)
		r, w := io.Pipe()
		t.Cleanup(func() { _ = r.Close() })
		f := start(t, map[string]string{"REDIS_URL": s.url}, w, "follow")
		testkit.Eventually(t, "the events to be given to it", func() bool {
			p, err := s.rdb.XPending(t.Context(), ledger.KeysOf(mchA).Outcomes(), followGroup).Result()
			return err == nil && p.Count == 5
		})
		f.stop()
		var out lines
		f = start(t, map[string]string{"REDIS_URL": s.url}, &out, "follow")
		testkit.Eventually(t, "the events", func() bool { return out.count() == 10 })
		f.stop()
	})
	t.Run("waits for Redis, and can be stopped while it does", func(t *testing.T) {
		t.Parallel()
		l := listen(t)
		_ = l.Close()
		var out lines
		f := start(t, map[string]string{"REDIS_URL": "redis://:hunter2@" + l.Addr().String()}, &out, "follow")
		testkit.Eventually(t, "the outage in the log", func() bool { return strings.Contains(f.stderr.String(), "Redis does not answer") })
		f.stop()
		if strings.Contains(f.stderr.String(), "hunter2") {
			t.Errorf("stderr has the password: %s", f.stderr)
		}
	})
	t.Run("two of one group share the events", func(t *testing.T) {
		t.Parallel()
		s := newStore(t)
		env := map[string]string{"REDIS_URL": s.url}
		var a, b lines
		first, second := start(t, env, &a, "follow"), start(t, env, &b, "follow")
		for i := range 10 {
			s.tell(mchA, fmt.Sprintf("A-%d", i), 4)
		}
		// An event that one of them is slow to print may come to the other as well.
		testkit.Eventually(t, "40 different events", func() bool {
			came := map[string]bool{}
			for _, e := range append(a.events(t), b.events(t)...) {
				came[e.ID] = true
			}
			return len(came) == 40
		})
		first.stop()
		second.stop()
	})
}

func TestGroups(t *testing.T) {
	env := map[string]string{"REDIS_URL": "redis://127.0.0.1:1", "DATABASE_URL": "postgres://127.0.0.1:1/x"}
	for _, c := range []struct{ args, want string }{
		{"follow --group webhooks", "--group is webhooks, which belongs to another reader"},
		{"follow --group postgres", "--group is postgres, which belongs to another reader"},
		{"sink postgres --group follow", "--group is follow, which belongs to another reader"},
		{"follow --group a'b", `--group is "a'b": write 1 to 64 characters`},
		{"sink postgres --group=", "--group"},
	} {
		o := runWith(t, env, strings.Fields(c.args)...)
		o.wantStatus(t, config.ExitUsage)
		wantContains(t, "stderr", o.stderr, c.want)
	}
}

type closedPipe struct{}

func (closedPipe) Write([]byte) (int, error) { return 0, syscall.EPIPE }

// onAck is called instead of every acknowledgement.
type onAck func() error

func (onAck) DialHook(next redis.DialHook) redis.DialHook { return next }
func (onAck) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}
func (f onAck) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if cmd.Name() == "xack" {
			return f()
		}
		return next(ctx, cmd)
	}
}
