package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"payscore-collector/tasks"
)

// lab is what all parts work with: the programs, a directory, a Redis.
type lab struct {
	table   table
	rounds  int
	verbose bool
	dir     string
	self    string
	redis   *child
	url     string
	rdb     *redis.Client

	signature time.Duration // processor time of one RSA-2048 signature; 0: not measured yet
}

// newLab builds the programs and starts a Redis that is set up as in
// docker-compose.yml.
func newLab(ctx context.Context, rounds int, verbose bool) (_ *lab, err error) {
	l := &lab{rounds: rounds, verbose: verbose}
	if l.self, err = os.Executable(); err != nil {
		return nil, err
	}
	if l.dir, err = os.MkdirTemp("", "payscore-bench-"); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			l.close()
		}
	}()
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-o", l.dir+"/", "payscore-collector/cmd/worker", "payscore-collector/cmd/enqueue")
	build.Stderr = os.Stderr
	if err := build.Run(); err != nil {
		return nil, fmt.Errorf("build the worker and enqueue: %w; run it inside the repository", err)
	}
	return l, l.startRedis(ctx)
}

func (l *lab) startRedis(ctx context.Context) error {
	port, err := freePort()
	if err != nil {
		return err
	}
	data := filepath.Join(l.dir, "redis")
	if err := os.MkdirAll(data, 0o700); err != nil {
		return err
	}
	l.redis, err = l.start("redis-server", nil, "--port", strconv.Itoa(port), "--bind", "127.0.0.1", "--dir", data,
		"--save", "", "--appendonly", "yes", "--appendfsync", "everysec", "--maxmemory-policy", "noeviction")
	if err != nil {
		return fmt.Errorf("start redis-server: %w", err)
	}
	l.url = fmt.Sprintf("redis://127.0.0.1:%d/0", port)
	opt, err := redis.ParseURL(l.url)
	if err != nil {
		return err
	}
	l.rdb = redis.NewClient(opt)
	return until(ctx, 10*time.Second, "Redis to answer", func() (bool, error) { return l.rdb.Ping(ctx).Err() == nil, nil })
}

func (l *lab) close() {
	if l.rdb != nil {
		_ = l.rdb.Close()
	}
	if l.redis != nil {
		l.redis.kill()
	}
	_ = os.RemoveAll(l.dir)
}

// fresh empties Redis.
func (l *lab) fresh(ctx context.Context) error { return l.rdb.FlushAll(ctx).Err() }

// machine says what this was measured on.
func (l *lab) machine() []string {
	cpu := "an unknown processor"
	if info, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(info)) {
			if name, model, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
				cpu = strings.TrimSpace(model)
				break
			}
		}
	}
	version := "?"
	if info, err := l.rdb.InfoMap(context.Background(), "server").Result(); err == nil {
		version = info["Server"]["redis_version"]
	}
	out := []string{fmt.Sprintf("%s, %d × %s, %s, Redis %s", time.Now().UTC().Format("2006-01-02"), runtime.NumCPU(), cpu, runtime.Version(), version)}
	if l.signature > 0 {
		out = append(out, fmt.Sprintf("one RSA-2048 signature: %.3f ms of a core", ms(l.signature)))
	}
	return out
}

// order is a hand-over of a merchant's order.
func (m merchant) order(no string) tasks.Order {
	return tasks.Order{Payload: tasks.Payload{MchID: m.mchid, OutOrderNo: no, AppID: m.appid, ServiceID: m.serviceID}}
}

// until waits for a condition.
func until(ctx context.Context, within time.Duration, what string, ok func() (bool, error)) error {
	for deadline := time.Now().Add(within); ; {
		done, err := ok()
		if done || err != nil {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("waited %s in vain for %s", within, what)
		}
		if !sleep(ctx, 20*time.Millisecond) {
			return ctx.Err()
		}
	}
}

func sleep(ctx context.Context, d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-ctx.Done():
		return false
	}
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
