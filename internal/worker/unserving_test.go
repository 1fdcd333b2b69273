package worker_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/rs/zerolog"

	"payscore-collector/internal/config"
	"payscore-collector/internal/redisconn"
	"payscore-collector/internal/testkit"
	"payscore-collector/internal/testkit/redistest"
	"payscore-collector/internal/testkit/workertest"
	"payscore-collector/internal/worker"
)

// unserving is a Redis that a worker is given, and what the worker must say about it.
type unserving struct {
	url   string
	real  *redis.Client // behind it, with every right
	proxy *redistest.Proxy
	mend  func() // nil: only another REDIS_URL mends it

	noChannel bool // asynq's channel is refused

	problem string // in a line of worker check that begins with "problem"; empty for no problem
	warning string // likewise with "warning"
}

// aclUser makes the user app with these rights, and returns its URL.
func aclUser(t *testing.T, srv *redistest.Server, rules ...string) string {
	t.Helper()
	args := []any{"ACL", "SETUSER", "app", "on", ">pw"}
	for _, r := range rules {
		args = append(args, r)
	}
	if err := srv.Client.Do(t.Context(), args...).Err(); err != nil {
		t.Fatal(err)
	}
	return "redis://app:pw@" + srv.Client.Options().Addr + "/0"
}

func do(t *testing.T, rdb *redis.Client, args ...any) {
	t.Helper()
	if err := rdb.Do(t.Context(), args...).Err(); err != nil {
		t.Fatalf("%v: %v", args, err)
	}
}

func behindProxy(t *testing.T, answer func([]string) string) unserving {
	srv := redistest.StartReal(t)
	p := redistest.StartProxy(t, srv.Client.Options().Addr, answer)
	return unserving{url: "redis://" + p.Addr + "/0", proxy: p, real: srv.Client, mend: func() { p.Answer(nil) }}
}

const inspected = "ERR bad lua script for redis cluster, all the keys that the script uses should be passed using the KEYS array"

