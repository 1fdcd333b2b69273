package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"payscore-collector/tasks"
)

// How many merchants sleep, and for how many orders of the most of them the time from
// enqueue to the wire is measured, one merchant after the other.
var (
	merchantCounts = []int{1, 20, 200, 1000}
	wakings        = 200
)

// merchants measures what merchants without work cost, and how soon one of them works.
func merchants(ctx context.Context, e *env) error {
	p, err := e.startPlatform(ctx)
	if err != nil {
		return err
	}
	defer p.kill()
	wire := newWire()
	defer wire.Close()
	for _, n := range merchantCounts {
		if err := e.flush(ctx); err != nil {
			return err
		}
		if err := e.sleeping(ctx, p, wire, n); err != nil {
			return fmt.Errorf("%d merchants: %w", n, err)
		}
	}
	return nil
}

// measured is how long commands are counted: several looks and a report of each merchant.
const measured = time.Minute

func (e *env) sleeping(ctx context.Context, p platform, wire *wire, n int) error {
	file, err := e.merchantsFile(p, wire, n)
	if err != nil {
		return err
	}
	admin, err := freeAddr()
	if err != nil {
		return err
	}
	w, err := e.start(e.dir+"/worker", []string{
		"REDIS_URL=" + e.url, "MERCHANTS_FILE=" + file, "COLLECT_WINDOW=always", "ADMIN_ADDR=" + admin,
	})
	if err != nil {
		return err
	}
	defer w.kill()
	// Until the housekeeping after the start is done, and all sleep.
	if err := until(ctx, 2*time.Minute, "the worker to start", func() (bool, error) {
		got, err := scrape(admin)
		return err == nil && strings.Contains(got.text, "payscore_redis_up 1"), nil
	}); err != nil {
		return err
	}
	if err := sleep(ctx, 10*time.Second+time.Duration(n)*40*time.Millisecond); err != nil {
		return err
	}
	got, err := scrape(admin)
	if err != nil {
		return err
	}
	if !strings.Contains(got.text, "payscore_merchants_awake 0\n") {
		return fmt.Errorf("some merchants are awake, though none has anything to do")
	}
	before, err := e.processed(ctx)
	if err != nil {
		return err
	}
	cpu := e.cpu(w)
	if err := sleep(ctx, measured); err != nil {
		return err
	}
	after, err := e.processed(ctx)
	if err != nil {
		return err
	}
	cpu = e.cpu(w) - cpu
	clients, err := e.clients(ctx)
	if err != nil {
		return err
	}
	var took []float64
	for range 10 {
		got, err := scrape(admin)
		if err != nil {
			return err
		}
		took = append(took, ms(got.took))
		if err := sleep(ctx, 1100*time.Millisecond); err != nil { // they are shared within a second
			return err
		}
	}
	slices.Sort(took)
	what := fmt.Sprintf("%d merchants without work: ", n)
	commands := float64(after-before) / measured.Seconds()
	e.table.atMost(200, "/s", commands, what+"commands of Redis, those of scripts included", "the worker used %.2f %% of a core", 100*cpu.Seconds()/measured.Seconds())
	e.table.atMost(100, "", float64(clients), what+"connections to Redis", "")
	e.table.atMost(150, " MiB", float64(e.memory(w))/(1<<20), what+"memory of the worker", "most so far %.0f MiB", float64(e.maxMemory(w))/(1<<20))
	e.table.atMost(200, " ms", took[len(took)/2], what+"a scrape of /metrics, median", "worst %.0f ms of %d; %d kB", took[len(took)-1], len(took), len(got.text)/1000)
	if n == slices.Max(merchantCounts) {
		if err := e.wake(ctx, wire, n); err != nil {
			return err
		}
	}
	_, err = w.stop()
	return err
}

