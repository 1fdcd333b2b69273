package redisprobe_test

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"payscore-collector/internal/redisconn"
	"payscore-collector/internal/redisprobe"
	"payscore-collector/internal/testkit/redistest"
	"payscore-collector/tasks"
)

const mchid = "1900000109"

// clients are those of a worker.
func clients(t *testing.T, url string) redisprobe.Clients {
	t.Helper()
	o, err := redisconn.Parse(url)
	if err != nil {
		t.Fatal(err)
	}
	c := redisprobe.Clients{Ledger: o.Open(redisconn.Pool{Name: "probe"}), Queue: o.Open(redisconn.Pool{Name: "probe"})}
	b := redisconn.NewBundler(o, "probe-scripts")
	c.Ledger.AddHook(b)
	c.Queue.AddHook(b)
	t.Cleanup(func() {
		b.Close()
		_, _ = c.Ledger.Close(), c.Queue.Close()
	})
	return c
}

// A probe of a Redis that serves finds nothing, leaves nothing, and disturbs
// nothing that is there.
func TestRun_leavesNothing(t *testing.T) {
	for _, kind := range []string{"embedded", "real"} {
		t.Run(kind, func(t *testing.T) {
			if kind == "embedded" {
				t.Setenv(redistest.EmbeddedOnly, "1")
			} else {
				redistest.NeedReal(t)
			}
			srv := redistest.Start(t)
			p := tasks.NewProducer(srv.Client)
			order := tasks.Order{Payload: tasks.Payload{MchID: mchid, OutOrderNo: "BIKE-1", AppID: "wx1", ServiceID: "500001"}}
			if res, err := p.Enqueue(t.Context(), order); err != nil || res.Status != tasks.Accepted {
				t.Fatal(res, err)
			}
			before := contents(t, srv.Client)
			for range 3 {
				if r := redisprobe.Run(t.Context(), clients(t, srv.URL), mchid); r != nil {
					t.Fatal(r)
				}
			}
			if after := contents(t, srv.Client); after != before {
				t.Errorf("there was\n%s\nand there is\n%s", before, after)
			}
		})
	}
}

// contents is every key with its value.
func contents(t *testing.T, rdb *redis.Client) string {
	t.Helper()
	keys, err := rdb.Keys(t.Context(), "*").Result()
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(keys)
	var all strings.Builder
	for _, k := range keys {
		value, _ := rdb.Dump(t.Context(), k).Result() // the embedded one has it for strings only
		all.WriteString(k + " " + strconv.Quote(value) + "\n")
	}
	return all.String()
}

// However far a probe gets before its process dies, what it leaves is no order's
// and no task's, and expires.
func TestRun_dies(t *testing.T) {
	srv := redistest.StartReal(t)
	target := srv.Client.Options().Addr
	whole := redistest.StartProxy(t, target, nil)
	if r := redisprobe.Run(t.Context(), clients(t, "redis://"+whole.Addr), mchid); r != nil {
		t.Fatal(r)
	}
	var commands []string // that a probe sends
	seen := redistest.StartProxy(t, target, nil)
	seen.Answer(func(args []string) string {
		commands = append(commands, args[0]) // one connection at a time
		return ""
	})
	if r := redisprobe.Run(t.Context(), clients(t, "redis://"+seen.Addr), mchid); r != nil {
		t.Fatal(r)
	}
	left := 0
	for upTo := range len(commands) {
		n := 0
		dies := redistest.StartProxy(t, target, func([]string) string {
			if n++; n > upTo {
				return "ERR the prober is dead"
			}
			return ""
		})
		redisprobe.Run(t.Context(), clients(t, "redis://"+dies.Addr), mchid)
		for _, key := range srv.Client.Keys(t.Context(), "*").Val() {
			left++
			if !strings.Contains(key, ":probe:") {
				t.Errorf("after %d commands it leaves %s", upTo, key)
			}
			if ttl := srv.Client.PTTL(t.Context(), key).Val(); ttl <= 0 || ttl > time.Minute {
				t.Errorf("after %d commands, %s stays for %s", upTo, key, ttl)
			}
		}
		srv.Client.FlushDB(t.Context())
	}
	if len(commands) < 10 || left == 0 {
		t.Errorf("of %q, %d keys were left: this test tests nothing", commands, left)
	}
}