// unservings are the Redises that cannot serve, and two that lack a comfort.
var unservings = map[string]func(t *testing.T) unserving{
	"one node of a Cluster": func(t *testing.T) unserving {
		return unserving{url: clusterNode(t), problem: "one node of a Redis Cluster (INFO: redis_mode:cluster): write REDIS_URL as redis-cluster://"}
	},
	"a Cluster by redis-cluster, which serves": func(t *testing.T) unserving {
		return unserving{url: strings.Replace(clusterNode(t), "redis://", "redis-cluster://", 1)}
	},
	"a Cluster behind a proxy": func(t *testing.T) unserving {
		p := redistest.StartProxy(t, redistest.StartCluster(t).Client.Options().Addr, redistest.Refuse("ERR command 'cluster' is not allowed", "cluster"))
		return unserving{url: "redis://" + p.Addr, warning: "mode: a Cluster behind a proxy"}
	},
	"a plain Redis by redis-sentinel": func(t *testing.T) unserving {
		srv := redistest.StartReal(t)
		return unserving{url: "redis-sentinel://" + srv.Client.Options().Addr + "/0?master=shop", problem: "write REDIS_URL as redis://HOST:PORT/DB"}
	},
	"a plain Redis by redis-cluster": func(t *testing.T) unserving {
		srv := redistest.StartReal(t)
		return unserving{url: "redis-cluster://" + srv.Client.Options().Addr, problem: "write REDIS_URL as redis://HOST:PORT/DB"}
	},
	"a sentinel by redis": func(t *testing.T) unserving {
		return unserving{url: sentinel(t), problem: "write REDIS_URL as redis-sentinel://HOST:PORT"}
	},
	"a user without scripts": func(t *testing.T) unserving {
		srv := redistest.StartReal(t)
		return unserving{url: aclUser(t, srv, "~*", "&*", "+@all", "-@scripting"), problem: "this user may not run scripts",
			mend: func() { do(t, srv.Client, "ACL", "SETUSER", "app", "+@scripting") }}
	},
	"a user that may only read": func(t *testing.T) unserving {
		srv := redistest.StartReal(t)
		return unserving{url: aclUser(t, srv, "~*", "&*", "+@read", "+@connection", "+info", "+@scripting"), problem: "this user may not run a command that is needed",
			mend: func() { do(t, srv.Client, "ACL", "SETUSER", "app", "+@all") }}
	},
	"a user without our keys": func(t *testing.T) unserving {
		srv := redistest.StartReal(t)
		return unserving{url: aclUser(t, srv, "~shop:*", "&*", "+@all"), problem: "this user may not use the keys that are needed",
			mend: func() { do(t, srv.Client, "ACL", "SETUSER", "app", "~*") }}
	},
	"a proxy that inspects scripts": func(t *testing.T) unserving {
		u := behindProxy(t, redistest.Refuse(inspected, "eval", "evalsha"))
		u.problem = "on Alibaba Cloud see script_check_enable"
		return u
	},
	"EVALSHA is disabled": func(t *testing.T) unserving {
		srv := redistest.StartReal(t, "--rename-command", "EVALSHA", "")
		return unserving{url: srv.URL, problem: "does not know the command EVALSHA"}
	},
	"a disk that takes no snapshot": func(t *testing.T) unserving {
		dir := t.TempDir()
		srv := redistest.StartReal(t, "--dir", dir, "--dbfilename", "blocked.rdb", "--save", "3600 1", "--appendonly", "no")
		if err := os.Mkdir(filepath.Join(dir, "blocked.rdb"), 0o700); err != nil {
			t.Fatal(err)
		}
		do(t, srv.Client, "SET", "a", "1")
		do(t, srv.Client, "BGSAVE")
		testkit.Eventually(t, "a snapshot to fail", func() bool {
			return strings.Contains(srv.Client.Info(t.Context()).Val(), "rdb_last_bgsave_status:err")
		})
		return unserving{url: srv.URL, problem: "Redis cannot write to its disk", warning: "the last snapshot could not be written",
			mend: func() { do(t, srv.Client, "CONFIG", "SET", "stop-writes-on-bgsave-error", "no") }}
	},
	"a replica": func(t *testing.T) unserving {
		srv := redistest.StartReal(t, "--replicaof", "127.0.0.1 1")
		return unserving{url: srv.URL, problem: "this is a replica, which takes no writes",
			mend: func() { do(t, srv.Client, "REPLICAOF", "NO", "ONE") }}
	},
	"a full Redis": func(t *testing.T) unserving {
		srv := redistest.StartReal(t, "--maxmemory", "1")
		return unserving{url: srv.URL, problem: "Redis is full", mend: func() { do(t, srv.Client, "CONFIG", "SET", "maxmemory", "0") }}
	},
	"a password that is missing": func(t *testing.T) unserving {
		srv := redistest.StartReal(t)
		do(t, srv.Client, "ACL", "SETUSER", "default", ">pw", "on")
		do(t, srv.Client, "CONFIG", "SET", "requirepass", "pw")
		return unserving{url: srv.URL, problem: "write it into REDIS_URL behind a colon"}
	},
	"INFO is never ready": func(t *testing.T) unserving {
		u := behindProxy(t, redistest.Refuse("LOADING Redis is loading the dataset in memory", "info"))
		u.problem = "Redis is loading its data"
		return u
	},
	"INFO refused in odd words": func(t *testing.T) unserving {
		u := behindProxy(t, redistest.Refuse("ERR command 'info' not support for normal user", "info"))
		u.warning = "does not answer INFO"
		return u
	},
	"no channels, no names of connections, no CONFIG": func(t *testing.T) unserving {
		srv := redistest.StartReal(t)
		u := unserving{url: aclUser(t, srv, "~payscore:*", "~asynq:*", "resetchannels", "+@all", "-client|setname", "-config", "-hello"), real: srv.Client}
		u.warning, u.noChannel = "channel: asynq cannot subscribe", true
		return u
	},
}

