package eventstream_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/redis/go-redis/v9"

	"payscore-collector/internal/ledger"
	"payscore-collector/internal/redisconn"
	"payscore-collector/internal/testkit/redistest"
)

// Redis gave events to the reader, and the reply was lost: they are delivered before
// the next ones.
func TestReaderKeepsOrderWhenAnAnswerIsLost(t *testing.T) {
	r := newRig(t)
	r.tell(mchA, "A", 30)
	var lose atomic.Int32
	rdb, err := redisconn.Open("redis://"+lossy(t, r.redis.Client.Options().Addr, &lose)+"/0", redisconn.Pool{})
	if err != nil {
		t.Fatal(err)
	}
	defer rdb.Close()
	var got taken
	run := r.start(rdb, options("a"), func(ctx context.Context, events []ledger.Event) error {
		lose.Store(1) // the next reply with events
		return got.handle(ctx, events)
	})
	r.until("all events", func() bool { return got.count() >= 30 })
	lose.Store(0)
	run.stop(t)
	got.wantAll(t, true, map[string]int{mchA + " A": 30})
	if !strings.Contains(r.log.String(), "Redis does not answer as it should") {
		t.Errorf("no answer was lost: %s", r.log)
	}
}

// lossy is the address of a proxy of Redis that breaks the connection at the first
// reply with events after lose was set to 1.
func lossy(t *testing.T, to string, lose *atomic.Int32) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial("tcp", to)
			if err != nil {
				_ = client.Close()
				continue
			}
			hangUp := func() { _, _ = client.Close(), server.Close() }
			go func() { _, _ = io.Copy(server, client); hangUp() }()
			go func() {
				defer hangUp()
				buf := make([]byte, 1<<20)
				for {
					n, err := server.Read(buf)
					if err != nil {
						return
					}
					if bytes.Contains(buf[:n], []byte("order.")) && lose.CompareAndSwap(1, 2) {
						return
					}
					if _, err := client.Write(buf[:n]); err != nil {
						return
					}
				}
			}()
		}
	}()
	return l.Addr().String()
}

// Redis is killed several times while events are written and handled.
func TestReaderLivesThroughRestartsOfRedis(t *testing.T) {
	r := rigOn(t, redistest.StartReal(t))
	want := map[string]int{}
	tell := func(from, to int) {
		for i := from; i < to; i++ {
			r.tell(mchA, number(i), 4)
			want[mchA+" "+number(i)] = 4
		}
	}
	tell(0, 10)
	var got taken
	run := r.start(r.rdb, options("a"), got.handle)
	for i := range 3 {
		r.until("some events", func() bool { return got.count() > 40*i })
		r.redis.Kill()
		r.until("the outage in the log", func() bool {
			return strings.Count(r.log.String(), "Redis does not answer as it should") > 0
		})
		r.redis.Run(t)
		tell(10*(i+1), 10*(i+2))
	}
	r.until("every event", func() bool {
		n := 0
		for _, seqs := range got.seqs() {
			if seqs[len(seqs)-1] == 4 {
				n++
			}
		}
		return n == 40
	})
	r.until("the acknowledgement", func() bool { return len(r.pending(mchA)) == 0 })
	run.stop(t)
	got.wantAll(t, false, want)
	if log := r.log.String(); !strings.Contains(log, "Redis is up") {
		t.Errorf("the log does not say that Redis is up: %s", log)
	}
}

// With Once the reader does not wait for Redis.
func TestReaderOnceFailsWithoutRedis(t *testing.T) {
	r := rigOn(t, redistest.StartReal(t))
	r.tell(mchA, "A", 1)
	opt := options("a")
	opt.Once = true
	err := r.start(r.rdb, opt, func(context.Context, []ledger.Event) error {
		r.redis.Kill()
		return nil
	}).wait(t)
	if err == nil {
		t.Error("what was handled could not be acknowledged, and it ended without an error")
	}
	if err := r.start(r.rdb, opt, dies).wait(t); err == nil || errors.Is(err, errDead) {
		t.Errorf("it ended with %v, want an error of Redis", err)
	}
}

// On a cluster each merchant's stream is in a slot of its own.
func TestReaderOnACluster(t *testing.T) {
	s := redistest.StartCluster(t)
	rdb, err := redisconn.Open(fmt.Sprintf("redis-cluster://%s", s.Client.Options().Addr), redisconn.Pool{Size: 10})
	if err != nil {
		t.Fatal(err)
	}
	defer rdb.Close()
	if _, ok := rdb.(*redis.ClusterClient); !ok {
		t.Fatalf("a %T, want a client of a cluster", rdb)
	}
	r := rigOn(t, s)
	r.rdb = rdb
	r.tell(mchA, "A", 9)
	r.tell(mchB, "B", 9)
	if err := r.start(rdb, options("dead"), dies).wait(t); !errors.Is(err, errDead) {
		t.Fatal(err)
	}
	var got taken
	run := r.start(rdb, options("a"), got.handle)
	r.until("all events", func() bool { return got.count() == 18 })
	r.tell("1900000003", "C", 2)
	r.until("the new merchant's events", func() bool { return got.count() == 20 })
	run.stop(t)
	for _, mchid := range []string{mchA, mchB} {
		if p := r.pending(mchid); len(p) != 0 {
			t.Errorf("not acknowledged: %v", p)
		}
	}
}
