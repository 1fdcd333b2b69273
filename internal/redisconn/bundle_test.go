package redisconn

import (
	"context"
	"errors"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"payscore-collector/internal/redistest"
)

// bundled is a client with a Bundle, and a count of what it sends.
type bundled struct {
	redis.UniversalClient
	bundle                *Bundle
	pipelines, inPipeline atomic.Int64
	alone                 atomic.Int64
}

func openBundled(t *testing.T, url string) *bundled {
	t.Helper()
	b := &bundled{UniversalClient: open(t, url)}
	b.bundle = NewBundle(b.UniversalClient)
	t.Cleanup(b.bundle.Close) // before the client, which open closes
	b.AddHook(b.bundle)
	b.AddHook(b) // sees what comes out of the bundle
	return b
}

func (b *bundled) DialHook(next redis.DialHook) redis.DialHook { return next }

func (b *bundled) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if cmd.Name() == "evalsha" {
			b.alone.Add(1)
		}
		return next(ctx, cmd)
	}
}

func (b *bundled) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		b.pipelines.Add(1)
		b.inPipeline.Add(int64(len(cmds)))
		return next(ctx, cmds)
	}
}

var echo = redis.NewScript(`
if ARGV[1] == 'bad' then return redis.error_reply('BAD argument') end
if ARGV[1] == 'nil' then return false end
return {redis.call('INCR', KEYS[1]), ARGV[1]}`)

// urls are an embedded Redis, and a real one where there is one.
func urls(t *testing.T, test func(t *testing.T, url string)) {
	t.Run("embedded", func(t *testing.T) { test(t, "redis://"+miniredis.RunT(t).Addr()) })
	t.Run("real", func(t *testing.T) {
		redistest.NeedReal(t)
		test(t, startRedis(t))
	})
}

// Everybody gets the answer to the script that was called, whoever went with it.
func TestBundle_answers(t *testing.T) {
	urls(t, func(t *testing.T, url string) {
		rdb := openBundled(t, url)
		const callers, calls = 50, 40
		var all sync.WaitGroup
		for i := range callers {
			all.Go(func() {
				for n := range calls {
					key, arg := "key:"+strconv.Itoa(i), strconv.Itoa(i)+"-"+strconv.Itoa(n)
					got, err := echo.Run(t.Context(), rdb, []string{key}, arg).Slice()
					if err != nil || len(got) != 2 || got[0] != int64(n+1) || got[1] != arg {
						t.Errorf("%s has the answer %v, %v", arg, got, err)
					}
					if err := echo.Run(t.Context(), rdb, []string{key}, "bad").Err(); err == nil || !strings.HasPrefix(err.Error(), "BAD argument") {
						t.Errorf("a script's error came as %v", err)
					}
					if err := echo.Run(t.Context(), rdb, []string{key}, "nil").Err(); !errors.Is(err, redis.Nil) {
						t.Errorf("no answer came as %v", err)
					}
				}
			})
		}
		all.Wait()
		if n := rdb.alone.Load(); n != 0 {
			t.Errorf("%d scripts went alone", n)
		}
		sent, trips := rdb.inPipeline.Load(), rdb.pipelines.Load()
		if sent < 3*callers*calls || trips > sent/3 {
			t.Errorf("%d scripts went in %d bundles", sent, trips)
		}
		if n, err := rdb.Get(t.Context(), "key:7").Int(); err != nil || n != calls {
			t.Errorf("the script of a caller took effect %d times, %v; it was called %d times", n, err, calls)
		}
	})
}

// A caller's time is its own: it does not wait for a Redis that hangs.
func TestBundle_deadline(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	rdb := openBundled(t, "redis://"+silent.Addr().String()+"?read_timeout=300ms&max_retries=-1")
	var all sync.WaitGroup
	for range 3 * bundlesAtOnce * bundleSize { // more than are taken in
		all.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
			defer cancel()
			start := time.Now()
			if err := echo.Run(ctx, rdb, []string{"k"}, "a").Err(); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("the error is %v", err)
			}
			if waited := time.Since(start); waited > 5*time.Second {
				t.Errorf("it waited %v", waited)
			}
		})
	}
	all.Wait()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := echo.Run(ctx, rdb, []string{"k"}, "a").Err(); !errors.Is(err, context.Canceled) {
		t.Errorf("with a context that is over: %v", err)
	}
	// Without a deadline the client's time-out is an end.
	if err := echo.Run(t.Context(), rdb, []string{"k"}, "a").Err(); err == nil {
		t.Error("a silent Redis has answered")
	}
}

// While Redis cannot serve, go-redis asks again, for what was bundled as well.
func TestBundle_notNow(t *testing.T) {
	for _, answer := range []string{"LOADING Redis is loading the dataset in memory", "READONLY You can't write against a read only replica."} {
		m := miniredis.RunT(t)
		rdb := openBundled(t, "redis://"+m.Addr()+"?max_retries=100&max_retry_backoff=10ms")
		if err := echo.Run(t.Context(), rdb, []string{"k"}, "a").Err(); err != nil {
			t.Fatal(err)
		}
		m.SetError(answer)
		time.AfterFunc(100*time.Millisecond, func() { m.SetError("") })
		got, err := echo.Run(t.Context(), rdb, []string{"k"}, "b").Slice()
		if err != nil || got[0] != int64(2) || got[1] != "b" {
			t.Errorf("%s: %v, %v", answer, got, err)
		}
	}
}

// A Redis that goes away ends every call with an error, and serves them again
// when it is back.
func TestBundle_outage(t *testing.T) {
	m := miniredis.RunT(t)
	rdb := openBundled(t, "redis://"+m.Addr()+"?max_retries=-1")
	call := func() error { return echo.Run(t.Context(), rdb, []string{"k"}, "a").Err() }
	if err := call(); err != nil {
		t.Fatal(err)
	}
	m.Close()
	var all sync.WaitGroup
	for range 100 {
		all.Go(func() {
			if err := call(); err == nil {
				t.Error("without Redis there was an answer")
			}
		})
	}
	all.Wait()
	if err := m.Restart(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "Redis answers again", func() bool { return call() == nil })
}

func TestBundle_close(t *testing.T) {
	m := miniredis.RunT(t)
	rdb := open(t, "redis://"+m.Addr())
	if err := echo.Load(t.Context(), rdb).Err(); err != nil {
		t.Fatal(err)
	}
	before := goleak.IgnoreCurrent()
	b := NewBundle(rdb)
	rdb.AddHook(b)
	var all sync.WaitGroup
	var served atomic.Int64
	for range 20 {
		all.Go(func() {
			for {
				err := echo.Run(t.Context(), rdb, []string{"k"}, "a").Err()
				if err == nil {
					served.Add(1)
					continue
				}
				if !errors.Is(err, redis.ErrClosed) {
					t.Errorf("the error is %v", err)
				}
				return
			}
		})
	}
	eventually(t, "scripts are served", func() bool { return served.Load() > 100 })
	b.Close()
	all.Wait()
	b.Close()
	goleak.VerifyNone(t, append(redistest.NoLeaks(), before)...)
}