// clusterNode is one of two nodes of a Cluster, by redis://.
func clusterNode(t *testing.T) string {
	nodes := []*redistest.Server{redistest.StartNode(t), redistest.StartNode(t)}
	do(t, nodes[0].Client, "CLUSTER", "ADDSLOTSRANGE", 0, 8191)
	do(t, nodes[1].Client, "CLUSTER", "ADDSLOTSRANGE", 8192, 16383)
	_, port, _ := strings.Cut(nodes[1].Client.Options().Addr, ":")
	bus := nodes[1].Client.ConfigGet(t.Context(), "cluster-port").Val()["cluster-port"]
	do(t, nodes[0].Client, "CLUSTER", "MEET", "127.0.0.1", port, bus)
	testkit.Eventually(t, "the Cluster to be whole", func() bool {
		return strings.Contains(nodes[0].Client.ClusterInfo(t.Context()).Val(), "cluster_state:ok")
	})
	return "redis://" + nodes[0].Client.Options().Addr
}

// sentinel is a Sentinel's address, by redis://.
func sentinel(t *testing.T) string {
	conf := filepath.Join(t.TempDir(), "sentinel.conf")
	if err := os.WriteFile(conf, []byte("sentinel monitor shop 127.0.0.1 1 1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return redistest.StartSentinel(t, conf).URL
}

// unservingWorker returns a configuration with that Redis and a platform.
func unservingWorker(t *testing.T, url string) config.Worker {
	t.Helper()
	r := workertest.New(t)
	o, err := redisconn.Parse(url)
	if err != nil {
		t.Fatal(err)
	}
	r.Cfg.Redis = o
	r.Cfg.AdminAddr, r.Cfg.AdminAddrSet = testkit.FreeAddr(t), true
	return r.Cfg
}

// runWorker runs a worker until the test ends.
func runWorker(t *testing.T, cfg config.Worker) *testkit.LogBuffer {
	t.Helper()
	logs := &testkit.LogBuffer{}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		if err := worker.Run(ctx, cfg, zerolog.New(logs).Level(zerolog.InfoLevel).With().Timestamp().Logger()); err != nil {
			t.Errorf("the worker has ended: %v", err)
		}
	})
	t.Cleanup(func() {
		cancel()
		running.Wait()
		if t.Failed() {
			t.Log(logs.String())
		}
	})
	return logs
}

