package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"payscore-collector/internal/simulator"
)

const (
	apiOrders = 100_000
	apiPage   = 1000
	apiReads  = 2000 // at most, and for apiTime
	apiTime   = 10 * time.Second
)

// overHTTP compares enqueueing through the API of a worker with enqueue file, and reads an
// order again and again beside a worker at full load.
func overHTTP(ctx context.Context, e *env) error {
	p, err := e.startPlatform(ctx)
	if err != nil {
		return err
	}
	defer p.kill()
	if err := e.overHTTPIn(ctx, p); err != nil {
		return err
	}
	return e.overHTTPOut(ctx, p)
}

// overHTTPIn enqueues orders that are due in a month.
func (e *env) overHTTPIn(ctx context.Context, p platform) error {
	path := filepath.Join(e.dir, "api.csv")
	at := time.Now().AddDate(0, 1, 0)
	if err := writeRows(path, apiOrders, at); err != nil {
		return err
	}
	defer os.Remove(path)
	if err := e.flush(ctx); err != nil {
		return err
	}
	base, w, err := e.startServing(ctx, p)
	if err != nil {
		return err
	}
	defer w.kill()
	ways := []struct {
		name string
		run  func() error
	}{
		{"enqueue file", func() error { _, _, err := e.enqueueFile(path, nil); return err }},
		{"POST /v1/orders/import", func() error { return postFile(ctx, base, path) }},
		{"POST /v1/orders in pages of 1,000", func() error { return postPages(ctx, base, at) }},
	}
	took := make([][]float64, len(ways))
	for range e.rounds {
		for i, way := range ways {
			if err := e.flush(ctx); err != nil {
				return err
			}
			start := time.Now()
			if err := way.run(); err != nil {
				return fmt.Errorf("%s: %w", way.name, err)
			}
			took[i] = append(took[i], time.Since(start).Seconds())
			n, err := e.rdb.ZCard(ctx, "payscore:{"+simulator.DefaultMchID+"}:due").Result()
			if err != nil || n != apiOrders {
				return fmt.Errorf("%s: %d orders of %d are in the ledger: %w", way.name, n, apiOrders, err)
			}
		}
	}
	for i, way := range ways[1:] {
		var ratios []float64
		for round, seconds := range took[i+1] {
			ratios = append(ratios, took[0][round]/seconds)
		}
		e.table.atLeast(0.7, "x", median(ratios), way.name+" beside enqueue file", "%.0f rows/s, enqueue file %.0f", apiOrders/median(took[i+1]), apiOrders/median(took[0]))
	}
	e.table.atMost(64, " MiB", float64(e.maxMemory(w))/(1<<20), "memory of the worker that took them", "%d orders, %d times", apiOrders, 2*e.rounds)
	return nil
}

// startServing starts a worker that serves the API, and returns its address.
func (e *env) startServing(ctx context.Context, p platform, environment ...string) (base string, w *process, err error) {
	addr, err := freeAddr()
	if err != nil {
		return "", nil, err
	}
	if w, err = e.startWorker(p, append(environment, "ADMIN_ADDR="+addr)...); err != nil {
		return "", nil, err
	}
	base = "http://" + addr
	if err = untilOK(ctx, base+"/readyz", "the worker to be ready"); err != nil {
		w.kill()
	}
	return base, w, err
}

func post(ctx context.Context, url, kind string, body io.Reader) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, body)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", kind)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %.300s", resp.Status, text)
	}
	return text, err
}

// postPages sends page after page, as a billing system does that waits for each answer.
func postPages(ctx context.Context, base string, at time.Time) error {
	when := at.Format(time.RFC3339)
	for page := range slices.Chunk(numbers("FILE", apiOrders), apiPage) {
		var body bytes.Buffer
		body.WriteString(`{"orders":[`)
		for i, no := range page {
			if i > 0 {
				body.WriteByte(',')
			}
			fmt.Fprintf(&body, `{"out_order_no":%q,"at":%q}`, no, when)
		}
		body.WriteString(`]}`)
		text, err := post(ctx, base+"/v1/orders", "application/json", &body)
		if err != nil {
			return err
		}
		if n := bytes.Count(text, []byte(`"result":"accepted"`)); n != len(page) {
			return fmt.Errorf("%d of %d were accepted: %.300s", n, len(page), text)
		}
	}
	return nil
}

func postFile(ctx context.Context, base, path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	text, err := post(ctx, base+"/v1/orders/import?format=csv", "text/csv", f)
	if err != nil {
		return err
	}
	var last struct{ Summary map[string]int }
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &last); err != nil || last.Summary["accepted"] != apiOrders {
		return fmt.Errorf("the answer ends with %.300s: %w", lines[len(lines)-1], err)
	}
	return nil
}

