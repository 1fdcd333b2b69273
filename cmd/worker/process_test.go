package main

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"payscore-collector/internal/config"
	"payscore-collector/internal/ledger"
	"payscore-collector/internal/simulator"
	"payscore-collector/internal/testkit"
	"payscore-collector/internal/testkit/workertest"
	"payscore-collector/tasks"
)

// The worker as the process it is: configured by its environment, killed, told
// to stop, and left without Redis.

func TestMain(m *testing.M) {
	testkit.MainIfCommand(main)
	testkit.Parallel(4)
	os.Exit(m.Run())
}

// start starts a worker process with the rig's platform and Redis; env is added to
// its environment. Its output goes to the rig's log.
func start(t *testing.T, r *workertest.Rig, args []string, env ...string) *testkit.Process {
	t.Helper()
	cmd := testkit.Command(append(environment(t, r), env...), args...)
	cmd.Stdout, cmd.Stderr = r.Logs, r.Logs
	return testkit.StartProcess(t, cmd)
}

// environment is all that a worker needs, with time compressed.
func environment(t *testing.T, r *workertest.Rig) []string {
	t.Helper()
	dir := t.TempDir()
	if err := r.Sim.WriteMerchantDir(dir, r.Platform.URL); err != nil {
		t.Fatal(err)
	}
	merchant, err := os.ReadFile(filepath.Join(dir, "merchant.env"))
	if err != nil {
		t.Fatal(err)
	}
	env := []string{
		"REDIS_URL=" + r.Redis.URL, "ADMIN_ADDR=", "COLLECT_WINDOW=always", "COLLECT_RATE=200",
		"CALL_TIMEOUT=2s", "MIN_GAP=1100ms", "COLLECT_SCHEDULE=1200ms", "CONFIRM_SCHEDULE=100ms,500ms,1s",
		"SWEEP_EVERY=500ms", "GIVE_UP_AFTER=2m",
	}
	return append(env, strings.Fields(string(merchant))...)
}

func paid(r *workertest.Rig) int64 {
	s, err := r.Ledger.Stats(context.Background())
	if err != nil {
		return -1
	}
	return s.Orders[tasks.Paid]
}

// Promise 3, continued: nothing is lost when a worker is killed in its calls.
func TestPromiseNothingLostByKilledWorkers(t *testing.T) {
	t.Parallel()
	r := workertest.New(t, func(c *config.Worker) { c.Rate = 200 })
	r.WorkersDie = true
	nos := workertest.Numbers("KILL", testkit.Form(150, 300))
	for i, no := range nos {
		r.Add(simulator.Order{OutOrderNo: no, Fate: []simulator.Fate{"pays", "declines:1", "userpaying:500ms", "revoked"}[i%4]})
	}
	if err := r.Sim.SetFaults(simulator.Faults{Latency: simulator.Duration(50 * time.Millisecond)}); err != nil {
		t.Fatal(err)
	}
	r.Enqueue(nos...)
	for range testkit.Form(3, 6) {
		p := start(t, r, nil)
		calls := r.Sim.Report().Calls
		r.Eventually("the worker to be in its calls", func() bool { return r.Sim.Report().Calls > calls+15 })
		p.Kill()
	}
	start(t, r, nil)
	r.AllEnded()
	r.Audit()
}

// Promise 3, continued: nothing is lost when Redis dies and comes back with
// its append-only file.
func TestPromiseNothingLostByRedisRestarts(t *testing.T) {
	t.Parallel()
	r := workertest.New(t, func(c *config.Worker) { c.Rate = 200 })
	if !r.Redis.Real {
		t.Skip("this test needs a redis-server on the PATH")
	}
	r.WorkersDie = true // in effect: what they learn while Redis is away is lost
	nos := workertest.Numbers("AOF", 200)
	for i, no := range nos {
		r.Add(simulator.Order{OutOrderNo: no, Fate: []simulator.Fate{"pays", "declines:1"}[i%2]})
	}
	r.Enqueue(nos...)
	p := start(t, r, nil)
	for i := range int64(2) {
		r.Eventually("some orders to be paid", func() bool { return paid(r) >= 20*(i+1) })
		r.Redis.Kill()
		<-time.After(2 * time.Second)
		r.Redis.Run(t)
	}
	r.AllEnded()
	r.Audit()
	if paid(r) != int64(len(nos)) {
		t.Errorf("%d of %d paid", paid(r), len(nos))
	}
	if !p.Running() {
		t.Error("the worker did not live through it")
	}
	if !strings.Contains(r.Logs.String(), "Redis does not answer") {
		t.Error("nothing was said about Redis")
	}
}