// wake measures the time from enqueue to the wire for merchants that sleep.
func (e *env) wake(ctx context.Context, wire *wire, n int) error {
	producer := tasks.NewProducer(e.rdb)
	var took []float64
	for i := range min(n, wakings) {
		o := order(fmt.Sprintf("WAKE%012d", i))
		o.MchID = mchidOf(i)
		from := time.Now()
		if res, err := producer.Enqueue(ctx, o); err != nil || res.Status != tasks.Accepted {
			return fmt.Errorf("%s: %s %w", o.OutOrderNo, res.Status, err)
		}
		if err := until(ctx, 30*time.Second, "the call", func() (bool, error) { return !wire.seen(o.OutOrderNo).IsZero(), nil }); err != nil {
			return err
		}
		took = append(took, ms(wire.seen(o.OutOrderNo).Sub(from)))
	}
	slices.Sort(took)
	e.table.atMost(100, " ms", took[len(took)/2], "enqueue to the request on the wire, merchant sleeping: median", "of %d, one merchant after the other, of %d that sleep", len(took), n)
	e.table.atMost(300, " ms", took[len(took)-1], "the same: the worst", "99 %%: %.0f ms", took[min(len(took)-1, 99*len(took)/100)])
	return nil
}

func mchidOf(i int) string { return strconv.Itoa(1900100000 + i) }

// merchantsFile writes a file of n merchants, all with the keys of the platform's.
func (e *env) merchantsFile(p platform, wire *wire, n int) (string, error) {
	settings := map[string]string{}
	for _, line := range p.settings {
		name, value, _ := strings.Cut(line, "=")
		settings[name] = value
	}
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "- mchid: %q\n  base_url: %q\n", mchidOf(i), wire.URL)
		for key, name := range map[string]string{
			"serial_no": "WECHATPAY_SERIAL_NO", "private_key_file": "WECHATPAY_PRIVATE_KEY_FILE",
			"public_key_id": "WECHATPAY_PUBLIC_KEY_ID", "public_key_file": "WECHATPAY_PUBLIC_KEY_FILE",
			"appid": "PAYSCORE_APPID", "service_id": "PAYSCORE_SERVICE_ID",
		} {
			fmt.Fprintf(&b, "  %s: %q\n", key, settings[name])
		}
	}
	path := filepath.Join(e.dir, fmt.Sprintf("merchants-%d.yaml", n))
	return path, os.WriteFile(path, []byte(b.String()), 0o600)
}

// wire is a platform that notes when a call for an order has come first, and is in trouble.
type wire struct {
	*httptest.Server
	mu    sync.Mutex
	first map[string]time.Time
}

func newWire() *wire {
	w := &wire{first: map[string]time.Time{}}
	w.Server = httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, req *http.Request) {
		now := time.Now()
		for part := range strings.SplitSeq(req.URL.Path, "/") {
			if strings.HasPrefix(part, "WAKE") {
				w.mu.Lock()
				if w.first[part].IsZero() {
					w.first[part] = now
				}
				w.mu.Unlock()
			}
		}
		rw.WriteHeader(http.StatusServiceUnavailable)
	}))
	return w
}

func (w *wire) seen(no string) time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.first[no]
}

// scraped is what a worker served for Prometheus, and how long that took.
type scraped struct {
	text string
	took time.Duration
}

func scrape(addr string) (s scraped, err error) {
	from := time.Now()
	resp, err := http.Get("http://" + addr + "/metrics")
	if err != nil {
		return s, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return scraped{string(text), time.Since(from)}, err
}

func freeAddr() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}

// processed is how many commands Redis has run, by its own count.
func (e *env) processed(ctx context.Context) (n int64, err error) {
	return e.infoNumber(ctx, "stats", "Stats", "total_commands_processed")
}

// clients is how many connections Redis has, without that of this process.
func (e *env) clients(ctx context.Context) (int64, error) {
	n, err := e.infoNumber(ctx, "clients", "Clients", "connected_clients")
	return n - int64(e.rdb.PoolStats().TotalConns), err
}

func (e *env) infoNumber(ctx context.Context, section, title, field string) (int64, error) {
	info, err := e.rdb.InfoMap(ctx, section).Result()
	if err != nil {
		return 0, err
	}
	return strconv.ParseInt(info[title][field], 10, 64)
}

// memory returns the resident memory of a process, in bytes.
func (e *env) memory(p *process) uint64 {
	proc, err := e.proc.Proc(p.cmd.Process.Pid)
	if err != nil {
		return 0
	}
	status, _ := proc.NewStatus()
	return status.VmRSS
}