// overHTTPOut reads an order while the worker makes as many calls as it can.
func (e *env) overHTTPOut(ctx context.Context, p platform) error {
	const orders = 20_000 // more than are collected meanwhile
	nos := numbers("READ", orders)
	if err := e.flush(ctx); err != nil {
		return err
	}
	if err := p.reset(nos, simulator.FatePays); err != nil {
		return err
	}
	if err := e.enqueue(ctx, nos); err != nil {
		return err
	}
	base, w, err := e.startServing(ctx, p)
	if err != nil {
		return err
	}
	defer w.kill()
	// A worker that starts has nothing to do for some hundred milliseconds.
	if err := until(ctx, 20*time.Second, "the worker to be at full load", func() (bool, error) {
		n, err := p.countCalls()
		return n >= 1000, err
	}); err != nil {
		return err
	}
	// The floor: what the same client waits for the same bytes from a server that does next
	// to nothing, beside the same load. The reads take turns.
	get := func(url string) ([]byte, error) {
		resp, err := http.Get(url)
		if err != nil {
			return nil, err
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		if err == nil && resp.StatusCode != http.StatusOK {
			err = fmt.Errorf("%s: %.300s", resp.Status, text)
		}
		return text, err
	}
	read := func(i int) string { return base + "/v1/orders/" + simulator.DefaultMchID + "/" + nos[i*7%orders] }
	text, err := get(read(0))
	if err != nil {
		return err
	}
	floor, f, err := e.startFloor(ctx, text)
	if err != nil {
		return err
	}
	defer f.kill()
	servers := []struct {
		name string
		url  func(i int) string
		took []float64
	}{
		{url: read},
		{name: "a constant", url: func(int) string { return floor + floorConstant }},
		{name: "one GET of Redis", url: func(int) string { return floor + floorRedis }},
	}
	for i, begun := 0, time.Now(); i < apiReads && time.Since(begun) < apiTime; i++ {
		for which := range servers {
			s := &servers[which]
			start := time.Now()
			if _, err := get(s.url(i)); err != nil {
				return err
			}
			s.took = append(s.took, ms(time.Since(start)))
		}
	}
	n, err := p.countCalls()
	if err == nil && n >= 2*orders {
		err = fmt.Errorf("%d calls: the worker had nothing left to do", n)
	}
	if err != nil {
		return err
	}
	worst := func(took []float64) float64 { return slices.Sorted(slices.Values(took))[len(took)*99/100] }
	ours := servers[0].took
	const what = "GET of one order beside a worker at full load: 99 %"
	e.table.atMost(10, " ms", worst(ours), what, "median %.1f ms, of %d", median(ours), len(ours))
	for _, s := range servers[1:] {
		e.table.note("x", worst(ours)/worst(s.took), what+", beside a server that answers with "+s.name, "that takes %.1f ms, median %.1f", worst(s.took), median(s.took))
	}
	return nil
}

// The floor is a server in a process of its own.
const (
	roleFloor     = "as-floor"
	floorConstant = "/constant"
	floorRedis    = "/redis"
	floorKey      = "bench:floor"
)

// serveFloor is the main function of that process. It answers with what the key has.
func serveFloor(ctx context.Context, addr, redisURL string) error {
	options, err := redis.ParseURL(redisURL)
	if err != nil {
		return err
	}
	rdb := redis.NewClient(options)
	constant, err := rdb.Get(ctx, floorKey).Bytes()
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+floorConstant, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(constant) })
	mux.HandleFunc("GET "+floorRedis, func(w http.ResponseWriter, r *http.Request) {
		text, err := rdb.Get(r.Context(), floorKey).Bytes()
		if err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		_, _ = w.Write(text)
	})
	server := &http.Server{Addr: addr, Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	context.AfterFunc(ctx, func() { _ = server.Close() })
	return server.ListenAndServe()
}

// startFloor starts the floor, and returns its address.
func (e *env) startFloor(ctx context.Context, text []byte) (base string, f *process, err error) {
	if err := e.rdb.Set(ctx, floorKey, text, 0).Err(); err != nil {
		return "", nil, err
	}
	addr, err := freeAddr()
	if err != nil {
		return "", nil, err
	}
	if f, err = e.start(e.bench, nil, roleFloor, addr, e.url); err != nil {
		return "", nil, err
	}
	base = "http://" + addr
	if err = untilOK(ctx, base+floorRedis, "the floor to answer"); err != nil {
		f.kill()
	}
	return base, f, err
}

// untilOK waits for a server.
func untilOK(ctx context.Context, url, what string) error {
	return until(ctx, 20*time.Second, what, func() (bool, error) {
		resp, err := http.Get(url)
		if err != nil {
			return false, nil
		}
		_ = resp.Body.Close()
		return resp.StatusCode == http.StatusOK, nil
	})
}