// adminGet sends a request to ADMIN_ADDR, with a Host of its own if host is set.
func adminGet(t *testing.T, cfg config.Worker, path, host string) (status int, body string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+cfg.AdminAddr+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Host = host
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

// A page of another site, whose name resolves to this machine, reads nothing on a loopback
// address without tokens: no metrics either, which need none. Health probes send any Host.
func TestAdminHost(t *testing.T) {
	t.Parallel()
	r := workertest.New(t, onAdminAddr(t))
	r.Work()
	becomes(t, r.Cfg, 20*time.Second, http.StatusOK)
	for _, path := range []string{"/metrics", "/readyz", "/docs", "/docs/", "/openapi.json", "/v1/stats", "/"} {
		if status, body := adminGet(t, r.Cfg, path, "evil.example:9090"); status != http.StatusForbidden || !strings.Contains(body, "evil.example") {
			t.Errorf("%s for another host: %d %.200s", path, status, body)
		}
		for _, host := range []string{"", "localhost", "localhost:9090", "[::1]:9090"} {
			if status, body := adminGet(t, r.Cfg, path, host); status != http.StatusOK {
				t.Errorf("%s for %q: %d %.200s", path, host, status, body)
			}
		}
	}
	if status, body := adminGet(t, r.Cfg, "/healthz", "evil.example:9090"); status != http.StatusOK {
		t.Errorf("health for another host: %d %s", status, body)
	}
	token := r.Cfg
	token.AdminAddr, token.AdminToken = testkit.FreeAddr(t), config.Text{Secret: config.NewSecret("an-unguessable-token")}
	runWorker(t, token)
	becomes(t, token, 20*time.Second, http.StatusOK)
	if status, body := adminGet(t, token, "/metrics", "payscore.example:9090"); status != http.StatusOK {
		t.Errorf("metrics with a token set: %d %.200s", status, body)
	}
}

// readyz asks a worker whether it collects; 0 while nothing listens yet.
func readyz(cfg config.Worker) (status int, body string) {
	resp, err := http.Get("http://" + cfg.AdminAddr + "/readyz")
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close()
	b, _ := io.ReadAll(resp.Body)
	return resp.StatusCode, string(b)
}

// becomes waits for a status of readiness.
func becomes(t *testing.T, cfg config.Worker, within time.Duration, want int) (body string) {
	t.Helper()
	testkit.Within(t, within, fmt.Sprintf("/readyz to be %d", want), func() bool {
		var status int
		status, body = readyz(cfg)
		return status == want
	})
	return body
}

// Each Redis that cannot serve is named by worker check, with the remedy and exit
// status 1, and by a worker that starts: 503 with the reason and a line of log
// from time to time, and few commands. When Redis is mended, the worker collects without a
// restart.
func TestUnservingRedis_start(t *testing.T) {
	t.Parallel()
	redistest.NeedReal(t)
	for name, make := range unservings {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			u := make(t)
			cfg := unservingWorker(t, u.url)
			var out bytes.Buffer
			status := worker.Check(t.Context(), cfg, nil, &out)
			for level, words := range map[string]string{"problem ": u.problem, "warning ": u.warning} {
				line := regexp.MustCompile(`(?m)^` + level + `.*` + regexp.QuoteMeta(words))
				if words != "" && !line.MatchString(out.String()) {
					t.Errorf("no line %q with %q in\n%s", level, words, out.String())
				}
			}
			wantStatus := config.ExitOK
			if u.problem != "" {
				wantStatus = 1
			}
			if status != wantStatus {
				t.Errorf("exit status %d, want %d:\n%s", status, wantStatus, out.String())
			}
			if strings.Contains(out.String(), ":pw@") {
				t.Errorf("the password is in\n%s", out.String())
			}

			logs := runWorker(t, cfg)
			if u.problem == "" {
				becomes(t, cfg, testkit.Patience, http.StatusOK)
				if u.noChannel {
					// asynq's channel of cancellations, and that of wake-ups.
					lines := []string{`"event":"redis_channel_refused"`, `"event":"wakeups_refused"`}
					for _, line := range lines {
						testkit.Eventually(t, "a line on the channel", func() bool { return strings.Contains(logs.String(), line) })
					}
					<-time.After(6 * time.Second) // asynq tries every five
					for _, line := range lines {
						if n := strings.Count(logs.String(), line); n != 1 {
							t.Errorf("%s is logged %d times", line, n)
						}
					}
					if n := strings.Count(logs.String(), "NOPERM"); n != len(lines) {
						t.Errorf("refusals are named %d times", n)
					}
				}
				return
			}
			body := becomes(t, cfg, testkit.Patience, http.StatusServiceUnavailable)
			testkit.Eventually(t, "the reason in /readyz", func() bool {
				_, body = readyz(cfg)
				return strings.Contains(body, u.problem)
			})
			// The API answers 503 until the worker has found Redis fit.
			if status, answer := adminGet(t, cfg, "/v1/stats", ""); status != http.StatusServiceUnavailable {
				becomes(t, cfg, testkit.Patience, http.StatusOK) // it has mended itself
			} else if !strings.Contains(answer, "is starting") {
				t.Errorf("the API answers %d %s", status, answer)
			}
			if u.proxy != nil {
				before := u.proxy.Count("")
				<-time.After(3 * time.Second) // a measure, not a wait
				if n := u.proxy.Count("") - before; n > 60 {
					t.Errorf("%d commands in three seconds", n)
				}
			}
			if n := strings.Count(logs.String(), `"event":"redis_refuses"`); n < 1 || n > 4 {
				t.Errorf("the log says it %d times", n)
			}
			if u.mend == nil {
				return
			}
			u.mend()
			becomes(t, cfg, testkit.Patience, http.StatusOK)
			if status, answer := adminGet(t, cfg, "/v1/stats", ""); status != http.StatusOK {
				t.Errorf("the API answers %d %s", status, answer)
			}
			if !strings.Contains(logs.String(), `"event":"redis_up"`) {
				t.Error("the log does not say that Redis serves again")
			}
		})
	}
}

