package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"time"

	"github.com/prometheus/procfs"
	"github.com/redis/go-redis/v9"

	"payscore-collector/internal/signer"
)

// env is what all parts work with: the built programs, a directory and a Redis.
type env struct {
	table   table
	rounds  int
	verbose bool
	dir     string
	bench   string // path of this program, built as the worker is
	proc    procfs.FS
	redis   *process
	url     string
	rdb     *redis.Client

	openssl    bool        // the programs are built with the tag openssl
	signatures []signature // of each signer; nil before they are measured
}

// newEnv builds the programs and starts a Redis with the settings of
// docker-compose.yml.
func newEnv(ctx context.Context, rounds int, verbose bool) (_ *env, err error) {
	e := &env{rounds: rounds, verbose: verbose}
	if e.proc, err = procfs.NewDefaultFS(); err != nil {
		return nil, err
	}
	if e.dir, err = os.MkdirTemp("", "payscore-bench-"); err != nil {
		return nil, err
	}
	e.bench = filepath.Join(e.dir, "bench")
	defer func() {
		if err != nil {
			e.close()
		}
	}()
	build := func(tags string) *exec.Cmd {
		return exec.CommandContext(ctx, "go", "build", "-trimpath", "-tags", tags, "-o", e.dir+"/",
			"payscore-collector/cmd/worker", "payscore-collector/cmd/enqueue", "payscore-collector/tools/bench")
	}
	if out, err := build("openssl").CombinedOutput(); err == nil {
		e.openssl = true
	} else {
		fmt.Fprintf(os.Stderr, "the worker signs with Go alone, since it cannot be built with OpenSSL (libssl-dev, a C compiler):\n%s", out)
		plain := build("")
		plain.Stderr = os.Stderr
		if err := plain.Run(); err != nil {
			return nil, fmt.Errorf("build the worker and enqueue: %w; run bench inside the repository", err)
		}
	}
	return e, e.startRedis(ctx)
}

func (e *env) startRedis(ctx context.Context) error {
	addr, err := freeAddr()
	if err != nil {
		return err
	}
	_, port, _ := net.SplitHostPort(addr)
	data := filepath.Join(e.dir, "redis")
	if err := os.MkdirAll(data, 0o700); err != nil {
		return err
	}
	e.redis, err = e.start("redis-server", nil, "--port", port, "--bind", "127.0.0.1", "--dir", data,
		"--save", "", "--appendonly", "yes", "--appendfsync", "everysec", "--maxmemory-policy", "noeviction")
	if err != nil {
		return fmt.Errorf("start redis-server: %w", err)
	}
	e.url = "redis://" + addr + "/0"
	e.rdb = redis.NewClient(&redis.Options{Addr: addr})
	return until(ctx, 10*time.Second, "Redis to answer", func() (bool, error) { return e.rdb.Ping(ctx).Err() == nil, nil })
}

func (e *env) close() {
	if e.rdb != nil {
		_ = e.rdb.Close()
	}
	if e.redis != nil {
		e.redis.kill()
	}
	_ = os.RemoveAll(e.dir)
}

// flush empties Redis.
func (e *env) flush(ctx context.Context) error { return e.rdb.FlushAll(ctx).Err() }

// machine describes what the rows were measured on.
func (e *env) machine() string {
	cpu, version := "an unknown processor", "?"
	if info, err := e.proc.CPUInfo(); err == nil && len(info) > 0 {
		cpu = info[0].ModelName
	}
	if info, err := e.rdb.InfoMap(context.Background(), "server").Result(); err == nil {
		version = info["Server"]["redis_version"]
	}
	out := fmt.Sprintf("%s, %d × %s, %s, Redis %s", time.Now().UTC().Format("2006-01-02"), runtime.NumCPU(), cpu, runtime.Version(), version)
	if e.ifma() {
		out += "\nthe processor has AVX-512 IFMA"
	} else {
		out += "\nthe processor has no AVX-512 IFMA"
	}
	for _, s := range e.signatures {
		out += fmt.Sprintf("\none RSA-2048 signature by %s: %.3f ms of a core", s.Signer, ms(s.Cost))
		if s.Signer == signer.OpenSSL {
			out += " (" + s.Version + ")"
		}
	}
	return out
}

// watchCPU starts to watch the processors. The returned function returns what
// share of them all processes of the machine have used since then.
func (e *env) watchCPU() func() float64 {
	read := func() (busy, all float64) {
		stat, _ := e.proc.Stat()
		c := stat.CPUTotal
		busy = c.User + c.Nice + c.System + c.IRQ + c.SoftIRQ + c.Steal
		return busy, busy + c.Idle + c.Iowait
	}
	busy, all := read()
	return func() float64 {
		b, a := read()
		return (b - busy) / (a - all)
	}
}

// until polls a condition.
func until(ctx context.Context, within time.Duration, what string, ok func() (bool, error)) error {
	for deadline := time.Now().Add(within); ; {
		done, err := ok()
		if done || err != nil {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("waited %s in vain for %s", within, what)
		}
		if err := sleep(ctx, 20*time.Millisecond); err != nil {
			return err
		}
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
