package redisconn

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/rs/zerolog"

	"payscore-collector/internal/testkit"
)

// find returns the only finding of that subject.
func find(t *testing.T, r Report, subject string) Finding {
	t.Helper()
	i := slices.IndexFunc(r, func(f Finding) bool { return f.Subject == subject })
	if i < 0 {
		t.Fatalf("nothing on %s in %v", subject, r)
	}
	return r[i]
}

func TestCheck_realServer(t *testing.T) {
	t.Parallel()
	ctx := context.Background()

	t.Run("a fit server has no problems and no warnings", func(t *testing.T) {
		r := Check(ctx, open(t, startRedis(t, "--appendonly", "yes", "--maxmemory-policy", "noeviction")))
		for _, f := range r {
			if f.Level != OK {
				t.Errorf("%s: %s", f.Level, f)
			}
		}
		if len(r) != 5 || r.Err() != nil {
			t.Errorf("report is %v", r)
		}
	})

	t.Run("an evicting policy is a problem, and the command in it is the remedy", func(t *testing.T) {
		client := open(t, startRedis(t, "--maxmemory-policy", "allkeys-lru", "--maxmemory", "100mb"))
		err := Check(ctx, client).Err()
		if err == nil || !strings.Contains(err.Error(), "allkeys-lru") ||
			!strings.Contains(err.Error(), "redis-cli CONFIG SET maxmemory-policy noeviction") || !strings.Contains(err.Error(), "redis.conf") {
			t.Fatalf("error is %v", err)
		}
		if err := client.ConfigSet(ctx, "maxmemory-policy", "noeviction").Err(); err != nil {
			t.Fatal(err)
		}
		if err := Check(ctx, client).Err(); err != nil {
			t.Errorf("still: %v", err)
		}
	})

	t.Run("without AOF a warning says what a restart loses", func(t *testing.T) {
		f := find(t, Check(ctx, open(t, startRedis(t))), "persistence")
		if f.Level != Warning || !strings.Contains(f.Text, "restart loses every order") || !strings.Contains(f.Text, "CONFIG SET appendonly yes") {
			t.Errorf("%s: %s", f.Level, f)
		}
	})

	t.Run("memory from 60 % on is a warning", func(t *testing.T) {
		client := open(t, startRedis(t))
		used, limit, err := Memory(ctx, client)
		if err != nil || used <= 0 || limit != 0 {
			t.Fatalf("used %d, limit %d, error %v", used, limit, err)
		}
		if f := find(t, Check(ctx, client), "memory"); f.Level != OK || !strings.Contains(f.Text, "no limit") {
			t.Errorf("without a limit: %s: %s", f.Level, f)
		}

		set := func(limit int64) {
			if err := client.ConfigSet(ctx, "maxmemory", strconv.FormatInt(limit, 10)).Err(); err != nil {
				t.Fatal(err)
			}
		}
		set(100 * used)
		if f := find(t, Check(ctx, client), "memory"); f.Level != OK {
			t.Errorf("at about 1 %%: %s: %s", f.Level, f)
		}
		set(used * 5 / 4)
		if f := find(t, Check(ctx, client), "memory"); f.Level != Warning || !strings.Contains(f.Text, "CONFIG SET maxmemory") {
			t.Errorf("at about 80 %%: %s: %s", f.Level, f)
		}
		if _, limit, _ := Memory(ctx, client); limit != used*5/4 {
			t.Errorf("limit is %d, want %d", limit, used*5/4)
		}
	})

	t.Run("a replica is a problem", func(t *testing.T) {
		client := open(t, startRedis(t, "--replicaof", "127.0.0.1 1"))
		if f := find(t, Check(ctx, client), "role"); f.Level != Problem || !strings.Contains(f.Text, "takes no writes") {
			t.Errorf("%s: %s", f.Level, f)
		}
	})

	t.Run("a user without the right to INFO is warned", func(t *testing.T) {
		url := startRedis(t)
		if err := open(t, url).Do(ctx, "ACL", "SETUSER", "meek", "on", ">pw", "+ping").Err(); err != nil {
			t.Fatal(err)
		}
		client := open(t, strings.Replace(url, "unix://", "unix://meek:pw@", 1))
		r := Check(ctx, client)
		if len(r) != 1 || r[0].Level != Warning || r[0].Subject != "info" || !strings.Contains(r[0].Text, "noeviction") {
			t.Errorf("report is %v", r)
		}
		if _, _, err := Memory(ctx, client); err == nil {
			t.Error("Memory has no error")
		}
	})

	t.Run("a wrong password is a problem that does not show it", func(t *testing.T) {
		url := startRedis(t, "--requirepass", "right")
		r := Check(ctx, open(t, strings.Replace(url, "unix://", "unix://:hunter2@", 1)))
		if len(r.Problems()) != 1 || r[0].Subject != "connection" || strings.Contains(r[0].Text, "hunter2") {
			t.Errorf("report is %v", r)
		}
	})

	t.Run("every master of a cluster is asked", func(t *testing.T) {
		port := strconv.Itoa(testkit.FreePort(t))
		node := open(t, startRedis(t, "--port", port, "--cluster-port", strconv.Itoa(testkit.FreePort(t)), "--cluster-enabled", "yes", "--maxmemory-policy", "volatile-ttl"))
		if err := node.Do(ctx, "CLUSTER", "ADDSLOTSRANGE", 0, 16383).Err(); err != nil {
			t.Fatal(err)
		}
		client := open(t, "redis-cluster://127.0.0.1:"+port)
		testkit.Eventually(t, "the cluster is formed", func() bool { return client.Set(ctx, "k", "v", 0).Err() == nil })

		r := Check(ctx, client)
		f := find(t, r, "maxmemory-policy")
		if f.Level != Problem || !strings.HasSuffix(f.Node, ":"+port) || !strings.Contains(r.Err().Error(), f.Node) {
			t.Errorf("finding is %+v", f)
		}
		if used, _, err := Memory(ctx, client); err != nil || used <= 0 {
			t.Errorf("used %d, error %v", used, err)
		}

		// It has all slots, so a plain URL works too.
		if f := find(t, Check(ctx, node), "mode"); f.Level != Warning || !strings.Contains(f.Text, "one master") {
			t.Errorf("with redis:// the finding is %+v", f)
		}
		if err := node.Do(ctx, "CLUSTER", "DELSLOTSRANGE", 0, 8191).Err(); err != nil {
			t.Fatal(err)
		}
		if f := find(t, Check(ctx, node), "mode"); f.Level != Problem {
			t.Errorf("of a Cluster of several masters the finding is %+v", f)
		}
	})
}