func TestWorkerWaitsForRedisAtTheStart(t *testing.T) {
	t.Parallel()
	r := workertest.New(t)
	if !r.Redis.Real {
		t.Skip("this test needs a redis-server on the PATH")
	}
	r.Add(simulator.Order{OutOrderNo: "EARLY", Fate: "pays"})
	r.Enqueue("EARLY")
	r.Redis.Kill()
	p := start(t, r, nil)
	r.Eventually("the worker to say that it waits", func() bool {
		return strings.Contains(r.Logs.String(), "Redis does not answer")
	})
	r.Redis.Run(t)
	r.AllEnded()
	p.Signal(syscall.SIGTERM)
	if status := p.Exit(time.Minute); status != 0 {
		t.Errorf("exit status %d after SIGTERM", status)
	}
}

// SIGTERM in the middle: calls that were begun are finished, and the rest is
// still there for the next worker.
func TestWorkerStopsInOrder(t *testing.T) {
	t.Parallel()
	r := workertest.New(t)
	nos := workertest.Numbers("TERM", 100)
	for _, no := range nos {
		r.Add(simulator.Order{OutOrderNo: no, Fate: "pays"})
	}
	if err := r.Sim.SetFaults(simulator.Faults{Latency: simulator.Duration(300 * time.Millisecond)}); err != nil {
		t.Fatal(err)
	}
	r.Enqueue(nos...)
	p := start(t, r, nil, "WORKER_CONCURRENCY=8")
	r.Eventually("calls to be in flight", func() bool { return r.Sim.Report().Calls >= 8 })
	p.Signal(syscall.SIGTERM)
	if status := p.Exit(time.Minute); status != 0 {
		t.Errorf("exit status %d after SIGTERM", status)
	}
	calls := r.Sim.Report().Calls
	for _, no := range nos {
		// Every call that the platform saw was settled before the end.
		rep, o := r.Report(no), r.Get(no)
		if rep.CollectCalls != int64(countCalls(o.Log, "collect")) {
			t.Errorf("%s: the platform saw %d collects, the log has %d", no, rep.CollectCalls, countCalls(o.Log, "collect"))
		}
	}
	if calls == int64(len(nos)) {
		t.Fatal("everything was done before the SIGTERM; the test shows nothing")
	}
	start(t, r, nil)
	r.AllEnded()
	r.Audit()
}

func TestWorkerRefusesAnEvictingRedis(t *testing.T) {
	r := workertest.New(t)
	if !r.Redis.Real {
		t.Skip("this test needs a redis-server on the PATH")
	}
	if err := r.Redis.Client.ConfigSet(t.Context(), "maxmemory-policy", "allkeys-lru").Err(); err != nil {
		t.Fatal(err)
	}
	if status := start(t, r, nil).Exit(time.Minute); status != config.ExitUsage {
		t.Errorf("exit status %d", status)
	}
	if out := r.Logs.String(); !strings.Contains(out, "CONFIG SET maxmemory-policy noeviction") {
		t.Errorf("the mending command is missing: %s", out)
	}
}

func TestWorkerNamesEveryWrongSetting(t *testing.T) {
	r := workertest.New(t)
	cmd := testkit.Command([]string{"CALL_TIMEOUT=soon", "COLLECT_WINDOW=day", "WECHATPAY_PRIVATE_KEY_FILE=/nowhere/key.pem"})
	out, err := cmd.CombinedOutput()
	var ee *exec.ExitError
	if !errors.As(err, &ee) || ee.ExitCode() != 2 {
		t.Errorf("ended with %v", err)
	}
	for _, name := range []string{"REDIS_URL", "WECHATPAY_MCHID", "WECHATPAY_SERIAL_NO", "WECHATPAY_PRIVATE_KEY_FILE", "/nowhere/key.pem", "WECHATPAY_PUBLIC_KEY_ID", "CALL_TIMEOUT", "COLLECT_WINDOW"} {
		if !strings.Contains(string(out), name) {
			t.Errorf("%s is not named in:\n%s", name, out)
		}
	}
	_ = r
}

