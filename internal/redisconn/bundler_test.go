package redisconn

import (
	"context"
	"errors"
	"io"
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

	"payscore-collector/internal/testkit"
	"payscore-collector/internal/testkit/redistest"
)

// bundled is a client with a Bundler, and a count of what goes by which.
type bundled struct {
	redis.UniversalClient
	bundler               *Bundler
	pipelines, inPipeline atomic.Int64
	alone                 atomic.Int64
}

func openBundled(t *testing.T, url string) *bundled {
	t.Helper()
	o, err := Parse(url)
	if err != nil {
		t.Fatal(err)
	}
	b := &bundled{UniversalClient: open(t, url), bundler: NewBundler(o, "test-scripts")}
	t.Cleanup(b.bundler.Close)
	b.AddHook(b.bundler)
	b.AddHook(b) // sees what does not go in a bundle
	b.bundler.client.AddHook(b)
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
if ARGV[1] == 'demoted' and redis.call('INCR', KEYS[1]) % 2 == 1 then return redis.error_reply("READONLY You can't write against a read only replica.") end
return {redis.call('INCR', KEYS[1]), ARGV[1]}`)

// patient is for tests that count how often a script has run: a command whose time is up
// is sent again.
const patient = "?dial_timeout=1m&read_timeout=1m&write_timeout=1m&pool_timeout=1m"

// urls are an embedded Redis, and a real one where there is one.
func urls(t *testing.T, test func(t *testing.T, url string)) {
	t.Run("embedded", func(t *testing.T) { test(t, "redis://"+miniredis.RunT(t).Addr()) })
	t.Run("real", func(t *testing.T) {
		redistest.NeedReal(t)
		test(t, startRedis(t))
	})
}

// Every caller gets the answer to its own script, whatever is in the same bundle.
func TestBundler_answers(t *testing.T) {
	t.Parallel()
	urls(t, func(t *testing.T, url string) {
		rdb := openBundled(t, url+patient)
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

// A caller's time is its own: it does not wait for a Redis that hangs, and what
// it has left behind does not get into others' answers.
func TestBundler_deadline(t *testing.T) {
	t.Parallel()
	redistest.NeedReal(t)
	url := startRedis(t)
	rdb, control := openBundled(t, url), open(t, url)
	if err := echo.Load(t.Context(), rdb).Err(); err != nil {
		t.Fatal(err)
	}
	// Scripts may write; CLIENT UNPAUSE does not.
	if err := control.Do(t.Context(), "CLIENT", "PAUSE", time.Hour.Milliseconds(), "WRITE").Err(); err != nil {
		t.Fatal(err)
	}
	const callers = 3 * bundlesAtOnce * bundleSize // more than are taken in
	var all sync.WaitGroup
	for i := range callers {
		all.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
			defer cancel()
			if err := echo.Run(ctx, rdb, []string{"late"}, strconv.Itoa(i)).Err(); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("the error is %v", err)
			}
		})
	}
	all.Wait() // all have left, and Redis has not answered yet
	if err := control.Do(t.Context(), "CLIENT", "UNPAUSE").Err(); err != nil {
		t.Fatal(err)
	}
	for i := range 50 {
		all.Go(func() {
			key, arg := "key:"+strconv.Itoa(i), strconv.Itoa(i)
			if got, err := echo.Run(t.Context(), rdb, []string{key}, arg).Slice(); err != nil || len(got) != 2 || got[0] != int64(1) || got[1] != arg {
				t.Errorf("%s has the answer %v, %v", arg, got, err)
			}
		})
	}
	all.Wait()
	// Those whose callers had left before their turn were not sent.
	if n, err := rdb.Get(t.Context(), "late").Int(); err != nil && !errors.Is(err, redis.Nil) || n > bundlesAtOnce*bundleSize {
		t.Errorf("%d scripts took effect, %v", n, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := echo.Run(ctx, rdb, []string{"k"}, "a").Err(); !errors.Is(err, context.Canceled) {
		t.Errorf("with a context that has ended: %v", err)
	}
}

// A script that Redis does not serve just then is sent again, at any place in its
// bundle, and no other script is.
func TestBundler_demoted(t *testing.T) {
	t.Parallel()
	urls(t, func(t *testing.T, url string) {
		rdb := openBundled(t, url+patient)
		if err := echo.Load(t.Context(), rdb).Err(); err != nil {
			t.Fatal(err)
		}
		var all sync.WaitGroup
		for i := range 60 {
			all.Go(func() {
				key, arg, want := "key:"+strconv.Itoa(i), "fine", int64(1)
				if i%3 == 0 {
					arg, want = "demoted", 3 // one for each try, and the script's own
				}
				for range 10 {
					rdb.Del(t.Context(), key)
					got, err := echo.Run(t.Context(), rdb, []string{key}, arg).Slice()
					if err != nil || len(got) != 2 || got[0] != want || got[1] != arg {
						t.Errorf("%s: %v, %v", arg, got, err)
					}
				}
			})
		}
		all.Wait()
		if n := rdb.alone.Load(); n != 200 {
			t.Errorf("%d scripts went alone, of 200 that were to", n)
		}
	})
}

// After a connection breaks within the answers to a bundle, every caller still gets its answer.
func TestBundler_cut(t *testing.T) {
	t.Parallel()
	m := miniredis.RunT(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var cuts atomic.Int64
	go func() {
		for {
			near, err := l.Accept()
			if err != nil {
				return
			}
			far, err := net.Dial("tcp", m.Addr())
			if err != nil {
				near.Close()
				continue
			}
			go func() {
				_, _ = io.Copy(far, near)
				far.Close()
			}()
			go func() {
				_, _ = io.CopyN(near, far, 3001)
				cuts.Add(1)
				near.Close()
				far.Close()
			}()
		}
	}()
	rdb := openBundled(t, "redis://"+l.Addr().String()+"?max_retries=20")
	var all sync.WaitGroup
	for i := range 50 {
		all.Go(func() {
			for n := range 40 {
				arg := strconv.Itoa(i) + "-" + strconv.Itoa(n)
				got, err := echo.Run(t.Context(), rdb, []string{"key:" + strconv.Itoa(i)}, arg).Slice()
				if err != nil || len(got) != 2 || got[1] != arg || got[0].(int64) <= int64(n) {
					t.Errorf("%s has the answer %v, %v", arg, got, err)
				}
			}
		})
	}
	all.Wait()
	if cuts.Load() < 5 {
		t.Errorf("%d connections broke", cuts.Load())
	}
}

// While Redis cannot serve, go-redis asks again, for what was bundled as well.
func TestBundler_notNow(t *testing.T) {
	t.Parallel()
	for _, answer := range []string{"LOADING Redis is loading the dataset in memory", "READONLY You can't write against a read only replica."} {
		m := miniredis.RunT(t)
		rdb := openBundled(t, "redis://"+m.Addr()+"?max_retries=100&max_retry_backoff=10ms")
		if err := echo.Run(t.Context(), rdb, []string{"k"}, "a").Err(); err != nil {
			t.Fatal(err)
		}
		m.SetError(answer)
		time.AfterFunc(100*time.Millisecond, func() { m.SetError("") })
		got, err := echo.Run(t.Context(), rdb, []string{"k"}, "b").Slice()
		if err != nil || len(got) != 2 || got[0] != int64(2) || got[1] != "b" {
			t.Errorf("%s: %v, %v", answer, got, err)
		}
	}
}

// A Redis that goes away ends every call with an error, and serves them again
// when it is back.
func TestBundler_outage(t *testing.T) {
	t.Parallel()
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
	testkit.Eventually(t, "Redis answers again", func() bool { return call() == nil })
}

// After the end scripts go alone, and those under way have their answers.
func TestBundler_close(t *testing.T) {
	m := miniredis.RunT(t)
	url := "redis://" + m.Addr()
	rdb := open(t, url)
	if err := echo.Load(t.Context(), rdb).Err(); err != nil {
		t.Fatal(err)
	}
	before := goleak.IgnoreCurrent()
	o, err := Parse(url)
	if err != nil {
		t.Fatal(err)
	}
	b := NewBundler(o, "test-scripts")
	rdb.AddHook(b)
	var all sync.WaitGroup
	var served atomic.Int64
	var enough atomic.Bool
	for i := range 20 {
		all.Go(func() {
			for n := 0; !enough.Load(); n++ {
				arg := strconv.Itoa(i) + "-" + strconv.Itoa(n)
				if got, err := echo.Run(t.Context(), rdb, []string{"k"}, arg).Slice(); err != nil || len(got) != 2 || got[1] != arg {
					t.Errorf("%s has the answer %v, %v", arg, got, err)
				}
				served.Add(1)
			}
		})
	}
	testkit.Eventually(t, "scripts are served", func() bool { return served.Load() > 100 })
	b.Close()
	after := served.Load()
	testkit.Eventually(t, "scripts are served without it", func() bool { return served.Load() > after+100 })
	enough.Store(true)
	all.Wait()
	b.Close()
	_ = rdb.Close() // with the connections of those that went alone
	redistest.NoLeaks(t, before)
}

// A Redis that hangs does not hold up the end.
func TestBundler_closeSilent(t *testing.T) {
	t.Parallel()
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	rdb := openBundled(t, "redis://"+silent.Addr().String()+"?read_timeout=20s&max_retries=-1")
	ctx, cancel := context.WithCancel(t.Context())
	failed := make(chan error, 1)
	go func() { failed <- echo.Run(ctx, rdb, []string{"k"}, "a").Err() }()
	conn, err := silent.Accept() // it is under way
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	cancel()
	start := time.Now()
	rdb.bundler.Close()
	if err := <-failed; !errors.Is(err, context.Canceled) {
		t.Errorf("the error is %v", err)
	}
	if took := time.Since(start); took > 10*time.Second {
		t.Errorf("it took %v", took)
	}
}