// Each command that work may use is one that a probe uses: a Redis that lacks it
// is found out before an order meets it.
func TestRun_coversTheScripts(t *testing.T) {
	calls := regexp.MustCompile(`redis\.p?call\(\s*['"]([A-Za-z]+)['"]`)
	used := func(files ...string) map[string]string {
		t.Helper()
		names := map[string]string{}
		for _, file := range files {
			src, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range calls.FindAllSubmatch(src, -1) {
				names[strings.ToUpper(string(m[1]))] = filepath.Base(file)
			}
		}
		if len(names) < 10 {
			t.Fatalf("%v have %d commands", files, len(names))
		}
		return names
	}
	glob := func(patterns ...string) (files []string) {
		for _, p := range patterns {
			found, err := filepath.Glob(p)
			if err != nil {
				t.Fatal(err)
			}
			files = append(files, found...)
		}
		return files
	}
	mod, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/hibiken/asynq").Output()
	if err != nil {
		t.Skipf("asynq's source is not to be found: %v", err)
	}
	for _, c := range []struct {
		by     []string
		work   []string
		spared []string // not on the way of an order
	}{
		// XGROUP is an operator's, to destroy a reader.
		{[]string{"ledger.lua"}, glob("../ledger/scripts/*.lua"), []string{"XGROUP"}},
		// Groups, heartbeats for display, and the archive.
		{[]string{"enqueue.lua", "fetch.lua"}, []string{filepath.Join(string(bytes.TrimSpace(mod)), "internal/rdb/rdb.go")},
			[]string{"SETEX", "SREM", "ZCARD", "ZREVRANGE", "RPUSH"}},
	} {
		probed := used(c.by...)
		for name, file := range used(c.work...) {
			if probed[name] == "" && !slices.Contains(c.spared, name) {
				t.Errorf("%s is used in %s and not in %v: add it there, on a key of the probe's own", name, file, c.by)
			}
		}
	}
}

// A refusal of any command that a probe sends is found, whichever it is.
func TestRun_findsEachRefusal(t *testing.T) {
	srv := redistest.Start(t)
	target := srv.Client.Options().Addr
	for _, c := range []struct{ command, words, kind, problem string }{
		{"evalsha", "NOPERM User app has no permissions to run the 'evalsha' command", "denied", "may not run scripts"},
		{"evalsha", "ERR unknown command 'EVALSHA', with args beginning with: ", "unsupported", "command EVALSHA"},
		{"evalsha", "ERR 'evalsha' command keys must in same slot", "refused", ""},
		{"eval", "ERR command 'eval' not support for normal user", "scripts", "refuses the scripts"},
		{"eval", "ERR bad lua script for redis cluster, all the keys that the script uses should be passed using the KEYS array", "scripts", "without the proxy"},
		{"hget", "NOPERM this user has no permissions to access one of the keys used as arguments", "denied", "keys"},
		{"sadd", "ERR operation not permitted by the operator", "refused", "allow scripts"},
		{"llen", "READONLY You can't write against a read only replica.", "read_only", "replica"},
		{"del", "OOM command not allowed when used memory > 'maxmemory'.", "full", "full"},
		{"exists", "MOVED 6936 10.0.0.7:6379", "wrong_url", "redis-cluster://"},
	} {
		proxy := redistest.StartProxy(t, target, redistest.Refuse(c.words, c.command))
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		r := redisprobe.Run(ctx, clients(t, "redis://"+proxy.Addr+"?max_retries=-1"), mchid)
		cancel()
		if r == nil || string(r.Kind) != c.kind || !strings.Contains(r.Error(), c.problem) || r.MchID != mchid {
			t.Errorf("%s answered with %q: %v", c.command, c.words, r)
		}
	}
}

// A proxy that reads from a replica that lags is found.
func TestRun_readsLag(t *testing.T) {
	master, lagging := redistest.Start(t), redistest.Start(t)
	o, err := redisconn.Parse(master.URL)
	if err != nil {
		t.Fatal(err)
	}
	c := redisprobe.Clients{Ledger: o.Open(redisconn.Pool{}), Queue: o.Open(redisconn.Pool{})}
	defer c.Ledger.Close()
	defer c.Queue.Close()
	c.Ledger.AddHook(split{lagging.Client})
	if r := redisprobe.Run(t.Context(), c, mchid); r == nil || r.Kind != redisconn.ReadOnly || !strings.Contains(r.Error(), "master itself") {
		t.Errorf("the refusal is %v", r)
	}
}

// split sends reads to another Redis.
type split struct{ reads *redis.Client }

func (split) DialHook(next redis.DialHook) redis.DialHook { return next }

func (s split) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if cmd.Name() == "hget" {
			return s.reads.Process(ctx, cmd)
		}
		return next(ctx, cmd)
	}
}

func (split) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}