// What a Redis begins to refuse while a worker runs shows in readiness within 20
// seconds, and ends when it is mended.
func TestUnservingRedis_midway(t *testing.T) {
	t.Parallel()
	redistest.NeedReal(t)
	type deed struct {
		spoil, mend func(t *testing.T, srv *redistest.Server, p *redistest.Proxy)
		reason      string
	}
	admin := func(args ...any) func(*testing.T, *redistest.Server, *redistest.Proxy) {
		return func(t *testing.T, srv *redistest.Server, _ *redistest.Proxy) { do(t, srv.Client, args...) }
	}
	answers := func(words string, commands ...string) func(*testing.T, *redistest.Server, *redistest.Proxy) {
		return func(_ *testing.T, _ *redistest.Server, p *redistest.Proxy) {
			p.Answer(redistest.Refuse(words, commands...))
		}
	}
	clean := func(_ *testing.T, _ *redistest.Server, p *redistest.Proxy) { p.Answer(nil) }
	for name, d := range map[string]deed{
		"it becomes a replica":      {admin("REPLICAOF", "127.0.0.1", "1"), admin("REPLICAOF", "NO", "ONE"), "a replica"},
		"it is full":                {admin("CONFIG", "SET", "maxmemory", "1"), admin("CONFIG", "SET", "maxmemory", "0"), "Redis is full"},
		"its user loses the rights": {admin("ACL", "SETUSER", "default", "-@scripting"), admin("ACL", "SETUSER", "default", "+@scripting"), "may not run scripts"},
		"its user loses the keys":   {admin("ACL", "SETUSER", "default", "resetkeys", "~shop:*"), admin("ACL", "SETUSER", "default", "~*"), "the keys"},
		"writes do not return":      {admin("CLIENT", "PAUSE", "600000", "WRITE"), admin("CLIENT", "UNPAUSE"), "does not come back"},
		"slots have moved":          {answers("MOVED 6936 10.0.0.7:6379", "eval", "evalsha", "hget", "llen"), clean, "one node of a Redis Cluster"},
		"the disk is full":          {answers("MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to disk.", "evalsha", "eval", "ping"), clean, "its disk"},
		"too few replicas":          {admin("CONFIG", "SET", "min-replicas-to-write", "1"), admin("CONFIG", "SET", "min-replicas-to-write", "0"), "min-replicas-to-write"},
		"scripts are inspected":     {answers(inspected, "eval", "evalsha"), clean, "script_check_enable"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			srv := redistest.StartReal(t)
			p := redistest.StartProxy(t, srv.Client.Options().Addr, nil)
			cfg := unservingWorker(t, "redis://"+p.Addr+"/0")
			logs := runWorker(t, cfg)
			becomes(t, cfg, testkit.Patience, http.StatusOK)
			d.spoil(t, srv, p)
			spoilt := time.Now()
			if body := becomes(t, cfg, 20*time.Second, http.StatusServiceUnavailable); !strings.Contains(body, d.reason) {
				t.Errorf("the reason is: %s", body)
			}
			t.Logf("503 after %v", time.Since(spoilt).Round(100*time.Millisecond))
			d.mend(t, srv, p)
			becomes(t, cfg, testkit.Patience, http.StatusOK)
			if !strings.Contains(logs.String(), `"event":"redis_refuses"`) && !strings.Contains(logs.String(), `"event":"redis_away"`) {
				t.Error("the log says nothing")
			}
		})
	}
}