func TestCheck_embeddedRedis(t *testing.T) {
	client := open(t, "redis://"+miniredis.RunT(t).Addr())
	r := Check(context.Background(), client)
	if len(r) != 1 || r[0].Level != Warning || !strings.Contains(r[0].Text, "does not answer INFO") || r.Err() != nil {
		t.Errorf("report is %v", r)
	}
}

func TestCheck_nobodyThere(t *testing.T) {
	t.Parallel()
	r := Check(context.Background(), open(t, "redis://127.0.0.1:1?max_retries=-1"))
	if len(r.Problems()) != 1 || r[0].Subject != "connection" || !strings.Contains(r.Err().Error(), "check REDIS_URL") {
		t.Errorf("report is %v", r)
	}
}

// What no server at hand would say of itself.
func TestInfo_check(t *testing.T) {
	fit := map[string]string{
		"redis_version": "7.0.15", "role": "master", "maxmemory_policy": "noeviction",
		"aof_enabled": "1", "aof_last_write_status": "ok", "used_memory": "10", "maxmemory": "100",
	}
	for _, tc := range []struct {
		name, field, value string // "" removes the field
		subject            string
		level              Level
		text               string
	}{
		{"6.2 will do", "redis_version", "6.2.0", "version", OK, "6.2.0"},
		{"6.0 is too old, or a proxy's", "redis_version", "6.0.16", "version", Warning, "older than Redis 6.2"},
		{"so is 5", "redis_version", "5.0.7", "version", Warning, "older than Redis 6.2"},
		{"10 is not older than 6", "redis_version", "10.1", "version", OK, "10.1"},
		{"a version that is no number", "redis_version", "unstable", "version", Warning, `"unstable" is not understood`},
		{"59 % is fine", "used_memory", "59", "memory", OK, "59 %"},
		{"60 % is not", "used_memory", "60", "memory", Warning, "60 %"},
		{"memory untold", "used_memory", "", "memory", Warning, "does not report"},
		{"policy untold", "maxmemory_policy", "", "maxmemory-policy", Warning, "noeviction"},
		{"AOF untold", "aof_enabled", "", "persistence", Warning, "does not report whether AOF"},
		{"AOF cannot write", "aof_last_write_status", "err", "persistence", Warning, "full disk"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			fields := map[string]string{}
			for k, v := range fit {
				fields[k] = v
			}
			fields[tc.field] = tc.value
			f := find(t, info{node: "n:1", fields: fields}.check(), tc.subject)
			if f.Level != tc.level || !strings.Contains(f.Text, tc.text) || f.Node != "n:1" {
				t.Errorf("finding is %+v, want %s with %q", f, tc.level, tc.text)
			}
		})
	}
}

func TestWaitUp_realServer(t *testing.T) {
	t.Parallel()
	if err := (Options{}).WaitUp(context.Background(), open(t, startRedis(t)), zerolog.Nop(), time.Second); err != nil {
		t.Error(err)
	}
}