func TestCheckListsWhatItFinds(t *testing.T) {
	t.Run("all well", func(t *testing.T) {
		r := workertest.New(t)
		if status := start(t, r, []string{"check"}).Exit(time.Minute); status != 0 {
			t.Errorf("exit status %d", status)
		}
		out := r.Logs.String()
		for _, want := range []string{"ok       REDIS_URL", "WeChat Pay took our signature", "our key verifies it"} {
			if !strings.Contains(out, want) {
				t.Errorf("%q is missing in:\n%s", want, out)
			}
		}
		if strings.Contains(out, r.Sim.Merchant().APIv3Key) {
			t.Error("the APIv3 key was printed")
		}
	})
	t.Run("no listener", func(t *testing.T) {
		r := workertest.New(t)
		if status := start(t, r, []string{"check"}, "WECHATPAY_BASE_URL=http://127.0.0.1:1").Exit(time.Minute); status != 1 {
			t.Errorf("exit status %d", status)
		}
		if out := r.Logs.String(); !strings.Contains(out, "cannot reach WeChat Pay at http://127.0.0.1:1: the connection was refused; check WECHATPAY_BASE_URL, HTTPS_PROXY and the network") {
			t.Errorf("the fault is not named:\n%s", out)
		}
	})
	t.Run("a wrong key", func(t *testing.T) {
		r := workertest.New(t)
		if status := start(t, r, []string{"check"}, "WECHATPAY_SERIAL_NO=DEADBEEF").Exit(time.Minute); status != 1 {
			t.Errorf("exit status %d", status)
		}
		if out := r.Logs.String(); !strings.Contains(out, "problem") || !strings.Contains(out, "WECHATPAY_SERIAL_NO") {
			t.Errorf("the fault is not named:\n%s", out)
		}
	})
}

func TestHealthReadinessAndMetrics(t *testing.T) {
	t.Parallel()
	r := workertest.New(t)
	r.Add(simulator.Order{OutOrderNo: "SEEN", TotalAmount: 1234, Fate: "pays"})
	r.Enqueue("SEEN")
	addr := testkit.FreeAddr(t)
	start(t, r, nil, "ADMIN_ADDR="+addr)
	get := func(path string) (int, string) {
		resp, err := http.Get("http://" + addr + path)
		if err != nil {
			return 0, err.Error()
		}
		defer resp.Body.Close()
		body, _ := io.ReadAll(resp.Body)
		return resp.StatusCode, string(body)
	}
	r.AllEnded()
	for _, path := range []string{"/healthz", "/readyz"} {
		if status, body := get(path); status != http.StatusOK {
			t.Errorf("%s: %d %s", path, status, body)
		}
	}
	_, metrics := get("/metrics")
	mchid := r.Sim.Merchant().MchID
	for _, want := range []string{
		`payscore_calls_total{call="collect",mchid="` + mchid + `",verdict="accepted"} 1`,
		`payscore_orders{mchid="` + mchid + `",state="paid"} 1`,
		`payscore_collected_fen_total{mchid="` + mchid + `"} 1234`,
		`payscore_gate_closed{kind="fault",mchid="` + mchid + `"} 0`,
		`payscore_asynq_tasks{mchid="` + mchid + `",state="pending"} 0`,
		`payscore_due_oldest_seconds{mchid="` + mchid + `"} 0`,
		`payscore_redis_up 1`,
	} {
		if !strings.Contains(metrics, want) {
			t.Errorf("the metrics do not have %s", want)
		}
	}
	if !r.Redis.Real {
		return
	}
	r.Redis.Kill()
	r.Eventually("readiness to be lost with Redis", func() bool {
		status, _ := get("/readyz")
		return status == http.StatusServiceUnavailable
	})
	if status, _ := get("/healthz"); status != http.StatusOK {
		t.Error("a worker that waits for Redis counts as dead")
	}
}

func countCalls(log []ledger.Entry, call string) int {
	n := 0
	for _, e := range log {
		if e.Call == call {
			n++
		}
	}
	return n
}
